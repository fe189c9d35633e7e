"""Decimal arithmetic on scaled Int128.

The digits of a result are bounded by the types, as Spark bounds them, so nothing is checked while the
bound stays within 38 digits. Beyond it the batch is looked at: if its largest values fit, the same
columnar arithmetic runs; only a batch that would not fit is computed in Python integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from rayetl.sql.coerce import decimal_result
from rayetl.sql.expr import Call, Case, Cast, Expr, Literal
from rayetl.sql.functions.base import Context
from rayetl.sql.functions.constants import value_of
from rayetl.sql.lower import casts
from rayetl.sql.types import DecimalType

_LIMIT = 38
_SAFE = 2**126


def is_computed(node: Expr) -> bool:
    """Whether the node is worked out in scaled form."""
    return isinstance(node, Literal | Cast) or (isinstance(node, Call) and node.function in _SCALED)


def to_column(scaled: pl.Expr, kind: DecimalType) -> pl.Expr:
    return scaled.reinterpret(dtype=pl.Decimal(kind.precision, kind.scale))


def scaled(ctx: Context, node: Expr) -> pl.Expr:
    """The unscaled Int128 of a decimal expression."""
    if isinstance(node, Literal):
        return pl.lit(node.value, dtype=pl.Int128)
    if isinstance(node, Cast):
        assert isinstance(node.type, DecimalType)
        return casts.to_scaled(ctx, node.child, node.type)
    if isinstance(node, Call) and node.function in _SCALED:
        return _SCALED[node.function](ctx, node)
    if isinstance(node, Case):
        return _case(ctx, node)
    found: pl.Expr = ctx.expr(node).to_physical()
    return found


def _case(ctx: Context, node: Case) -> pl.Expr:
    chain: Any = pl
    for condition, value in node.branches:
        chain = chain.when(ctx.expr(condition)).then(scaled(ctx, value))
    found: pl.Expr = chain if node.otherwise is None else chain.otherwise(scaled(ctx, node.otherwise))
    return found


def kind_of(node: Expr) -> DecimalType:
    assert isinstance(node.type, DecimalType)
    return node.type


# Columnar parts


def int128(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.Int128)


def times(value: pl.Expr, digits: int) -> pl.Expr:
    """`value * 10**digits`."""
    return value * int128(10**digits) if digits else value


def divide_half_up(value: pl.Expr, digits: int) -> pl.Expr:
    """`value / 10**digits`, half away from zero."""
    half = int128(10**digits // 2)
    return pl.when(value >= 0).then(value + half).otherwise(value - half).truncdiv(int128(10**digits))


def rescale(value: pl.Expr, source: int, target: int) -> pl.Expr:
    """From one scale to another; digits that fall away round half up."""
    return times(value, target - source) if target >= source else divide_half_up(value, source - target)


def fit(value: pl.Expr, precision: int) -> pl.Expr:
    """NULL where the value has more digits."""
    limit = int128(10**precision)
    return pl.when((value < limit) & (value > int128(-(10**precision)))).then(value)


def quotient_half_up(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    """`above / below` of integers, half away from zero; NULL for a zero divisor."""
    below = pl.when(below != 0).then(below)
    whole = above.truncdiv(below)
    rest = (above - whole * below).abs()
    away = above.sign() * below.sign()
    return whole + pl.when(rest >= below.abs() - rest).then(away).otherwise(int128(0))


# Whole numbers in Python, for batches whose values pass 128 bits


def half_up(above: int, below: int) -> int:
    whole, rest = divmod(abs(above), abs(below))
    whole += 2 * rest >= abs(below)
    return whole if (above < 0) == (below < 0) else -whole


def remainder(above: int, below: int) -> int:
    """With the sign of the dividend, as Java has it."""
    rest = abs(above) % abs(below)
    return -rest if above < 0 else rest


def fitted(value: int, kind: DecimalType) -> int | None:
    return value if abs(value) < 10**kind.precision else None


def wide(
    left: pl.Expr,
    right: pl.Expr,
    fits: Callable[[int, int], bool],
    columnar: Callable[[pl.Expr, pl.Expr], pl.Expr],
    exact: Callable[[int, int], int | None],
) -> pl.Expr:
    """Columnar where the batch's largest magnitudes pass `fits`, else exact, value by value."""

    def run(series: Any) -> pl.Series:
        pair = (
            pl.DataFrame({"l": series[0], "r": series[1]})
            if len(series[0]) == len(series[1])
            else _broadcast(series)
        )
        largest = [_magnitude(pair[name]) for name in ("l", "r")]
        if fits(*largest):
            return pair.select(columnar(pl.col("l"), pl.col("r")).cast(pl.Int128).alias("l"))["l"]
        values = [None if a is None or b is None else exact(a, b) for a, b in pair.iter_rows()]
        return pl.Series("l", values, dtype=pl.Int128)

    return pl.map_batches([left, right], run, return_dtype=pl.Int128, is_elementwise=True)


def _broadcast(series: Any) -> pl.DataFrame:
    height = max(len(s) for s in series) if all(len(s) for s in series) else 0
    left, right = (s.new_from_index(0, height) if len(s) == 1 else s.head(height) for s in series)
    return pl.DataFrame({"l": left, "r": right})


def _magnitude(series: pl.Series) -> int:
    low, high = series.min(), series.max()
    return max(abs(int(low)), abs(int(high))) if isinstance(low, int) and isinstance(high, int) else 0


# Operators


def _unadjusted(operator: str, a: DecimalType, b: DecimalType) -> tuple[int, int]:
    """Precision and scale of the exact result, which may pass 38 digits."""
    if operator == "*":
        return a.precision + b.precision + 1, a.scale + b.scale
    scale = max(a.scale, b.scale)
    return max(a.precision - a.scale, b.precision - b.scale) + scale + 1, scale


def _round_to(value: int, source: int, kind: DecimalType) -> int | None:
    moved = (
        value * 10 ** (kind.scale - source)
        if kind.scale >= source
        else half_up(value, 10 ** (source - kind.scale))
    )
    return fitted(moved, kind)


def _add(sign: int) -> Callable[[Context, Call], pl.Expr]:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        a, b, kind = kind_of(call.args[0]), kind_of(call.args[1]), kind_of(call)
        digits, scale = _unadjusted("+", a, b)

        def exact(x: pl.Expr, y: pl.Expr) -> pl.Expr:
            x, y = times(x, scale - a.scale), times(y, scale - b.scale)
            return x + y if sign > 0 else x - y

        left, right = scaled(ctx, call.args[0]), scaled(ctx, call.args[1])
        if digits <= _LIMIT:
            return exact(left, right)
        up1, up2 = 10 ** (scale - a.scale), 10 ** (scale - b.scale)
        return wide(
            left,
            right,
            lambda x, y: x * up1 + y * up2 < _SAFE,
            lambda x, y: fit(rescale(exact(x, y), scale, kind.scale), kind.precision),
            lambda x, y: _round_to(x * up1 + sign * y * up2, scale, kind),
        )

    return lower


def _multiply(ctx: Context, call: Call) -> pl.Expr:
    a, b, kind = kind_of(call.args[0]), kind_of(call.args[1]), kind_of(call)
    digits, scale = _unadjusted("*", a, b)
    left, right = scaled(ctx, call.args[0]), scaled(ctx, call.args[1])
    if digits <= _LIMIT:
        return left * right
    return wide(
        left,
        right,
        lambda x, y: x * y < _SAFE,
        lambda x, y: fit(rescale(x * y, scale, kind.scale), kind.precision),
        lambda x, y: _round_to(x * y, scale, kind),
    )


def _divide(ctx: Context, call: Call) -> pl.Expr:
    a, b, kind = kind_of(call.args[0]), kind_of(call.args[1]), kind_of(call)
    up = kind.scale - a.scale + b.scale
    left, right = scaled(ctx, call.args[0]), scaled(ctx, call.args[1])
    return divide(left, right, up, a, kind)


def divide(left: pl.Expr, right: pl.Expr, up: int, a: DecimalType, kind: DecimalType) -> pl.Expr:
    """`left * 10**up / right`, half up, as `kind`; NULL for a zero divisor or too many digits."""

    def columnar(x: pl.Expr, y: pl.Expr) -> pl.Expr:
        quotient = quotient_half_up(times(x, max(up, 0)), times(y, max(-up, 0)))
        return fit(quotient, kind.precision)

    if up >= 0 and a.precision + up <= _LIMIT:
        return columnar(left, right)
    above, below = 10 ** max(up, 0), 10 ** max(-up, 0)
    return wide(
        left,
        right,
        # Batches of zeros too: the power itself has to fit.
        lambda x, y: max(x, 1) * above < _SAFE and max(y, 1) * below < _SAFE,
        columnar,
        lambda x, y: fitted(half_up(x * above, y * below), kind) if y else None,
    )


def _truncated(operator: str) -> Callable[[Context, Call], pl.Expr]:
    """`%`, pmod and `div`: both sides at one scale, then integers."""

    def lower(ctx: Context, call: Call) -> pl.Expr:
        a, b = kind_of(call.args[0]), kind_of(call.args[1])
        kind = decimal_result("%", a, b)
        scale = max(a.scale, b.scale)
        up1, up2 = 10 ** (scale - a.scale), 10 ** (scale - b.scale)

        def columnar(x: pl.Expr, y: pl.Expr) -> pl.Expr:
            x, y = x * int128(up1), y * int128(up2)
            y = pl.when(y != 0).then(y)
            whole = x.truncdiv(y)
            rest = x - whole * y
            again = rest + y
            positive = fit(
                pl.when(rest < 0).then(again - again.truncdiv(y) * y).otherwise(rest), kind.precision
            )
            return {"div": whole, "%": rest, "pmod": positive}[operator]

        def exact(x: int, y: int) -> int | None:
            x, y = x * up1, y * up2
            if not y:
                return None
            rest = remainder(x, y)
            positive = rest if rest >= 0 else remainder(rest + y, y)
            found = {"div": (x - rest) // y, "%": rest, "pmod": positive}[operator]
            return found if operator == "div" else _round_to(found, scale, kind)

        left, right = scaled(ctx, call.args[0]), scaled(ctx, call.args[1])
        if max(a.precision - a.scale, b.precision - b.scale) + scale < _LIMIT:
            return columnar(left, right)
        return wide(left, right, lambda x, y: x * up1 < _SAFE and y * up2 < _SAFE / 2, columnar, exact)

    return lower


integral_divide = _truncated("div")


def _round(ctx: Context, call: Call) -> pl.Expr:
    """round, bround, ceil, floor: the digits are a constant."""
    source, kind = kind_of(call.args[0]), kind_of(call)
    digits = value_of(call.args[1]) if len(call.args) > 1 else 0
    value = scaled(ctx, call.args[0])
    if digits is None:
        return pl.when(False).then(value)
    drop = source.scale - digits
    if drop <= 0:
        return value
    if drop > source.precision:
        return pl.when(value.is_not_null()).then(int128(0))
    unit = int128(10**drop)
    whole = value.truncdiv(unit)
    rest = value - whole * unit
    half = int128(10**drop // 2)
    match call.function:
        case "round":
            step = pl.when(rest.abs() >= half).then(value.sign()).otherwise(int128(0))
        case "bround":
            odd = whole - whole.truncdiv(int128(2)) * int128(2)
            up = (rest.abs() > half) | ((rest.abs() == half) & (odd != 0))
            step = pl.when(up).then(value.sign()).otherwise(int128(0))
        case "ceil":
            step = (rest > 0).cast(pl.Int128)
        case _:
            step = int128(0) - (rest < 0).cast(pl.Int128)
    return fit(times(whole + step, kind.scale - digits), kind.precision)


_SCALED: dict[str, Callable[[Context, Call], pl.Expr]] = {
    "+": _add(1),
    "-": _add(-1),
    "*": _multiply,
    "/": _divide,
    "%": _truncated("%"),
    "pmod": _truncated("pmod"),
    "negative": lambda ctx, call: pl.lit(0, dtype=pl.Int128) - scaled(ctx, call.args[0]),
    "positive": lambda ctx, call: scaled(ctx, call.args[0]),
    "abs": lambda ctx, call: scaled(ctx, call.args[0]).abs(),
    "round": _round,
    "bround": _round,
    "ceil": _round,
    "floor": _round,
}
