"""What stands in a condition, as MySQL writes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rayetl.connectors.databases.predicates import Words
from rayetl.connectors.mysql.naming import identifier, literal
from rayetl.sql.types import STRING, DataType


class MysqlWords(Words):
    """See `Words`. Texts are equal here only where they are equal to the server too: its collations tell
    fewer of them apart."""

    def compared(self, name: str, kind: DataType, word: str, value: Any) -> str | None:
        if kind == STRING and word == "=":
            return f"{self._beside(name, [value])} = {self.text(value)}" if "\0" not in value else None
        return super().compared(name, kind, word, value)

    def among(self, name: str, kind: DataType, values: Sequence[Any]) -> str | None:
        if kind != STRING:
            return super().among(name, kind, values)
        if any("\0" in value for value in values):
            return None
        return f"{self._beside(name, values)} IN ({', '.join(map(self.text, values))})"

    def _beside(self, name: str, texts: Sequence[str]) -> str:
        """A column as it stands beside texts: the server refuses to compare one of another character set with
        a text that this has no letters for. ASCII needs no conversion, which no index could follow."""
        column = self.identifier(name)
        return column if all(map(str.isascii, texts)) else f"CONVERT({column} USING utf8mb4)"

    def identifier(self, name: str) -> str:
        return identifier(name)

    def text(self, value: str) -> str:
        return literal(value)

    def instant(self, value: datetime) -> str:
        # The session's time zone is UTC.
        return f"TIMESTAMP '{value.astimezone(UTC).replace(tzinfo=None).isoformat(' ')}'"
