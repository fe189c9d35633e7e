"""A cursor that leaves signals to the process.

While the main thread is in a call of ADBC, the driver has a handler of its own for SIGINT: it cancels what is
under way on the server and raises what the server says to that, or nothing at all where the call was over. In
any other thread it lets signals be (`_blocking_call` of adbc-driver-manager 1.13).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_LOOK = 0.2
"""Seconds until a signal is seen at the latest."""

_GRACE = 1.0
"""Seconds that a cancelled statement has to end: a server that is gone does not hear of it."""


class Cursor:
    """A cursor of ADBC, with the methods that are needed. What the main thread calls is done in another one;
    KeyboardInterrupt then ends it. `lost` says that it did not end in time: neither the cursor nor its
    connection may be touched again, not even to be closed."""

    def __init__(self, driven: Any) -> None:
        self._driven = driven
        self.lost = False

    @property
    def rowcount(self) -> int:
        """How many rows the last statement touched, -1 where that has no meaning."""
        return int(self._driven.rowcount)

    def execute(self, statement: str, **options: str) -> None:
        """Run a statement, with options of the driver."""
        if options:
            self._driven.adbc_statement.set_options(**options)
        self._beside(lambda: self._driven.execute(statement))

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows of the last query."""
        rows: list[tuple[Any, ...]] = self._beside(self._driven.fetchall)
        return rows

    def reader(self) -> Any:
        """The rows of the last query, as an Arrow reader."""
        return self._driven.fetch_record_batch()

    def ingest(self, table: str, rows: Any, **options: Any) -> int:
        """Copy rows into a table that is there; how many."""
        return int(self._beside(lambda: self._driven.adbc_ingest(table, rows, mode="append", **options)))

    def close(self) -> None:
        """Close, unless it is lost."""
        if not self.lost:
            self._driven.close()

    def _beside(self, call: Callable[[], T]) -> T:
        if threading.current_thread() is not threading.main_thread():
            return call()
        under_way = beside(call)
        try:
            return result(under_way)
        except KeyboardInterrupt:
            with suppress(self._driven.connection.Error):
                self._driven.adbc_cancel()
            wait([under_way], _GRACE)
            self.lost = not under_way.done()
            raise


def result(under_way: Future[T]) -> T:
    """What comes of it; a signal is seen meanwhile. Where Polars is imported, waits go on over signals, and
    Python looks for one only when they are over."""
    while not under_way.done():
        wait([under_way], _LOOK)
    return under_way.result()


def beside(call: Callable[[], T]) -> Future[T]:
    """What `call` gives, made in a thread that no signal reaches. The process does not wait for it to end."""
    made: Future[T] = Future()

    def work() -> None:
        try:
            made.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is taken
            made.set_exception(error)

    threading.Thread(target=work, name="statement", daemon=True).start()
    return made
