"""Conditions of a query in a server's SQL. Texts are compared for equality only, since their order depends
on the server."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from rayetl.connectors.conditions import Conditions
from rayetl.sql.types import DATE, STRING, TIMESTAMP, TIMESTAMP_NTZ, DataType, DecimalType

if TYPE_CHECKING:
    import polars as pl


class Column(Protocol):
    """A column that conditions may name. `comparable`: its values on the server compare as they do here."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> DataType: ...

    @property
    def comparable(self) -> bool: ...


class Words(Conditions[str]):
    """How a server writes what is in a condition."""

    @abstractmethod
    def identifier(self, name: str) -> str:
        """A name."""

    @abstractmethod
    def text(self, value: str) -> str:
        """A text without NUL characters."""

    @abstractmethod
    def instant(self, value: datetime) -> str:
        """A moment with its time zone."""

    def where(self, predicate: pl.Expr, columns: Mapping[str, Column]) -> str | None:
        """A condition that holds for every row for which `predicate` does; `None` if there is none."""
        comparable = {name: column.type for name, column in columns.items() if column.comparable}
        return self.condition(predicate, comparable)

    def both(self, left: str, right: str) -> str:
        return f"({left} AND {right})"

    def either(self, left: str, right: str) -> str:
        return f"({left} OR {right})"

    def is_null(self, name: str) -> str:
        return f"{self.identifier(name)} IS NULL"

    def is_not_null(self, name: str) -> str:
        return f"{self.identifier(name)} IS NOT NULL"

    def compared(self, name: str, kind: DataType, word: str, value: Any) -> str | None:
        said = self._said(value, kind)
        if said is None or (kind == STRING and word != "="):
            return None
        return f"{self.identifier(name)} {word} {said}"

    def among(self, name: str, kind: DataType, values: Sequence[Any]) -> str | None:
        said = [self._said(value, kind) for value in values]
        if None in said:
            return None
        return f"{self.identifier(name)} IN ({', '.join(filter(None, said))})"

    def _said(self, value: Any, kind: DataType) -> str | None:
        if isinstance(kind, DecimalType):
            return f"{value:f}"
        if kind == STRING:
            return None if "\0" in value else self.text(value)
        if kind == DATE:
            return f"DATE '{value.isoformat()}'"
        if kind == TIMESTAMP:
            return self.instant(value)
        return f"TIMESTAMP '{value.isoformat(' ')}'" if kind == TIMESTAMP_NTZ else str(value)
