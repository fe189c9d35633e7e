"""A process that was forked has none of the threads of its parent: where Polars had started its own, the
first query of the child would wait for them for ever."""

from __future__ import annotations

import os

from rayetl.errors import RayetlError
from rayetl.records import dataclass


@dataclass(slots=True)
class _Threads:
    used: bool = False
    lost: bool = False

    def forked(self) -> None:
        self.lost = self.used


_THREADS = _Threads()
os.register_at_fork(after_in_child=_THREADS.forked)


def assert_threads() -> None:
    """Raise `RayetlError` where the threads that queries need are those of another process; else queries may
    follow."""
    if _THREADS.lost:
        raise RayetlError(
            "this process was forked from one that had run a query, for whose threads it would wait for ever",
            hint="start it with multiprocessing.get_context('spawn'), or fork before the first query",
        )
    _THREADS.used = True
