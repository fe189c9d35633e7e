"""The load `mysql`: rows into a table of a MySQL or MariaDB database, each epoch exactly once."""

from __future__ import annotations

from typing import ClassVar, Literal

from rayetl.connectors.base import Epoch, LoadSession
from rayetl.connectors.databases.load import DatabaseLoad
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.mysql.connection import UsesMysql
from rayetl.connectors.mysql.naming import TableName
from rayetl.connectors.mysql.ways import made_type
from rayetl.sql.types import DataType, Schema


class MysqlLoad(UsesMysql, DatabaseLoad):
    """Writes into an InnoDB table of a MySQL or MariaDB database. Rows and the record of their epoch are
    committed in one transaction; a row that the server refuses goes to the rejects with its reason."""

    naming: ClassVar[type[QualifiedName]] = TableName
    most_columns: ClassVar[int] = 1017

    type: Literal["mysql"]

    def made_type(self, kind: DataType) -> str | None:
        return made_type(kind)

    def open(self, epoch: Epoch, schema: Schema) -> LoadSession:
        from rayetl.connectors.mysql.session import MysqlSession

        return MysqlSession(self, epoch, schema)
