"""Moving dates and times, and the time between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr, Literal
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    check_count,
    exactly,
    fit,
    of,
    takes,
)
from rayetl.sql.functions.constants import constant, folded, is_null, value_of
from rayetl.sql.functions.datetimes import instant, local
from rayetl.sql.functions.shifts import in_micros, shift_months
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INT,
    INTEGRAL,
    LONG,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_date, _int, _timestamp = of(DATE), of(INT), of(TIMESTAMP)
_DAYS = {
    spelling: number
    for number, name in enumerate(
        ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")
    )
    for spelling in (name, name[:3], name[:2])
}
"""Spark knows a day by its whole name, by three letters and by two; `TUES` is none."""
_MICROS = {
    "HOUR": 3_600_000_000,
    "MINUTE": 60_000_000,
    "SECOND": 1_000_000,
    "MILLISECOND": 1_000,
    "MICROSECOND": 1,
}
_FAR = 2**62
"""Microseconds, some 146,000 years: what is added to a moment stays within a BIGINT."""

_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


def _move_days(sign: int) -> Callable[[Context, Call], pl.Expr]:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        days = ctx.expr(call.args[1]).cast(pl.Int32)
        value = ctx.expr(call.args[0]).to_physical()
        return (value + days if sign > 0 else value - days).cast(pl.Date)

    return lower


def _days_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    days = args[1]
    if days.type == STRING and isinstance(folded(days), Literal):
        days = coerce.implicit_cast(days, INT)
        if is_null(days):
            raise TypeFault("a text that is no number is not supported in the embedded engine", refused=True)
    pair = (fit(_date, args[0], 0), coerce.implicit_cast(fit(exactly(*INTEGRAL[:3]), days, 1), INT))
    return Typed(pair, DATE, pair[0].nullable or pair[1].nullable)


def _months_between(ctx: Context, call: Call) -> pl.Expr:
    """Whole months when both are the same day or both month ends; else 31-day months, to 8 digits."""
    from rayetl.sql.lower.floats import divided

    one, two = local(ctx, call.args[0]), local(ctx, call.args[1])
    months = (
        (one.dt.year() - two.dt.year()) * 12 + one.dt.month().cast(pl.Int32) - two.dt.month().cast(pl.Int32)
    )
    same = one.dt.day() == two.dt.day()
    ends = (one.dt.date() == one.dt.date().dt.month_end()) & (two.dt.date() == two.dt.date().dt.month_end())
    seconds = [
        v.dt.hour().cast(pl.Int64) * 3600 + v.dt.minute().cast(pl.Int64) * 60 + v.dt.second()
        for v in (one, two)
    ]
    days = one.dt.day().cast(pl.Int64) - two.dt.day().cast(pl.Int64)
    part = divided((days * 86400 + seconds[0] - seconds[1]).cast(pl.Float64), 2_678_400.0)
    found = pl.when(same | ends).then(months.cast(pl.Float64)).otherwise(months.cast(pl.Float64) + part)
    rounded = len(call.args) < 3 or value_of(call.args[2])
    return found.round(8, mode="half_away_from_zero") if rounded else found


def _next_day(ctx: Context, call: Call) -> pl.Expr:
    wanted = _DAYS.get(value_of(call.args[1]).upper())
    value = ctx.expr(call.args[0])
    if wanted is None:
        return pl.when(False).then(value)
    ahead = (wanted - value.dt.weekday().cast(pl.Int32) % 7 + 6) % 7 + 1
    return (value.to_physical() + ahead).cast(pl.Date)


def _date_diff(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    return a.to_physical() - b.to_physical()


def _unit_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 3, 3)
    unit = str(value_of(args[0])).upper()
    if unit not in (*_MICROS, *_MONTHS, "DAY", "WEEK", "DAYOFYEAR"):
        raise TypeFault(f"{unit} is not a unit")
    value = args[2] if args[2].type in (TIMESTAMP, TIMESTAMP_NTZ) else fit(_timestamp, args[2], 2)
    count = fit(_int, args[1], 1)
    return Typed((args[0], count, value), value.type, value.nullable or count.nullable)


def _unit_add(ctx: Context, call: Call) -> pl.Expr:
    unit, count = str(value_of(call.args[0])).upper(), ctx.expr(call.args[1])
    if unit in _MICROS:
        micros = in_micros(count, _MICROS[unit], _FAR)
        return ctx.expr(call.args[2]) + micros.cast(pl.Duration("us"))
    value, wall = ctx.expr(call.args[2]), local(ctx, call.args[2])
    if unit in _MONTHS:
        return instant(ctx, shift_months(wall, count * _MONTHS[unit]), call.type, value)
    days = in_micros(count, (7 if unit == "WEEK" else 1) * 86_400_000_000, _FAR)
    return instant(ctx, wall + days.cast(pl.Duration("us")), call.type, value)


def _unit_diff_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 3, 3)
    unit = str(value_of(args[0])).upper()
    if unit not in (*_MICROS, *_MONTHS, "DAY", "WEEK"):
        raise TypeFault(f"{unit} is not a unit")
    pair = tuple(fit(_timestamp, a, i + 1) for i, a in enumerate(args[1:]))
    return Typed((args[0], *pair), LONG, pair[0].nullable or pair[1].nullable)


def _unit_diff(ctx: Context, call: Call) -> pl.Expr:
    unit = str(value_of(call.args[0])).upper()
    start, end = local(ctx, call.args[1]), local(ctx, call.args[2])
    gap = (end - start).to_physical()
    if unit not in _MONTHS:
        length = _MICROS.get(unit, 86_400_000_000 * (7 if unit == "WEEK" else 1))
        return gap.truncdiv(pl.lit(length, dtype=pl.Int64))
    months = (
        (end.dt.year() - start.dt.year()) * 12
        + end.dt.month().cast(pl.Int32)
        - start.dt.month().cast(pl.Int32)
    ).cast(pl.Int64)
    there = shift_months(start, months)
    months = (
        pl.when((months > 0) & (there > end))
        .then(months - 1)
        .when((months < 0) & (there < end))
        .then(months + 1)
        .otherwise(months)
    )
    return months.truncdiv(pl.lit(_MONTHS[unit], dtype=pl.Int64))


TABLE.add("date_add", _days_rule, _move_days(1), raw=True)
TABLE.add("date_sub", _days_rule, _move_days(-1), raw=True)
TABLE.add("datediff", takes(_date, _date, returns=INT), _date_diff)
TABLE.add("add_months", takes(_date, _int, returns=DATE), lambda d, n: shift_months(d, n))
TABLE.add(
    "months_between",
    takes(_timestamp, _timestamp, constant(of(BOOLEAN)), returns=DOUBLE, required=2),
    _months_between,
    raw=True,
    strict=True,
)
TABLE.add("last_day", takes(_date, returns=DATE), lambda d: d.dt.month_end())
TABLE.add(
    "next_day",
    takes(_date, constant(of(STRING)), returns=DATE, nullable=True),
    _next_day,
    raw=True,
    strict=True,
)
TABLE.add("timestampadd", _unit_rule, _unit_add, raw=True, aliases="dateadd", keeps_alias=False)
TABLE.add("timestampdiff", _unit_diff_rule, _unit_diff, raw=True, aliases="date_diff", keeps_alias=False)
