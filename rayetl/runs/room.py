"""Where refused rows wait until they are dead letters: below the state directory, for this user alone. What a
run that was killed has left there, the next one removes. It finds there only runs that are under way or were
killed, not all that there ever were.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from rayetl.connectors.commit.lock import Lock
from rayetl.errors import CommitConflict
from rayetl.records import dataclass

_ROOMS, _ROWS, _LOCK = "rooms", "rejects", "lock"


@dataclass(slots=True)
class Room:
    """The room of a run. The system gives its lock back when the process ends, however it ends; it is not
    held where an earlier life of the run is not over yet."""

    directory: Path
    lock: Lock | None

    @classmethod
    def of(cls, state: Path, run: str) -> Room:
        """Make room for the run, and clear what dead ones have left. Raises `OSError`."""
        own = state / _ROOMS / run
        own.mkdir(parents=True, exist_ok=True)
        lock: Lock | None = None
        with suppress(CommitConflict):
            lock = Lock.acquire(own / _LOCK, run)
        for left in own.parent.glob(f"*/{_ROWS}"):
            with suppress(OSError):
                _clear(left)
        return cls(own / _ROWS, lock)

    def open(self) -> Path:
        """The directory, which is there. Raises `OSError`."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        return self.directory

    def empty(self) -> None:
        """Remove the rows."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def close(self) -> None:
        """Remove the room."""
        self.empty()
        if self.lock is not None:
            with suppress(OSError):
                self.lock.path.unlink()
                self.directory.parent.rmdir()
            self.lock.release()


def _clear(left: Path) -> None:
    """Remove rows whose run is dead. Raises `OSError` where it is at work, or where nobody can tell, as on a
    disk without locks."""
    descriptor = os.open(left.parent / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left)
        (left.parent / _LOCK).unlink()
        left.parent.rmdir()
    finally:
        os.close(descriptor)
