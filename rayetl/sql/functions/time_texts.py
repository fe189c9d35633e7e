"""Dates and times as texts, as numbers since 1970, and as other zones show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr, Literal
from rayetl.sql.functions.base import (
    Context,
    Rule,
    Table,
    Typed,
    TypeFault,
    check_count,
    exactly,
    fit,
    of,
    takes,
)
from rayetl.sql.functions.constants import constant, text_of, value_of
from rayetl.sql.functions.datetimes import local
from rayetl.sql.functions.patterns import printing_format, reading_fields
from rayetl.sql.functions.shifts import in_micros
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    DATE,
    INT,
    INTEGRAL,
    LONG,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    DataType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_date, _int, _string, _timestamp = of(DATE), of(INT), of(STRING), of(TIMESTAMP)
_constant_text = constant(_string)


def _formatted(args: tuple[Expr, ...], kind: DataType, first: Any) -> Typed:
    check_count(args, 1, 2)
    value = args[0] if coerce.is_datetime(args[0].type) and kind != STRING else fit(first, args[0], 0)
    if len(args) == 1:
        return Typed((value,), kind, True)
    pattern = fit(_constant_text, args[1], 1)
    text = text_of(pattern)
    if text is not None:
        reading_fields(text)
    return Typed((value, pattern), kind, True)


def _date_format(ctx: Context, call: Call) -> pl.Expr:
    return local(ctx, call.args[0]).dt.strftime(printing_format(value_of(call.args[1])))


def _to_time(ctx: Context, call: Call) -> pl.Expr:
    """to_date, to_timestamp, unix_timestamp: with a pattern the text must match it as a whole."""
    from rayetl.sql.lower.casts import cast, convert, to_instant
    from rayetl.sql.lower.moments import parse_fields
    from rayetl.sql.lower.texts import elementwise

    node = call.args[0]
    kind = TIMESTAMP if call.type == LONG else call.type
    if len(call.args) == 1 or node.type != STRING:
        return cast(ctx, node, kind)
    regex, names = reading_fields(value_of(call.args[1]))
    parsed = elementwise(ctx.expr(node), lambda s: parse_fields(s, regex, names), pl.Datetime("us"))
    if kind == DATE:
        return parsed.dt.date()
    return (
        parsed if kind == TIMESTAMP_NTZ else convert(ctx, to_instant(parsed, ctx.time_zone), TIMESTAMP, kind)
    )


def _unix(ctx: Context, call: Call) -> pl.Expr:
    """Toward 1970, unlike unix_seconds and casts: half a second before it is 0. What has no zone is read as
    UTC, not as the session's."""
    plain = call.args[0].type == TIMESTAMP_NTZ
    micros = (ctx.expr(call.args[0]) if plain else _to_time(ctx, call)).to_physical()
    return micros.truncdiv(pl.lit(1_000_000, dtype=pl.Int64))


def _to_time_rule(kind: DataType) -> Callable[[tuple[Expr, ...]], Typed]:
    def rule(args: tuple[Expr, ...]) -> Typed:
        if kind == TIMESTAMP and len(args) == 2 and coerce.is_numeric(args[0].type):
            raise TypeFault(f"a {args[0].type} is not read by a pattern")
        if kind == TIMESTAMP and len(args) == 1 and coerce.is_numeric(args[0].type):
            return Typed(args, kind, True)  # seconds, as in a cast
        return _formatted(args, kind, _string)

    return rule


def _from_unixtime(ctx: Context, call: Call) -> pl.Expr:
    pattern = value_of(call.args[1]) if len(call.args) > 1 else "yyyy-MM-dd HH:mm:ss"
    seconds = ctx.expr(call.args[0])
    wall = (seconds * 1_000_000).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(ctx.time_zone)
    return wall.dt.strftime(printing_format(pattern))


def _from_unixtime_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 2)
    seconds = fit(of(LONG), args[0], 0)
    if len(args) == 1:
        return Typed((seconds,), STRING, True)
    pattern = fit(_constant_text, args[1], 1)
    printing_format(text_of(pattern) or "")
    return Typed((seconds, pattern), STRING, True)


def _make_date(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    """NULL for a day that is none; the years run from before 0 to past 9999."""
    good = year.is_between(-262_000, 262_000) & month.is_between(1, 12) & day.is_between(1, 31)
    first = pl.date(pl.when(good).then(year), month.clip(1, 12), 1)
    made = (first.to_physical() + day - 1).cast(pl.Date)
    return pl.when(made.dt.month() == month).then(made)


def _scaled_seconds(factor: int) -> Callable[[Context, Call], pl.Expr]:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        return in_micros(ctx.expr(call.args[0]), factor, 2**63 - 1).cast(pl.Datetime("us", "UTC"))

    return lower


def _other_zone(ctx: Context, call: Call) -> pl.Expr:
    """The wall clock of the one zone read as that of the other."""
    from rayetl.sql.lower.casts import to_instant
    from rayetl.sql.lower.moments import fixed_offset, zone_of

    zone, value = zone_of(value_of(call.args[1])) or "Z", ctx.expr(call.args[0])
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

    name = text_of(zone)
    if name is not None and zone_of(name) is None:
        raise TypeFault(f"{name} is not a time zone")
    return Typed((value, zone), TIMESTAMP, value.nullable)


def _date_format_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    value = args[0] if args[0].type == TIMESTAMP_NTZ else fit(_timestamp, args[0], 0)
    pattern = fit(_constant_text, args[1], 1)
    printing_format(text_of(pattern) or "")
    return Typed((value, pattern), STRING, value.nullable)


def _clock(kind: DataType) -> Rule:
    def rule(args: tuple[Expr, ...]) -> Typed:
        check_count(args, 0, 0)
        return Typed(args, kind, False)

    return rule


def _now(ctx: Context, call: Call) -> pl.Expr:
    """The time of the session, the same for every row of every query of a run."""
    from rayetl.sql.lower.casts import convert

    return convert(ctx, pl.lit(ctx.now, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")), TIMESTAMP, call.type)


def _unix_rule(args: tuple[Expr, ...]) -> Typed:
    if not args:
        args = (Call(TIMESTAMP, False, "current_timestamp", (), "current_timestamp"),)
    if len(args) == 1 and args[0].type == STRING:
        args = (*args, Literal(STRING, False, "yyyy-MM-dd HH:mm:ss"))
    return _formatted(args, LONG, exactly(STRING))


TABLE.add("date_format", _date_format_rule, _date_format, raw=True, strict=True)
TABLE.add("to_date", _to_time_rule(DATE), _to_time, raw=True, strict=True)
TABLE.add("to_timestamp", _to_time_rule(TIMESTAMP), _to_time, raw=True, strict=True)
TABLE.add("to_timestamp_ntz", _to_time_rule(TIMESTAMP_NTZ), _to_time, raw=True, strict=True)
TABLE.add("unix_timestamp", _unix_rule, _unix, raw=True, strict=True, aliases="to_unix_timestamp")
TABLE.add("from_unixtime", _from_unixtime_rule, _from_unixtime, raw=True, strict=True)
TABLE.add("make_date", takes(_int, _int, _int, returns=DATE, nullable=True), _make_date)
_whole = takes(exactly(LONG, *INTEGRAL), returns=TIMESTAMP)
TABLE.add("timestamp_millis", _whole, _scaled_seconds(1_000), raw=True)
TABLE.add("timestamp_micros", _whole, _scaled_seconds(1), raw=True)
for _name, _unit in (("unix_seconds", 1_000_000), ("unix_millis", 1_000), ("unix_micros", 1)):
    TABLE.add(_name, takes(exactly(TIMESTAMP), returns=LONG), lambda t, unit=_unit: t.to_physical() // unit)
TABLE.add("unix_date", takes(exactly(DATE), returns=INT), lambda d: d.to_physical())
TABLE.add("date_from_unix_date", takes(_int, returns=DATE), lambda n: n.cast(pl.Date))
TABLE.add("from_utc_timestamp", _zone_rule, _other_zone, raw=True, strict=True)
TABLE.add("to_utc_timestamp", _zone_rule, _other_zone, raw=True, strict=True)
TABLE.add("current_date", _clock(DATE), _now, raw=True, aliases="curdate", keeps_alias=False)
TABLE.add("current_timestamp", _clock(TIMESTAMP), _now, raw=True, aliases="now")
TABLE.add("localtimestamp", _clock(TIMESTAMP_NTZ), _now, raw=True)
