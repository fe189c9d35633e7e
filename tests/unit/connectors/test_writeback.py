"""Staged files are sent on their way to the disk early, and nothing of that outlives the commit."""

from __future__ import annotations

import threading
from pathlib import Path
from unittest import mock

import pytest

from rayetl import Pipeline
from rayetl.connectors.commit import writeback
from rayetl.connectors.commit.writeback import Writeback

Ranges = list[tuple[int, int]]


@pytest.fixture
def sent() -> Ranges:
    return []


@pytest.fixture(autouse=True)
def _recorded(sent: Ranges) -> object:
    def send(_descriptor: int, start: int, length: int, _flags: int) -> int:
        sent.append((start, length))
        return 0

    with mock.patch.object(writeback, "_sync_file_range", return_value=send):
        yield


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "write back"]


def test_a_file_is_sent_in_the_parts_by_which_it_grew(tmp_path: Path, sent: Ranges) -> None:
    part = tmp_path / "sub" / "part"
    part.parent.mkdir()
    with mock.patch.object(writeback, "PAUSE", 3600):
        watcher = Writeback(tmp_path)
    part.write_bytes(bytes(writeback.STEP))
    watcher.look()
    watcher.look()
    with part.open("ab") as file:
        file.write(bytes(writeback.STEP + 1))
    watcher.look()
    watcher.stop()
    assert sent == [(0, writeback.STEP), (writeback.STEP, writeback.STEP + 1)]


def test_small_growth_waits_and_lost_files_do_not_matter(tmp_path: Path, sent: Ranges) -> None:
    with mock.patch.object(writeback, "PAUSE", 3600):
        watcher = Writeback(tmp_path / "gone")
        small = Writeback(tmp_path)
    (tmp_path / "part").write_bytes(b"1")
    watcher.look()
    small.look()
    watcher.stop()
    small.stop()
    assert sent == []


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_the_watch_ends_with_the_commit(tmp_path: Path, mode: str) -> None:
    before = watchers()
    begun = []
    begin = Writeback.__init__

    def watching(self: Writeback, directory: Path) -> None:
        begin(self, directory)
        begun.extend(thread for thread in watchers() if thread not in before)

    with mock.patch.object(Writeback, "__init__", watching):
        Pipeline.from_dict(config(tmp_path, mode)).run()
    assert begun
    assert not [thread for thread in begun if thread.is_alive()]


def test_the_watch_ends_with_a_run_that_fails(tmp_path: Path) -> None:
    before = watchers()
    failing = config(tmp_path, "append") | {
        "transform": [{"type": "validate", "rules": [{"name": "r", "check": "a < 2", "on_failure": "abort"}]}]
    }
    with pytest.raises(Exception, match="r"):
        Pipeline.from_dict(failing).run()
    assert watchers() == before


def config(tmp_path: Path, mode: str) -> dict[str, object]:
    (tmp_path / "in.csv").write_text("a\n1\n2\n")
    return {
        "name": "p",
        "extract": {
            "type": "files",
            "path": str(tmp_path / "in.csv"),
            "schema": "a INT",
            "options": {"header": True},
        },
        "load": {"type": "files", "path": str(tmp_path / "out"), "mode": mode},
        "state": str(tmp_path / "state"),
    }
