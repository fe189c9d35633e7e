"""Names of tables and columns, and texts, as they stand in a statement."""

from __future__ import annotations

from typing import ClassVar

from rayetl.connectors.databases.naming import QualifiedName, Spelling
from rayetl.records import dataclass

SPELLING = Spelling("PostgreSQL", '"', longest=63, counted="bytes", folds=True)
"""The server cuts longer names off without a word."""


@dataclass(frozen=True, slots=True)
class TableName(QualifiedName):
    """A table of PostgreSQL; without a schema, the search path finds it."""

    spelling: ClassVar[Spelling] = SPELLING


def identifier(name: str) -> str:
    """A name in double quotes."""
    return SPELLING.identifier(name)


def literal(text: str) -> str:
    """A text in single quotes. Raises `ValueError` for one with a NUL character, which no statement holds."""
    if "\0" in text:
        raise ValueError("a statement cannot hold a NUL character")
    return "'" + text.replace("'", "''") + "'"
