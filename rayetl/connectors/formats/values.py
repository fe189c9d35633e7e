"""Texts of CSV and JSON fields to typed columns, by the rules of Spark's readers, and why some are not.

Each parser takes a column of texts and gives NULL for what Spark would call malformed.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from rayetl.connectors.formats.options import CsvOptions, TextOptions
from rayetl.connectors.formats.patterns import MONTHS, Pattern, compile_pattern
from rayetl.errors import SourceError
from rayetl.names import BAD
from rayetl.sql.interop import polars_type
from rayetl.sql.lower import moments, texts
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    DATE,
    FRACTIONAL,
    INTEGRAL,
    NULL,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    DataType,
    DecimalType,
    Field,
)

_JAVA_FLOAT = r"^[\x00-\x20]*[+-]?(?:NaN|Infinity|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fFdD]?)[\x00-\x20]*$"


def typed(
    frame: pl.DataFrame,
    fields: Sequence[Field],
    options: TextOptions,
    bad: pl.Series | None,
    shown: Sequence[str],
) -> tuple[pl.DataFrame, pl.Series]:
    """`fields` of a frame of texts as their types, and for each row why it is malformed (or NULL).

    Columns that have their type already are left alone. `bad` holds reasons found before, `shown` the names
    that reasons use.
    """
    columns: list[pl.Series] = []
    reasons: list[pl.Series] = [] if bad is None else [bad]
    for field, name in zip(fields, shown, strict=True):
        text = frame[field.name]
        if text.dtype == polars_type(field.type):
            columns.append(text)
            continue
        value = parse(text, field.type, options).alias(field.name)
        columns.append(value)
        if value.null_count() > text.null_count():
            wrong = value.is_null() & text.is_not_null()
            reasons.append(_reason(wrong, f"column {name}: {_class(field.type)}"))
    return pl.DataFrame(columns, height=frame.height), _joined(reasons, frame.height)


def _class(kind: DataType) -> str:
    return f"the text is not a valid {str(kind).upper()}"


def _reason(wrong: pl.Series, sentence: str) -> pl.Series:
    return wrong.to_frame("w").select(pl.when(pl.col("w")).then(pl.lit(sentence)).alias(BAD))[BAD]


def _joined(reasons: list[pl.Series], height: int) -> pl.Series:
    if not reasons:
        return pl.Series(BAD, [None], dtype=pl.String).new_from_index(0, height)
    if len(reasons) == 1:
        return reasons[0].alias(BAD)
    frame = pl.DataFrame([series.alias(str(index)) for index, series in enumerate(reasons)])
    joined = pl.concat_str(pl.all(), separator="; ", ignore_nulls=True)
    return frame.select(pl.when(pl.any_horizontal(pl.all().is_not_null())).then(joined).alias(BAD))[BAD]


def parse(text: pl.Series, kind: DataType, options: TextOptions) -> pl.Series:
    """A column of texts as `kind`; NULL where Spark's CSV reader refuses the text."""
    if kind == STRING:
        return text
    if kind in INTEGRAL:
        plain = text.cast(polars_type(kind), strict=False)
        # Polars also reads forms such as ` 1` that Java's parser refuses.
        return _only(plain, text, r"^[+-]?[0-9]+$")
    if kind in FRACTIONAL:
        return _float(text, kind, options)
    if isinstance(kind, DecimalType):
        return _decimal(text, kind)
    if kind == BOOLEAN:
        low = text.str.to_lowercase()
        return low.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    if kind == DATE:
        return _date(text, options)
    if kind in (TIMESTAMP, TIMESTAMP_NTZ):
        return _timestamp(text, kind, options)
    if kind == BINARY:
        return text.cast(pl.Binary)
    if kind == NULL:
        return pl.Series(text.name, [None] * len(text), dtype=pl.Null)
    raise SourceError(
        f"a text field cannot be read as {kind}", hint="read it as STRING and convert it in a step"
    )


def _only(value: pl.Series, text: pl.Series, pattern: str) -> pl.Series:
    fits = text.str.contains(pattern)
    return (
        value
        if fits.all()
        else pl.DataFrame([value, fits.alias("\0")]).select(
            pl.when(pl.col("\0")).then(pl.col(value.name)).alias(value.name)
        )[value.name]
    )


def _float(text: pl.Series, kind: DataType, options: TextOptions) -> pl.Series:
    dtype = polars_type(kind)
    plain = text.cast(dtype, strict=False)
    sure = text.str.contains(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
    if sure.all() and plain.null_count() == text.null_count():
        return plain
    named: dict[str, str] = {}
    if isinstance(options, CsvOptions):
        named = {
            options.nan_value: "NaN",
            options.positive_inf: "Infinity",
            options.negative_inf: "-Infinity",
        }
    java = text.replace(named)
    java = _only(java, java, _JAVA_FLOAT)
    bare = java.str.strip_chars("".join(map(chr, range(33)))).str.replace(r"[fFdD]$", "")
    bare = bare.replace(
        {"Infinity": "inf", "+Infinity": "inf", "-Infinity": "-inf", "+NaN": "NaN", "-NaN": "NaN"}
    )
    return bare.cast(dtype, strict=False)


def _decimal(text: pl.Series, kind: DecimalType) -> pl.Series:
    bare = text.str.replace_all(",", "", literal=True)
    bare = _only(bare, bare, r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
    scaled = texts.parse_decimals(bare, kind.precision, kind.scale)
    return scaled.to_frame("v").select(
        pl.col("v").reinterpret(dtype=pl.Decimal(kind.precision, kind.scale)).alias(text.name)
    )[text.name]


def _date(text: pl.Series, options: TextOptions) -> pl.Series:
    if options.date_format is None:
        if text.str.len_bytes().max() in (10, None):
            # Polars has a quick way for this form, quicker than to look for the text in a cache.
            plain = text.str.to_date("%Y-%m-%d", strict=False, cache=False)
            if plain.null_count() == text.null_count():
                return plain
        return moments.parse_dates(texts_trimmed(text)).alias(text.name)
    return by_pattern(text, compile_pattern(options.date_format), None).dt.date()


def _timestamp(text: pl.Series, kind: DataType, options: TextOptions) -> pl.Series:
    zone = options.time_zone or "UTC" if kind == TIMESTAMP else None
    pattern = options.timestamp_format if kind == TIMESTAMP else options.timestamp_ntz_format
    if pattern is None:
        found = moments.parse_timestamps(texts_trimmed(text), zone, zoned=kind == TIMESTAMP)
        return found.alias(text.name)
    return by_pattern(text, compile_pattern(pattern), zone)


def texts_trimmed(text: pl.Series) -> pl.Series:
    """Without the blanks around it that Spark's date and time parsers pass over."""
    return text.str.strip_chars("".join(map(chr, range(33))) + "\x7f")


def by_pattern(text: pl.Series, pattern: Pattern, zone: str | None) -> pl.Series:
    """Date-times by a Java pattern, in `zone` where the text names none; `None`: without a time zone."""
    parts = text.to_frame("t").select(pl.col("t").str.extract_groups(pattern.regex)).unnest("t")
    local = parts.select(_moment(pattern, parts.columns).alias(text.name))[text.name]
    if zone is None:
        return local
    if "zone" not in parts.columns:
        return moments.with_zone(local, zone)
    found = moments.with_zone(local, zone)
    zones = parts["zone"]
    for name in zones.drop_nulls().unique():
        here = (zones == name).fill_null(False)
        found = found.scatter(here.arg_true(), moments.with_zone(local.filter(here), name))
    return found


def _moment(pattern: Pattern, columns: list[str]) -> pl.Expr:
    def number(name: str, default: int) -> pl.Expr:
        if name not in columns:
            return pl.lit(default, dtype=pl.Int32)
        return pl.col(name).cast(pl.Int32, strict=False).fill_null(default)

    year = number("year", 1970) + (2000 if pattern.year2 else 0)
    month = number("month", 1)
    if "month_name" in columns:
        numbered = {name[:3]: place for place, name in enumerate(MONTHS, start=1)}
        month = (
            pl.col("month_name")
            .str.slice(0, 3)
            .str.to_titlecase()
            .replace_strict(numbered, return_dtype=pl.Int32)
        )
    hour = number("hour", 0)
    if "hour12" in columns:
        half_day = number("hour12", 12)
        hour = pl.when(half_day.is_between(1, 12)).then(half_day % 12)
        if "half" in columns:
            hour = hour + pl.when(pl.col("half").str.to_uppercase() == "PM").then(12).otherwise(0)
    micros = pl.lit(0)
    if "fraction" in columns:
        micros = pl.col("fraction").fill_null("0").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int32)
    matched = pl.any_horizontal(pl.col(columns).is_not_null()) if columns else pl.lit(False)
    text = pl.format(
        "{}-{}-{} {}:{}:{}.{}",
        year.cast(pl.String).str.zfill(4),
        *[part.cast(pl.String).str.zfill(2) for part in (month, number("day", 1), hour)],
        *[part.cast(pl.String).str.zfill(2) for part in (number("minute", 0), number("second", 0))],
        micros.cast(pl.String).str.zfill(6),
    )
    moment = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    if "yearday" in columns:
        day = moment + pl.duration(days=number("yearday", 1) - 1)
        moment = pl.when(day.dt.year() == moment.dt.year()).then(day)
    # Polars reads a second 60 as the next minute.
    return pl.when(matched & (number("second", 0) < 60)).then(moment)


def partition_value(text: str | None, kind: DataType) -> pl.Expr:
    """The value of a partition directory as a typed literal."""
    if text is None:
        return pl.lit(None, dtype=polars_type(kind))
    if kind in FRACTIONAL:
        # As directories are called that Polars made.
        text = {"inf": "Infinity", "-inf": "-Infinity"}.get(text, text)
    value = parse(pl.Series("p", [text]), kind, TextOptions())
    return pl.lit(value).first() if kind == STRING else pl.lit(value.item(), dtype=polars_type(kind))
