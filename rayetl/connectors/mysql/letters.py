"""The dead letter store `mysql`: a table of a MySQL or MariaDB database."""

from __future__ import annotations

from typing import ClassVar, Literal

from rayetl.connectors.base import Epoch
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.letters import DatabaseDeadLetters
from rayetl.connectors.databases.load import DatabaseLoad
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.source import DatabaseSource
from rayetl.connectors.databases.tracker import Tracker
from rayetl.connectors.mysql import tables
from rayetl.connectors.mysql.connection import UsesMysql
from rayetl.connectors.mysql.load import MysqlLoad
from rayetl.connectors.mysql.naming import TableName, literal
from rayetl.connectors.mysql.source import MysqlSource
from rayetl.connectors.mysql.tracker import MysqlTracker
from rayetl.sql.types import Schema


class MysqlDeadLetters(UsesMysql, DatabaseDeadLetters):
    """Keeps refused records in a table of a MySQL or MariaDB database, which many pipelines may share."""

    naming: ClassVar[type[QualifiedName]] = TableName
    load_type: ClassVar[type[DatabaseLoad]] = MysqlLoad
    source_type: ClassVar[type[DatabaseSource]] = MysqlSource

    type: Literal["mysql"]

    def quoted(self, text: str) -> str:
        return literal(text)

    def resolve(self, connection: Connection, table: QualifiedName) -> tuple[QualifiedName, bool]:
        return tables.resolve(connection, TableName(table.schema, table.name))

    def tracker(self, epoch: Epoch, table: QualifiedName) -> Tracker:
        return MysqlTracker(epoch, table)

    def made(self, table: QualifiedName, schema: Schema) -> str:
        return tables.create(TableName(table.schema, table.name), schema, ())
