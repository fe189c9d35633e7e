"""Rows out of a stage into the target, by one statement: with keys, or where the server must cast texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from rayetl.connectors.databases.changes import shall_be, would_change
from rayetl.connectors.databases.faults import Fault
from rayetl.connectors.databases.load import KEYED
from rayetl.connectors.databases.writing import NUMBER, STAGE, Merger
from rayetl.connectors.postgres.connection import PostgresConnection
from rayetl.connectors.postgres.naming import TableName, identifier
from rayetl.connectors.postgres.types import server_columns
from rayetl.connectors.postgres.ways import Way, stage_type
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.names import PREFIX, ROW
from rayetl.records import dataclass
from rayetl.sql.interop import to_polars
from rayetl.sql.types import LONG, Schema
from rayetl.sql.types import Field as Column

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

_STAGE = TableName(None, STAGE)
_REPEATED = f"{PREFIX}repeated"
"""A name that no column has: as text, it is the whole of the keys."""


@dataclass()
class PostgresMerger(Merger):
    """See `Merger`. `same_nulls`: to the index of the keys, NULLs are the same."""

    connection: PostgresConnection = field(kw_only=True)
    ways: Sequence[Way] = field(kw_only=True)
    schema: Schema = field(kw_only=True)
    same_nulls: bool = field(kw_only=True, default=False)
    _indexed: bool = field(init=False, default=False)

    def create_stage(self) -> None:
        """Make the stage; it goes with the transaction."""
        columns = [f"{identifier(way.target)} {stage_type(way)}" for way in self.ways]
        columns += [f"{identifier(NUMBER)} int8", f"{identifier(ROW)} int8"]
        statement = f"CREATE TEMP TABLE {_STAGE.sql} ({', '.join(columns)}) ON COMMIT DROP"
        self.connection.execute(statement, "making a stage")

    def merge(self, low: int, high: int) -> None:
        super().merge(low, high)
        if self.mode == "upsert" and self._indexed:
            self._look_for_repeated_keys()
        for way in self.ways:
            if way.cut is not None:
                self._look_for_cuts(way, way.cut)

    def _split(self, low: int, high: int, line: int | None) -> list[tuple[int, int]]:
        if not self._indexed:
            self._indexed = True
            index = f"CREATE INDEX ON {_STAGE.sql} ({identifier(NUMBER)})"
            self.connection.execute(index, "looking for bad rows")
        return super()._split(low, high, line)

    def _move(self, low: int, high: int) -> int | Fault:
        names = ", ".join(identifier(way.target) for way in self.ways)
        values = ", ".join(way.selected for way in self.ways)
        number = identifier(NUMBER)
        statement = (
            f"INSERT INTO {self.refusals.table.sql} ({names}) SELECT {values} FROM {_STAGE.sql} "
            f"WHERE {number} >= {low} AND {number} < {high}{self._conflict()}"
        )

        def insert(cursor: Any) -> int:
            cursor.execute(statement)
            return int(cursor.rowcount)

        done = self.connection.in_savepoint(insert, f"moving rows into {self.refusals.table}")
        failpoint("database.merged")
        return done

    def _conflict(self) -> str:
        if self.mode not in KEYED:
            return ""
        keys = f" ({', '.join(map(identifier, self.keys))})" if self.keys else ""
        if self.mode == "insert_ignore":
            return f" ON CONFLICT{keys} DO NOTHING"
        # With nothing but keys a row replaces one that looks the same, and counts.
        others = [way.target for way in self.ways if way.target not in self.keys] or self.keys
        sets = ", ".join(f"{identifier(name)} = EXCLUDED.{identifier(name)}" for name in others)
        return f" ON CONFLICT{keys} DO UPDATE SET {sets}"

    def _drop(self, number: int) -> None:
        guilty = f"DELETE FROM {_STAGE.sql} WHERE {identifier(NUMBER)} = {number}"
        self.connection.execute(guilty, "setting a row aside")

    def _look_for_repeated_keys(self) -> None:
        """Split into parts, an upsert would let the last of several rows with a key win unseen. What is left
        in the stage can be cast, so keys are compared as the table compares them."""
        values = [way.compared for way in self.ways if way.target in self.keys]
        there = "TRUE" if self.same_nulls else " AND ".join(f"{value} IS NOT NULL" for value in values)
        repeated = (
            f"SELECT {', '.join(values)} FROM {_STAGE.sql} WHERE {there} "
            f"GROUP BY {', '.join(map(str, range(1, len(values) + 1)))} HAVING count(*) > 1"
        )
        query = f"SELECT count(*), min({_REPEATED}::text) FROM ({repeated}) AS {_REPEATED}"
        self._refuse_repeated(*self.connection.rows(query, "looking for repeated keys")[0])

    def _look_for_cuts(self, way: Way, cut: str) -> None:
        """Stop the load where the target rounded or cut off a value without a word. What is left in the stage
        can be cast."""
        column = identifier(way.target)
        query = f"SELECT {column}::text FROM {_STAGE.sql} WHERE {cut} LIMIT 1"
        for (value,) in self.connection.rows(query, "looking for values that were changed"):
            raise would_change(way.name, value, way.shown, shall_be("substring({0}, 1, ...)"))

    def _row(self, number: int) -> pl.DataFrame:
        """A row of the stage as it was sent there."""
        from rayetl.connectors.postgres.decoding import decode

        where = f"FROM {_STAGE.sql} WHERE {identifier(NUMBER)} = {number}"
        names = [way.target for way in self.ways] + [ROW]
        found = self.connection.schema(
            f"SELECT {', '.join(map(identifier, names))} {where}", "reading a stage"
        )
        columns = server_columns(found, lambda _: [])
        query = f"SELECT {', '.join(column.sql for column in columns)} {where}"
        (batch,) = self.connection.stream(query, "reading a stage", 1 << 20)
        schema = Schema((*self.schema.fields, Column(ROW, LONG)))
        kinds = to_polars(schema).items()
        row = decode(batch, columns)
        return pl.DataFrame(
            [row.to_series(at).cast(kind).alias(name) for at, (name, kind) in enumerate(kinds)]
        )
