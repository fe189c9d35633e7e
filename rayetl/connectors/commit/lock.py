"""The lock that one run holds on a target for the life of its session."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from pathlib import Path

from rayetl.errors import CommitConflict
from rayetl.records import dataclass


@dataclass(slots=True)
class Lock:
    """A held lock; the system drops it when the process ends, however it ends."""

    path: Path
    descriptor: int

    @classmethod
    def acquire(cls, path: Path, run: str, target: object = None) -> Lock:
        """Take the lock of a `target`, by default the directory above that of the lock, or say who has it.
        Raises `CommitConflict`."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                if _take(descriptor, target or path.parent.parent) and _is_same(descriptor, path):
                    lock = cls(path, descriptor)
                    lock._sign(run)
                    return lock
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _sign(self, run: str) -> None:
        note = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "run": run})
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, note.encode(), 0)

    @property
    def is_held(self) -> bool:
        """Whether the lock file is still the one that was locked."""
        return self.descriptor >= 0 and _is_same(self.descriptor, self.path)

    def release(self) -> None:
        """Give the lock back; once is enough."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _take(descriptor: int, target: object) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise CommitConflict(
                f"{_owner(descriptor)} is loading into {target} at this moment",
                hint="wait for it to end, then run again: what it commits is recognised and skipped",
            ) from None
        # A file system without locks: the attempt's directory alone decides who may commit.
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
    return True


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the file that was locked, which may have been removed meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    return False


def _owner(descriptor: int) -> str:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0))
        return f"run {note['run']} (process {note['pid']} on {note['host']})"
    except (ValueError, KeyError, TypeError):
        return "another run"
