"""Names of tables and columns, and texts, as they stand in a statement."""

from __future__ import annotations

import re

from rayetl.records import dataclass

MAX_NAME = 63
"""Bytes of a name; the server cuts longer ones off without a word."""

_PART = re.compile(r'"((?:[^"]|"")+)"|([^\s".]+)')


@dataclass(frozen=True, slots=True)
class TableName:
    """A table, by its exact name and that of its schema; without one, the search path finds it."""

    schema: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """From `daily`, `sales.daily` or `"My Schema"."Daily"`: as in SQL, what is not quoted is folded to
        lower case. Raises `ValueError` with a sentence for the writer of a config."""
        parts, at = [], 0
        while match := _PART.match(text, at):
            quoted, plain = match.groups()
            parts.append(quoted.replace('""', '"') if quoted is not None else plain.lower())
            at = match.end()
            if at == len(text) or text[at] != ".":
                break
            at += 1
        if at != len(text) or not 1 <= len(parts) <= 2:
            raise ValueError(
                f"{text!r} is not the name of a table; it is `table` or `schema.table`, and parts with other "
                'characters than letters, digits and `_` stand in double quotes: sales."Daily Totals"'
            )
        if long := next((part for part in parts if too_long(part)), None):
            raise ValueError(f"the name {long!r} has more than {MAX_NAME} bytes, which PostgreSQL cuts off")
        return cls(parts[0] if len(parts) == 2 else None, parts[-1])

    @property
    def sql(self) -> str:
        """The name as it stands in a statement."""
        return ".".join(identifier(part) for part in (self.schema, self.name) if part is not None)

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


def too_long(name: str) -> bool:
    """Whether the server would cut the name off."""
    return len(name.encode("utf-8", "surrogatepass")) > MAX_NAME


def identifier(name: str) -> str:
    """A name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in single quotes. Raises `ValueError` for one with a NUL character, which no statement holds."""
    if "\0" in text:
        raise ValueError("a statement cannot hold a NUL character")
    return "'" + text.replace("'", "''") + "'"
