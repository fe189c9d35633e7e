"""The lock of a target: one run has it, also where its file is removed or the file system knows no locks."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from rayetl.connectors.commit import lock
from rayetl.connectors.commit.lock import Lock
from rayetl.errors import CommitConflict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_one_run_has_it_and_is_named_until_it_gives_it_back(path: Path) -> None:
    held = Lock.acquire(path, "first")
    with pytest.raises(
        CommitConflict, match=rf"run first \(process {os.getpid()} on .* loading into the sea"
    ):
        Lock.acquire(path, "second", "the sea")
    held.release()
    held.release()
    second = Lock.acquire(path, "second")
    assert second.is_held
    second.release()
    assert not second.is_held


def test_a_refused_run_keeps_no_file_open(path: Path) -> None:
    held = Lock.acquire(path, "first")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(CommitConflict):
        Lock.acquire(path, "second")
    assert len(os.listdir("/proc/self/fd")) == len(before)
    held.release()


def test_a_file_that_was_removed_before_it_was_locked_is_no_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that gives up removes it: who has opened it by then would be alone with a lock of nothing."""
    take = lock._take

    def late(descriptor: int, target: object) -> bool:
        monkeypatch.setattr(lock, "_take", take)
        path.unlink()
        return take(descriptor, target)

    monkeypatch.setattr(lock, "_take", late)
    held = Lock.acquire(path, "first")
    assert held.is_held
    with pytest.raises(CommitConflict):
        Lock.acquire(path, "second")
    path.unlink()
    assert not held.is_held
    held.release()


@pytest.mark.parametrize(
    ("code", "is_taken"),
    [(errno.ENOLCK, True), (errno.ENOSYS, True), (errno.ENOTSUP, True), (errno.EIO, False)],
)
def test_a_file_system_without_locks_has_the_fence_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_taken: bool
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    if is_taken:
        Lock.acquire(path, "first").release()
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            Lock.acquire(path, "first")


def test_a_lock_is_no_way_to_a_file_elsewhere(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        Lock.acquire(path, "first")
    assert (tmp_path / "elsewhere").read_text() == "kept"
