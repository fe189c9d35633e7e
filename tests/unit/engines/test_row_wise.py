"""What is computed row by row streams: the engine needs no more than a batch of it in memory."""

from __future__ import annotations

import re

import polars as pl
import pytest

from rayetl.connectors.files_load import WriteOptions
from rayetl.connectors.formats.records import row_json
from rayetl.connectors.formats.text_values import csv_text, json_value
from rayetl.errors import UnsupportedSqlError
from rayetl.sql.analyzed import analyze
from rayetl.sql.interop import parse_ddl, to_polars
from rayetl.sql.lower.relations import lower_relation
from rayetl.sql.types import Field, Schema
from tests.conformance.cases.functions_scalar import EXPRESSIONS, FRESH, HELD_OUT

OF_FUNCTIONS = parse_ddl(
    "i INT, j INT, k BIGINT, l BIGINT, x DOUBLE, y DOUBLE, s STRING, p STRING, m DECIMAL(13,2), n DECIMAL(3,2), "
    "d DATE, e DATE, ts TIMESTAMP, b BOOLEAN, a ARRAY<INT>, sa ARRAY<STRING>, mp MAP<STRING, INT>, txt STRING"
)
FLAT = "b BOOLEAN, i INT, l BIGINT, f FLOAT, d DOUBLE, n DECIMAL(9,2), s STRING, dt DATE, ts TIMESTAMP"
NESTED = "bin BINARY, a ARRAY<DOUBLE>, st STRUCT<x: INT, y: FLOAT>, mp MAP<STRING, DOUBLE>"


def whole(frame: pl.LazyFrame) -> bool:
    """Whether some column is taken into memory whole, so that a function may see all of it."""
    graph = frame.show_graph(engine="streaming", plan_stage="physical", raw_output=True)
    assert graph is not None
    return bool(re.search(r'label="(columnar-function|in-memory-map)', graph))


def test_it_would_be_seen() -> None:
    assert whole(pl.LazyFrame({"v": ["a"]}).with_columns(pl.col("v").replace({"a": "b"})))


def test_functions_of_a_row() -> None:
    table = pl.LazyFrame(schema=to_polars(OF_FUNCTIONS))
    asked = 0
    for text in re.split(r"; |\n", f"{EXPRESSIONS}\n{HELD_OUT}\n{FRESH}"):
        if not text.strip():
            continue
        try:
            query = analyze(f"SELECT {text} AS v FROM t", {"t": OF_FUNCTIONS})
        except UnsupportedSqlError:
            continue
        asked += 1
        assert not whole(lower_relation(query, {"t": table}, ["v"])), text
    assert asked > 900


@pytest.mark.parametrize("column", list(parse_ddl(f"{FLAT}, {NESTED}")), ids=lambda column: str(column.name))
def test_values_of_text_formats(column: Field) -> None:
    table = pl.LazyFrame(schema=to_polars(Schema((column,))))
    value = pl.col(column.name)
    assert not whole(table.select(json_value(value, column.type)))
    assert not whole(table.select(row_json(Schema((column,)))))
    if column.name in parse_ddl(FLAT).names:
        assert not whole(table.select(csv_text(value, column.type, WriteOptions())))


FIRST = (
    "SELECT k, v FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY {order}) AS r FROM t) WHERE r = 1"
)


@pytest.mark.parametrize(("order", "least"), [("k", False), ("v", True), ("k, v DESC", False)])
def test_one_row_of_each_key_is_found_without_the_others(order: str, least: bool) -> None:
    nan = float("nan")
    rows = [(1.0, 7), (None, 5), (nan, 4), (0.0, 3), (1.0, 2), (-0.0, 1), (None, 0), (nan, 8)]
    schema = parse_ddl("k DOUBLE, v INT")
    table = pl.DataFrame(rows, schema=to_polars(schema), orient="row").lazy()
    query = analyze(FIRST.format(order=order), {"t": schema})
    frame = lower_relation(query, {"t": table}, ["k", "v"])
    graph = frame.show_graph(engine="streaming", plan_stage="physical", raw_output=True)
    assert graph is not None
    assert ("sort" in graph) == (order != "k")
    found = frame.sort("k", "v").collect()
    assert found["k"].is_nan().sum() == found["k"].null_count() == 1
    assert sorted(value for value in found["k"].drop_nulls() if value == value) == [0.0, 1.0]
    assert set(found.rows()[0]) <= {None, 5, 0}
    if least:
        assert found["v"].sort().to_list() == [0, 1, 2, 4]
