"""The source `mysql`: a table or query of a MySQL or MariaDB database, as it is at one moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rayetl.connectors.base import BatchScan, Reading
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.source import DatabaseSource
from rayetl.connectors.mysql.connection import UsesMysql
from rayetl.connectors.mysql.naming import TableName
from rayetl.connectors.mysql.types import ServerColumn, server_columns
from rayetl.records import dataclass
from rayetl.sql.types import Field as Column
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import polars as pl

    from rayetl.connectors.mysql.flow import Flow

BATCH = 4 << 20
"""Bytes of rows, as the server sends them, that are in hand at a time."""

_SNAPSHOT = "WITH CONSISTENT SNAPSHOT, READ ONLY"


class MysqlSource(UsesMysql, DatabaseSource):
    """Reads a table or query of a MySQL or MariaDB database. All of it is read as it is at one moment."""

    naming: ClassVar[type[QualifiedName]] = TableName

    type: Literal["mysql"]

    def describe(self, promised: Schema | None) -> MysqlScan:
        """The columns of the table or query and their types; reads no row.

        Raises `SourceError` for what is not there or has types that cannot be read, `CredentialError`, and
        `Retryable` where the server cannot be reached.
        """
        del promised
        with self.connect() as connection:
            connection.begin(_SNAPSHOT)
            columns = server_columns(connection.columns(f"SELECT * FROM {self.relation}", self.doing))
        # Of a query the server does not say for sure what is never NULL.
        known = self.table is not None
        fields = (Column(each.name, each.type, each.nullable or not known) for each in columns)
        return MysqlScan("mysql", self.what, Schema(tuple(fields)), self, tuple(columns))


@dataclass(frozen=True, slots=True)
class MysqlScan(BatchScan):
    """The table or query of `source`, with its columns as the server has them."""

    source: MysqlSource
    columns: tuple[ServerColumn, ...]

    def open(self) -> MysqlReading:
        return MysqlReading(self)


class MysqlReading(Reading):
    """Readings of one moment, which one connection alone knows: where a second query comes while the rows of
    a first are under way, the rest of these goes into a file, from which its reader goes on."""

    def __init__(self, scan: MysqlScan) -> None:
        self._scan = scan
        self._columns: Mapping[str, ServerColumn] = {column.name: column for column in scan.columns}
        self._lock = threading.Lock()
        self._flow: Flow | None = None
        self._connection = scan.source.connect()
        try:
            self._connection.begin(_SNAPSHOT)
        except BaseException:
            self._connection.close()
            raise

    def frames(
        self, columns: Sequence[str], predicate: pl.Expr | None, rows: int | None
    ) -> Iterator[pl.DataFrame]:
        from rayetl.connectors.mysql.flow import Flow

        wanted = [self._columns[name] for name in columns]
        query = self._query(wanted, predicate, rows)
        with self._lock:
            self._make_way()
            flow = self._flow = Flow(self._connection.stream(query, self._doing, BATCH), wanted)
        try:
            while (frame := self._next(flow)) is not None:
                yield frame
        finally:
            flow.leave()

    def count(self) -> int:
        with self._lock:
            self._make_way()
            return int(
                self._connection.value(f"SELECT COUNT(*) FROM {self._scan.source.relation}", self._doing)
            )

    def close(self) -> None:
        self._connection.close()

    def _next(self, flow: Flow) -> pl.DataFrame | None:
        with self._lock:
            return flow.next()

    def _make_way(self) -> None:
        """Free the connection of rows that are under way."""
        flow, self._flow = self._flow, None
        if flow is not None:
            flow.step_aside()

    @property
    def _doing(self) -> str:
        return f"reading {self._scan.place}"

    def _query(self, wanted: Sequence[ServerColumn], predicate: pl.Expr | None, rows: int | None) -> str:
        from rayetl.connectors.mysql.words import MysqlWords

        query = f"SELECT {', '.join(column.sql for column in wanted)} FROM {self._scan.source.relation}"
        where = None if predicate is None else MysqlWords().where(predicate, self._columns)
        if where is not None:
            query = f"{query} WHERE {where}"
        return f"{query} LIMIT {rows}" if rows is not None and predicate is None else query
