"""Contracts and rules: Spark runs the flagged query as it is and flags the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rayetl import sql
from rayetl.sql.interop import to_arrow
from tests.conformance.cases.quality import CASES, Case, failing, output
from tests.conformance.judge import Judge, plain


def ask(judge: Judge, query: Any) -> dict[str, list[Any]]:
    answer = judge.ask(sql.render(query))
    return {name: [row[i] for row in answer.rows] for i, name in enumerate(answer.names)}


def struct(value: Any) -> Any:
    """Spark gives structs as rows."""
    if isinstance(value, dict):
        return tuple(map(struct, value.values()))
    return [struct(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_spark_flags_the_same_rows(case: Case, judge: Judge, tmp_path: Path) -> None:
    for name, frame in case.frames().items():
        path = str(tmp_path / f"{name}.parquet")
        table = frame.to_arrow(compat_level=None).cast(to_arrow(case.schemas()[name]))
        pq.write_table(table, path, coerce_timestamps="us")
        judge.spark.read.parquet(path).createOrReplaceTempView(name)
    checked = case.checked()
    columns = ask(judge, checked.query)
    assert failing(case, checked, columns) == dict(case.fails)
    wanted = {name: [plain(struct(value)) for value in values] for name, values in case.rows.items()}
    assert output(case, columns) == wanted
    verdicts = {check.rule: ask(judge, check.query)["failed"] for check in checked.tables}
    assert verdicts == {name: [failed] for name, failed in case.tables.items()}
