"""CAST, typed literals and intervals to typed expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from rayetl.errors import SqlError
from rayetl.sql import coerce, literals
from rayetl.sql.castable import check_cast
from rayetl.sql.ddl import parse_data_type
from rayetl.sql.expr import Cast, Expr, Literal
from rayetl.sql.faults import fault, take, unsupported
from rayetl.sql.types import DataType

if TYPE_CHECKING:
    from rayetl.sql.resolve import Resolver


def cast(resolver: Resolver, node: exp.Expression) -> Expr:
    this, to, _, _ = take(node, "this", "to", "safe", "_type")
    child, target = resolver.resolve(this), _data_type(to, node)
    if node.meta.get("literal") and isinstance(child, Literal) and isinstance(child.value, str):
        return _typed_literal(resolver, child.value, target, node)
    refusal = check_cast(child.type, target)
    if refusal is not None:
        message = f"{child.type} cannot be cast to {target}"
        raise (unsupported if refusal == "unsupported" else fault)(node, message)
    return Cast(target, coerce.cast_nullable(child, target), child)


def _typed_literal(resolver: Resolver, text: str, target: DataType, node: exp.Expression) -> Expr:
    found = literals.date_or_time(text, target, resolver.scope.time_zone)
    if found is None:
        raise fault(node, f"'{text}' is not a {target}", hint="write it as 2020-12-31 or 2020-12-31 23:59:59")
    return found


def interval(_: Resolver, node: exp.Expression) -> Expr:
    this, unit = take(node, "this", "unit")
    negated = isinstance(this, exp.Neg)
    inner = this.this if isinstance(this, exp.Neg) else this
    if not isinstance(inner, exp.Literal):
        hint = "write date_add(d, n), add_months(d, n) or timestampadd(HOUR, n, t)"
        raise unsupported(node, "an interval needs a constant amount", hint=hint)
    start, end = _units(unit)
    try:
        return literals.interval(("-" if negated else "") + inner.this, start, end)
    except ValueError as error:
        raise fault(node, str(error)) from None


def _units(unit: exp.Expression | None) -> tuple[str | None, str | None]:
    if unit is None:
        return None, None
    if isinstance(unit, exp.IntervalSpan):
        start, end = take(unit, "this", "expression")
        return start.name.lower(), end.name.lower()
    return unit.name.lower(), None


def _data_type(node: exp.Expression, where: exp.Expression) -> DataType:
    try:
        return parse_data_type(_ddl(node))
    except SqlError as error:
        raise fault(where, error.problems[0].message, hint=error.problems[0].hint, code="sql.type") from None


def _ddl(node: exp.Expression) -> str:
    from rayetl.sql.parse import render

    text = render(node)
    return " ".join(text.split())
