"""The source `postgres`: a table or query of a PostgreSQL database, as it is at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field as ConfigField
from pydantic import model_validator

from rayetl.connectors.base import BatchScan, Reading
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.source import DatabaseSource
from rayetl.connectors.postgres.connection import PostgresConnection, UsesPostgres
from rayetl.connectors.postgres.naming import TableName, identifier, literal
from rayetl.connectors.postgres.ranges import KeySplit, Range, check, conditions
from rayetl.connectors.postgres.types import ServerColumn, server_columns
from rayetl.records import dataclass
from rayetl.sql.types import Field as Column
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import polars as pl

BATCH = 4 << 20
"""Bytes of rows, as the server sends them, that are in hand at a time."""

_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresSource(UsesPostgres, DatabaseSource):
    """Reads a table or query of a PostgreSQL database. All of it is read as it is at one moment."""

    naming: ClassVar[type[QualifiedName]] = TableName

    type: Literal["postgres"]
    split: KeySplit | None = ConfigField(
        default=None,
        description="How the table is cut into ranges, which the tasks of a Ray cluster read at the same "
        "time where the plan can run split by split or Spark runs it. All of them are of one moment.",
        examples=[{"column": "id", "parts": 8}],
    )

    @model_validator(mode="after")
    def _cut_of_a_table(self) -> Self:
        if self.split is not None and self.table is None:
            raise ValueError("`split` is for a `table`: a query may give other rows each time it is run")
        return self

    def describe(self, promised: Schema | None) -> PostgresScan:
        """The columns of the table or query and their types; reads no row.

        Raises `SourceError` for what is not there or has types that cannot be read, `CredentialError`, and
        `Retryable` where the server cannot be reached.
        """
        del promised
        with self.connect() as connection:
            connection.begin(_SNAPSHOT)
            found = connection.schema(f"SELECT * FROM {self.relation} LIMIT 0", self.doing)
            columns = server_columns(found, lambda oids: _type_names(connection, oids))
            never_null = self._never_null(connection)
            if self.split is not None:
                check(self.split, columns, self.relation, connection)
        fields = (Column(each.name, each.type, each.name not in never_null) for each in columns)
        return PostgresScan("postgres", self.what, Schema(tuple(fields)), self, tuple(columns))

    def _never_null(self, connection: PostgresConnection) -> set[str]:
        if self.table is None:
            return set()
        oid = f"{literal(self.relation)}::regclass"
        query = f"SELECT attname::text FROM pg_attribute WHERE attrelid = {oid} AND attnum > 0 AND attnotnull"
        return {name for (name,) in connection.rows(query, self.doing)}


def _type_names(connection: PostgresConnection, oids: Sequence[int]) -> list[str]:
    listed = ", ".join(str(oid) for oid in oids)
    oids_in_order = f"unnest(ARRAY[{listed}]::oid[]) WITH ORDINALITY AS t(oid, n)"
    query = f"SELECT format_type(oid, NULL) FROM {oids_in_order} ORDER BY n"
    return [name for (name,) in connection.rows(query, "looking up types")]


@dataclass(frozen=True, slots=True)
class PostgresScan(BatchScan):
    """The table or query of `source`, with its columns as the server has them; with `range` a part of it."""

    source: PostgresSource
    columns: tuple[ServerColumn, ...]
    range: Range | None = None

    def open(self) -> PostgresReading:
        return PostgresReading(self)

    @property
    def ranges(self) -> str | None:
        return None if self.source.split is None else self.source.split.column

    @contextmanager
    def parts(self) -> Iterator[Sequence[PostgresScan]]:
        split = self.source.split
        if split is None:
            raise ValueError("the source has no `split`")
        kind, doing = self.schema.get(split.column), self.source.doing
        assert kind is not None
        with self.source.connect() as holder:
            snapshot = _export(holder, doing)
            found = conditions(split, kind.type, self.source.relation, holder, doing)
            yield [replace(self, range=Range(snapshot, where)) for where in found]


def _export(holder: PostgresConnection, doing: str) -> str:
    """Begin a transaction that others may see the moment of, as long as it goes on."""
    holder.begin(_SNAPSHOT)
    return str(holder.value("SELECT pg_export_snapshot()", doing))


class PostgresReading(Reading):
    """Readings of one moment: a transaction holds its snapshot, which every query of the reading takes on,
    each in a connection of its own."""

    def __init__(self, scan: PostgresScan) -> None:
        self._scan = scan
        self._columns: Mapping[str, ServerColumn] = {column.name: column for column in scan.columns}
        with ExitStack() as undo:
            self._holder = undo.enter_context(scan.source.connect())
            if scan.range is None:
                self._snapshot = _export(self._holder, self._doing)
            else:
                self._snapshot = scan.range.snapshot
                self._holder.begin(_SNAPSHOT, self._snapshot)
            undo.pop_all()

    def frames(
        self, columns: Sequence[str], predicate: pl.Expr | None, rows: int | None
    ) -> Iterator[pl.DataFrame]:
        from rayetl.connectors.postgres.decoding import decode

        wanted = [self._columns[name] for name in columns]
        query = self._query(wanted, predicate, rows)
        with self._scan.source.connect() as connection:
            connection.begin(_SNAPSHOT, self._snapshot)
            for batch in connection.stream(query, self._doing, BATCH):
                yield decode(batch, wanted)

    def count(self) -> int:
        return int(self._holder.value(f"SELECT count(*) FROM {self._rows_where()}", self._doing))

    def close(self) -> None:
        self._holder.close()

    @property
    def _doing(self) -> str:
        return f"reading {self._scan.place}"

    def _query(self, wanted: Sequence[ServerColumn], predicate: pl.Expr | None, rows: int | None) -> str:
        from rayetl.connectors.postgres.decoding import DIMENSIONS
        from rayetl.connectors.postgres.words import PostgresWords

        selected = [column.sql for column in wanted]
        if arrays := [f"array_ndims({identifier(each.name)})" for each in wanted if each.is_array]:
            selected.append(f"greatest({', '.join(arrays)}) AS {identifier(DIMENSIONS)}")
        where = None if predicate is None else PostgresWords().where(predicate, self._columns)
        query = f"SELECT {', '.join(selected)} FROM {self._rows_where(where)}"
        return f"{query} LIMIT {rows}" if rows is not None and predicate is None else query

    def _rows_where(self, condition: str | None = None) -> str:
        """What stands behind FROM for the rows of the scan."""
        part = None if self._scan.range is None else self._scan.range.where
        where = " AND ".join(filter(None, (part, condition)))
        return f"{self._scan.source.relation} WHERE {where}" if where else self._scan.source.relation
