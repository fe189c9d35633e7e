"""Window functions to Polars: sort once for each ORDER BY, then compute inside the partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from rayetl.errors import Problem, UnsupportedSqlError
from rayetl.sql.expr import AggregateCall, Call, Expr, Frame, SortKey, WindowCall
from rayetl.sql.functions.base import for_each_row
from rayetl.sql.functions.constants import is_null, value_of
from rayetl.sql.interop import polars_type
from rayetl.sql.lower.expressions import Lowering
from rayetl.sql.types import DOUBLE, FLOAT, DecimalType

_FAR = 1 << 40
_BEYOND = 1 << 61
_FARTHEST = 1 << 60
_UNBOUNDED = 1 << 62
"""Farther than the NULLs are from any value: they too are between a value and the end of its partition."""
_MOST_DIGITS = 18


def windowed(
    frame: pl.LazyFrame, calls: Sequence[WindowCall], names: Sequence[str], ctx: Lowering
) -> pl.LazyFrame:
    """The frame with one more column for every call."""
    by_order: dict[tuple[SortKey, ...], list[tuple[WindowCall, str]]] = {}
    for call, name in zip(calls, names, strict=True):
        by_order.setdefault(call.order, []).append((call, name))
    for order, group in by_order.items():
        if order:
            frame = frame.sort(
                [ctx.expr(key.expr) for key in order],
                descending=[key.descending for key in order],
                nulls_last=[not key.nulls_first for key in order],
                maintain_order=True,
            )
        frame = frame.with_columns(_Window(call, ctx).column(name) for call, name in group)
    return frame


def _refused(message: str) -> UnsupportedSqlError:
    return UnsupportedSqlError([Problem("sql.unsupported", message)])


class _Window:
    """One call, lowered against rows that are already in the window's order."""

    def __init__(self, call: WindowCall, ctx: Lowering) -> None:
        self.call = call
        self.ctx = ctx
        self.number = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)

    def column(self, name: str) -> pl.Expr:
        partition = [self.ctx.expr(key) for key in self.call.partition]
        value = self.value()
        return (value.over(partition) if partition else value).alias(name)

    def each(self, node: Expr) -> pl.Expr:
        return for_each_row(node, self.ctx.expr(node))

    def value(self) -> pl.Expr:
        function = self.call.function
        if isinstance(function, AggregateCall):
            return self.framed(self.ctx.expr(function))
        found: pl.Expr = _FUNCTIONS[function.function](self, function)
        return found.cast(polars_type(function.type))

    def framed(self, value: pl.Expr) -> pl.Expr:
        """An aggregate over the frame of each row."""
        frame = self.call.frame
        if frame.start is None and frame.end is None:
            return value
        if frame.unit == "rows":
            return _rolled(value, self.number, frame, _FAR)
        if frame.start in (None, 0) and frame.end in (None, 0):
            return _rolled(value, self.peer_number(), frame, _BEYOND)
        # NULL has no distance to a value: of a bound with an offset it sees its peers.
        among = Frame("range", None if frame.start is None else 0, None if frame.end is None else 0)
        missing = self.each(self.call.order[0].expr).is_null()
        return (
            pl.when(missing)
            .then(_rolled(value, self.peer_number(), among, _BEYOND))
            .otherwise(_rolled(value, self.order_value(), frame, _UNBOUNDED))
        )

    def changed(self) -> pl.Expr:
        """Whether a row differs from the one before it in the order's keys (true for the first)."""
        keys = [self.each(key.expr) for key in self.call.order]
        return pl.any_horizontal([self.number == 1, *(key.ne_missing(key.shift(1)) for key in keys)])

    def peer_number(self) -> pl.Expr:
        return self.changed().cast(pl.Int64).cum_sum()

    def rank(self) -> pl.Expr:
        return pl.when(self.changed()).then(self.number).forward_fill()

    def last_peer(self) -> pl.Expr:
        ends = self.changed().shift(-1, fill_value=True)
        return pl.when(ends).then(self.number).backward_fill()

    def order_value(self) -> pl.Expr:
        """The single order key as a growing integer; NULLs far away on their own side."""
        (key,) = self.call.order
        kind = key.expr.type
        if kind in (FLOAT, DOUBLE):
            raise _refused(f"a RANGE frame with an offset over {kind} is not supported")
        if isinstance(kind, DecimalType) and kind.precision > _MOST_DIGITS:
            raise _refused(
                f"a RANGE frame with an offset over {kind} is not supported: it has too many digits"
            )
        value = self.each(key.expr)
        value = (value.to_physical() if isinstance(kind, DecimalType) else value).cast(pl.Int64)
        # What lies near the ends of bigint is taken for one value, below the place of the NULLs.
        value = value.clip(-_FARTHEST, _FARTHEST)
        value = -value if key.descending else value
        return value.fill_null(-_BEYOND if key.nulls_first else _BEYOND)


def _constant(call: Call, index: int, default: int) -> int:
    if index >= len(call.args):
        return default
    value = value_of(call.args[index])
    assert isinstance(value, int), "the rules of window functions take whole numbers alone"
    return value


def _rolled(value: pl.Expr, index: pl.Expr, frame: Frame, far: int) -> pl.Expr:
    start = -far if frame.start is None else int(frame.start)
    end = far if frame.end is None else int(frame.end)
    return value.rolling(index, period=f"{end - start + 1}i", offset=f"{start - 1}i", closed="right")


def _shifted(window: _Window, call: Call, sign: int) -> pl.Expr:
    offset = sign * _constant(call, 1, 1)
    value = window.each(call.args[0])
    if call.ignore_nulls:
        if offset not in (1, -1):
            raise _refused(f"{call.function} IGNORE NULLS is supported for an offset of 1")
        value = value.forward_fill() if offset > 0 else value.backward_fill()
    moved = value.shift(offset)
    if len(call.args) < 3 or is_null(call.args[2]):
        return moved
    inside = window.number > offset if offset >= 0 else window.number <= pl.len().cast(pl.Int64) + offset
    missing = moved.is_null() if call.ignore_nulls else ~inside
    return pl.when(missing).then(window.ctx.expr(call.args[2])).otherwise(moved)


def _nth(window: _Window, call: Call) -> pl.Expr:
    value = window.each(call.args[0])
    value = value.drop_nulls() if call.ignore_nulls else value
    return window.framed(value.get(_constant(call, 1, 1) - 1, null_on_oob=True))


def _ntile(window: _Window, call: Call) -> pl.Expr:
    buckets = _constant(call, 0, 1)
    row, total = window.number - 1, pl.len().cast(pl.Int64)
    size, longer = total // buckets, total % buckets
    in_longer = row < (size + 1) * longer
    return pl.when(in_longer).then(row // (size + 1)).otherwise((row - longer) // size.clip(1)) + 1


def _percent_rank(window: _Window, _: Call) -> pl.Expr:
    others = _each(window, pl.len()) - 1
    return pl.when(others > 0).then((window.rank() - 1) / others).otherwise(0.0)


def _each(window: _Window, value: pl.Expr) -> pl.Expr:
    """A single value once for each row: dividing by a single value, Polars multiplies by its reciprocal,
    which is off in the last digit."""
    return window.number * 0 + value.cast(pl.Int64)


_FUNCTIONS: dict[str, Callable[[_Window, Call], Any]] = {
    "row_number": lambda window, _: window.number,
    "rank": lambda window, _: window.rank(),
    "dense_rank": lambda window, _: window.peer_number(),
    "percent_rank": _percent_rank,
    "cume_dist": lambda window, _: window.last_peer() / _each(window, pl.len()),
    "ntile": _ntile,
    "lag": lambda window, call: _shifted(window, call, 1),
    "lead": lambda window, call: _shifted(window, call, -1),
    "nth_value": _nth,
}
