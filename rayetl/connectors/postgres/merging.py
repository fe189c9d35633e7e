"""Rows out of a stage into the target, by one statement: with keys, or where the server must cast texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.postgres.connection import Connection
from rayetl.connectors.postgres.load import KEYED
from rayetl.connectors.postgres.naming import TableName, identifier
from rayetl.connectors.postgres.types import server_columns
from rayetl.connectors.postgres.ways import Way, stage_type
from rayetl.connectors.postgres.writing import NUMBER, Fault, Refusals, in_savepoint
from rayetl.errors import LoadError
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

STAGE = TableName(None, f"{PREFIX}stage")
_AGAIN = "21000"
"""SQLSTATE of a statement that would update a row twice."""


@dataclass(slots=True)
class Merger:
    """Moves the rows of `STAGE` into `table`. `keys` are those of an upsert or `insert_ignore`, if any."""

    connection: Connection
    table: TableName
    ways: Sequence[Way]
    schema: Schema
    mode: str
    keys: Sequence[str]
    refusals: Refusals
    merged: int = 0

    def create_stage(self) -> None:
        """Make the stage; it goes with the transaction."""
        columns = [f"{identifier(way.target)} {stage_type(way)}" for way in self.ways]
        columns += [f"{identifier(NUMBER)} int8", f"{identifier(ROW)} int8"]
        statement = f"CREATE TEMP TABLE {STAGE.sql} ({', '.join(columns)}) ON COMMIT DROP"
        self.connection.execute(statement, "making a stage")

    def merge(self, rows: int) -> None:
        """Move the first `rows` rows of the stage. Rows that the server refuses are set aside.

        Raises `LoadError` for an upsert with a key twice, and `Retryable`.
        """
        done = self._move(0, rows)
        if not isinstance(done, Fault):
            self.merged += done
            return
        self.connection.execute(f"CREATE INDEX ON {STAGE.sql} ({identifier(NUMBER)})", "looking for bad rows")
        self._move_by_halves(rows, done)
        if self.mode == "upsert":
            self._refuse_repeated_keys()

    def _move_by_halves(self, rows: int, fault: Fault) -> None:
        """Move all rows but the guilty ones, which leave the stage."""
        parts = [(0, rows)]
        while parts:
            low, high = parts.pop()
            part = fault if (low, high) == (0, rows) else self._move(low, high)
            if not isinstance(part, Fault):
                self.merged += part
            elif not part.lies_in_a_row and part.state != _AGAIN:
                raise part.error
            elif high - low == 1:
                self.refusals.add(self._row(low), part)
                guilty = f"DELETE FROM {STAGE.sql} WHERE {identifier(NUMBER)} = {low}"
                self.connection.execute(guilty, "setting a row aside")
            else:
                half = (low + high) // 2
                parts += [(half, high), (low, half)]

    def _move(self, low: int, high: int) -> int | Fault:
        names = ", ".join(identifier(way.target) for way in self.ways)
        values = ", ".join(way.selected for way in self.ways)
        number = identifier(NUMBER)
        statement = (
            f"INSERT INTO {self.table.sql} ({names}) SELECT {values} FROM {STAGE.sql} "
            f"WHERE {number} >= {low} AND {number} < {high}{self._conflict()}"
        )

        def insert(cursor: Any) -> int:
            cursor.execute(statement)
            return int(cursor.rowcount)

        done = in_savepoint(self.connection, insert, f"moving rows into {self.table}")
        failpoint("postgres.merged")
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

    def _refuse_repeated_keys(self) -> None:
        """Split into parts, an upsert would let the last of several rows with a key win unseen. What is left
        in the stage can be cast, so keys are compared as the table compares them."""
        keys = ", ".join(map(identifier, self.keys))
        values = [way.selected for way in self.ways if way.target in self.keys]
        there = " AND ".join(f"{value} IS NOT NULL" for value in values)
        repeated = (
            f"SELECT {', '.join(values)} FROM {STAGE.sql} WHERE {there} "
            f"GROUP BY {', '.join(map(str, range(1, len(values) + 1)))} HAVING count(*) > 1"
        )
        query = f"SELECT count(*), min(k::text) FROM ({repeated}) AS k"
        count, example = self.connection.rows(query, "looking for repeated keys")[0]
        if count:
            raise LoadError(
                f"{count} keys ({keys}) come more than once, for example {example}; which row wins would be "
                "up to chance",
                hint="keep one row of each before the load: {type: deduplicate, keys: [...], order_by: ...}",
            ) from None

    def _row(self, number: int) -> pl.DataFrame:
        """A row of the stage as it was sent there."""
        from rayetl.connectors.postgres.decoding import decode

        where = f"FROM {STAGE.sql} WHERE {identifier(NUMBER)} = {number}"
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
