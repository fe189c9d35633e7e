"""Staged files begin their way to the disk while they are written, so that a commit finds little to wait for.

Nothing rests on it: what makes an epoch durable is the sync at its commit.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_WRITE = 2
STEP = 8 << 20
"""Bytes by which a file has grown when they are sent on their way."""

PAUSE = 0.05
"""Seconds between two looks."""


@functools.cache
def _sync_file_range() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


class Writeback:
    """Watches the files below `directory` from now on until `stop`, in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sent: dict[str, int] = {}
        self._over = threading.Event()
        self._send = _sync_file_range()
        if self._send is not None:
            self._thread = threading.Thread(target=self._watch, name="write back", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more; may be called again."""
        self._over.set()
        if self._send is not None:
            self._thread.join()

    def _watch(self) -> None:
        pause = PAUSE
        while not self._over.wait(pause):
            begun = time.monotonic()
            self.look()
            # Many files take long to look through; that must not become the work of the run.
            pause = max(PAUSE, 20 * (time.monotonic() - begun))

    def look(self) -> None:
        """Send what has come since the last look."""
        for path in _files(self._directory):
            self._look(path)

    def _look(self, path: str) -> None:
        assert self._send is not None
        sent = self._sent.get(path, 0)
        try:
            if os.stat(path, follow_symlinks=False).st_size - sent < STEP:
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            size = os.fstat(descriptor).st_size
            # What fails here, the sync at the commit meets as well, and tells.
            self._send(descriptor, sent, size - sent, _WRITE)
            self._sent[path] = size
        finally:
            os.close(descriptor)


def _files(directory: Path) -> Iterator[str]:
    for where, _, names in os.walk(directory):
        for name in names:
            yield os.path.join(where, name)
