"""Arguments whose value the engine needs when the query is planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayetl.sql.expr import Call, Case, Cast, Expr, GetField, Literal
from rayetl.sql.functions.base import Accept, TypeFault
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    DOUBLE,
    FLOAT,
    INTEGRAL,
    STRING,
    TIMESTAMP,
    DataType,
    DecimalType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

_CLOCKS = ("current_date", "localtimestamp")
_FOLDED = (*INTEGRAL, FLOAT, DOUBLE, BOOLEAN, STRING, BINARY)


def constant(accept: Accept) -> Accept:
    """The argument must be computable without rows. It stays as it was written, because Spark names the
    column after it; `value_of` gives the value."""

    def inner(arg: Expr) -> Expr:
        found = accept(arg)
        if not isinstance(folded(found), Literal):
            raise TypeFault("a constant", refused=True)
        return found

    return inner


def value_of(expr: Expr) -> Any:
    """The value of an argument that `constant` let through."""
    found = folded(expr)
    assert isinstance(found, Literal)
    return found.value


def text_of(expr: Expr) -> str | None:
    """The value of a constant text."""
    value = value_of(expr)
    return None if value is None else str(value)


def is_null(expr: Expr) -> bool:
    """Whether the expression is a constant whose value is NULL."""
    found = folded(expr)
    return isinstance(found, Literal) and found.value is None


def folded(expr: Expr) -> Expr:
    """A constant expression as the literal that the engine makes of it; anything else unchanged."""
    if isinstance(expr, Literal) or not _is_foldable(expr):
        return expr
    from rayetl.sql.lower.expressions import Lowering

    try:
        value = pl.select(Lowering().expr(expr)).to_series().to_physical().item()
    except pl.exceptions.PolarsError:
        return expr
    return Literal(expr.type, value is None, value)


def _is_foldable(expr: Expr) -> bool:
    """No part reads a row, nor the clock of the session, and the value has a form as a literal."""
    return (
        _has_literal(expr.type)
        and all(
            isinstance(node, Literal | Cast | Call | Case | GetField) and node.type != TIMESTAMP
            for node in expr.walk()
        )
        and not any(isinstance(node, Call) and node.function in _CLOCKS for node in expr.walk())
    )


def _has_literal(kind: DataType) -> bool:
    return kind in _FOLDED or isinstance(kind, DecimalType)
