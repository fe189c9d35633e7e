"""Rows into a table of PostgreSQL by COPY, straight or over a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from rayetl.connectors.databases.faults import Fault
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.writing import Refusals, Writer, numbered
from rayetl.connectors.postgres.connection import PostgresConnection
from rayetl.connectors.postgres.merging import PostgresMerger
from rayetl.connectors.postgres.ways import Way, encode
from rayetl.failpoints import failpoint
from rayetl.records import dataclass

if TYPE_CHECKING:
    import polars as pl

_FIRST, _GROWTH = 64, 4
"""After a refused row, so many rows are sent at once, and then so many times more each time: where one row is
bad the next may be, and what the server gets after a bad row is sent for nothing."""


@dataclass(slots=True)
class Copier(Writer):
    """Sends rows into a table by COPY. What is refused is split where the server says, else by halves, until
    each guilty row stands alone; all other rows go in."""

    connection: PostgresConnection
    table: QualifiedName
    temporary: bool
    ways: Sequence[Way]
    refusals: Refusals
    copied: int = 0

    def written(self) -> int:
        return self.copied

    def take(self, rows: pl.DataFrame) -> None:
        parts = [rows]
        while parts:
            part = parts.pop()
            done = self._send(part)
            if not isinstance(done, Fault):
                self.copied += done
            elif part.height == 1:
                self.refusals.add(part, done)
            else:
                parts += _split(part, done.line)

    def _send(self, rows: pl.DataFrame) -> int | Fault:
        table = encode(rows, self.ways)
        named: dict[str, Any] = (
            {"temporary": True} if self.temporary else {"db_schema_name": self.table.schema}
        )

        def ingest(cursor: Any) -> int:
            return int(cursor.ingest(self.table.name, table, **named))

        done = self.connection.in_savepoint(ingest, f"copying into {self.table}")
        failpoint("database.sent")
        return done


@dataclass(slots=True)
class Staged(Writer):
    """Copies rows into a stage and has them moved from there in the end."""

    copier: Copier
    merger: PostgresMerger
    refusals: Refusals = field(init=False)
    _sent: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.refusals = self.copier.refusals

    def written(self) -> int:
        return self.merger.merged

    def take(self, rows: pl.DataFrame) -> None:
        self.copier.take(numbered(rows, self._sent))
        self._sent += rows.height

    def finish(self) -> None:
        self.merger.merge(0, self._sent)


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
