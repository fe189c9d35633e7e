"""Where aggregate, window and row-making functions may stand: as in Spark, else they are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from rayetl.errors import SqlError
from rayetl.records import dataclass
from rayetl.sql.expr import AggregateCall, Call, Expr, GeneratorCall, Lambda, WindowCall
from rayetl.sql.faults import fault, label, raise_all, unsupported
from rayetl.sql.functions.table import functions

_HINTS = {
    "aggregate": "compute it in an `aggregate` step or a subquery first, then use its column",
    "window": "compute it in a `window` step or a subquery first, then use its column",
    "generator": "use a `flatten` step or LATERAL VIEW first, then use its column",
}
_WORDS = {"aggregate": "aggregate", "window": "window", "generator": "row-making"}


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a query by its name in messages, and what may stand there."""

    name: str
    aggregates: bool = False
    windows: bool = False
    generator: bool = False

    def inside(self, name: str, *, aggregates: bool = False, windows: bool = False) -> Place:
        return Place(name, aggregates and self.aggregates, windows and self.windows)


@dataclass(frozen=True, slots=True)
class _Misplaced:
    kind: str
    function: str
    place: str
    nested: bool


SELECT_LIST = Place("the select list", aggregates=True, windows=True, generator=True)
WHERE = Place("WHERE")
HAVING = Place("HAVING", aggregates=True)
ON = Place("a join condition")
GROUP_BY = Place("GROUP BY")
ORDER_BY = Place("ORDER BY", aggregates=True)
SORTED_BY_NAME = Place("ORDER BY", aggregates=True, windows=True)
"""An ORDER BY item without a window of its own: it may name one of the select list."""
VALUES = Place("VALUES")
LATERAL_VIEW = Place("LATERAL VIEW", generator=True)
PIVOT = Place("PIVOT", aggregates=True)
NOTHING = Place("this place")


def allowed(expr: Expr, node: exp.Expression, place: Place) -> Expr:
    """The expression, if everything in it may stand there. Raises `SqlError` with all that may not."""
    found = dict.fromkeys(_misplaced(expr, place, top=True))
    raise_all(_refusal(each, node) for each in found)
    return expr


def has_window(node: exp.Expression) -> bool:
    """Whether an OVER is written here, those of subqueries left out."""
    return any(isinstance(part, exp.Window) for part in _outside_subqueries(node))


def _misplaced(expr: Expr, place: Place, *, top: bool = False) -> Iterator[_Misplaced]:
    if isinstance(expr, WindowCall):
        yield from _of_window(expr, place)
    elif isinstance(expr, AggregateCall):
        if not place.aggregates:
            yield _Misplaced("aggregate", expr.shown, place.name, place.name.startswith("another"))
        yield from _below(expr, place.inside("another aggregate function"))
    elif isinstance(expr, GeneratorCall):
        if not (place.generator and top):
            where = "another expression" if place.generator else place.name
            yield _Misplaced("generator", expr.shown, where, nested=place.generator)
        inside = "a row-making function" if place.generator else place.name
        yield from _below(expr, place.inside(inside, aggregates=True, windows=True))
    elif isinstance(expr, Lambda):
        yield from _below(expr, Place("a lambda"))
    elif isinstance(expr, Call) and functions()[expr.function].kind == "window":
        yield _Misplaced("over", expr.shown, place.name, nested=False)
        yield from _below(expr, place)
    else:
        yield from _below(expr, place)


def _of_window(expr: WindowCall, place: Place) -> Iterator[_Misplaced]:
    if not place.windows:
        yield _Misplaced("window", expr.function.shown, place.name, place.name.startswith("another"))
    if isinstance(expr.function, AggregateCall) and expr.function.filter is not None:
        yield _Misplaced("filter", expr.function.shown, place.name, nested=False)
    inner = place.inside("a window function" if place.windows else place.name, aggregates=True, windows=True)
    parts = (*expr.function.children(), *expr.partition, *(key.expr for key in expr.order))
    for part in parts:
        yield from _misplaced(part, inner)


def _below(expr: Expr, place: Place) -> Iterator[_Misplaced]:
    for child in expr.children():
        yield from _misplaced(child, place)


def _refusal(found: _Misplaced, node: exp.Expression) -> SqlError:
    where, name = _written(found, node), found.function
    if found.kind == "over":
        return fault(where, f"{name} needs OVER (...)", hint=f"write {name}(...) OVER (ORDER BY ...)")
    if found.kind == "filter":
        return fault(where, "FILTER is not allowed with OVER", hint="put a CASE inside the function")
    message = f"the {_WORDS[found.kind]} function {name} is not allowed in {found.place}"
    hint = _HINTS[found.kind]
    if found.place == "WHERE" and found.kind == "aggregate":
        hint = f"use HAVING, or {hint}"
    refuse: Callable[..., SqlError] = unsupported if found.kind == "generator" and found.nested else fault
    return refuse(where, message.replace("in another", "inside another"), hint=hint)


def _written(found: _Misplaced, node: exp.Expression) -> exp.Expression:
    """Where the misplaced call is written; the last one of its name where one stands inside another."""
    calls = [
        part
        for part in _outside_subqueries(node)
        if _name(part) == found.function.lower() and _fits(part, found)
    ]
    return (calls[-1] if found.nested else calls[0]) if calls else node


def _fits(part: exp.Expression, found: _Misplaced) -> bool:
    parent = part.parent
    while isinstance(parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        parent = parent.parent
    over = isinstance(parent, exp.Window) and part.arg_key == "this"
    return over == (found.kind in ("window", "filter"))


def _name(node: exp.Expression) -> str:
    return label(node).lower() if isinstance(node, exp.Func) else ""


def _outside_subqueries(node: exp.Expression) -> list[exp.Expression]:
    found = node.walk(bfs=False, prune=lambda part: isinstance(part, exp.Query))
    return [part for part in found if isinstance(part, exp.Expression) and not isinstance(part, exp.Query)]
