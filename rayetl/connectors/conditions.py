"""Conditions of a query as a store understands them, where both surely mean the same.

What is handed over may let more rows through than the condition, never fewer: the engine applies the whole
condition again. So a part that has no equal in the store is left out of an AND, and an OR with such a part is
left out whole.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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

T = TypeVar("T")

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EXACT = Context(prec=40)
"""Python's own context would round a decimal to 28 digits; 128 bits hold up to 39."""

_SPELLED: dict[DataType, type] = {BYTE: int, SHORT: int, INT: int, LONG: int, STRING: str, DATE: date}


class Conditions(ABC, Generic[T]):
    """How a store says what is in a condition. Columns are named with their types; values are of the very
    type of the column: an `int`, a text, a `Decimal`, a `date`, a `datetime`."""

    @abstractmethod
    def both(self, left: T, right: T) -> T:
        """An AND."""

    @abstractmethod
    def either(self, left: T, right: T) -> T:
        """An OR."""

    @abstractmethod
    def is_null(self, name: str) -> T:
        """Whether a column is NULL."""

    @abstractmethod
    def is_not_null(self, name: str) -> T:
        """Whether it is not."""

    @abstractmethod
    def compared(self, name: str, kind: DataType, word: str, value: Any) -> T | None:
        """A comparison: `=`, `<>`, `<`, `<=`, `>`, `>=`; `None` where the store's order may be another."""

    @abstractmethod
    def among(self, name: str, kind: DataType, values: Sequence[Any]) -> T | None:
        """Whether a column has one of some values."""

    def condition(self, predicate: pl.Expr, columns: Mapping[str, DataType]) -> T | None:
        """A condition that holds for every row for which `predicate` does; `None` if there is none. `columns`
        are those whose values compare in the store as they do here; any column may be NULL."""
        return _Condition(self, columns).of(predicate)


class _Condition(Generic[T]):
    def __init__(self, store: Conditions[T], columns: Mapping[str, DataType]) -> None:
        self._store = store
        self._columns = columns

    def of(self, predicate: pl.Expr) -> T | None:
        parts = predicate.meta.pop()
        if len(parts) == 2:
            right, left = parts
            if _is(predicate, left & right):
                return self._both(self.of(left), self.of(right))
            if _is(predicate, left | right):
                one, other = self.of(left), self.of(right)
                return None if one is None or other is None else self._store.either(one, other)
            return self._compared(predicate, left, right)
        return self._null_check(predicate, parts[0]) if len(parts) == 1 else None

    def _both(self, left: T | None, right: T | None) -> T | None:
        if left is None or right is None:
            return right if left is None else left
        return self._store.both(left, right)

    def _null_check(self, predicate: pl.Expr, operand: pl.Expr) -> T | None:
        if not operand.meta.is_column():
            return None
        name = operand.meta.output_name()
        if predicate.meta.eq(operand.is_null()):
            return self._store.is_null(name)
        return self._store.is_not_null(name) if predicate.meta.eq(operand.is_not_null()) else None

    def _compared(self, predicate: pl.Expr, left: pl.Expr, right: pl.Expr) -> T | None:
        if left.meta.is_literal() and not right.meta.is_literal():
            found = _operator(predicate, left, right)
            return None if found is None else self._comparison(_TURNED.get(found, found), right, left)
        if not right.meta.is_literal():
            return None
        if found := _operator(predicate, left, right):
            return self._comparison(found, left, right)
        return self._membership(predicate, left, right)

    def _comparison(self, word: str, operand: pl.Expr, value: pl.Expr) -> T | None:
        name = self._column(operand)
        said = None if name is None else _said(_value(value), self._columns[name])
        return None if name is None or said is None else self._put(name, word, said)

    def _put(self, name: str, word: str, value: Any) -> T | None:
        return self._store.compared(name, self._columns[name], word, value)

    def _membership(self, predicate: pl.Expr, operand: pl.Expr, value: pl.Expr) -> T | None:
        name = self._column(operand)
        if name is None or not predicate.meta.eq(operand.is_in(value)):
            return None
        found = _value(value)
        values = found.to_list() if isinstance(found, pl.Series) else found
        said = [_said(each, self._columns[name]) for each in values] if isinstance(values, list) else []
        if not said or None in said:
            return None
        return self._store.among(name, self._columns[name], said)

    def _column(self, operand: pl.Expr) -> str | None:
        """The column behind an operand; that of a number with a point is compared by its digits."""
        names = operand.meta.root_names()
        kind = self._columns.get(names[0]) if len(names) == 1 else None
        if kind is None:
            return None
        plain = pl.col(names[0])
        shown = plain.to_physical() if isinstance(kind, DecimalType) else plain
        return names[0] if operand.meta.eq(shown) else None


def _is(predicate: pl.Expr, other: pl.Expr) -> bool:
    """Whether two expressions with the same operands have the same operator: the optimizer's own AND and OR
    of conditions are written alike, but are not equal to those that can be made here."""
    return predicate.meta.eq(other) or str(predicate) == str(other)


def _operator(predicate: pl.Expr, left: pl.Expr, right: pl.Expr) -> str | None:
    return next(
        (word for word, compare in _COMPARISONS.items() if predicate.meta.eq(compare(left, right))), None
    )


def _value(value: pl.Expr) -> Any:
    return pl.select(value.alias("value")).to_series(0).item()


def _said(value: Any, kind: DataType) -> Any:
    """A value of the very type of a column; `None` for any other."""
    if isinstance(kind, DecimalType):
        return Decimal(value).scaleb(-kind.scale, _EXACT) if type(value) is int else None
    if kind in (TIMESTAMP, TIMESTAMP_NTZ) and isinstance(value, datetime):
        return value if (value.tzinfo is not None) == (kind == TIMESTAMP) else None
    return value if type(value) is _SPELLED.get(kind) else None
