"""One epoch of one load into a table of MySQL or MariaDB.

Statements that make or change a table commit by themselves there, so they come before the transaction, under
the lock that stands for pipeline, load and table: it belongs to the connection.
"""

from __future__ import annotations

from dataclasses import field

from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.load import KEYED
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.session import DatabaseSession
from rayetl.connectors.databases.tracker import Tracker
from rayetl.connectors.databases.writing import Refusals, Writer
from rayetl.connectors.mysql import tables
from rayetl.connectors.mysql.connection import MysqlConnection
from rayetl.connectors.mysql.load import MysqlLoad
from rayetl.connectors.mysql.naming import TableName
from rayetl.connectors.mysql.tracker import MysqlTracker
from rayetl.connectors.mysql.ways import way
from rayetl.connectors.mysql.writing import MysqlMerger, Stage, Staged, Straight, touched
from rayetl.errors import LoadError
from rayetl.failpoints import failpoint
from rayetl.records import dataclass

_STRICT = (
    "STRICT_ALL_TABLES,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"
)
"""A value that does not fit is refused; a 0 stays a 0 in a column that counts by itself."""


@dataclass()
class MysqlSession(DatabaseSession):
    """See `DatabaseSession`."""

    load: MysqlLoad
    _connection: MysqlConnection | None = field(init=False, default=None)

    def _tracked(self, connection: Connection) -> Tracker:
        name, _ = tables.resolve(connection, TableName.parse(self.load.table))
        return MysqlTracker(self.epoch, name)

    def _begin(self, tracker: Tracker) -> Writer | None:
        connection = self._connection
        assert connection is not None
        connection.execute(f"SET SESSION sql_mode = '{_STRICT}', sql_notes = 1", "preparing the connection")
        _refuse_without_local(connection)
        tracker.fence(connection)
        failpoint("database.fenced")
        self._refuse_committed(tracker.find(connection))
        name, exists = tables.resolve(connection, TableName.parse(self.load.table))
        looks = self.load.mode in ("ignore", "error_if_exists")
        if exists and looks and not self._may_load(connection, name):
            return None
        writer = self._writer_into(connection, self._fitted(connection, name, exists))
        connection.begin()
        if not self._may_load(connection, name):
            return None
        failpoint("database.prepared")
        return writer

    def _may_load(self, connection: Connection, table: QualifiedName) -> bool:
        if self.load.mode in ("ignore", "error_if_exists"):
            # Nobody else puts a first row into the table until the transaction ends.
            connection.rows(f"SELECT 1 FROM {table.sql} LIMIT 1 FOR UPDATE", f"preparing {table}")
        return super()._may_load(connection, table)

    def _fitted(self, connection: Connection, table: TableName, exists: bool) -> tables.Target:
        """The table, made or given columns where that is asked for."""
        keys = [column.name for key in self.load.keys if (column := self.schema.get(key))]
        if not exists:
            connection.execute(tables.create(table, self.schema, keys), f"making the table {table}")
        target = tables.describe(connection, table)
        missing = target.missing(self.schema) if self.load.add_columns else []
        for column in missing:
            # It is NULL in the rows that are there.
            added = tables.define(column.name, column.type, True, ())
            connection.execute(f"ALTER TABLE {table.sql} ADD COLUMN {added}", f"preparing {table}")
        return tables.describe(connection, table) if missing else target

    def _writer_into(self, connection: MysqlConnection, target: tables.Target) -> Writer:
        """See that the rows fit, and settle how they get there: straight, or over a stage."""
        ways = target.ways(self.schema, way)
        keys = tables.check_keys(connection, target, self.load.keys, [each.target for each in ways])
        if self.load.mode == "insert_ignore" and tables.has_update_triggers(connection, target):
            raise touched(target.name)
        stage = Stage(connection, target.name, ways)
        merger = MysqlMerger(self.load.mode, keys, Refusals(target.name), stage=stage)
        return Staged(merger) if self.load.mode in KEYED else Straight(merger)


def _refuse_without_local(connection: Connection) -> None:
    if not connection.value("SELECT @@GLOBAL.local_infile", "preparing the connection"):
        raise LoadError(
            f"MySQL at {connection.server} does not allow LOAD DATA LOCAL, by which rows are loaded",
            hint="let an administrator allow it: SET GLOBAL local_infile = 1; no row was read",
        )
