"""Names of tables and columns, and texts, as they stand in a statement."""

from __future__ import annotations

from typing import ClassVar

from rayetl.connectors.databases.naming import QualifiedName, Spelling
from rayetl.records import dataclass

SPELLING = Spelling("MySQL", "`", longest=64, counted="characters", folds=False, plain=True)
"""The rules: MySQL reference manual, \"Schema Object Names\"."""


@dataclass(frozen=True, slots=True)
class TableName(QualifiedName):
    """A table of MySQL or MariaDB; its schema is a database, by default that of the connection."""

    spelling: ClassVar[Spelling] = SPELLING


def identifier(name: str) -> str:
    """A name in backticks."""
    return SPELLING.identifier(name)


def literal(text: str) -> str:
    """A text as a constant that means the same in every `sql_mode`: a backslash does not."""
    if "\\" in text or "\0" in text:
        return f"CONVERT(X'{text.encode().hex()}' USING utf8mb4)"
    return "'" + text.replace("'", "''") + "'"
