"""Conditions of a query as Iceberg compares them with the figures of files, where both surely mean the same.

What is handed over may let more files through than the condition, never fewer: the engine applies the whole
condition to the rows. So a part that has no equal is left out of an AND, and an OR with such a part is left
out whole.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rayetl.lazy import lazily
from rayetl.sql.types import DATE, INT, LONG, STRING, TIMESTAMP, TIMESTAMP_NTZ, DataType, DecimalType, Schema

if TYPE_CHECKING:
    import polars as pl
    from pyiceberg.expressions import BooleanExpression
else:
    pl = lazily("polars")

expressions: Any = lazily("pyiceberg.expressions")

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "EqualTo": operator.eq,
    "LessThan": operator.lt,
    "LessThanOrEqual": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanOrEqual": operator.ge,
}


def condition(predicate: pl.Expr, columns: Schema) -> BooleanExpression | None:
    """A condition that holds for every row for which `predicate` does; `None` if there is none."""
    parts = predicate.meta.pop()
    if len(parts) == 1:
        return _null_check(predicate, parts[0], columns)
    if len(parts) != 2:
        return None
    right, left = parts
    if _is(predicate, left & right):
        both = [each for each in (condition(left, columns), condition(right, columns)) if each is not None]
        return _made("And", *both) if len(both) == 2 else next(iter(both), None)
    if _is(predicate, left | right):
        either, other = condition(left, columns), condition(right, columns)
        return None if either is None or other is None else _made("Or", either, other)
    return _compared(predicate, left, right, columns)


def _made(kind: str, *given: Any) -> BooleanExpression:
    made: BooleanExpression = getattr(expressions, kind)(*given)
    return made


def _is(predicate: pl.Expr, other: pl.Expr) -> bool:
    """Whether two expressions with the same operands have the same operator: the optimizer's own AND and OR
    of conditions are written alike, but are not equal to those that can be made here."""
    return predicate.meta.eq(other) or str(predicate) == str(other)


def _null_check(predicate: pl.Expr, operand: pl.Expr, columns: Schema) -> BooleanExpression | None:
    if not operand.meta.is_column() or columns.get(operand.meta.output_name()) is None:
        return None
    name = operand.meta.output_name()
    if predicate.meta.eq(operand.is_null()):
        return _made("IsNull", name)
    return _made("NotNull", name) if predicate.meta.eq(operand.is_not_null()) else None


def _compared(predicate: pl.Expr, left: pl.Expr, right: pl.Expr, columns: Schema) -> BooleanExpression | None:
    operand = right if left.meta.is_literal() else left
    value = left if left.meta.is_literal() else right
    names = operand.meta.root_names()
    field = columns.get(names[0]) if len(names) == 1 and value.meta.is_literal() else None
    if field is None or not operand.meta.eq(_shown(field.name, field.type)):
        return None
    found = pl.select(value.alias("value")).to_series(0).item()
    for name, compare in _COMPARISONS.items():
        for one, another in ((operand, value), (value, operand)):
            if predicate.meta.eq(compare(one, another)):
                said = _said(found, field.type)
                turned = name if one is operand else _TURNED.get(name, name)
                return None if said is None else _made(turned, field.name, said)
    if isinstance(found, pl.Series | list) and predicate.meta.eq(operand.is_in(value)):
        listed = [_said(each, field.type) for each in found]
        return _made("In", field.name, listed) if listed and None not in listed else None
    return None


_TURNED = {
    "LessThan": "GreaterThan",
    "LessThanOrEqual": "GreaterThanOrEqual",
    "GreaterThan": "LessThan",
    "GreaterThanOrEqual": "LessThanOrEqual",
}


def _shown(name: str, kind: DataType) -> pl.Expr:
    """A column as conditions compare it: a number with a point by its digits."""
    return pl.col(name).to_physical() if isinstance(kind, DecimalType) else pl.col(name)


def _said(value: Any, kind: DataType) -> Any:
    """A value of the very type of a column; `None` for any other."""
    if isinstance(kind, DecimalType):
        return Decimal(value).scaleb(-kind.scale) if type(value) is int else None
    spelled: dict[DataType, type] = {INT: int, LONG: int, STRING: str, DATE: date}
    if kind in spelled:
        return value if type(value) is spelled[kind] else None
    if kind in (TIMESTAMP, TIMESTAMP_NTZ) and isinstance(value, datetime):
        return value if (value.tzinfo is not None) == (kind == TIMESTAMP) else None
    return None
