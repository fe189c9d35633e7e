"""Refused rows below the state directory: seen by nobody else, and gone with their run or with the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rayetl.pipeline import Pipeline
from rayetl.runs.room import Room

CONFIG: dict[str, Any] = {
    "name": "r",
    "extract": {"type": "files", "path": "in.csv", "schema": "id INT"},
    "transform": [{"type": "validate", "rules": [{"check": "id > 1"}]}],
    "load": [{"type": "files", "path": "out", "mode": "append"}],
}
RUN = f"from rayetl.pipeline import Pipeline; Pipeline.from_dict({CONFIG!r}).run()"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("1\n2\n")


def waiting() -> list[Path]:
    return list(Path(".rayetl/rooms").glob("*/rejects"))


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    killed = {**os.environ, "RAYETL_FAILPOINT": "stage.written:kill9"}
    assert subprocess.run([sys.executable, "-c", RUN], env=killed, check=False).returncode == -9
    (left,) = waiting()
    assert list(left.rglob("*.arrow"))
    assert left.stat().st_mode & 0o077 == 0
    Pipeline.from_dict(CONFIG).run()
    assert not waiting()
    assert not left.parent.exists()
    assert not list(Path(".rayetl/rooms").iterdir())


def test_the_rows_of_a_run_at_work_are_let_be() -> None:
    other = Room.of(Path(".rayetl"), "other")
    (other.open() / "rows").touch()
    Pipeline.from_dict(CONFIG).run()
    assert (other.directory / "rows").exists()
    assert len(list(Path(".rayetl/rooms").iterdir())) == 1
    other.close()
    assert not list(Path(".rayetl/rooms").iterdir())


def test_directories_may_have_characters_of_patterns_in_their_names() -> None:
    source = CONFIG["extract"] | {"path": "in.*", "incremental": True}
    stores = {"dead_letter": {"path": "letters[1]"}}
    load = [{"type": "files", "path": "out[1]", "mode": "append"}]
    document = CONFIG | {"extract": source, "load": load, "resilience": stores, "state": "state[1]"}
    pipeline = Pipeline.from_dict(document)
    assert pipeline.run().rows_rejected == 1
    assert pipeline.dead_letters.count()["letters"].sum() == 1
    assert pipeline.run().status == "nothing_new"
