"""A run that fails in the query engine says which step it was."""

from __future__ import annotations

import errno
from pathlib import Path
from unittest import mock

import polars as pl
import pytest

from rayetl import Pipeline
from rayetl.errors import Terminal


def pipeline(folder: Path, *steps: dict[str, object]) -> Pipeline:
    (folder / "in.csv").write_text("a,day\n1,2020-01-01\n2,2020-01-02\n")
    source = {"type": "files", "path": str(folder / "in.csv"), "options": {"header": True}}
    source["schema"] = [{"name": "a", "type": "int"}, {"name": "day", "type": "date"}]
    return Pipeline.from_dict(
        {
            "name": "p",
            "state": str(folder / "state"),
            "extract": {"src": source},
            "transform": list(steps),
            "load": [{"type": "files", "path": str(folder / "out")}],
        }
    )


BEFORE = {"id": "some", "type": "filter", "where": "a IS NOT NULL"}
AFTER = {"id": "more", "type": "filter", "where": "a > 0"}


@pytest.mark.parametrize(
    "step",
    [
        {"id": "bad", "type": "select", "add": {"d": "add_months(day, 99999999 * a)"}},
        {"id": "bad", "type": "sql", "query": "SELECT * FROM some WHERE a >= (SELECT a FROM src)"},
    ],
)
def test_the_failing_step_is_named(tmp_path: Path, step: dict[str, object]) -> None:
    failing = pipeline(tmp_path, BEFORE, step, AFTER)
    for call in (failing.run, failing.preview):
        with pytest.raises(Terminal) as caught:
            call()
        assert caught.value.step == "bad"
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize(
    "full",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"),
    ],
    ids=["plain", "wrapped"],
)
def test_a_full_disk_is_told_with_the_places_that_the_run_writes_to(tmp_path: Path, full: Exception) -> None:
    with (
        mock.patch("rayetl.engines.polars.engine.pl.collect_all", side_effect=full),
        pytest.raises(Terminal, match="No space left on device") as raised,
    ):
        pipeline(tmp_path, BEFORE).run()
    assert f"the disk of {tmp_path}/out and of {tmp_path}/state" in str(raised.value.hint)


@pytest.mark.parametrize("form", ["parquet", "avro"])
def test_a_value_too_long_to_name_a_directory_is_told_as_such(tmp_path: Path, form: str) -> None:
    (tmp_path / "in.csv").write_text("1," + "é" * 100)
    config = {
        "name": "p",
        "state": str(tmp_path / "state"),
        "extract": {"type": "files", "path": str(tmp_path / "in.csv"), "schema": "a INT, v STRING"},
        "load": {"type": "files", "path": str(tmp_path / "out"), "format": form, "partition_by": "v"},
    }
    with pytest.raises(Terminal, match="File name too long") as raised:
        Pipeline.from_dict(config).run()
    assert "`partition_by` is too long to name a directory" in str(raised.value.hint)
