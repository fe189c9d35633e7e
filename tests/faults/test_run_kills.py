"""Whole runs killed by SIGKILL: `rayetl run`, killed at a point of a commit, then run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

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


def run(directory: Path, failpoint: str | None = None) -> int:
    environment = {**os.environ, **({"RAYETL_FAILPOINT": failpoint} if failpoint else {})}
    command = [sys.executable, "-m", "rayetl", "run", "config.yaml", "--quiet"]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, check=False
    ).returncode


def ids(directory: Path) -> list[int]:
    if not directory.exists():
        return []
    table = ds.dataset(directory, format="parquet").to_table()
    return sorted(table["id"].to_pylist()) if table.num_columns else []


@pytest.mark.parametrize("hit", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_is_completed_by_the_next(tmp_path: Path, point: str, hit: int) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "in.csv").write_text("id,v\n1,a\n2,b\n3,\n4,d\n")
    killed = run(tmp_path, f"{point}:kill9@{hit}")
    if killed == 0:
        assert hit == 2, f"{point} was never passed"
    else:
        assert killed == -signal.SIGKILL
    for place in ("first", "second"):
        assert ids(tmp_path / place) in ([], [1, 2, 4])
    assert run(tmp_path) == 0
    assert ids(tmp_path / "first") == [1, 2, 4]
    assert ids(tmp_path / "second") == [1, 2, 4]
    letters = ds.dataset(tmp_path / "rejects" / "killed" / "rejects", format="parquet").to_table()
    assert letters["row"].to_pylist() == [2]
    assert run(tmp_path) == 0
    assert ids(tmp_path / "first") == [1, 2, 4]
