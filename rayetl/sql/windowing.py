"""What stands behind an aggregate or window function: FILTER, WITHIN GROUP, IGNORE NULLS, OVER."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlglot import exp

from rayetl.sql import coerce
from rayetl.sql.expr import AggregateCall, Call, Expr, Frame, Literal, SortKey, WindowCall
from rayetl.sql.faults import collect, fault, label, take, unsupported
from rayetl.sql.functions.constants import folded
from rayetl.sql.functions.table import function_called, functions
from rayetl.sql.types import BOOLEAN, DATE, DOUBLE, INT, TIMESTAMP, TIMESTAMP_NTZ

if TYPE_CHECKING:
    from rayetl.sql.resolve import Resolver

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


def filter_(resolver: Resolver, node: exp.Expression) -> Expr:
    this, where = take(node, "this", "expression")
    call, condition = resolver.all((this, take(where, "this")[0]))
    if not isinstance(call, AggregateCall):
        raise fault(node, "FILTER goes with aggregate functions only")
    if condition.type != BOOLEAN:
        raise fault(node, f"FILTER needs a boolean, not {condition.type}")
    return AggregateCall(
        call.type, call.nullable, call.function, call.args, call.shown, call.distinct, condition,
        call.order, call.ignore_nulls,
    )  # fmt: skip


def within_group(resolver: Resolver, node: exp.Expression) -> Expr:
    this, order = take(node, "this", "expression")
    name, nodes = take(this, "this", "expressions")
    keys = sort_keys(resolver, take(order, "expressions")[0])
    if str(name).lower() not in ("percentile_cont", "percentile_disc") or len(keys) != 1:
        raise unsupported(node, f"WITHIN GROUP is not supported for {name}")
    found = resolver.apply(
        function_called(str(name), node), str(name), (keys[0].expr, *resolver.all(nodes)), node
    )
    assert isinstance(found, AggregateCall)
    return AggregateCall(
        found.type, found.nullable, found.function, found.args, found.shown, order=tuple(keys)
    )


def ignore_nulls(resolver: Resolver, node: exp.Expression) -> Expr:
    (this,) = take(node, "this")
    call = resolver.resolve(this)
    keep = isinstance(node, exp.IgnoreNulls)
    if isinstance(call, AggregateCall):
        return AggregateCall(
            call.type, call.nullable, call.function, call.args, call.shown, call.distinct, call.filter,
            call.order, keep,
        )  # fmt: skip
    if isinstance(call, Call) and functions()[call.function].kind == "window":
        return Call(call.type, call.nullable, call.function, call.args, call.shown, keep)
    raise fault(node, "IGNORE NULLS goes with aggregate and window functions only")


def sort_keys(resolver: Resolver, nodes: Sequence[exp.Expression]) -> list[SortKey]:
    """ORDER BY items, Spark's default for NULLs filled in."""
    return collect(lambda node: _sort_key(resolver, node), nodes)


def _sort_key(resolver: Resolver, node: exp.Expression) -> SortKey:
    if not isinstance(node, exp.Ordered):
        return SortKey(resolver.resolve(node))
    this, descending, nulls_first = take(node, "this", "desc", "nulls_first")
    expr = resolver.resolve(this)
    if not coerce.is_orderable(expr.type):
        raise fault(node, f"a {expr.type} has no order")
    return SortKey(expr, bool(descending), bool(nulls_first))


def window(resolver: Resolver, node: exp.Expression) -> Expr:
    this, partition, order, spec, alias, _, _ = take(
        node, "this", "partition_by", "order", "spec", "alias", "over", "first"
    )
    if alias is not None:
        base = resolver.scope.window(alias.name, node)
        base_partition, base_order, base_spec, _, _ = take(
            base, "partition_by", "order", "spec", "this", "alias"
        )
        partition, order, spec = partition or base_partition, order or base_order, spec or base_spec
    ordered = take(order, "expressions", "siblings")[0] if order is not None else ()
    function, parts, keys = _together(
        lambda: _function(resolver, this, bool(ordered), spec is not None, node),
        lambda: resolver.all(partition or ()),
        lambda: tuple(sort_keys(resolver, ordered)),
    )
    framed = isinstance(function, AggregateCall) or function.function == "nth_value"
    frame = _frame(resolver, spec, keys, node) if framed else Frame("rows", None, 0)
    nullable = function.nullable or _empty_frame(frame)
    return WindowCall(function.type, nullable, function, parts, keys, frame, spec is not None)


def _together(function: Callable[[], A], partition: Callable[[], B], keys: Callable[[], C]) -> tuple[A, B, C]:
    """The parts of an OVER, or the problems of all of them."""
    made: list[Any] = collect(lambda part: part(), (function, partition, keys))
    return made[0], made[1], made[2]


def _function(
    resolver: Resolver, this: exp.Expression, ordered: bool, framed: bool, node: exp.Expression
) -> Call | AggregateCall:
    """What stands before OVER, if it may."""
    function = resolver.resolve(this)
    entry = functions().get(getattr(function, "function", ""))
    if (
        not isinstance(function, Call | AggregateCall)
        or entry is None
        or entry.kind not in ("aggregate", "window")
    ):
        raise fault(
            node, f"{label(this)} cannot be used with OVER", hint="use an aggregate or window function"
        )
    if isinstance(function, AggregateCall) and function.distinct:
        raise fault(node, "DISTINCT aggregates cannot be used with OVER")
    if isinstance(function, AggregateCall) and function.function in ("grouping", "grouping_id"):
        raise fault(
            node, f"{function.function} cannot be used with OVER", hint="it may stand inside OVER (...)"
        )
    sorts = entry.name == "median" or (isinstance(function, AggregateCall) and bool(function.order))
    if sorts and (ordered or framed):
        raise fault(node, f"{entry.name} takes no ORDER BY and no frame in its window")
    if entry.kind == "window" and entry.name != "nth_value":
        if not ordered:
            raise fault(node, f"{entry.name} needs ORDER BY in its window")
        if framed:
            raise fault(node, f"{entry.name} takes no frame")
    return function


def _frame(
    resolver: Resolver, spec: exp.Expression | None, keys: tuple[SortKey, ...], node: exp.Expression
) -> Frame:
    if spec is None:
        return Frame("range", None, 0) if keys else Frame("rows", None, None)
    kind, start, start_side, end, end_side = take(spec, "kind", "start", "start_side", "end", "end_side")
    unit = str(kind).lower()
    if unit not in ("rows", "range"):
        raise unsupported(node, f"{kind} frames are not supported")
    low = _bound(resolver, start, start_side, unit, keys, node)
    high = 0 if end is None else _bound(resolver, end, end_side, unit, keys, node)
    if low is not None and high is not None and low > high:
        raise fault(node, "the frame ends before it begins")
    return Frame("rows" if unit == "rows" else "range", low, high)


def _bound(
    resolver: Resolver,
    value: object,
    side: object,
    unit: str,
    keys: tuple[SortKey, ...],
    node: exp.Expression,
) -> int | float | None:
    if value == "UNBOUNDED":
        return None
    if value == "CURRENT ROW":
        return 0
    assert isinstance(value, exp.Expression)
    typed = folded(resolver.resolve(value))
    if not isinstance(typed, Literal) or not isinstance(typed.value, int | float) or typed.type == BOOLEAN:
        raise unsupported(node, "a frame bound must be a constant number or interval")
    if unit == "rows" and typed.type != INT:
        raise fault(node, f"a bound of ROWS must be int, not {typed.type}")
    if typed.value != typed.value:
        raise fault(node, "a frame bound must not be NaN")
    amount = typed.value if unit == "rows" else _range_amount(typed, keys, node)
    return -amount if str(side).upper() == "PRECEDING" else amount


def _range_amount(bound: Literal, keys: tuple[SortKey, ...], node: exp.Expression) -> int | float:
    if len(keys) != 1:
        raise fault(node, "a RANGE frame with an offset needs exactly one ORDER BY item")
    kind, value = keys[0].expr.type, bound.value
    assert isinstance(value, int | float)
    if kind == DATE and bound.type == INT:
        return value
    if kind in (TIMESTAMP, TIMESTAMP_NTZ) and coerce.is_day_time(bound.type):
        return value
    if coerce.is_numeric(kind) and coerce.is_numeric(bound.type) and not getattr(bound.type, "scale", 0):
        return int(value) * 10 ** getattr(kind, "scale", 0) if kind != DOUBLE else value
    if kind == DATE and coerce.is_day_time(bound.type):
        raise fault(node, f"a RANGE frame over date takes a whole number of days, not an {bound.type}")
    raise unsupported(node, f"a RANGE frame over {kind} with an offset of {bound.type} is not supported")


def _empty_frame(frame: Frame) -> bool:
    """Whether some row may see no rows at all."""
    return (frame.start is not None and frame.start > 0) or (frame.end is not None and frame.end < 0)
