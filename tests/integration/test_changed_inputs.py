"""A file that changes between the plan and the commit stops the run: its epoch was named after another file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from rayetl import Pipeline
from rayetl.errors import SourceError
from rayetl.observability.progress import Silent

CONTRACT = '{"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}'


class When(Silent):
    """Does something when a stage begins."""

    def __init__(self, stage: str, act: Callable[[], object]) -> None:
        self._stage, self._act = stage, act

    def stage_started(self, stage: str) -> None:
        if stage == self._stage:
            self._act()


def pipeline(folder: Path, name: str, **source: object) -> Pipeline:
    (folder / "promise.avsc").write_text(CONTRACT)
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {
                "type": "files",
                "path": str(folder / name),
                "contract": {"schema": str(folder / "promise.avsc"), "on_mismatch": "quarantine"},
                **source,
            },
            "load": [{"type": "files", "path": str(folder / "out"), "format": "parquet"}],
            "resilience": {"dead_letter": {"path": str(folder / "letters")}},
            "state": str(folder / "state"),
        }
    )


def stopped(folder: Path, made: Pipeline, act: Callable[[], object]) -> SourceError:
    with pytest.raises(SourceError) as fault:
        made.run(progress=When("run", act))
    assert fault.value.step == "source"
    assert not list(folder.glob("out/*.parquet"))
    return fault.value


def test_nulls_that_the_footers_did_not_tell_of_are_not_committed(tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    pl.DataFrame({"n": [1, 2, 3]}).write_parquet(file)
    made = pipeline(tmp_path, "in.parquet")
    fault = stopped(tmp_path, made, lambda: pl.DataFrame({"n": [1, None, 3]}).write_parquet(file))
    assert f"{file} changed while it was read" in str(fault)
    assert made.run().rejected_rows == 1, "run again, the file as it is now is the input"


def test_rows_added_meanwhile_are_not_committed_under_the_old_name(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("n\n1\n")
    made = pipeline(tmp_path, "in.csv", options={"header": True})
    stopped(tmp_path, made, lambda: file.write_text("n\n1\n2\n"))
    assert made.run().rows_loaded == 2
