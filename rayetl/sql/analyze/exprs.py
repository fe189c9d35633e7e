"""Small tools over typed expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from rayetl.sql.expr import AggregateCall, Call, Column, Expr, Subquery, WindowCall
from rayetl.sql.types import BOOLEAN


def canonical(expr: Expr) -> Expr:
    """The expression without how it was written: equal for equal meaning, whatever the letter case."""

    def strip(node: Expr) -> Expr | None:
        if isinstance(node, Column):
            return replace(node, name="", nullable=True)
        if isinstance(node, (Call, AggregateCall)):
            inner = node.map_children(lambda child: child.transform(strip))
            return replace(inner, shown="", nullable=True)
        return None

    return expr.transform(strip)


def conjuncts(expr: Expr) -> list[Expr]:
    """The parts of a condition that AND joins."""
    if isinstance(expr, Call) and expr.function == "and":
        return [part for arg in expr.args for part in conjuncts(arg)]
    return [expr]


def conjunction(parts: Iterable[Expr]) -> Expr | None:
    """The parts joined by AND; None for no part."""
    result: Expr | None = None
    for part in parts:
        result = part if result is None else both(result, part)
    return result


def both(left: Expr, right: Expr) -> Expr:
    """`left AND right`."""
    return Call(BOOLEAN, left.nullable or right.nullable, "and", (left, right), "and")


def columns_of(expr: Expr) -> set[str]:
    """Ids of all columns that the expression reads, also in the arguments of subqueries."""
    return {node.id for node in expr.walk() if isinstance(node, Column)}


def contains(expr: Expr, kind: type[Expr]) -> bool:
    """Whether a node of that kind occurs anywhere in the expression."""
    return any(isinstance(node, kind) for node in expr.walk())


def has_subquery(expr: Expr) -> bool:
    return contains(expr, Subquery)


def map_window(call: WindowCall, function: Callable[[Expr], Expr]) -> WindowCall:
    """A window call with `function` applied to its arguments, keys and filter, not to the call itself."""
    inner = call.function.map_children(function)
    rest = replace(call, function=_KEEP)
    mapped = rest.map_children(lambda child: child if child is _KEEP else function(child))
    return replace(mapped, function=inner)


_KEEP = AggregateCall(BOOLEAN, True, "", (), "")
