"""Values as Spark SQL literals."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from sqlglot import exp

from rayetl.sql.parse import parse_expression
from rayetl.sql.types import BOOLEAN, FRACTIONAL, INTEGRAL, STRING, DataType, DecimalType

Value = bool | int | float | str | None


def literal(value: object) -> exp.Expression:
    """A literal that is read back as `value`.

    Raises `TypeError` for a value that has no literal.
    """
    if value is None:
        return exp.null()
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, str):
        return exp.Literal.string(value)
    if isinstance(value, (int, float, Decimal)):
        return parse_expression(_number(value))
    if isinstance(value, datetime):
        kind = "TIMESTAMP_NTZ" if value.tzinfo is None else "TIMESTAMP"
        return parse_expression(f"{kind} '{value.isoformat(sep=' ')}'")
    if isinstance(value, date):
        return parse_expression(f"DATE '{value.isoformat()}'")
    raise TypeError(f"a {type(value).__name__} has no literal")


def _number(value: int | float | Decimal) -> str:
    if isinstance(value, float):
        return f"{value!r}D"
    if isinstance(value, Decimal):
        return f"{value:f}BD"
    return f"{value}L" if abs(value) > 2**31 - 1 else str(value)


def fits(value: Value, kind: DataType) -> bool:
    """Whether a column of type `kind` can be filled with `value`, by Spark's families of types."""
    if isinstance(value, bool):
        return kind == BOOLEAN
    if isinstance(value, (int, float)):
        return kind in INTEGRAL or kind in FRACTIONAL or isinstance(kind, DecimalType)
    return kind == STRING
