"""What stands in a condition, as MySQL writes it."""

from __future__ import annotations

from datetime import UTC, datetime

from rayetl.connectors.databases.predicates import Words
from rayetl.connectors.mysql.naming import identifier, literal


class MysqlWords(Words):
    """See `Words`. Texts are equal here only where they are equal to the server too: its collations tell
    fewer of them apart."""

    def identifier(self, name: str) -> str:
        return identifier(name)

    def text(self, value: str) -> str:
        return literal(value)

    def instant(self, value: datetime) -> str:
        # The session's time zone is UTC.
        return f"TIMESTAMP '{value.astimezone(UTC).replace(tzinfo=None).isoformat(' ')}'"
