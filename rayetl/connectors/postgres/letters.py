"""The dead letter store `postgres`: a table of a PostgreSQL database."""

from __future__ import annotations

from typing import ClassVar, Literal

from rayetl.connectors.base import Epoch
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.letters import DatabaseDeadLetters
from rayetl.connectors.databases.load import DatabaseLoad
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.databases.source import DatabaseSource
from rayetl.connectors.databases.tracker import Tracker
from rayetl.connectors.postgres import tables
from rayetl.connectors.postgres.connection import UsesPostgres
from rayetl.connectors.postgres.load import PostgresLoad
from rayetl.connectors.postgres.naming import TableName, literal
from rayetl.connectors.postgres.source import PostgresSource
from rayetl.connectors.postgres.tracker import PostgresTracker
from rayetl.sql.types import Schema


class PostgresDeadLetters(UsesPostgres, DatabaseDeadLetters):
    """Keeps refused records in a table of a PostgreSQL database, which many pipelines may share."""

    naming: ClassVar[type[QualifiedName]] = TableName
    load_type: ClassVar[type[DatabaseLoad]] = PostgresLoad
    source_type: ClassVar[type[DatabaseSource]] = PostgresSource

    type: Literal["postgres"]

    def quoted(self, text: str) -> str:
        return literal(text)

    def resolve(self, connection: Connection, table: QualifiedName) -> tuple[QualifiedName, bool]:
        return tables.resolve(connection, TableName(table.schema, table.name))

    def tracker(self, epoch: Epoch, table: QualifiedName) -> Tracker:
        return PostgresTracker(epoch, table)

    def made(self, table: QualifiedName, schema: Schema) -> str:
        return tables.create(TableName(table.schema, table.name), schema, ())
