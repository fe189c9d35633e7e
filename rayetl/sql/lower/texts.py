"""Text to values and back, a batch at a time.

Each parser tries the plain form on the whole batch first; only what is left over is read by the slower
rules that cover every form Spark accepts.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, InvalidOperation, localcontext
from typing import Any

import polars as pl

from rayetl.sql.java_floats import java_float
from rayetl.sql.lower.floats import divided_series

_BLANK = "".join(chr(code) for code in range(33))
_DELETE = "\x7f"
_EXACT = Context(prec=100)
_HEX_FLOAT = r"^([+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?\d+)[df]?$"


def elementwise(value: pl.Expr, function: Callable[[pl.Series], pl.Series], dtype: Any) -> pl.Expr:
    """A function of whole batches that treats each value by itself."""
    return value.map_batches(function, return_dtype=dtype, is_elementwise=True)


def trimmed(value: pl.Expr, delete: bool = True) -> pl.Expr:
    """Without the blanks and control characters that Spark's casts ignore; those to floats and decimals
    do not ignore DELETE."""
    return value.str.strip_chars(_BLANK + _DELETE if delete else _BLANK)


def _patch(text: pl.Series, plain: pl.Series, slow: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Run `slow` on the texts that the plain parser made nothing of."""
    missed = plain.is_null() & text.is_not_null()
    if not missed.any():
        return plain
    found = slow(text.filter(missed))
    return plain.scatter(missed.arg_true(), found.cast(plain.dtype))


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
    """Java's forms: also `Infinity`, `NaN` in any case, a trailing d or f, and hexadecimal."""

    def slow(rest: pl.Series) -> pl.Series:
        low = rest.str.to_lowercase().str.replace(r"^([+-]?[0-9.]+(?:e[+-]?\d+)?)[df]$", "$1")
        found = low.replace({"+inf": "inf", "infinity": "inf", "+infinity": "inf", "-infinity": "-inf"})
        numbers = found.cast(dtype, strict=False)
        return _patch(low.str.extract(_HEX_FLOAT), numbers, _from_hexadecimal)

    found = _patch(text, text.cast(dtype, strict=False), slow)
    odd = found.is_nan() & text.str.contains(r"^[+-]") & ~text.str.ends_with("NaN")
    # A signed NaN counts in Java's spelling alone.
    return found if not odd.any() else found.scatter(odd.arg_true(), None)


def _from_hexadecimal(text: pl.Series) -> pl.Series:
    return pl.Series([float.fromhex(item) for item in text], dtype=pl.Float64)


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
    unit = Decimal(1).scaleb(-scale)

    def one(item: str) -> int | None:
        try:
            found = Decimal(item).quantize(unit, ROUND_HALF_UP, _EXACT)
        except InvalidOperation:
            return None
        if not found.is_finite() or "_" in item or item.strip() != item:
            return None
        value = int(found.scaleb(scale, _EXACT))
        return value if abs(value) < 10**precision else None

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
    single = values.dtype == pl.Float32
    found = pl.Series([java_float(item, single) for item in values.filter(odd)], dtype=pl.String)
    return text.scatter(odd.arg_true(), found)


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
    # Spark rounds by way of BigDecimal, which has no -0.
    found = pl.select(pl.when(found == 0).then(0.0).otherwise(found).alias("v"))["v"]
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
        return value or 0.0
    with localcontext() as context:
        context.prec = 800
        rounded = exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN if even else ROUND_HALF_UP)
        return float(rounded) or 0.0


def zipped(left: pl.Expr, right: pl.Expr, function: Callable[[Any, Any], Any], dtype: Any) -> pl.Expr:
    """A Python function of two columns, for the rare that Polars has no form of; NULL in, NULL out."""

    def run(series: Any) -> pl.Series:
        one, two = series
        height = max(len(one), len(two)) if len(one) and len(two) else 0
        one, two = (s.new_from_index(0, height) if len(s) == 1 else s.head(height) for s in (one, two))
        pairs = zip(one.to_list(), two.to_list(), strict=True)
        return pl.Series([None if a is None or b is None else function(a, b) for a, b in pairs], dtype=dtype)

    return pl.map_batches([left, right], run, return_dtype=dtype, is_elementwise=True)
