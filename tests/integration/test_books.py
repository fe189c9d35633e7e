"""The books of random pipelines: they balance, and they agree with what another reader finds loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayetl.engines.base import Job, Measured
from rayetl.engines.polars import PolarsEngine
from rayetl.engines.spark import SparkEngine
from rayetl.errors import BooksError
from rayetl.pipeline import Pipeline

STEPS: list[dict[str, Any]] = [
    {"type": "filter", "where": "n > 2"},
    {"type": "filter", "where": "k IS NOT NULL"},
    {"type": "validate", "rules": [{"not_null": ["k"]}, {"range": {"column": "n", "max": 6}}]},
    {"type": "validate", "rules": [{"unique": ["k"]}, {"check": "n <> 4", "on_failure": "warn"}]},
    {"type": "deduplicate", "keys": ["k", "n"]},
    {"type": "select", "columns": ["k", "n + 1 AS n"]},
    {"type": "limit", "rows": 5},
    {"type": "sort", "by": ["n"]},
    {"type": "union", "with": ["again"]},
    {"type": "join", "with": "names", "on": "k", "how": "left"},
    {"type": "join", "with": "names", "on": "k", "how": "semi"},
    {"type": "aggregate", "group_by": ["k"], "metrics": {"n": "CAST(max(n) AS INT)"}},
]
LINES = st.lists(
    st.sampled_from(["a,1", "b,2", "a,3", ",4", "c,5", "b,6", "c,7", "d,8", "a,x", "b"]), max_size=30
)


def source(path: Path, lines: list[str]) -> dict[str, Any]:
    path.write_text("k,n\n" + "".join(f"{line}\n" for line in lines))
    return {"type": "files", "path": str(path), "schema": "k STRING, n INT", "options": {"header": True}}


@settings(max_examples=40, deadline=None)
@given(lines=LINES, again=LINES, steps=st.lists(st.sampled_from(STEPS), max_size=5), mode=st.booleans())
def test_the_books_of_random_pipelines_balance(
    lines: list[str], again: list[str], steps: list[dict[str, Any]], mode: bool
) -> None:
    joins = [step for step in steps if step["type"] == "join"]
    steps = [step for step in steps if step["type"] != "join"] + joins[:1]
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        names = source(here / "names.csv", ["a,1", "a,2", "d,1"])
        config = {
            "name": "books",
            "extract": {
                "rows": {**source(here / "rows.csv", lines), "mode": "drop" if mode else "permissive"},
                "again": source(here / "again.csv", again),
                "names": {**names, "schema": "k STRING, m INT"},
            },
            "transform": [{"id": "first", "type": "filter", "from": "rows", "where": "true"}, *steps],
            "load": [
                {
                    "id": "early",
                    "from": "first",
                    "type": "files",
                    "path": str(here / "early"),
                    "mode": "append",
                },
                {"id": "late", "type": "files", "path": str(here / "late"), "mode": "append"},
            ],
            "state": str(here / "state"),
            "resilience": {"dead_letter": {"path": str(here / "rejects")}},
        }
        for load in config["load"]:
            load["format"] = "parquet"
        pipeline = Pipeline.from_dict(config)
        report = pipeline.run()
        assert len(report.books) == 2
        for line in report.books:
            gone = line.rejected + line.filtered + line.deduplicated + line.folded + line.limited
            assert line.rows_read + line.added == line.loaded + gone
            assert line.rows_read == len(lines)
            files = here / line.what.rpartition(" -> ")[2]
            assert ds.dataset(files, format="parquet").count_rows() == line.loaded
        stored = sum(pq.read_metadata(path).num_rows for path in (here / "rejects").rglob("part-*.parquet"))
        assert report.rows_rejected == stored


@pytest.mark.parametrize("less", [1, -1])
def test_a_row_that_is_lost_or_added_fails_the_run_before_anything_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, less: int
) -> None:
    def losing(run: Callable[[Any, Job], Measured]) -> Callable[[Any, Job], Measured]:
        def lost(engine: Any, job: Job) -> Measured:
            measured = run(engine, job)
            return replace(measured, staged={"out": measured.staged["out"] - less})

        return lost

    monkeypatch.chdir(tmp_path)
    for engine in (PolarsEngine, SparkEngine):
        monkeypatch.setattr(engine, "run", losing(engine.run))
    pl.DataFrame({"k": [1, 2, 3]}).write_csv("rows.csv")
    config = {
        "name": "books",
        "extract": {"rows": {"type": "files", "path": "rows.csv", "options": {"header": True}}},
        "transform": [{"type": "filter", "where": "k > 1"}],
        "load": {"id": "out", "type": "files", "path": "out", "format": "csv"},
    }
    with pytest.raises(BooksError, match=f"do not balance: 3 rows read, {2 - less} loaded") as told:
        Pipeline.from_dict(config).run()
    assert told.value.report is not None
    assert told.value.report.status == "failed"
    assert not Path("out").exists()
