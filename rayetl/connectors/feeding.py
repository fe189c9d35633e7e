"""Rows that one query hands to another, which runs in a thread of its own and is waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, Full, Queue
from threading import Event, Thread

import polars as pl

from rayetl.connectors.scanning import scan
from rayetl.errors import RayetlError

_PATIENCE = 0.1
"""Seconds between two looks at whether the other side is still there."""


class Feed:
    """Hands batches with the columns of `schema` over to one query, no more than one of them ahead.

    `rows` is what the query reads. `start` runs it; then comes `take`, of `None` in the end, and `close`. Or
    `abandon` and `wait`, where something else went wrong.
    """

    def __init__(self, schema: Mapping[str, pl.DataType], name: str) -> None:
        self.rows = scan(self._read, schema)
        self.name = name
        self._thread: Thread | None = None
        self._batches: Queue[pl.DataFrame | None] = Queue(1)
        self._columns: list[str] = []
        self._asked, self._left = Event(), Event()
        self._abandoned = False
        self._fault: BaseException | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Do `work`, which collects the query, in a thread."""
        self._thread = Thread(target=copy_context().run, args=(self._run, work), name=self.name, daemon=True)
        self._thread.start()

    def columns(self) -> list[str]:
        """The columns that the query asks for, when it does; none where it ends without."""
        self._asked.wait()
        return self._columns

    def take(self, rows: pl.DataFrame | None) -> bool:
        """Hand rows over, or `None` after the last. Tells if they are wanted; raises what the query met."""
        while not self._left.is_set():
            with suppress(Full):
                self._batches.put(rows, timeout=_PATIENCE)
                return True
        if self._fault is not None:
            raise self._fault
        return False

    def close(self) -> None:
        """Wait until the query is done, which has been told of its last rows. Raises what it met."""
        self.wait()
        if self._fault is not None:
            raise self._fault

    def abandon(self) -> None:
        """Let the query fail."""
        self._abandoned = True

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the query has ended, or for so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 - told by whoever hands over or closes
            self._fault = fault
        finally:
            self._asked.set()
            self._left.set()

    def _read(self, columns: list[str], predicate: pl.Expr | None) -> Iterator[pl.DataFrame]:
        del predicate
        if self._asked.is_set():
            raise RayetlError("a query reads twice what it is handed once")
        self._columns = columns
        self._asked.set()
        try:
            while (rows := self._next()) is not None:
                yield rows.select(columns)
        finally:
            self._left.set()

    def _next(self) -> pl.DataFrame | None:
        while True:
            try:
                return self._batches.get(timeout=_PATIENCE)
            except Empty:
                if self._abandoned:
                    raise RayetlError("the run ended before its rows did") from None
