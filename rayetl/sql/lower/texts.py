"""Text to values and back, a batch at a time.

Each parser tries the plain form on the whole batch first; only what is left over is read by the slower
rules that cover every form Spark accepts.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any

import polars as pl

from rayetl.sql.lower.floats import divided_series

_BLANK = "".join(chr(code) for code in range(33)) + "\x7f"
_TIMESTAMP = (
    r"^([+-]?\d{4,6})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T](?:(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:\.(\d*))?)?"
    r")?)?"
    r"\s*(Z|UTC|GMT|(?:UTC|GMT)?[+-]\d{1,2}(?::?\d{2})?|[A-Z][A-Za-z_]+/[A-Za-z_/]+)?)?)?)?$"
)


def elementwise(value: pl.Expr, function: Callable[[pl.Series], pl.Series], dtype: Any) -> pl.Expr:
    """A function of whole batches that treats each value by itself."""
    return value.map_batches(function, return_dtype=dtype, is_elementwise=True)


def trimmed(value: pl.Expr) -> pl.Expr:
    """Without the blanks and control characters that Spark's casts ignore."""
    return value.str.strip_chars(_BLANK)


def _patch(text: pl.Series, plain: pl.Series, slow: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Run `slow` on the texts that the plain parser made nothing of."""
    missed = plain.is_null() & text.is_not_null()
    if not missed.any():
        return plain
    found = slow(text.filter(missed))
    return plain.scatter(missed.arg_true(), found)


def parse_integers(text: pl.Series, dtype: Any) -> pl.Series:
    """`12`, and `12.7` cut to 12."""
    return _patch(
        text,
        text.cast(dtype, strict=False),
        lambda rest: (
            rest.str.extract(r"^([+-]?\d+|[+-]?)\.\d*$")
            .replace({"": "0", "+": "0", "-": "0"})
            .cast(dtype, strict=False)
        ),
    )


def parse_floats(text: pl.Series, dtype: Any) -> pl.Series:
    """Java's forms: also `Infinity`, `NaN` in any case, and a trailing d or f."""

    def slow(rest: pl.Series) -> pl.Series:
        low = rest.str.to_lowercase().str.replace(r"^([+-]?[0-9.]+(?:e[+-]?\d+)?)[df]$", "$1")
        return low.replace({"+inf": "inf", "infinity": "inf", "+infinity": "inf", "-infinity": "-inf"}).cast(
            dtype, strict=False
        )

    return _patch(text, text.cast(dtype, strict=False), slow)


def parse_decimals(text: pl.Series, precision: int, scale: int) -> pl.Series:
    """Unscaled values, digits past the scale rounded half up, NULL for too many digits."""
    parts = text.str.extract_groups(r"^([+-]?)0*(\d*)(?:\.(\d*))?$").struct.unnest()
    sign, whole, fraction = parts.columns
    digits = pl.col(whole) + pl.col(fraction).fill_null("").str.pad_end(scale, "0").str.slice(0, scale)
    up = pl.col(fraction).fill_null("").str.slice(scale, 1).fill_null("").is_in(["5", "6", "7", "8", "9"])
    value = (pl.lit("0") + digits).cast(pl.Int128, strict=False) + up.cast(pl.Int128)
    some = (pl.col(whole).str.len_bytes() > 0) | (pl.col(fraction).str.len_bytes() > 0).fill_null(False)
    small = pl.col(whole).str.len_bytes() <= 38 - scale
    plain = parts.select(
        pl.when(some & small).then(pl.when(pl.col(sign) == "-").then(0 - value).otherwise(value)).alias("v")
    )["v"]
    high, low = (pl.lit(limit, dtype=pl.Int128) for limit in (10**precision, -(10**precision)))
    plain = plain.to_frame().select(pl.when((pl.col("v") < high) & (pl.col("v") > low)).then(pl.col("v")))[
        "v"
    ]
    return _patch(text, plain, lambda rest: _exact_decimals(rest, precision, scale))


def _exact_decimals(text: pl.Series, precision: int, scale: int) -> pl.Series:
    def one(item: str) -> int | None:
        try:
            sign, digits, exponent = Decimal(item).as_tuple()
        except InvalidOperation:
            return None
        if not isinstance(exponent, int) or "_" in item or exponent + scale > 38 + precision:
            return None
        value, move = int("".join(map(str, digits))), exponent + scale
        if move < -len(digits) - 1:
            value = 0
        elif move >= 0:
            value *= 10**move
        else:
            value = (value + 5 * 10 ** (-move - 1)) // 10**-move
        return None if value >= 10**precision else -value if sign else value

    return pl.Series("v", [one(item) for item in text], dtype=pl.Int128)


def format_decimals(column: pl.Series, scale: int) -> pl.Series:
    """Plain digits, but with an exponent below 1E-6 as Java's BigDecimal prints them."""
    text = column.cast(pl.String)
    if scale <= 6:
        return text
    small = (column.to_physical().abs().cast(pl.String).str.len_bytes() < scale - 5) & text.is_not_null()
    if not small.any():
        return text
    found = [str(Decimal(item)) for item in text.filter(small)]
    return text.scatter(small.arg_true(), pl.Series(found, dtype=pl.String))


def format_floats(values: pl.Series) -> pl.Series:
    """Java's form: plain from 1E-3 to 1E7, else one digit, a point, the rest and an exponent."""
    text = values.cast(pl.String)
    size = values.abs()
    odd = (((size < 1e-3) & (size != 0)) | (size >= 1e7)) & values.is_not_nan()
    if not odd.any():
        return text
    found = pl.Series([_java_float(item) for item in text.filter(odd)], dtype=pl.String)
    return text.scatter(odd.arg_true(), found)


def _java_float(text: str) -> str:
    if "inf" in text:
        return text.replace("inf", "Infinity")
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    body = "".join(map(str, digits))
    power = exponent + len(body) - 1
    rest = body[1:].rstrip("0") or "0"
    return f"{'-' if sign else ''}{body[0]}.{rest}E{power}"


def parse_dates(text: pl.Series) -> pl.Series:
    """`2020-01-05`, `2020-1-5`, `2020-1`, `2020`, and any of them in full followed by T or a blank."""

    def slow(rest: pl.Series) -> pl.Series:
        fields = rest.str.extract_groups(
            r"^([+-]?\d{4,7})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T].*)?)?)?$"
        ).struct.unnest()
        year, month, day = fields.columns
        joined = pl.concat_str(
            pl.col(year).str.replace(r"^\+", ""), pl.lit("-"),
            pl.col(month).fill_null("01").str.zfill(2), pl.lit("-"), pl.col(day).fill_null("01").str.zfill(2),
        )  # fmt: skip
        return fields.select(joined.str.to_date("%Y-%m-%d", strict=False).alias("v"))["v"]

    iso = text.str.len_bytes() == 10
    plain = text.to_frame("t").select(
        pl.when(pl.lit(iso)).then(pl.col("t")).str.to_date("%Y-%m-%d", strict=False)
    )
    return _patch(text, plain.to_series(), slow)


def parse_timestamps(text: pl.Series, zone: str | None) -> pl.Series:
    """Spark's timestamp forms; a text without a zone is in `zone`. None gives zone-less results."""
    local = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    plain = _with_zone(local, zone)
    return _patch(text, plain, lambda rest: _slow_timestamps(rest, zone))


def _slow_timestamps(text: pl.Series, zone: str | None) -> pl.Series:
    fields = text.str.extract_groups(_TIMESTAMP).struct.unnest()
    names = fields.columns
    padded = [
        pl.col(n).fill_null(d).str.zfill(2)
        for n, d in zip(names[1:6], ("01", "01", "00", "00", "00"), strict=True)
    ]
    micros = pl.col(names[6]).fill_null("").str.pad_end(6, "0").str.slice(0, 6)
    joined = pl.concat_str(
        pl.col(names[0]).str.replace(r"^\+", ""), pl.lit("-"), padded[0], pl.lit("-"), padded[1], pl.lit(" "),
        padded[2], pl.lit(":"), padded[3], pl.lit(":"), padded[4], pl.lit("."), micros,
    )  # fmt: skip
    local = fields.select(
        joined.str.to_datetime("%Y-%m-%d %H:%M:%S%.6f", strict=False, time_unit="us").alias("v")
    )["v"]
    zones = fields[names[7]]
    if zone is None:
        return local
    found = _with_zone(local, zone)
    for name in zones.drop_nulls().unique():
        mask = (zones == name).fill_null(False)
        found = found.scatter(mask.arg_true(), _with_zone(local.filter(mask), name))
    return found


def _with_zone(local: pl.Series, zone: str | None) -> pl.Series:
    from rayetl.sql.lower.casts import to_instant

    if zone is None:
        return local
    offset = fixed_offset(zone)
    frame = local.to_frame("v")
    if offset is not None:
        moved = pl.col("v").dt.replace_time_zone("UTC") - pl.duration(microseconds=offset)
        return frame.select(moved)["v"]
    try:
        return frame.select(to_instant(pl.col("v"), zone))["v"]
    except pl.exceptions.PolarsError:
        return pl.Series("v", [None] * len(local), dtype=pl.Datetime("us", "UTC"))


def fixed_offset(zone: str) -> int | None:
    """Microseconds east of UTC for `Z`, `+02:00`, `GMT-3`; None for a named zone."""
    name = zone.removeprefix("UTC").removeprefix("GMT")
    if name in ("", "Z"):
        return 0
    if name[0] not in "+-":
        return None
    digits = name[1:].replace(":", "")
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    micros = (int(hours) * 60 + int(minutes)) * 60_000_000
    return -micros if name[0] == "-" else micros


def round_floats(values: pl.Series, digits: int, even: bool) -> pl.Series:
    """Spark rounds the shortest decimal text of a number, so 2.675 to two digits is 2.68."""
    scale = 10.0 ** abs(digits)
    moved = values * scale if digits >= 0 else divided_series(values, scale)
    size = moved.abs()
    whole = (size + 0.5).floor()
    rounded = divided_series(whole, scale) if digits >= 0 else whole * scale
    found = pl.select(pl.when(values < 0).then(-rounded).otherwise(rounded).alias("v"))["v"]
    tie = ((size - size.floor()) - 0.5).abs() < 1e-4
    odd = (tie | (size >= 1e11) | values.is_infinite() | values.is_nan()) & values.is_not_null()
    if not odd.any():
        return found.cast(values.dtype)
    slow = [
        _round_float(float(v), str(t), digits, even)
        for v, t in zip(values.filter(odd), values.filter(odd).cast(pl.String), strict=True)
    ]
    return found.cast(values.dtype).scatter(
        odd.arg_true(), pl.Series(slow, dtype=pl.Float64).cast(values.dtype)
    )


def _round_float(value: float, text: str, digits: int, even: bool) -> float:
    if value != value or value in (float("inf"), float("-inf")):
        return value
    exact = Decimal(text)
    _, _, exponent = exact.as_tuple()
    if isinstance(exponent, int) and exponent >= -digits:
        return value
    with localcontext() as context:
        context.prec = 800
        return float(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN if even else ROUND_HALF_UP))


def zipped(left: pl.Expr, right: pl.Expr, function: Callable[[Any, Any], Any], dtype: Any) -> pl.Expr:
    """A Python function of two columns, for the rare that Polars has no form of; NULL in, NULL out."""

    def run(series: Any) -> pl.Series:
        one, two = series
        height = max(len(one), len(two)) if len(one) and len(two) else 0
        one, two = (s.new_from_index(0, height) if len(s) == 1 else s.head(height) for s in (one, two))
        pairs = zip(one.to_list(), two.to_list(), strict=True)
        return pl.Series([None if a is None or b is None else function(a, b) for a, b in pairs], dtype=dtype)

    return pl.map_batches([left, right], run, return_dtype=dtype, is_elementwise=True)
