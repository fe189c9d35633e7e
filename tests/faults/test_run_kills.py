"""Whole runs killed by SIGKILL: `rayetl run`, killed at a point of a commit, then run again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_worker
import pyarrow.dataset as ds
import pytest

CONFIG = """
name: killed
extract: {type: files, path: in.csv, schema: "id INT, v STRING", options: {header: true}}
transform:
  - {type: validate, rules: [{name: has_v, not_null: [v]}]}
load:
  - {id: first, type: files, path: first, format: parquet, mode: append}
  - {id: second, type: files, path: second, format: parquet, mode: overwrite}
resilience: {dead_letter: {type: files, path: rejects}}
"""

POINTS = [
    "stage.written",
    "stage.synced",
    "commit.before_decision",
    "commit.decided",
    "publish.renamed",
    "swap.decided",
]


@pytest.fixture
def run(tmp_path: Path, fork_server: Any) -> Callable[..., int]:
    """Runs the config, armed with a failpoint, and gives the exit code."""

    def ran(failpoint: str = "") -> int:
        words, armed = ("run", "config.yaml", "--quiet"), {"RAYETL_FAILPOINT": failpoint}
        given = (words, str(tmp_path), armed, str(tmp_path / "said"), "")
        process = fork_server.Process(target=command_worker.run, args=given)
        process.start()
        process.join(60)
        return process.exitcode

    return ran


def ids(directory: Path) -> list[int]:
    if not directory.exists():
        return []
    table = ds.dataset(directory, format="parquet").to_table()
    return sorted(table["id"].to_pylist()) if table.num_columns else []


@pytest.mark.parametrize("hit", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_is_completed_by_the_next(
    run: Callable[..., int], tmp_path: Path, point: str, hit: int
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "in.csv").write_text("id,v\n1,a\n2,b\n3,\n4,d\n")
    killed = run(f"{point}:kill9@{hit}")
    if killed == 0:
        assert hit == 2, f"{point} was never passed"
    else:
        assert killed == -signal.SIGKILL
    for place in ("first", "second"):
        assert ids(tmp_path / place) in ([], [1, 2, 4])
    assert run() == 0
    assert ids(tmp_path / "first") == [1, 2, 4]
    assert ids(tmp_path / "second") == [1, 2, 4]
    letters = ds.dataset(tmp_path / "rejects" / "killed" / "rejects", format="parquet").to_table()
    assert letters["row"].to_pylist() == [2]
    assert run() == 0
    assert ids(tmp_path / "first") == [1, 2, 4]
