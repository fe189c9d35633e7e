"""What is said of columns that a place has no type for."""

from __future__ import annotations

import pytest

from rayetl.connectors.kinds import way_out
from rayetl.sql.analyzed import analyze
from rayetl.sql.interop import parse_ddl

TABLE = parse_ddl("a TIMESTAMP, b TIMESTAMP, raw BINARY, items ARRAY<INT>, pause INTERVAL DAY, nothing VOID")


@pytest.mark.parametrize(
    ("column", "said", "typed"),
    [
        ("pause", "timestampdiff(SECOND, ...)", "timestampdiff(SECOND, a, b)"),
        ("raw", "use hex or base64", "concat(hex(raw), base64(raw))"),
        ("nothing", "cast it in a select step", "CAST(nothing AS STRING)"),
        ("items", "in a flatten step, or with engine: spark", "explode(items)"),
    ],
)
def test_the_embedded_engine_runs_what_is_said_unless_another_is_named(
    column: str, said: str, typed: str
) -> None:
    found = TABLE.get(column)
    assert found is not None
    assert said in way_out(found.type)
    analyze(f"SELECT {typed} AS x FROM t", {"t": TABLE})
