"""Conditions of a query in the server's words, where both surely mean the same.

What is handed over may let more rows through than the condition, never fewer: the engine applies the whole
condition again. So a part that has no equal on the server is left out of an AND, and an OR with such a
part is left out whole. Texts are compared for equality only, since their order depends on the server.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rayetl.connectors.postgres.naming import identifier, literal
from rayetl.connectors.postgres.types import ServerColumn
from rayetl.lazy import lazily
from rayetl.sql.types import DATE, INT, LONG, SHORT, STRING, TIMESTAMP, TIMESTAMP_NTZ, DecimalType

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


def condition(predicate: pl.Expr, columns: Mapping[str, ServerColumn]) -> str | None:
    """A condition that holds for every row for which `predicate` does; `None` if there is none."""
    parts = predicate.meta.pop()
    if len(parts) == 2:
        right, left = parts
        if predicate.meta.eq(left & right):
            return _all(condition(left, columns), condition(right, columns))
        if predicate.meta.eq(left | right):
            return _any(condition(left, columns), condition(right, columns))
        return _compared(predicate, left, right, columns)
    if len(parts) == 1:
        return _null_check(predicate, parts[0], columns)
    return None


def _all(left: str | None, right: str | None) -> str | None:
    if left is None or right is None:
        return left or right
    return f"({left} AND {right})"


def _any(left: str | None, right: str | None) -> str | None:
    return None if left is None or right is None else f"({left} OR {right})"


def _null_check(predicate: pl.Expr, operand: pl.Expr, columns: Mapping[str, ServerColumn]) -> str | None:
    if not operand.meta.is_column() or operand.meta.output_name() not in columns:
        return None
    name = identifier(operand.meta.output_name())
    if predicate.meta.eq(operand.is_null()):
        return f"{name} IS NULL"
    return f"{name} IS NOT NULL" if predicate.meta.eq(operand.is_not_null()) else None


def _compared(
    predicate: pl.Expr, left: pl.Expr, right: pl.Expr, columns: Mapping[str, ServerColumn]
) -> str | None:
    if left.meta.is_literal() and not right.meta.is_literal():
        found = _operator(predicate, left, right)
        return found and _comparison(_TURNED.get(found, found), right, left, columns)
    if not right.meta.is_literal():
        return None
    if found := _operator(predicate, left, right):
        return _comparison(found, left, right, columns)
    return _membership(predicate, left, right, columns)


def _operator(predicate: pl.Expr, left: pl.Expr, right: pl.Expr) -> str | None:
    return next(
        (word for word, compare in _COMPARISONS.items() if predicate.meta.eq(compare(left, right))), None
    )


def _comparison(
    word: str, operand: pl.Expr, value: pl.Expr, columns: Mapping[str, ServerColumn]
) -> str | None:
    column = _column(operand, columns)
    if column is None or (column.type == STRING and word != "="):
        return None
    said = _said(_value(value), column)
    return None if said is None else f"{identifier(column.name)} {word} {said}"


def _membership(
    predicate: pl.Expr, operand: pl.Expr, value: pl.Expr, columns: Mapping[str, ServerColumn]
) -> str | None:
    column = _column(operand, columns)
    if column is None or not predicate.meta.eq(operand.is_in(value)):
        return None
    found = _value(value)
    values = found.to_list() if isinstance(found, pl.Series) else found
    said = [_said(each, column) for each in values] if isinstance(values, list) else []
    if not said or None in said:
        return None
    return f"{identifier(column.name)} IN ({', '.join(filter(None, said))})"


def _column(operand: pl.Expr, columns: Mapping[str, ServerColumn]) -> ServerColumn | None:
    """The column behind an operand; that of a number with a point is compared by its digits."""
    names = operand.meta.root_names()
    column = columns.get(names[0]) if len(names) == 1 else None
    if column is None or not column.comparable:
        return None
    plain = pl.col(names[0])
    shown = plain.to_physical() if isinstance(column.type, DecimalType) else plain
    return column if operand.meta.eq(shown) else None


def _value(value: pl.Expr) -> Any:
    return pl.select(value.alias("value")).to_series(0).item()


def _said(value: Any, column: ServerColumn) -> str | None:
    """A value in the server's words, of the very type of the column."""
    kind, spelled = column.type, type(value)
    if isinstance(kind, DecimalType):
        return str(Decimal(value).scaleb(-kind.scale)) if spelled is int else None
    if kind in (SHORT, INT, LONG):
        return str(value) if spelled is int else None
    if kind == STRING:
        return literal(value) if spelled is str and "\0" not in value else None
    if kind == DATE:
        return f"DATE '{value.isoformat()}'" if spelled is date else None
    if kind in (TIMESTAMP, TIMESTAMP_NTZ) and isinstance(value, datetime):
        zoned = value.tzinfo is not None
        word = "TIMESTAMPTZ" if zoned else "TIMESTAMP"
        return f"{word} '{value.isoformat(' ')}'" if zoned == (kind == TIMESTAMP) else None
    return None
