"""Rows are checked once however many readers they have, and all of them although a reader stops early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rayetl import Pipeline

ROWS = 50_000
BAD_ROWS = ROWS // 10
CHECK = {"id": "checked", "type": "validate", "rules": [{"name": "r", "check": "n % 10 <> 0"}]}


def pipeline(folder: Path, steps: list[dict[str, Any]], loads: list[dict[str, Any]]) -> Pipeline:
    pl.DataFrame({"n": range(ROWS)}).write_csv(folder / "in.csv")
    (folder / "none.csv").write_text("n\n")
    (folder / "in.csv").open("a").write("odd,line\nbad\n")
    source = {"type": "files", "schema": "n BIGINT", "options": {"header": True}}
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {
                "rows": {**source, "path": str(folder / "in.csv")},
                "none": {**source, "path": str(folder / "none.csv")},
            },
            "transform": [CHECK | {"from": "rows"}, *steps],
            "load": [
                {"type": "files", "path": str(folder / f"out{place}"), "format": "parquet", **load}
                for place, load in enumerate(loads)
            ],
            "resilience": {"dead_letter": {"path": str(folder / "letters")}},
            "state": str(folder / "state"),
        }
    )


EARLY: dict[str, list[dict[str, Any]]] = {
    "a limit": [{"type": "limit", "rows": 3}],
    "a filter that is never true": [{"type": "filter", "where": "false"}],
    "a condition that folds to never": [{"type": "filter", "where": "n > 5 AND 1 = 0"}],
    "an empty side of a join": [{"type": "join", "with": "none", "on": ["n"]}],
    "a query that looks at no row": [{"type": "sql", "query": "SELECT 1 AS n FROM checked LIMIT 1"}],
}


@pytest.mark.parametrize("name", EARLY)
def test_readers_that_stop_early_stop_no_check(tmp_path: Path, name: str) -> None:
    report = pipeline(tmp_path, EARLY[name], [{}]).run()
    assert report.status == "done"
    assert {source.id: source.rows_read for source in report.sources}["rows"] == ROWS + 2
    assert report.rejected_rows == BAD_ROWS + 2
    assert all(line.balanced for line in report.books)


def test_two_loads_and_a_self_join_check_once(tmp_path: Path) -> None:
    steps = [
        {"id": "twice", "type": "sql", "query": "SELECT a.n FROM checked a JOIN checked b ON a.n = b.n"},
        {"id": "again", "type": "filter", "from": "checked", "where": "n < 100"},
    ]
    loads = [{"from": "twice"}, {"from": "again"}, {"from": "checked"}]
    report = pipeline(tmp_path, steps, loads).run()
    assert report.rejected_rows == BAD_ROWS + 2
    assert [load.rows for load in report.loads] == [ROWS - BAD_ROWS, 90, ROWS - BAD_ROWS]
    letters = pl.read_parquet(tmp_path / "letters/p/rejects/*.parquet")
    assert letters["id"].n_unique() == letters.height == BAD_ROWS + 2
