"""Rows into a table of MySQL by LOAD DATA LOCAL, straight or over a stage.

LOAD DATA LOCAL cannot refuse a row: it changes or drops what does not fit, and warns. So rows that go
straight into the target are taken back at the first warning, and go again over a stage, from which INSERT ...
SELECT under a strict `sql_mode` moves them or says which one it refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from rayetl.connectors.databases.faults import Fault
from rayetl.connectors.databases.load import KEYED
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.writing import NUMBER, STAGE, Merger, Refusals, Writer, numbered
from rayetl.connectors.mysql.connection import MysqlConnection
from rayetl.connectors.mysql.decoding import decode
from rayetl.connectors.mysql.naming import TableName, identifier
from rayetl.connectors.mysql.types import server_columns
from rayetl.connectors.mysql.ways import Way, encode, load_statement
from rayetl.errors import LoadError
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.names import ROW
from rayetl.records import dataclass
from rayetl.sql.interop import polars_type
from rayetl.sql.types import DATE, LONG, TIMESTAMP, TIMESTAMP_NTZ, DataType

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

TAKEN_BACK = 8_000
"""Rows that go straight into the target by one statement: so many are taken back, and go over a stage, for
each row among them that is refused. With fewer, a load without such rows would notice the statements."""

_FORMATS: dict[DataType, str] = {
    DATE: "%Y-%m-%d",
    TIMESTAMP: "%Y-%m-%d %H:%M:%S%.f",
    TIMESTAMP_NTZ: "%Y-%m-%d %H:%M:%S%.f",
}


@dataclass()
class Stage:
    """A temporary table of the connection beside the target, made when it is first needed."""

    connection: MysqlConnection
    target: QualifiedName
    ways: Sequence[Way]
    _made: bool = field(init=False, default=False)

    @property
    def name(self) -> TableName:
        """The table itself."""
        return TableName(self.target.schema, STAGE)

    def fill(self, rows: pl.DataFrame) -> None:
        """Send numbered rows."""
        doing = f"staging rows for {self.target}"
        if not self._made:
            self._made = True
            self._make(doing)
        names = (NUMBER, ROW)
        statement = load_statement(self.name.sql, self.ways, names)
        done = self.connection.load(statement, encode(rows, self.ways, names), doing)
        if not isinstance(done, int):
            raise LoadError(
                f"{doing} failed: {done}", hint="nothing was committed; please report this with the config"
            )

    def _make(self, doing: str) -> None:
        columns = [f"{identifier(way.target)} {way.staged_type}" for way in self.ways]
        columns += [f"{identifier(NUMBER)} BIGINT PRIMARY KEY", f"{identifier(ROW)} BIGINT"]
        made = f"CREATE TEMPORARY TABLE {self.name.sql} ({', '.join(columns)}) ENGINE = InnoDB"
        self.connection.execute(made, doing)

    def empty(self) -> None:
        """Take all rows out."""
        self.connection.execute(f"DELETE FROM {self.name.sql}", "emptying a stage")

    def drop(self, number: int) -> None:
        """Take a row out."""
        guilty = f"DELETE FROM {self.name.sql} WHERE {identifier(NUMBER)} = {number}"
        self.connection.execute(guilty, "setting a row aside")

    def row(self, number: int) -> pl.DataFrame:
        """A row as it was sent."""
        doing, names = "reading a stage", [*(way.target for way in self.ways), ROW]
        selected = ", ".join(map(identifier, names))
        query = f"SELECT {selected} FROM {self.name.sql} WHERE {identifier(NUMBER)} = {number}"
        columns = server_columns(self.connection.columns(query, doing))
        (found,) = [decode(rows, columns) for rows in self.connection.stream(query, doing, 1 << 20)]
        kinds = [*((way.name, way.kind) for way in self.ways), (ROW, LONG)]
        return pl.DataFrame(
            [_as(found.to_series(at), kind).alias(name) for at, (name, kind) in enumerate(kinds)]
        )


def _as(sent: pl.Series, kind: DataType) -> pl.Series:
    """A value of a stage with the type it came with."""
    if sent.dtype == pl.String and kind in _FORMATS:
        return sent.str.strptime(polars_type(kind), _FORMATS[kind], strict=False)
    return sent.cast(polars_type(kind))


def touched(target: QualifiedName) -> LoadError:
    """The error for an `insert_ignore` that would have triggers change rows, or write of them."""
    return LoadError(
        f"the table {target} has a trigger for UPDATE, which the server runs for rows that are there already "
        "and are left out",
        hint="load with the mode upsert, or drop the trigger; nothing was committed",
    )


@dataclass()
class MysqlMerger(Merger):
    """See `Merger`."""

    stage: Stage = field(kw_only=True)

    def _move(self, low: int, high: int) -> int | Fault:
        connection, number = self.stage.connection, identifier(NUMBER)
        names = ", ".join(identifier(way.target) for way in self.stage.ways)
        statement = (
            f"INSERT INTO {self.stage.target.sql} ({names}) SELECT {names} FROM {self.stage.name.sql} "
            f"WHERE {number} >= {low} AND {number} < {high} ORDER BY {number}{self._conflict()}"
        )

        def insert(cursor: Any) -> int:
            cursor.execute(statement)
            # An upsert touches a row it replaces twice, so the server's count of rows that it went through.
            if self.mode == "insert_ignore":
                moved = cursor.rowcount
                if connection.changed(cursor):
                    raise touched(self.stage.target)
            else:
                moved = connection.moved(cursor)
            connection.refuse_warnings(cursor)
            return int(moved)

        done = connection.in_savepoint(insert, f"moving rows into {self.stage.target}")
        failpoint("database.merged")
        return done

    def _conflict(self) -> str:
        if self.mode not in KEYED:
            return ""
        target = self.stage.target.sql
        if self.mode == "insert_ignore":
            # INSERT IGNORE would let everything pass, so a row that is there is replaced by nothing.
            first = identifier(self.stage.ways[0].target)
            return f" ON DUPLICATE KEY UPDATE {target}.{first} = {target}.{first}"
        others = [way.target for way in self.stage.ways if way.target not in self.keys] or self.keys
        staged = self.stage.name.sql
        sets = ", ".join(f"{target}.{identifier(name)} = {staged}.{identifier(name)}" for name in others)
        return f" ON DUPLICATE KEY UPDATE {sets}"

    def _row(self, number: int) -> pl.DataFrame:
        return self.stage.row(number)

    def _drop(self, number: int) -> None:
        self.stage.drop(number)

    def look_for_repeated_keys(self) -> None:
        """An upsert lets the last of several rows with a key win unseen. Keys are compared as the table
        compares them."""
        ways = [way for way in self.stage.ways if way.target in self.keys]
        doing, compared = "looking for repeated keys", ", ".join(way.compared for way in ways)
        there = " AND ".join(f"{identifier(way.target)} IS NOT NULL" for way in ways)
        staged = f"FROM {self.stage.name.sql} WHERE {there}"
        # The server sorts to count, which is quick; to group it fills a table that it looks each key up in.
        counted = f"SELECT COUNT(*) - COUNT(DISTINCT {compared}) {staged}"
        if not self.stage.connection.value(counted, doing):
            return
        example = ", ', ', ".join(f"MIN({identifier(way.target)})" for way in ways)
        repeated = f"SELECT CONCAT('(', {example}, ')') AS k {staged} GROUP BY {compared} HAVING COUNT(*) > 1"
        query = f"SELECT COUNT(*), MIN(k) FROM ({repeated}) AS r"
        self._refuse_repeated(*self.stage.connection.rows(query, doing)[0])


@dataclass()
class Straight(Writer):
    """Loads rows into the target; where the server has something against one, over a stage."""

    merger: MysqlMerger
    refusals: Refusals = field(init=False)
    loaded: int = field(init=False, default=0)
    _sent: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.refusals = self.merger.refusals

    def take(self, rows: pl.DataFrame) -> None:
        for part in rows.iter_slices(TAKEN_BACK):
            self._take(part)

    def _take(self, rows: pl.DataFrame) -> None:
        stage, first = self.merger.stage, self._sent
        self._sent += rows.height
        statement = load_statement(stage.target.sql, stage.ways)
        sent = encode(rows, stage.ways)
        done = stage.connection.load(statement, sent, f"loading into {stage.target}")
        failpoint("database.sent")
        if isinstance(done, int):
            self.loaded += done
            return
        stage.fill(numbered(rows, first))
        self.merger.merge(first, self._sent)
        stage.empty()

    def written(self) -> int:
        return self.loaded + self.merger.merged


@dataclass()
class Staged(Writer):
    """Loads rows into a stage, and has them moved from there in the end."""

    merger: MysqlMerger
    refusals: Refusals = field(init=False)
    _sent: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.refusals = self.merger.refusals

    def take(self, rows: pl.DataFrame) -> None:
        self.merger.stage.fill(numbered(rows, self._sent))
        self._sent += rows.height
        failpoint("database.sent")

    def finish(self) -> None:
        if not self._sent:
            return
        self.merger.merge(0, self._sent)
        if self.merger.mode == "upsert":
            self.merger.look_for_repeated_keys()

    def written(self) -> int:
        return self.merger.merged
