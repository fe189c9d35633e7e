"""The load `postgres`: rows into a table of a PostgreSQL database, each epoch exactly once."""

from __future__ import annotations

from typing import ClassVar, Literal

from rayetl.connectors.base import Epoch, LoadSession
from rayetl.connectors.databases.load import DatabaseLoad
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.postgres.connection import UsesPostgres
from rayetl.connectors.postgres.naming import TableName
from rayetl.connectors.postgres.ways import made_type
from rayetl.sql.types import DataType, Schema


class PostgresLoad(UsesPostgres, DatabaseLoad):
    """Writes into a table of a PostgreSQL database. Rows and the record of their epoch are committed in one
    transaction; a row that the server refuses goes to the rejects with the server's reason."""

    naming: ClassVar[type[QualifiedName]] = TableName
    most_columns: ClassVar[int] = 1600

    type: Literal["postgres"]

    def made_type(self, kind: DataType) -> str | None:
        return made_type(kind)

    def open(self, epoch: Epoch, schema: Schema) -> LoadSession:
        from rayetl.connectors.postgres.session import PostgresSession

        return PostgresSession(self, epoch, schema)
