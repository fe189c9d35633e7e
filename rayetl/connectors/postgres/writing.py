"""Rows into a table inside a transaction; rows that the server refuses are found and set aside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from rayetl.connectors.postgres.connection import Connection
from rayetl.connectors.postgres.faults import details, sqlstate
from rayetl.connectors.postgres.naming import TableName
from rayetl.connectors.postgres.ways import Way, encode
from rayetl.errors import LoadError, RunError
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.names import BAD, FIELD, PREFIX, RULE
from rayetl.records import dataclass

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

_OF_A_ROW = ("22", "23", "44", "54", "P0")
"""SQLSTATE classes of faults that lie in a row: data, constraints, views, limits, and raised by triggers."""

MOST = 10_000
"""Rows that one load may have refused by the server. More of them are no single rows: the whole is wrong."""

NUMBER = f"{PREFIX}number"
"""BIGINT: the rows of a stage in the order they came, from 0."""

_FIRST, _GROWTH = 64, 4
"""After a refused row, so many rows are sent at once, and then so many times more each time: where one row is
bad the next may be, and what the server gets after a bad row is sent for nothing."""

_LINE = re.compile(r"^COPY .*?, line (\d+)(?:, column ([^:\n]+))?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fault:
    """A statement that the server refused: `error` as it would be raised, and what its message says."""

    error: RunError
    state: str | None
    message: str
    line: int | None
    column: str | None

    @classmethod
    def of(cls, raised: Exception, error: RunError) -> Fault:
        said = details(raised)
        found = _LINE.search(said.get("CONTEXT", ""))
        line, column = found.groups() if found else (None, None)
        message = said.get("MESSAGE_PRIMARY", error.message)
        return cls(
            error, sqlstate(raised), message, int(line) if line else None, said.get("COLUMN_NAME", column)
        )

    @property
    def lies_in_a_row(self) -> bool:
        return self.state is not None and self.state.startswith(_OF_A_ROW)


def in_savepoint(connection: Connection, statement: Any, doing: str) -> int | Fault:
    """What `statement(cursor)` returns, or why the server refused it; the transaction goes on either way.
    Raises where the connection is lost."""
    raised: list[Exception] = []
    connection.execute("SAVEPOINT rayetl", doing)
    try:
        with connection.cursor(doing, raised.append) as cursor:
            done = int(statement(cursor))
    except RunError as error:
        if not raised or sqlstate(raised[0]) is None:
            raise
        fault = Fault.of(raised[0], error)
        connection.execute("ROLLBACK TO SAVEPOINT rayetl", doing)
        return fault
    connection.execute("RELEASE SAVEPOINT rayetl", doing)
    return done


@dataclass(slots=True)
class Refusals:
    """The rows that the server refused, with the hidden columns that say why."""

    table: TableName
    count: int = 0
    _held: list[pl.DataFrame] = field(default_factory=list)

    def add(self, row: pl.DataFrame, fault: Fault) -> None:
        """Set a row aside. Raises `LoadError` when there are too many."""
        self.count += row.height
        if self.count > MOST:
            raise LoadError(
                f"more than {MOST} rows for {self.table} were refused; the last because: "
                f"{fault.message} (SQLSTATE {fault.state})",
                hint="nothing was committed; check or cast the rows in steps before the load",
            ) from None
        why = {RULE: f"sqlstate {fault.state}", FIELD: fault.column, BAD: fault.message}
        self._held.append(
            row.drop(NUMBER, strict=False).with_columns(
                pl.lit(value, dtype=pl.String).alias(name) for name, value in why.items()
            )
        )

    def taken(self) -> pl.DataFrame | None:
        """The rows set aside since the last call."""
        held, self._held = self._held, []
        return pl.concat(held) if held else None


@dataclass(slots=True)
class Copier:
    """Sends rows into a table by COPY. What is refused is split where the server says, else by halves, until
    each guilty row stands alone; all other rows go in."""

    connection: Connection
    table: TableName
    temporary: bool
    ways: Sequence[Way]
    refusals: Refusals
    copied: int = 0

    def copy(self, rows: pl.DataFrame) -> None:
        """Send `rows`. Raises `LoadError` for a fault that lies in no row, and `Retryable`."""
        parts = [rows]
        while parts:
            part = parts.pop()
            done = self._send(part)
            if not isinstance(done, Fault):
                self.copied += done
                continue
            if not done.lies_in_a_row:
                raise done.error
            if part.height == 1:
                self.refusals.add(part, done)
            else:
                parts += _split(part, done.line)

    def _send(self, rows: pl.DataFrame) -> int | Fault:
        table = encode(rows, self.ways)
        named: dict[str, Any] = (
            {"temporary": True} if self.temporary else {"db_schema_name": self.table.schema}
        )

        def ingest(cursor: Any) -> int:
            return int(cursor.adbc_ingest(self.table.name, table, mode="append", **named))

        done = in_savepoint(self.connection, ingest, f"copying into {self.table}")
        failpoint("postgres.copied")
        return done


def _split(part: pl.DataFrame, line: int | None) -> list[pl.DataFrame]:
    """The parts of a refused part, the first one last. What stands before a guilty line is not known to be
    good: it is sent again."""
    if line is None or line > part.height:
        half = part.height // 2
        return [part.slice(half), part.slice(0, half)]
    pieces = [part.slice(0, line - 1), part.slice(line - 1, 1)]
    start, size = line, _FIRST
    while start < part.height:
        pieces.append(part.slice(start, size))
        start, size = start + size, size * _GROWTH
    return [piece for piece in reversed(pieces) if piece.height]
