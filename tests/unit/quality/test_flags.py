"""Rows in, flags out: every rule and contract on the embedded engine."""

from __future__ import annotations

import polars as pl
import pytest

from rayetl import sql
from tests.conformance.cases.quality import CASES, ROW_CASES, Case, failing, output


def lowered(case: Case, query: object) -> pl.DataFrame:
    frames = {name: frame.lazy() for name, frame in case.frames().items()}
    return sql.lower(sql.analyze(query, case.schemas()), frames).collect()  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows_are_flagged(case: Case) -> None:
    checked = case.checked()
    frame = lowered(case, checked.query)
    assert failing(case, checked, frame.to_dict(as_series=False)) == dict(case.fails)
    assert output(case, frame.to_dict(as_series=False)) == dict(case.rows)
    assert frame.height == case.frames()["t"].height
    for check in checked.rows:
        assert frame[check.flag].dtype == pl.Boolean
        assert frame[check.flag].null_count() == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_whole_input_is_judged(case: Case) -> None:
    found = {}
    for check in case.checked().tables:
        frame = lowered(case, check.query)
        assert frame.columns == ["observed", "failed"]
        assert frame.schema["observed"] == pl.String
        found[check.rule] = frame["failed"].to_list()
    assert found == {name: [failed] for name, failed in case.tables.items()}


@pytest.mark.parametrize("case", ROW_CASES, ids=lambda case: case.name)
def test_rows_pass_through_unchanged(case: Case) -> None:
    main = case.frames()["t"]
    frame = lowered(case, case.checked().query)
    assert frame.select(main.columns).sort("_rayetl_row").equals(main)
