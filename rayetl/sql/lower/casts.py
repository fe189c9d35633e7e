"""Casts by Spark's rules with ANSI mode off: what does not convert is NULL, integers wrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from rayetl.sql.coerce import as_decimal
from rayetl.sql.expr import Cast, Column, Expr, Literal
from rayetl.sql.functions.base import Context
from rayetl.sql.interop import polars_type
from rayetl.sql.lower import decimals, moments, texts
from rayetl.sql.lower.floats import divided
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    BYTE,
    DATE,
    DOUBLE,
    FLOAT,
    FRACTIONAL,
    INT,
    INTEGRAL,
    LONG,
    NULL,
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    DataType,
    DecimalType,
    Field,
    MapType,
    StructType,
)

_BITS = {BYTE: 8, SHORT: 16, INT: 32, LONG: 64}
_SECOND = 1_000_000


def cast(ctx: Context, child: Expr, target: DataType) -> pl.Expr:
    """`child` as `target`, in column form."""
    if isinstance(child, Literal) and isinstance(child.type, DecimalType) and target in FRACTIONAL:
        exact = child.value / 10**child.type.scale if isinstance(child.value, int) else None
        return pl.lit(exact, dtype=polars_type(target))
    if target == DOUBLE and child.type == FLOAT and isinstance(child, Cast):
        # Spark takes a whole number to a double at once, past the float, which would lose digits. (It works
        # constants out before it sees that.)
        whole = child.child
        if whole.type in INTEGRAL and any(isinstance(part, Column) for part in whole.walk()):
            return convert(ctx, ctx.expr(whole), whole.type, DOUBLE)
    if isinstance(target, DecimalType):
        return decimals.to_column(to_scaled(ctx, child, target), target)
    if isinstance(child.type, DecimalType):
        return _from_decimal(ctx, child, child.type, target)
    return convert(ctx, ctx.expr(child), child.type, target)


def convert(ctx: Context, value: pl.Expr, source: DataType, target: DataType) -> pl.Expr:
    """The same for a value that is lowered already."""
    if source == target:
        return value
    if source == NULL:
        return value.cast(polars_type(target))
    match source, target:
        case ArrayType(), ArrayType():
            return value.list.eval(convert(ctx, pl.element(), source.element, target.element))
        case StructType(), StructType():
            return _struct(ctx, value, source, target)
        case MapType(), MapType():
            entries = value.map.entries()
            pair = StructType((Field("key", source.key), Field("value", source.value)))
            wanted = StructType((Field("key", target.key), Field("value", target.value)))
            return entries.list.eval(convert(ctx, pl.element(), pair, wanted)).cast(polars_type(target))
    if isinstance(target, DecimalType):
        return decimals.to_column(_scaled(value, source, target), target)
    if isinstance(source, DecimalType):
        return _scaled_to(value.to_physical(), source, target)
    if target == STRING:
        return to_string(ctx, value, source)
    if source == STRING:
        return _from_string(ctx, value, target)
    if source in (DATE, TIMESTAMP, TIMESTAMP_NTZ) or target in (DATE, TIMESTAMP, TIMESTAMP_NTZ):
        return _time(ctx, value, source, target)
    return _number(value, source, target)


def _struct(ctx: Context, value: pl.Expr, source: StructType, target: StructType) -> pl.Expr:
    parts = [
        convert(ctx, value.struct.field(a.name), a.type, b.type).alias(b.name)
        for a, b in zip(source, target, strict=True)
    ]
    return pl.when(value.is_not_null()).then(pl.struct(parts))


# Decimals


def to_scaled(ctx: Context, child: Expr, target: DecimalType) -> pl.Expr:
    """`child` as the unscaled Int128 of a decimal."""
    if isinstance(child.type, DecimalType):
        return rescaled(ctx.scaled(child), child.type, target)
    if isinstance(child, Literal) and child.value is None:
        return pl.lit(None, dtype=pl.Int128)
    if child.type == NULL:
        return ctx.expr(child).cast(pl.Int128)
    return _scaled(ctx.expr(child), child.type, target)


def rescaled(value: pl.Expr, source: DecimalType, target: DecimalType) -> pl.Expr:
    """The unscaled value of one decimal type as that of another; NULL where it has too many digits."""
    if target.scale > source.scale and source.precision + target.scale - source.scale > 38:
        value = decimals.fit(value, max(0, 38 - (target.scale - source.scale)))
    moved = decimals.rescale(value, source.scale, target.scale)
    loses = target.precision - target.scale < source.precision - source.scale + (target.scale < source.scale)
    return decimals.fit(moved, target.precision) if loses else moved


def _scaled(value: pl.Expr, source: DataType, target: DecimalType) -> pl.Expr:
    if isinstance(source, DecimalType):
        return rescaled(value.to_physical(), source, target)
    if source == BOOLEAN:
        source, value = INT, value.cast(pl.Int32)
    bound = as_decimal(source)
    if bound is not None:
        return rescaled(value.cast(pl.Int128), bound, target)
    if source == TIMESTAMP:
        # Spark goes by way of a double here, and so loses digits far from 1970.
        source, value = DOUBLE, _from_timestamp(value.to_physical(), DOUBLE)
    if source == DATE:
        return _nothing(value, pl.Int128)
    if source in FRACTIONAL:
        # The digits of a float are those of the double it widens to: 0.1 is 0.10000000149011612.
        text = value.cast(pl.Float64).cast(pl.String)
    else:
        text = texts.trimmed(value, delete=False)
    return texts.elementwise(
        text, lambda s: texts.parse_decimals(s, target.precision, target.scale), pl.Int128
    )


def _from_decimal(ctx: Context, child: Expr, source: DecimalType, target: DataType) -> pl.Expr:
    if target == STRING:
        return texts.elementwise(ctx.expr(child), lambda s: texts.format_decimals(s, source.scale), pl.String)
    return _scaled_to(ctx.scaled(child), source, target)


def _scaled_to(value: pl.Expr, source: DecimalType, target: DataType) -> pl.Expr:
    if target == STRING:
        column = decimals.to_column(value, source)
        return texts.elementwise(column, lambda s: texts.format_decimals(s, source.scale), pl.String)
    if target in (DOUBLE, FLOAT):
        # A quotient of two exact doubles is correctly rounded; beyond that the text is.
        if source.precision <= 15 and source.scale <= 22:
            found = divided(value.cast(pl.Float64), 10.0**source.scale)
        else:
            found = decimals.to_column(value, source).cast(pl.String).cast(pl.Float64)
        return found.cast(polars_type(target))
    if target == BOOLEAN:
        return value != 0
    if target == TIMESTAMP:
        micros = (
            decimals.rescale(value, source.scale, 6)
            if source.scale <= 6
            else value.truncdiv(decimals.int128(10 ** (source.scale - 6)))
        )
        return _wrap(micros, 64).cast(polars_type(TIMESTAMP))
    whole = value.truncdiv(decimals.int128(10**source.scale)) if source.scale else value
    return _wrap(whole, 64).cast(polars_type(target), wrap_numerical=True)


def _wrap(value: pl.Expr, bits: int) -> pl.Expr:
    return value.cast({64: pl.Int64(), 32: pl.Int32()}[bits], wrap_numerical=True)


# Numbers and booleans


def _number(value: pl.Expr, source: DataType, target: DataType) -> pl.Expr:
    dtype = polars_type(target)
    if target == BOOLEAN:
        return value != 0
    if source in FRACTIONAL and target in INTEGRAL:
        return _fraction_to_integer(value, target)
    if source in INTEGRAL and target in INTEGRAL:
        if _BITS[target] >= _BITS[source]:
            return value.cast(dtype)
        return value.cast(dtype, wrap_numerical=True)
    if source == FLOAT and target == DOUBLE:
        return value.cast(dtype)
    return value.cast(dtype)


def _fraction_to_integer(value: pl.Expr, target: DataType) -> pl.Expr:
    """Java's rule: toward zero, saturating at int or long, NaN is 0; smaller types wrap from int."""
    bits = 64 if target == LONG else 32
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    wide = pl.Int64 if bits == 64 else pl.Int32
    value = value.cast(pl.Float64)
    found = (
        pl.when(value.is_nan())
        .then(pl.lit(0, dtype=wide))
        .when(value >= float(high))
        .then(pl.lit(high, dtype=wide))
        .when(value <= float(low))
        .then(pl.lit(low, dtype=wide))
        .otherwise(value.cast(wide, strict=False))
    )
    return found if target in (INT, LONG) else found.cast(polars_type(target), wrap_numerical=True)


# Strings


def to_string(ctx: Context, value: pl.Expr, source: DataType) -> pl.Expr:
    if source == BOOLEAN:
        return pl.when(value).then(pl.lit("true")).when(~value).then(pl.lit("false"))
    if source in FRACTIONAL:
        return texts.elementwise(value, texts.format_floats, pl.String)
    if source == BINARY:
        return value.cast(pl.String, strict=False)
    if source == TIMESTAMP:
        value = value.dt.convert_time_zone(ctx.time_zone)
    if source in (TIMESTAMP, TIMESTAMP_NTZ):
        whole = value.dt.strftime("%Y-%m-%d %H:%M:%S")
        fraction = value.dt.strftime("%.6f").str.strip_chars_end("0")
        return pl.when(value.dt.microsecond() == 0).then(whole).otherwise(whole + fraction)
    if source == DATE:
        return texts.elementwise(value, moments.format_dates, pl.String)
    return value.cast(pl.String)


def _from_string(ctx: Context, value: pl.Expr, target: DataType) -> pl.Expr:
    if target == BINARY:
        return value.cast(pl.Binary)
    text = texts.trimmed(value, delete=target not in FRACTIONAL)
    if target == BOOLEAN:
        text = text.str.to_lowercase()
        yes, no = ["t", "true", "y", "yes", "1"], ["f", "false", "n", "no", "0"]
        return pl.when(text.is_in(yes)).then(True).when(text.is_in(no)).then(False)
    dtype = polars_type(target)
    zone = ctx.time_zone
    parsers: dict[DataType, Callable[[pl.Series], pl.Series]] = {
        DATE: moments.parse_dates,
        TIMESTAMP: lambda s: moments.parse_timestamps(s, zone),
        TIMESTAMP_NTZ: lambda s: moments.parse_timestamps(s, None),
    }
    if target in parsers:
        return texts.elementwise(text, parsers[target], dtype)
    parse = texts.parse_floats if target in FRACTIONAL else texts.parse_integers
    return texts.elementwise(text, lambda s: parse(s, dtype), dtype)


# Dates and times


def _time(ctx: Context, value: pl.Expr, source: DataType, target: DataType) -> pl.Expr:
    dtype = polars_type(target)
    match source, target:
        case (_, t) if source == DATE and t not in (TIMESTAMP, TIMESTAMP_NTZ):
            return _nothing(value, dtype)
        case (s, t) if s == TIMESTAMP and t == DATE:
            return value.dt.convert_time_zone(ctx.time_zone).dt.date()
        case (s, t) if s == TIMESTAMP and t == TIMESTAMP_NTZ:
            return value.dt.convert_time_zone(ctx.time_zone).dt.replace_time_zone(None)
        case (s, t) if s == TIMESTAMP_NTZ and t == DATE:
            return value.dt.date()
        case (s, t) if s in (DATE, TIMESTAMP_NTZ) and t == TIMESTAMP:
            return to_instant(value.cast(pl.Datetime("us")), ctx.time_zone)
        case (s, t) if s == DATE and t == TIMESTAMP_NTZ:
            return value.cast(dtype)
    if source == TIMESTAMP:
        return _from_timestamp(value.to_physical(), target)
    return _to_timestamp(value, source).cast(dtype)


def _nothing(value: pl.Expr, dtype: Any) -> pl.Expr:
    """NULL for each row; a literal would be one row where `value` is many."""
    nothing = pl.lit(None, dtype=dtype)
    return pl.when(value.is_null()).then(nothing).otherwise(nothing)


def _from_timestamp(micros: pl.Expr, target: DataType) -> pl.Expr:
    if target in FRACTIONAL:
        return divided(micros.cast(pl.Float64), float(_SECOND)).cast(polars_type(target))
    if target == BOOLEAN:
        return micros != 0
    return (micros // _SECOND).cast(polars_type(target), wrap_numerical=True)


def _to_timestamp(value: pl.Expr, source: DataType) -> pl.Expr:
    if source in FRACTIONAL:
        value = value.cast(pl.Float64)
        return _fraction_to_integer(pl.when(value.is_finite()).then(value * float(_SECOND)), LONG)
    if source == BOOLEAN:
        return value.cast(pl.Int64)
    value, most = value.cast(pl.Int64), 2**63 // _SECOND
    return (
        pl.when(value > most)
        .then(pl.lit(2**63 - 1, dtype=pl.Int64))
        .when(value < -most)
        .then(pl.lit(-(2**63), dtype=pl.Int64))
        .otherwise(value * _SECOND)
    )


def to_instant(local: pl.Expr, zone: str, moved: pl.Expr | None = None) -> pl.Expr:
    """A local date-time in a zone as an instant: the earlier one where clocks go back, and moved on by
    the gap where they go forward, as Java does. What was `moved` from another instant keeps the offset of
    that where it can, and so may be the later one."""
    if zone in ("UTC", "GMT", "Etc/UTC", "Z"):
        return local.dt.replace_time_zone("UTC")
    if moved is not None:
        late = local.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
        late = late.dt.convert_time_zone("UTC")
        same = _offset(late, zone) == _offset(moved, zone)
        return pl.when(same).then(late).otherwise(to_instant(local, zone))
    direct = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    day = pl.duration(days=1)
    before = (local - day).dt.replace_time_zone(
        zone, ambiguous="earliest", non_existent="null"
    ) + pl.duration(hours=24)
    return pl.coalesce(direct, before).dt.convert_time_zone("UTC")


def _offset(instant: pl.Expr, zone: str) -> pl.Expr:
    """How far the clocks of the zone are from UTC."""
    wall = instant.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return wall - instant.dt.replace_time_zone(None)
