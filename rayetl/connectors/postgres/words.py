"""What stands in a condition, as PostgreSQL writes it."""

from __future__ import annotations

from datetime import datetime

from rayetl.connectors.databases.predicates import Words
from rayetl.connectors.postgres.naming import identifier, literal


class PostgresWords(Words):
    """See `Words`."""

    def identifier(self, name: str) -> str:
        return identifier(name)

    def text(self, value: str) -> str:
        return literal(value)

    def instant(self, value: datetime) -> str:
        return f"TIMESTAMPTZ '{value.isoformat(' ')}'"
