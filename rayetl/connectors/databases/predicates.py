"""Conditions of a query in the server's words, where both surely mean the same.

What is handed over may let more rows through than the condition, never fewer: the engine applies the whole
condition again. So a part that has no equal on the server is left out of an AND, and an OR with such a
part is left out whole. Texts are compared for equality only, since their order depends on the server.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from rayetl.lazy import lazily
from rayetl.sql.types import (
    BYTE,
    DATE,
    INT,
    LONG,
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    DataType,
    DecimalType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Column(Protocol):
    """A column that conditions may name. `comparable`: its values on the server compare as they do here."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> DataType: ...

    @property
    def comparable(self) -> bool: ...


class Words(ABC):
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

    def condition(self, predicate: pl.Expr, columns: Mapping[str, Column]) -> str | None:
        """A condition that holds for every row for which `predicate` does; `None` if there is none."""
        return _Condition(self, columns).of(predicate)


class _Condition:
    def __init__(self, words: Words, columns: Mapping[str, Column]) -> None:
        self._words = words
        self._columns = columns

    def of(self, predicate: pl.Expr) -> str | None:
        parts = predicate.meta.pop()
        if len(parts) == 2:
            right, left = parts
            if predicate.meta.eq(left & right):
                return _all(self.of(left), self.of(right))
            if predicate.meta.eq(left | right):
                return _any(self.of(left), self.of(right))
            return self._compared(predicate, left, right)
        return self._null_check(predicate, parts[0]) if len(parts) == 1 else None

    def _null_check(self, predicate: pl.Expr, operand: pl.Expr) -> str | None:
        if not operand.meta.is_column() or operand.meta.output_name() not in self._columns:
            return None
        name = self._words.identifier(operand.meta.output_name())
        if predicate.meta.eq(operand.is_null()):
            return f"{name} IS NULL"
        return f"{name} IS NOT NULL" if predicate.meta.eq(operand.is_not_null()) else None

    def _compared(self, predicate: pl.Expr, left: pl.Expr, right: pl.Expr) -> str | None:
        if left.meta.is_literal() and not right.meta.is_literal():
            found = _operator(predicate, left, right)
            return found and self._comparison(_TURNED.get(found, found), right, left)
        if not right.meta.is_literal():
            return None
        if found := _operator(predicate, left, right):
            return self._comparison(found, left, right)
        return self._membership(predicate, left, right)

    def _comparison(self, word: str, operand: pl.Expr, value: pl.Expr) -> str | None:
        column = self._column(operand)
        if column is None or (column.type == STRING and word != "="):
            return None
        said = self._said(_value(value), column)
        return None if said is None else f"{self._words.identifier(column.name)} {word} {said}"

    def _membership(self, predicate: pl.Expr, operand: pl.Expr, value: pl.Expr) -> str | None:
        column = self._column(operand)
        if column is None or not predicate.meta.eq(operand.is_in(value)):
            return None
        found = _value(value)
        values = found.to_list() if isinstance(found, pl.Series) else found
        said = [self._said(each, column) for each in values] if isinstance(values, list) else []
        if not said or None in said:
            return None
        return f"{self._words.identifier(column.name)} IN ({', '.join(filter(None, said))})"

    def _column(self, operand: pl.Expr) -> Column | None:
        """The column behind an operand; that of a number with a point is compared by its digits."""
        names = operand.meta.root_names()
        column = self._columns.get(names[0]) if len(names) == 1 else None
        if column is None or not column.comparable:
            return None
        plain = pl.col(names[0])
        shown = plain.to_physical() if isinstance(column.type, DecimalType) else plain
        return column if operand.meta.eq(shown) else None

    def _said(self, value: Any, column: Column) -> str | None:
        """A value in the server's words, of the very type of the column."""
        kind, spelled = column.type, type(value)
        if isinstance(kind, DecimalType):
            return f"{Decimal(value).scaleb(-kind.scale):f}" if spelled is int else None
        if kind in (BYTE, SHORT, INT, LONG):
            return str(value) if spelled is int else None
        if kind == STRING:
            return self._words.text(value) if spelled is str and "\0" not in value else None
        if kind == DATE:
            return f"DATE '{value.isoformat()}'" if spelled is date else None
        if isinstance(value, datetime) and kind == TIMESTAMP:
            return self._words.instant(value) if value.tzinfo is not None else None
        if isinstance(value, datetime) and kind == TIMESTAMP_NTZ:
            return f"TIMESTAMP '{value.isoformat(' ')}'" if value.tzinfo is None else None
        return None


def _all(left: str | None, right: str | None) -> str | None:
    if left is None or right is None:
        return left or right
    return f"({left} AND {right})"


def _any(left: str | None, right: str | None) -> str | None:
    return None if left is None or right is None else f"({left} OR {right})"


def _operator(predicate: pl.Expr, left: pl.Expr, right: pl.Expr) -> str | None:
    return next(
        (word for word, compare in _COMPARISONS.items() if predicate.meta.eq(compare(left, right))), None
    )


def _value(value: pl.Expr) -> Any:
    return pl.select(value.alias("value")).to_series(0).item()
