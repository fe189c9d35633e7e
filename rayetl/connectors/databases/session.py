"""One epoch of one load into a table: one transaction that holds the rows and the record of the epoch.

Before a row is sent, a lock is taken that stands for pipeline, load and table. Nobody else loads while it is
held, and the server lets go of it when the transaction or connection ends, however it ends: an attempt that
is dead cannot commit, and one that seems dead keeps others waiting. A COMMIT whose answer is lost is looked
up under that lock on a new connection, when the server has decided about it.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import field
from typing import TYPE_CHECKING

from rayetl.connectors.base import BatchesTarget, Epoch, LoadResult, LoadSession
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.faults import Lost
from rayetl.connectors.databases.load import DatabaseLoad
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.tracker import Entry, Tracker
from rayetl.connectors.databases.writing import Writer
from rayetl.errors import BooksError, CommitConflict, LoadError, Retryable
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

CHUNK_ROWS = 100_000
CHUNK_BYTES = 32 << 20
"""A chunk is sent when it has so many rows or bytes: so much is held in memory, and sent again if a row of it
is refused."""


@dataclass()
class DatabaseSession(LoadSession, BatchesTarget):
    """See `LoadSession`. The target of the rows is the session itself."""

    load: DatabaseLoad
    epoch: Epoch
    schema: Schema
    _connection: Connection | None = field(init=False, default=None)
    _tracker: Tracker | None = field(init=False, default=None)
    _writer: Writer | None = field(init=False, default=None)
    _held: list[pl.DataFrame] = field(init=False, default_factory=list)
    _height: int = field(init=False, default=0)
    _size: int = field(init=False, default=0)
    _bytes: int = field(init=False, default=0)
    _started: float = field(init=False, default=0.0)

    def committed(self) -> LoadResult | None:
        try:
            self._connection = self.load.connect(LoadError)
            entry = self._tracked(self._connection).find(self._connection)
        except BaseException:
            self.abort()
            raise
        if entry is None:
            return None
        self.abort()
        # A commit whose answer was lost is this run's own all the same.
        return self._result(entry)

    def begin(self) -> BatchesTarget | None:
        self._started = time.monotonic()
        try:
            self._connection = self._connection or self.load.connect(LoadError)
            self._tracker = self._tracked(self._connection)
            self._tracker.prepare(self._connection)
            self._writer = self._begin(self._tracker)
        except BaseException:
            self.abort()
            raise
        if self._writer is None:
            self.abort()
            return None
        return self

    @abstractmethod
    def _tracked(self, connection: Connection) -> Tracker:
        """The epochs of this load into its table."""

    @abstractmethod
    def _begin(self, tracker: Tracker) -> Writer | None:
        """Take the fence, make room, see that the rows fit, and settle how they get there; `None` where the
        mode says that there is nothing to do."""

    def _refuse_committed(self, entry: Entry | None) -> None:
        if entry is None:
            return
        if entry.run == self.epoch.run:
            raise Retryable("this run has committed this epoch already, and was not told so")
        raise CommitConflict(
            f"another run has just committed this epoch into {self.load.location()}",
            hint="run again: the epoch is recognised and skipped",
        )

    def _may_load(self, connection: Connection, table: QualifiedName) -> bool:
        """Make room in an existing table; `False` where the mode says that there is nothing to do."""
        mode, doing = self.load.mode, f"preparing {table}"
        if mode == "overwrite":
            connection.execute(f"DELETE FROM {table.sql}", doing)
        elif mode in ("ignore", "error_if_exists"):
            filled = bool(connection.rows(f"SELECT 1 FROM {table.sql} LIMIT 1", doing))
            if filled and mode == "error_if_exists":
                raise LoadError(
                    f"the table {table} holds rows already and the mode is error_if_exists",
                    hint="choose another mode (append, overwrite, upsert, insert_ignore, ignore) or table",
                )
            return not filled
        return True

    # The rows

    def write(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        if rows.height:
            self._held.append(rows)
            self._height += rows.height
            self._size += int(rows.estimated_size())
        if self._height < CHUNK_ROWS and self._size < CHUNK_BYTES:
            return None
        self._send()
        return self._writing().refusals.taken()

    def finish(self) -> pl.DataFrame | None:
        self._send()
        self._writing().finish()
        self._judge(self._in_hand())
        failpoint("database.written")
        return self._writing().refusals.taken()

    def _judge(self, connection: Connection) -> None:
        """Have the server say now what it would say at the COMMIT, before rejects are written."""

    def _send(self) -> None:
        writer = self._writing()
        if not self._height:
            return
        rows = pl.concat(self._held)
        self._bytes += self._size
        self._held, self._height, self._size = [], 0, 0
        writer.take(rows)

    # The decision

    def commit(self, rows: int) -> LoadResult:
        connection, tracker = self._in_hand(), self._tracking()
        try:
            written = self._written(rows)
            entry = Entry(self.epoch.run, written, self._bytes, round(time.monotonic() - self._started, 6))
            tracker.add(connection, self.load.mode, entry)
            failpoint("database.tracked")
            try:
                connection.execute("COMMIT", "committing")
            except Lost as lost:
                self._settle(lost)
            failpoint("database.committed")
        finally:
            self.abort()
        return self._result(entry)

    def _written(self, rows: int) -> int:
        """How many rows came to be or were changed in the table. Raises `BooksError`."""
        written = self._writing().written()
        if written == rows or (self.load.mode == "insert_ignore" and written < rows):
            return written
        raise BooksError(
            f"{rows} rows went to {self.load.location()}, but the server counted {written}",
            hint="does a trigger or rule of the table leave rows out? nothing was committed",
        )

    def _settle(self, lost: Lost) -> None:
        """Find out what became of a COMMIT whose answer was lost. Raises `Lost` if it was not decided."""
        tracker = self._tracking()
        try:
            with self.load.connect(LoadError) as connection:
                connection.begin()
                tracker.fence(connection)
                entry = tracker.find(connection)
        except (Retryable, CommitConflict) as error:
            raise Lost(
                f"the connection was lost at the COMMIT into {self.load.location()}, and whether it was "
                f"decided cannot be looked up: {error.message}",
                hint=f"run again with the same run key, which looks it up; by hand: {tracker.by_hand()}",
                endpoint=lost.endpoint,
            ) from lost
        if entry is None or entry.run != self.epoch.run:
            raise Lost(
                f"{lost.message}; it was looked up: nothing was committed",
                hint=lost.hint,
                endpoint=lost.endpoint,
            ) from lost

    def abort(self) -> None:
        connection, self._connection = self._connection, None
        self._held, self._height, self._size = [], 0, 0
        if connection is not None:
            connection.close()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("the load was not begun")
        return self._writer

    def _tracking(self) -> Tracker:
        if self._tracker is None:
            raise RuntimeError("the load was not begun")
        return self._tracker

    def _in_hand(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the load was not begun")
        return self._connection

    def _result(self, entry: Entry) -> LoadResult:
        return LoadResult(
            load=self.epoch.load,
            type=self.load.type,
            location=self.load.location(),
            mode=self.load.mode,
            status="committed" if entry.run == self.epoch.run else "skipped",
            rows=entry.rows,
            files=0,
            bytes=entry.bytes,
            seconds=entry.seconds,
            epoch=self.epoch.key,
            run=entry.run,
        )
