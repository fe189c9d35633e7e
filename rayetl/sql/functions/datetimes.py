"""Dates and times. Timestamps are instants; their fields are those of the session time zone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr, Literal
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    check_count,
    constant,
    fit,
    of,
    takes,
    value_of,
)
from rayetl.sql.functions.operators import shift_months
from rayetl.sql.functions.patterns import printing_format, reading_fields
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
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
_date, _int, _string, _timestamp = of(DATE), of(INT), of(STRING), of(TIMESTAMP)
_constant_text = constant(_string)
_DAYS = {"SU": 0, "MO": 1, "TU": 2, "WE": 3, "TH": 4, "FR": 5, "SA": 6}
_MICROS = {
    "HOUR": 3_600_000_000,
    "MINUTE": 60_000_000,
    "SECOND": 1_000_000,
    "MILLISECOND": 1_000,
    "MICROSECOND": 1,
}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


def local(ctx: Context, node: Expr) -> pl.Expr:
    """A date or timestamp as the wall clock of the session shows it, without a zone."""
    value: pl.Expr = ctx.expr(node)
    if node.type == TIMESTAMP:
        return value.dt.convert_time_zone(ctx.time_zone).dt.replace_time_zone(None)
    return value


def instant(ctx: Context, value: pl.Expr, kind: DataType) -> pl.Expr:
    """Wall clock back to the type it came from."""
    if kind != TIMESTAMP:
        return value
    from rayetl.sql.lower.casts import to_instant

    return to_instant(value, ctx.time_zone)


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
    name = _UNITS.get(str(value_of(unit)).lower())
    if name is None:
        raise TypeFault(f"{value_of(unit)} is not a field of dates and times")
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
    name, value = _UNITS[str(value_of(call.args[0])).lower()], local(ctx, call.args[1])
    if name != "second":
        return _FIELDS[name](value).cast(pl.Int32)
    micros = value.dt.second().cast(pl.Int128) * 1_000_000 + value.dt.microsecond().cast(pl.Int128)
    return micros.reinterpret(dtype=pl.Decimal(8, 6))


# Arithmetic


def _move_days(sign: int) -> Callable[[Context, Call], pl.Expr]:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        days = ctx.expr(call.args[1]).cast(pl.Int32)
        value = ctx.expr(call.args[0]).to_physical()
        return (value + days if sign > 0 else value - days).cast(pl.Date)

    return lower


def _days_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    if (
        args[1].type not in (INT, STRING)
        and not (coerce.is_numeric(args[1].type) and args[1].type not in (LONG, DOUBLE, FLOAT))
        and str(args[1].type) != "void"
    ):
        raise TypeFault(f"argument 2 must be int, not {args[1].type}")
    pair = (fit(_date, args[0], 0), fit(_int, args[1], 1))
    return Typed(pair, DATE, pair[0].nullable or pair[1].nullable)


def _months_between_rule(args: tuple[Expr, ...]) -> Typed:
    typed = takes(_timestamp, _timestamp, constant(of(BOOLEAN)), returns=DOUBLE, required=2)(args)
    if any(value_of(arg) is None for arg in typed.args[2:]):
        raise TypeFault("argument 3 of NULL is not supported in the embedded engine", refused=True)
    return typed


def _months_between(ctx: Context, call: Call) -> pl.Expr:
    """Whole months when both are the same day or both month ends; else 31-day months, to 8 digits."""
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
    part = (days * 86400 + seconds[0] - seconds[1]).cast(pl.Float64) / 2_678_400.0
    found = pl.when(same | ends).then(months.cast(pl.Float64)).otherwise(months.cast(pl.Float64) + part)
    rounded = len(call.args) < 3 or value_of(call.args[2])
    return found.round(8, mode="half_away_from_zero") if rounded else found


def _next_day(ctx: Context, call: Call) -> pl.Expr:
    wanted = _DAYS.get(str(value_of(call.args[1])).strip().upper()[:2])
    value = ctx.expr(call.args[0])
    if wanted is None:
        return pl.when(False).then(value)
    ahead = (wanted - value.dt.weekday().cast(pl.Int32) % 7 + 6) % 7 + 1
    return (value.to_physical() + ahead).cast(pl.Date)


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
    every = (_TRUNC_DATE if dates else _TRUNC_TIME).get(str(value_of(unit)).lower())
    value = local(ctx, node)
    if every is None:
        return pl.when(False).then(ctx.expr(node))
    return instant(ctx, value.dt.truncate(every), node.type)


def _date_diff(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    return a.to_physical() - b.to_physical()


# Between texts, numbers and times


def _formatted(args: tuple[Expr, ...], kind: DataType, first: Any) -> Typed:
    check_count(args, 1, 2)
    value = args[0] if coerce.is_datetime(args[0].type) and kind != STRING else fit(first, args[0], 0)
    if len(args) == 1:
        return Typed((value,), kind, True)
    pattern = fit(_constant_text, args[1], 1)
    reading_fields(str(value_of(pattern)))
    return Typed((value, pattern), kind, True)


def _date_format(ctx: Context, call: Call) -> pl.Expr:
    return local(ctx, call.args[0]).dt.strftime(printing_format(str(value_of(call.args[1]))))


def _to_time(ctx: Context, call: Call) -> pl.Expr:
    """to_date, to_timestamp, unix_timestamp: with a pattern the text must match it as a whole."""
    from rayetl.sql.lower.casts import cast, convert, to_instant
    from rayetl.sql.lower.moments import parse_fields
    from rayetl.sql.lower.texts import elementwise

    node = call.args[0]
    kind = TIMESTAMP if call.type == LONG else call.type
    if len(call.args) == 1 or node.type != STRING:
        return cast(ctx, node, kind)
    regex, names = reading_fields(str(value_of(call.args[1])))
    parsed = elementwise(ctx.expr(node), lambda s: parse_fields(s, regex, names), pl.Datetime("us"))
    if kind == DATE:
        return parsed.dt.date()
    return (
        parsed if kind == TIMESTAMP_NTZ else convert(ctx, to_instant(parsed, ctx.time_zone), TIMESTAMP, kind)
    )


def _unix(ctx: Context, call: Call) -> pl.Expr:
    return _to_time(ctx, call).to_physical() // 1_000_000


def _to_time_rule(kind: DataType) -> Callable[[tuple[Expr, ...]], Typed]:
    return lambda args: _formatted(args, kind, _string)


def _from_unixtime(ctx: Context, call: Call) -> pl.Expr:
    pattern = str(value_of(call.args[1])) if len(call.args) > 1 else "yyyy-MM-dd HH:mm:ss"
    seconds = ctx.expr(call.args[0])
    wall = (seconds * 1_000_000).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(ctx.time_zone)
    return wall.dt.strftime(printing_format(pattern))


def _from_unixtime_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 2)
    seconds = fit(of(LONG), args[0], 0)
    if len(args) == 1:
        return Typed((seconds,), STRING, True)
    pattern = fit(_constant_text, args[1], 1)
    printing_format(str(value_of(pattern)))
    return Typed((seconds, pattern), STRING, True)


def _make_date(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    """NULL for a day that is none; the years run from before 0 to past 9999."""
    good = year.is_between(-262_000, 262_000) & month.is_between(1, 12) & day.is_between(1, 31)
    first = pl.date(pl.when(good).then(year), month.clip(1, 12), 1)
    made = (first.to_physical() + day - 1).cast(pl.Date)
    return pl.when(made.dt.month() == month).then(made)


def _scaled_seconds(factor: int) -> Callable[[Context, Call], pl.Expr]:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        return (ctx.expr(call.args[0]).cast(pl.Int64) * factor).cast(pl.Datetime("us", "UTC"))

    return lower


def _other_zone(ctx: Context, call: Call) -> pl.Expr:
    """The wall clock of the one zone read as that of the other."""
    from rayetl.sql.lower.casts import to_instant
    from rayetl.sql.lower.moments import fixed_offset, zone_of

    zone, value = zone_of(str(value_of(call.args[1]))) or "Z", ctx.expr(call.args[0])
    offset = fixed_offset(zone)
    if offset is not None:
        moved = pl.duration(microseconds=offset)
        return value + moved if call.function == "from_utc_timestamp" else value - moved
    if call.function == "from_utc_timestamp":
        return value.dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.replace_time_zone("UTC")
    return to_instant(value.dt.replace_time_zone(None), zone)


def _zone_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    value, zone = fit(_timestamp, args[0], 0), fit(_constant_text, args[1], 1)
    from rayetl.sql.lower.moments import zone_of

    if zone_of(str(value_of(zone))) is None:
        raise TypeFault(f"{value_of(zone)} is not a time zone")
    return Typed((value, zone), TIMESTAMP, value.nullable)


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
        micros = count.cast(pl.Int64) * _MICROS[unit]
        return ctx.expr(call.args[2]) + micros.cast(pl.Duration("us"))
    wall = local(ctx, call.args[2])
    if unit in _MONTHS:
        return instant(ctx, shift_months(wall, count * _MONTHS[unit]), call.type)
    days = count.cast(pl.Int64) * (7 if unit == "WEEK" else 1) * 86_400_000_000
    return instant(ctx, wall + days.cast(pl.Duration("us")), call.type)


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
    if unit in _MICROS:
        return (
            (ctx.expr(call.args[2]) - ctx.expr(call.args[1]))
            .to_physical()
            .truncdiv(pl.lit(_MICROS[unit], dtype=pl.Int64))
        )
    if unit not in _MONTHS:
        return gap.truncdiv(pl.lit(86_400_000_000 * (7 if unit == "WEEK" else 1), dtype=pl.Int64))
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


def _now(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 0, 0)
    raise TypeFault(
        "it changes from run to run, so the engines could not agree; pass the time in as a constant",
        refused=True,
    )


for _name, _alias in (
    ("year", ""), ("quarter", ""), ("month", ""), ("day", "dayofmonth"), ("dayofyear", ""), ("dayofweek", ""),
    ("weekday", ""), ("weekofyear", ""),
):  # fmt: skip
    TABLE.add(_name, takes(_date, returns=INT), _field(_name), raw=True, aliases=_alias)
for _name in ("hour", "minute", "second"):
    TABLE.add(_name, takes(of(TIMESTAMP, TIMESTAMP_NTZ), returns=INT), _field(_name), raw=True)
TABLE.add(
    "extract",
    _extract_rule,
    _extract,
    raw=True,
)
TABLE.add("date_part", _extract_rule, _extract, raw=True, aliases="datepart")
TABLE.add("date_add", _days_rule, _move_days(1), raw=True)
TABLE.add("date_sub", _days_rule, _move_days(-1), raw=True)
TABLE.add("datediff", takes(_date, _date, returns=INT), _date_diff)
TABLE.add("add_months", takes(_date, _int, returns=DATE), lambda d, n: shift_months(d, n))
TABLE.add(
    "months_between",
    _months_between_rule,
    _months_between,
    raw=True,
)
TABLE.add("last_day", takes(_date, returns=DATE), lambda d: d.dt.month_end())
TABLE.add("next_day", takes(_date, _constant_text, returns=DATE, nullable=True), _next_day, raw=True)
TABLE.add("trunc", takes(_date, _constant_text, returns=DATE, nullable=True), _trunc, raw=True)
TABLE.add(
    "date_trunc",
    takes(_constant_text, _timestamp, returns=TIMESTAMP, nullable=True),
    _trunc,
    raw=True,
)
TABLE.add("date_format", lambda args: _date_format_rule(args), _date_format, raw=True)
TABLE.add("to_date", _to_time_rule(DATE), _to_time, raw=True)
TABLE.add("to_timestamp", _to_time_rule(TIMESTAMP), _to_time, raw=True)
TABLE.add("to_timestamp_ntz", _to_time_rule(TIMESTAMP_NTZ), _to_time, raw=True)
TABLE.add("unix_timestamp", lambda args: _unix_rule(args), _unix, raw=True, aliases="to_unix_timestamp")
TABLE.add("from_unixtime", _from_unixtime_rule, _from_unixtime, raw=True)
TABLE.add("make_date", takes(_int, _int, _int, returns=DATE, nullable=True), _make_date)
TABLE.add("timestamp_millis", takes(of(LONG), returns=TIMESTAMP), _scaled_seconds(1_000), raw=True)
TABLE.add("timestamp_micros", takes(of(LONG), returns=TIMESTAMP), _scaled_seconds(1), raw=True)
for _name, _unit in (("unix_seconds", 1_000_000), ("unix_millis", 1_000), ("unix_micros", 1)):
    TABLE.add(_name, takes(_timestamp, returns=LONG), lambda t, unit=_unit: t.to_physical() // unit)
TABLE.add("unix_date", takes(_date, returns=INT), lambda d: d.to_physical())
TABLE.add("date_from_unix_date", takes(_int, returns=DATE), lambda n: n.cast(pl.Date))
TABLE.add("from_utc_timestamp", _zone_rule, _other_zone, raw=True)
TABLE.add("to_utc_timestamp", _zone_rule, _other_zone, raw=True)
TABLE.add("timestampadd", _unit_rule, _unit_add, raw=True, aliases="dateadd", keeps_alias=False)
TABLE.add("timestampdiff", _unit_diff_rule, _unit_diff, raw=True, aliases="date_diff", keeps_alias=False)
TABLE.add("current_date", _now, None, aliases="curdate")
TABLE.add("current_timestamp", _now, None, aliases="now localtimestamp")


def _date_format_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    value = args[0] if args[0].type == TIMESTAMP_NTZ else fit(_timestamp, args[0], 0)
    pattern = fit(_constant_text, args[1], 1)
    printing_format(str(value_of(pattern)))
    return Typed((value, pattern), STRING, value.nullable)


def _unix_rule(args: tuple[Expr, ...]) -> Typed:
    if not args:
        return _now(args)
    return _formatted(
        args
        if len(args) > 1 or args[0].type != STRING
        else (*args, Literal(STRING, False, "yyyy-MM-dd HH:mm:ss")),
        LONG,
        _string,
    )
