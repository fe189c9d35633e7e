"""A contract that the footers of the files prove is not looked at row by row, and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayetl import Pipeline
from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.formats import never_null
from rayetl.engines.polars.proof import proved

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string())])
GOOD = {"a": [1, 2, 3], "b": ["x", "y", "z"]}
HOLE = {"a": [4, None], "b": ["x", "y"]}


def write(path: Path, columns: dict[str, list[object]], **options: object) -> None:
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=2, **options)


def pipeline(folder: Path, b: object = ("null", "string")) -> Pipeline:
    (folder / "promise.avsc").write_text(
        json.dumps(
            {
                "type": "record",
                "name": "R",
                "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": b}],
            }
        )
    )
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {
                "type": "files",
                "path": str(folder / "in*.parquet"),
                "contract": {"schema": str(folder / "promise.avsc"), "on_mismatch": "quarantine"},
            },
            "transform": [{"type": "filter", "where": "a > 1"}],
            "load": [{"type": "files", "path": str(folder / "out"), "format": "parquet"}],
            "resilience": {"dead_letter": {"path": str(folder / "letters")}},
            "state": str(folder / "state"),
        }
    )


def test_footers_without_nulls_prove_the_contract(tmp_path: Path) -> None:
    write(tmp_path / "in1.parquet", GOOD)
    write(tmp_path / "in2.parquet", GOOD)
    made = pipeline(tmp_path)
    plan = made.plan()
    assert proved(plan, plan.nodes) == {"source.contract"}
    report = made.run()
    assert report.status == "done"
    assert [(check.failed_rows, check.share, check.passed) for check in report.checks] == [(0, 0.0, True)]
    (book,) = report.books
    assert book.balanced
    assert (report.sources[0].rows_read, report.loads[0].rows, report.rejected_rows) == (6, 4, 0)


UNPROVED = {
    "a hole in one of two files": {"in1": (GOOD, {}), "in2": (HOLE, {})},
    "a hole in a file that says nothing": {"in1": ({**GOOD, "a": [1, None, 3]}, {"write_statistics": False})},
    "a column that one file lacks": {"in1": (GOOD, {}), "in2": ({"b": ["y"]}, {})},
}


@pytest.mark.parametrize("name", UNPROVED)
def test_what_is_not_proved_is_checked(tmp_path: Path, name: str) -> None:
    for file, (columns, options) in UNPROVED[name].items():
        write(tmp_path / f"{file}.parquet", columns, **options)
    made = pipeline(tmp_path)
    plan = made.plan()
    assert proved(plan, plan.nodes) == frozenset()
    report = made.run()
    assert report.rejected_rows == 1
    assert [check.failed_rows for check in report.checks] == [1]


def test_a_promise_beyond_not_null_is_checked(tmp_path: Path) -> None:
    write(tmp_path / "in1.parquet", GOOD)
    made = pipeline(tmp_path, {"type": "enum", "name": "E", "symbols": ["x", "y"]})
    plan = made.plan()
    assert proved(plan, plan.nodes) == frozenset()
    assert made.run().rejected_rows == 1


def test_a_member_does_not_prove_a_column_that_is_spelled_like_it(tmp_path: Path) -> None:
    member = pa.array([{"b": 1}, {"b": 2}])
    pq.write_table(pa.table({"a.b": [1, None], "a": member, "c": [1, 2]}), tmp_path / "in1.parquet")
    found = FilesSource.model_validate({"type": "files", "path": str(tmp_path / "in1.parquet")})
    assert never_null(found.describe(None)) == {"c"}
