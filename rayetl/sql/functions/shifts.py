"""Moments and intervals added and taken away, on the clocks of the session's zone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr
from rayetl.sql.functions.base import Context
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import TIMESTAMP

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


def shifted(ctx: Context, call: Call, sign: int) -> pl.Expr:
    """`+` or, with a `sign` of -1, `-` where the left side is a moment or an interval."""
    left, right = call.args
    if coerce.is_datetime(right.type):
        # Between two timestamps Spark counts what the clocks of the session's zone show, not what passes.
        from rayetl.sql.functions.datetimes import local

        return local(ctx, left) - local(ctx, right)
    value = ctx.expr(left)
    if coerce.is_year_month(right.type) and coerce.is_datetime(left.type):
        months = ctx.expr(right)
        return _local(ctx, value, left, lambda v: shift_months(v, months if sign > 0 else -months))
    other = ctx.expr(right)
    if left.type == TIMESTAMP and coerce.is_day_time(right.type) and ctx.time_zone != "UTC":
        return _move_wall_clock(ctx, value, left, other.to_physical() * sign)
    return value + other if sign > 0 else value - other


def _move_wall_clock(ctx: Context, value: pl.Expr, node: Expr, micros: pl.Expr) -> pl.Expr:
    """Whole days are those of the wall clock, 23 or 25 hours long at times; what is left is exact."""
    day = pl.lit(86_400_000_000, dtype=pl.Int64)
    days = micros.truncdiv(day) * day
    moved = _local(ctx, value, node, lambda wall: wall + days.cast(pl.Duration("us")))
    return moved + (micros - days).cast(pl.Duration("us"))


def _local(ctx: Context, value: pl.Expr, node: Expr, function: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Apply to the local date-time of the session zone and come back."""
    if node.type != TIMESTAMP:
        return function(value)
    from rayetl.sql.lower.casts import to_instant

    return to_instant(
        function(value.dt.convert_time_zone(ctx.time_zone).dt.replace_time_zone(None)), ctx.time_zone, value
    )


def shift_months(value: pl.Expr, months: pl.Expr) -> pl.Expr:
    """Move by months; a day past the new month's end becomes its last."""
    return value.dt.offset_by(months.cast(pl.String) + pl.lit("mo"))


def in_micros(count: pl.Expr, each: int, most: int) -> pl.Expr:
    """So many units of `each` microseconds; NULL where they are more than `most`. Spark ends the query there
    (long overflow), and Polars would give another moment."""
    count = count.cast(pl.Int64)
    return pl.when(count.is_between(-(most // each), most // each)).then(count * each)
