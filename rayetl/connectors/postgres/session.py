"""One epoch of one load into a table: one transaction that holds the rows and the record of the epoch.

The transaction begins by taking a lock that stands for pipeline, load and table. Nobody else loads while it
is held, and the server lets go of it when the transaction ends, however it ends: an attempt that is dead
cannot commit, and one that seems dead keeps others waiting. A COMMIT whose answer is lost is looked up under
that lock on a new connection, when the server has decided about it.
"""

from __future__ import annotations

import time
from dataclasses import field
from typing import TYPE_CHECKING

from rayetl.connectors.base import BatchesTarget, Epoch, LoadResult, LoadSession
from rayetl.connectors.postgres import tables
from rayetl.connectors.postgres.connection import Connection
from rayetl.connectors.postgres.faults import Lost
from rayetl.connectors.postgres.load import KEYED, PostgresLoad
from rayetl.connectors.postgres.merging import STAGE, Merger
from rayetl.connectors.postgres.naming import TableName, literal
from rayetl.connectors.postgres.tracker import Entry, Tracker
from rayetl.connectors.postgres.ways import Way
from rayetl.connectors.postgres.writing import NUMBER, Copier, Refusals
from rayetl.errors import BooksError, CommitConflict, LoadError, Retryable
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.names import ROW
from rayetl.records import dataclass
from rayetl.sql.types import LONG, Schema

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

CHUNK_ROWS = 100_000
CHUNK_BYTES = 32 << 20
"""A chunk is sent when it has so many rows or bytes: so much is held in memory, and sent again if a row of it
is refused."""


@dataclass(slots=True)
class PostgresSession(LoadSession, BatchesTarget):
    """See `LoadSession`. The target of the rows is the session itself."""

    load: PostgresLoad
    epoch: Epoch
    schema: Schema
    _connection: Connection | None = field(init=False, default=None)
    _tracker: Tracker | None = field(init=False, default=None)
    _copier: Copier | None = field(init=False, default=None)
    _merger: Merger | None = field(init=False, default=None)
    _held: list[pl.DataFrame] = field(init=False, default_factory=list)
    _height: int = field(init=False, default=0)
    _size: int = field(init=False, default=0)
    _sent: int = field(init=False, default=0)
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
        return self._result(entry, skipped=entry.run != self.epoch.run)

    def begin(self) -> BatchesTarget | None:
        self._started = time.monotonic()
        try:
            self._connection = self._connection or self.load.connect(LoadError)
            return self._begin(self._connection)
        except BaseException:
            self.abort()
            raise

    def _begin(self, connection: Connection) -> BatchesTarget | None:
        self._tracker = tracker = self._tracked(connection)
        tracker.prepare(connection)
        connection.begin()
        tracker.fence(connection)
        failpoint("postgres.fenced")
        self._refuse_committed(tracker.find(connection))
        name, exists = tables.resolve(connection, TableName.parse(self.load.table))
        if exists and not self._may_load(connection, name):
            self.abort()
            return None
        target = self._fitted(connection, name, exists)
        failpoint("postgres.prepared")
        self._open_ways(connection, target)
        return self

    def _tracked(self, connection: Connection) -> Tracker:
        name, _ = tables.resolve(connection, TableName.parse(self.load.table))
        return Tracker(self.epoch, name)

    def _refuse_committed(self, entry: Entry | None) -> None:
        if entry is None:
            return
        if entry.run == self.epoch.run:
            raise Retryable("this run has committed this epoch already, and was not told so")
        raise CommitConflict(
            f"another run has just committed this epoch into {self.load.location()}",
            hint="run again: the epoch is recognised and skipped",
        )

    def _may_load(self, connection: Connection, table: TableName) -> bool:
        """Make room in an existing table; `False` where the mode says that there is nothing to do."""
        mode, doing = self.load.mode, f"preparing {table}"
        if mode in ("overwrite", "ignore", "error_if_exists"):
            # Readers go on; other writers wait, or their rows would be lost or unseen.
            connection.execute(f"LOCK TABLE {table.sql} IN SHARE ROW EXCLUSIVE MODE", doing)
        if mode == "overwrite":
            connection.execute(f"DELETE FROM {table.sql}", doing)
        elif mode in ("ignore", "error_if_exists"):
            filled = connection.value(f"SELECT EXISTS (SELECT FROM {table.sql})", doing)
            if filled and mode == "error_if_exists":
                raise LoadError(
                    f"the table {table} holds rows already and the mode is error_if_exists",
                    hint="choose another mode (append, overwrite, upsert, insert_ignore, ignore) or table",
                )
            return not filled
        return True

    def _fitted(self, connection: Connection, table: TableName, exists: bool) -> tables.Target:
        """The table, made or given columns where that is asked for."""
        if not exists:
            keys = [column.name for key in self.load.keys if (column := self.schema.get(key))]
            connection.execute(tables.create(table, self.schema, keys), f"making the table {table}")
        target = tables.describe(connection, table)
        missing = tables.missing(target, self.schema) if self.load.add_columns else []
        for column in missing:
            connection.execute(tables.add_column(table, column.name, column.type), f"preparing {table}")
        return tables.describe(connection, table) if missing else target

    def _open_ways(self, connection: Connection, target: tables.Target) -> None:
        """See that the rows fit, and settle how they get there: straight, or over a stage."""
        ways = tables.ways_into(target, self.schema)
        keys = tables.check_keys(connection, target, self.load.keys)
        refusals, mode, table = Refusals(target.name), self.load.mode, target.name
        if mode in KEYED or target.intercepted or any(way.cast for way in ways):
            self._merger = Merger(connection, table, ways, self.schema, mode, keys, refusals)
            self._merger.create_stage()
            staged = [*ways, *(Way(name, name, LONG, "int8") for name in (NUMBER, ROW))]
            self._copier = Copier(connection, STAGE, True, staged, refusals)
        else:
            self._copier = Copier(connection, table, False, ways, refusals)

    # The rows

    def write(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        if rows.height:
            self._held.append(rows)
            self._height += rows.height
            self._size += int(rows.estimated_size())
        if self._height < CHUNK_ROWS and self._size < CHUNK_BYTES:
            return None
        self._send()
        return self._refusals.taken()

    def finish(self) -> pl.DataFrame | None:
        self._send()
        connection = self._in_hand()
        if self._merger is not None:
            self._merger.merge(self._sent)
        # A constraint that waits for the end of the transaction has its say before rejects are written.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE", "checking constraints")
        failpoint("postgres.written")
        return self._refusals.taken()

    def _send(self) -> None:
        assert self._copier is not None, "write was called before begin"
        if not self._height:
            return
        rows, height = pl.concat(self._held), self._height
        self._held, self._height = [], 0
        self._bytes += self._size
        self._size = 0
        if self._merger is not None:
            number = pl.int_range(self._sent, self._sent + height, dtype=pl.Int64).alias(NUMBER)
            position = [] if ROW in rows.columns else [pl.lit(None, dtype=pl.Int64).alias(ROW)]
            rows = rows.with_columns(number, *position)
        self._copier.copy(rows)
        self._sent += height

    @property
    def _refusals(self) -> Refusals:
        assert self._copier is not None
        return self._copier.refusals

    # The decision

    def commit(self, rows: int) -> LoadResult:
        connection, tracker = self._in_hand(), self._tracker
        assert tracker is not None
        try:
            written = self._written(rows)
            entry = Entry(self.epoch.run, written, self._bytes, round(time.monotonic() - self._started, 6))
            tracker.add(connection, self.load.mode, entry)
            failpoint("postgres.tracked")
            try:
                connection.execute("COMMIT", "committing")
            except Lost as lost:
                self._settle(lost)
            failpoint("postgres.committed")
        finally:
            self.abort()
        return self._result(entry, skipped=False)

    def _written(self, rows: int) -> int:
        """How many rows came to be or were changed in the table. Raises `BooksError`."""
        assert self._copier is not None
        written = self._copier.copied if self._merger is None else self._merger.merged
        if written == rows or (self.load.mode == "insert_ignore" and written < rows):
            return written
        raise BooksError(
            f"{rows} rows went to {self.load.location()}, but the server counted {written}",
            hint="does a trigger or rule of the table leave rows out? nothing was committed",
        )

    def _settle(self, lost: Lost) -> None:
        """Find out what became of a COMMIT whose answer was lost. Raises `Lost` if it was not decided."""
        assert self._tracker is not None
        try:
            with self.load.connect(LoadError) as connection:
                connection.begin()
                self._tracker.fence(connection)
                entry = self._tracker.find(connection)
        except (Retryable, CommitConflict) as error:
            where = f"SELECT * FROM {self._tracker.table.sql} WHERE epoch = {literal(self.epoch.key)}"
            raise Lost(
                f"the connection was lost at the COMMIT into {self.load.location()}, and whether it was "
                f"decided cannot be looked up: {error.message}",
                hint=f"run again with the same run key, which looks it up; by hand: {where}",
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

    def _in_hand(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the load was not begun")
        return self._connection

    def _result(self, entry: Entry, *, skipped: bool) -> LoadResult:
        return LoadResult(
            load=self.epoch.load,
            type="postgres",
            location=self.load.location(),
            mode=self.load.mode,
            status="skipped" if skipped else "committed",
            rows=entry.rows,
            files=0,
            bytes=entry.bytes,
            seconds=entry.seconds,
            epoch=self.epoch.key,
        )
