"""Small tools over typed expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from rayetl.sql.analyze.tied import Plan
from rayetl.sql.expr import AggregateCall, Call, Column, Expr, Subquery, WindowCall
from rayetl.sql.types import BOOLEAN

_CONNECTORS = frozenset({"and", "or"})
_COMMUTATIVE = frozenset({"=", "<=>", "+", "*", "&", "|", "^"}) | _CONNECTORS


def canonical(expr: Expr) -> Expr:
    """The expression without how it was written: equal for equal meaning, whatever the letter case, and
    whichever side of an operator comes first where that is all the same (Spark's `Canonicalize`). A chain of
    AND or OR is one set, however it is put in brackets."""

    def strip(node: Expr) -> Expr | None:
        if isinstance(node, Column):
            return replace(node, name="", nullable=True)
        if isinstance(node, Subquery) and isinstance(node.plan, Plan):
            left = tuple(arg.transform(strip) for arg in node.args)
            return replace(node, plan=node.plan.meaning(), args=left)
        if isinstance(node, (Call, AggregateCall)):
            inner = node.map_children(lambda child: child.transform(strip))
            if isinstance(inner, Call) and inner.function in _COMMUTATIVE:
                args = _chain(inner) if inner.function in _CONNECTORS else inner.args
                inner = replace(inner, args=tuple(sorted(args, key=repr)))
            return replace(inner, shown="", nullable=True)
        return None

    return expr.transform(strip)


def conjuncts(expr: Expr) -> list[Expr]:
    """The parts of a condition that AND joins. What all sides of an OR have in common is one of them, as in
    Spark's optimizer: often it is what ties two tables together."""
    if isinstance(expr, Call) and expr.function == "and":
        return [part for arg in expr.args for part in conjuncts(arg)]
    if isinstance(expr, Call) and expr.function == "or":
        return _factored(expr)
    return [expr]


def _factored(either: Call) -> list[Expr]:
    sides = [{canonical(part): part for part in conjuncts(side)} for side in _chain(either)]
    shared = set[Expr](sides[0]).intersection(*sides[1:])
    if not shared:
        return [either]
    common = [part for key, part in sides[0].items() if key in shared]
    own = [conjunction(part for key, part in side.items() if key not in shared) for side in sides]
    rests = [rest for rest in own if rest is not None]
    return common if len(rests) < len(own) else [*common, _joined("or", rests)]


def _chain(joined: Call) -> Iterator[Expr]:
    """The parts of a chain of one connector, in order."""
    waiting = [*reversed(joined.args)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Call) and part.function == joined.function:
            waiting.extend(reversed(part.args))
        else:
            yield part


def _joined(connector: str, parts: Sequence[Expr]) -> Expr:
    if len(parts) == 1:
        return parts[0]
    return Call(BOOLEAN, any(part.nullable for part in parts), connector, tuple(parts), connector)


def conjunction(parts: Iterable[Expr]) -> Expr | None:
    """The parts joined by AND; None for no part."""
    joined = tuple(parts)
    return _joined("and", joined) if joined else None


def both(left: Expr, right: Expr) -> Expr:
    """`left AND right`."""
    return _joined("and", (left, right))


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
