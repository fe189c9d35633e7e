"""The fields of dates and times, and cutting them to a unit. Timestamps are instants; their fields are
those of the session time zone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    check_count,
    fit,
    of,
    takes,
)
from rayetl.sql.functions.constants import constant, text_of, value_of
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    DATE,
    INT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    DataType,
    DecimalType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_date, _timestamp = of(DATE), of(TIMESTAMP)
_constant_text = constant(of(STRING))


def local(ctx: Context, node: Expr) -> pl.Expr:
    """A date or timestamp as the wall clock of the session shows it, without a zone."""
    value: pl.Expr = ctx.expr(node)
    if node.type == TIMESTAMP:
        return value.dt.convert_time_zone(ctx.time_zone).dt.replace_time_zone(None)
    return value


def instant(ctx: Context, value: pl.Expr, kind: DataType, moved: pl.Expr | None = None) -> pl.Expr:
    """Wall clock back to the type it came from; `moved` is what it was moved from."""
    if kind != TIMESTAMP:
        return value
    from rayetl.sql.lower.casts import to_instant

    return to_instant(value, ctx.time_zone, moved)


# Fields

_FIELDS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "year": lambda v: v.dt.year(),
    "quarter": lambda v: v.dt.quarter(),
    "month": lambda v: v.dt.month(),
    "day": lambda v: v.dt.day(),
    "dayofyear": lambda v: v.dt.ordinal_day(),
    "dayofweek": lambda v: v.dt.weekday() % 7 + 1,
    "dayofweek_iso": lambda v: v.dt.weekday(),
    "weekday": lambda v: v.dt.weekday() - 1,
    "weekofyear": lambda v: v.dt.week(),
    "yearofweek": lambda v: v.dt.iso_year(),
    "hour": lambda v: v.dt.hour(),
    "minute": lambda v: v.dt.minute(),
    "second": lambda v: v.dt.second(),
}
_UNITS = {
    **dict.fromkeys(("year", "y", "years", "yr", "yrs"), "year"),
    **dict.fromkeys(("quarter", "qtr"), "quarter"),
    **dict.fromkeys(("month", "mon", "mons", "months"), "month"),
    **dict.fromkeys(("week", "w", "weeks"), "weekofyear"),
    **dict.fromkeys(("day", "d", "days"), "day"),
    **dict.fromkeys(("dayofweek", "dow"), "dayofweek"),
    **dict.fromkeys(("dayofweek_iso", "dow_iso"), "dayofweek_iso"),
    "doy": "dayofyear",
    "yearofweek": "yearofweek",
    **dict.fromkeys(("hour", "h", "hours", "hr", "hrs"), "hour"),
    **dict.fromkeys(("minute", "m", "min", "mins", "minutes"), "minute"),
    **dict.fromkeys(("second", "s", "sec", "seconds", "secs"), "second"),
}


def _field(name: str) -> Callable[[Context, Call], pl.Expr]:
    return lambda ctx, call: _FIELDS[name](local(ctx, call.args[0])).cast(pl.Int32)


def _extract_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    unit = fit(_constant_text, args[0], 0)
    text = text_of(unit)
    name = _UNITS.get((text or "").lower())
    if name is None:
        raise TypeFault(f"{text} is not a field of dates and times")
    source = args[1]
    if coerce.is_interval(source.type):
        raise TypeFault("fields of intervals are not supported in the embedded engine", refused=True)
    if not coerce.is_datetime(source.type):
        source = fit(_timestamp if name in ("hour", "minute", "second") else _date, source, 1)
    elif source.type == DATE and name in ("hour", "minute", "second"):
        source = coerce.implicit_cast(source, TIMESTAMP)
    kind = DecimalType(8, 6) if name == "second" else INT
    return Typed((unit, source), kind, source.nullable)


def _extract(ctx: Context, call: Call) -> pl.Expr:
    name, value = _UNITS[value_of(call.args[0]).lower()], local(ctx, call.args[1])
    if name != "second":
        return _FIELDS[name](value).cast(pl.Int32)
    micros = value.dt.second().cast(pl.Int128) * 1_000_000 + value.dt.microsecond().cast(pl.Int128)
    return micros.reinterpret(dtype=pl.Decimal(8, 6))


_TRUNC_DATE = {
    **dict.fromkeys(("year", "yyyy", "yy"), "1y"),
    "quarter": "1q",
    **dict.fromkeys(("month", "mm", "mon"), "1mo"),
    "week": "1w",
}
_TRUNC_TIME = {
    **_TRUNC_DATE,
    **dict.fromkeys(("day", "dd"), "1d"),
    "hour": "1h",
    "minute": "1m",
    "second": "1s",
    "millisecond": "1ms",
    "microsecond": "1us",
}


def _trunc(ctx: Context, call: Call) -> pl.Expr:
    dates = call.function == "trunc"
    node, unit = (call.args[0], call.args[1]) if dates else (call.args[1], call.args[0])
    every = (_TRUNC_DATE if dates else _TRUNC_TIME).get(value_of(unit).lower())
    value = local(ctx, node)
    if every is None:
        return pl.when(False).then(ctx.expr(node))
    return instant(ctx, value.dt.truncate(every), node.type)


for _name, _alias in (
    ("year", ""), ("quarter", ""), ("month", ""), ("day", "dayofmonth"), ("dayofyear", ""), ("dayofweek", ""),
    ("weekday", ""), ("weekofyear", ""),
):  # fmt: skip
    TABLE.add(_name, takes(_date, returns=INT), _field(_name), raw=True, aliases=_alias)
for _name in ("hour", "minute", "second"):
    TABLE.add(_name, takes(of(TIMESTAMP, TIMESTAMP_NTZ), returns=INT), _field(_name), raw=True)
TABLE.add("extract", _extract_rule, _extract, raw=True)
TABLE.add("date_part", _extract_rule, _extract, raw=True, aliases="datepart")
TABLE.add("trunc", takes(_date, _constant_text, returns=DATE, nullable=True), _trunc, raw=True, strict=True)
TABLE.add(
    "date_trunc",
    takes(_constant_text, _timestamp, returns=TIMESTAMP, nullable=True),
    _trunc,
    raw=True,
    strict=True,
)
