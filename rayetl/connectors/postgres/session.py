"""One epoch of one load into PostgreSQL: the lock, the table and the rows are of one transaction."""

from __future__ import annotations

from dataclasses import field

from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.load import KEYED
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.session import DatabaseSession
from rayetl.connectors.databases.tracker import Tracker
from rayetl.connectors.databases.writing import NUMBER, STAGE, Refusals, Writer
from rayetl.connectors.postgres import tables
from rayetl.connectors.postgres.connection import PostgresConnection
from rayetl.connectors.postgres.load import PostgresLoad
from rayetl.connectors.postgres.merging import PostgresMerger
from rayetl.connectors.postgres.naming import TableName
from rayetl.connectors.postgres.tracker import PostgresTracker
from rayetl.connectors.postgres.ways import Way, way
from rayetl.connectors.postgres.writing import Copier, Staged
from rayetl.errors import LoadError
from rayetl.failpoints import failpoint
from rayetl.names import ROW
from rayetl.records import dataclass
from rayetl.sql.types import LONG


@dataclass()
class PostgresSession(DatabaseSession):
    """See `DatabaseSession`."""

    load: PostgresLoad
    _connection: PostgresConnection | None = field(init=False, default=None)

    def _tracked(self, connection: Connection) -> Tracker:
        name, _ = tables.resolve(connection, TableName.parse(self.load.table))
        return PostgresTracker(self.epoch, name)

    def _begin(self, tracker: Tracker) -> Writer | None:
        connection = self._connection
        assert connection is not None
        connection.begin()
        tracker.fence(connection)
        failpoint("database.fenced")
        self._refuse_committed(tracker.find(connection))
        name, exists = tables.resolve(connection, TableName.parse(self.load.table))
        if exists and not self._may_load(connection, name):
            return None
        target = self._fitted(connection, name, exists)
        failpoint("database.prepared")
        return self._writer_into(connection, target)

    def _may_load(self, connection: Connection, table: QualifiedName) -> bool:
        if self.load.mode in ("overwrite", "ignore", "error_if_exists"):
            # Readers go on; other writers wait, or their rows would be lost or unseen.
            lock = f"LOCK TABLE {table.sql} IN SHARE ROW EXCLUSIVE MODE"
            connection.execute(lock, f"preparing {table}")
        may = super()._may_load(connection, table)
        doing = f"preparing {table}"
        if self.load.mode == "overwrite" and connection.rows(f"SELECT 1 FROM {table.sql} LIMIT 1", doing):
            raise LoadError(
                f"rows of the table {table} are there after they were deleted: a trigger, rule or policy of "
                "the table keeps them",
                hint="choose another mode, or let the table lose its rows; nothing was committed",
            )
        return may

    def _fitted(self, connection: Connection, table: TableName, exists: bool) -> tables.Target:
        """The table, made or given columns where that is asked for."""
        if not exists:
            keys = [column.name for key in self.load.keys if (column := self.schema.get(key))]
            connection.execute(tables.create(table, self.schema, keys), f"making the table {table}")
        target = tables.describe(connection, table)
        missing = target.missing(self.schema) if self.load.add_columns else []
        for column in missing:
            # It is NULL in the rows that are there.
            added = f"ALTER TABLE {table.sql} ADD COLUMN {tables.define(column.name, column.type, True)}"
            connection.execute(added, f"preparing {table}")
        return tables.describe(connection, table) if missing else target

    def _writer_into(self, connection: PostgresConnection, target: tables.Target) -> Writer:
        """See that the rows fit, and settle how they get there: straight, or over a stage."""
        ways = target.ways(self.schema, way)
        keys, same_nulls = tables.check_keys(connection, target, self.load.keys)
        refusals, mode = Refusals(target.name), self.load.mode
        if mode not in KEYED and not target.intercepted and not any(each.cast for each in ways):
            return Copier(connection, target.name, False, ways, refusals)
        merger = PostgresMerger(
            mode, keys, refusals, connection=connection, ways=ways, schema=self.schema, same_nulls=same_nulls
        )
        merger.create_stage()
        staged = [*ways, *(Way(name, name, LONG, "int8") for name in (NUMBER, ROW))]
        return Staged(Copier(connection, TableName(None, STAGE), True, staged, refusals), merger)

    def _judge(self, connection: Connection) -> None:
        # A constraint that waits for the end of the transaction has its say.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE", "checking constraints")
