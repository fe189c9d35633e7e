"""Mathematical functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr, Literal
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    check_count,
    first_type,
    fit,
    numeric,
    of,
    takes,
)
from rayetl.sql.functions.constants import constant, value_of
from rayetl.sql.interop import polars_type
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import BINARY, DOUBLE, FLOAT, INT, INTEGRAL, LONG, STRING, DecimalType

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_double = of(DOUBLE)


_MOST_DIGITS = 300


def _rounded(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 2)
    value = fit(numeric, args[0], 0)
    digits = fit(constant(of(INT)), args[1], 1) if len(args) > 1 else Literal(INT, False, 0)
    if value.type in (FLOAT, DOUBLE) and abs(value_of(digits) or 0) > _MOST_DIGITS:
        raise TypeFault(f"more than {_MOST_DIGITS} digits are not supported here", refused=True)
    kind = value.type
    if isinstance(kind, DecimalType):
        kind = _decimal_rounded(kind, value_of(digits) or 0)
    return Typed((value, digits), kind, True)


def _decimal_rounded(kind: DecimalType, digits: int) -> DecimalType:
    whole = kind.precision - kind.scale + 1
    if digits < 0:
        return DecimalType(min(max(whole, -digits + 1), 38), 0)
    scale = min(kind.scale, digits)
    return DecimalType(min(whole + scale, 38), scale)


def _floor_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 2)
    if len(args) == 2:
        raise TypeFault("a second argument is not supported in the embedded engine", refused=True)
    kind = args[0].type
    if isinstance(kind, DecimalType):
        # ceil of decimal(5,0) keeps its digits; with a scale one digit more may be needed.
        whole = kind.precision if kind.scale == 0 else kind.precision - kind.scale + 1
        return Typed(args, DecimalType(whole, 0), True)
    value = args[0] if kind == LONG else fit(numeric, args[0], 0)
    return Typed((coerce.implicit_cast(value, LONG if kind in INTEGRAL else DOUBLE),), LONG, value.nullable)


def _floor(name: str) -> Any:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        from rayetl.sql.lower.casts import convert

        value = ctx.expr(call.args[0])
        if call.args[0].type == LONG:
            return value
        return convert(ctx, value.ceil() if name == "ceil" else value.floor(), DOUBLE, LONG)

    return lower


def _round(ctx: Context, call: Call) -> pl.Expr:
    digits = value_of(call.args[1])
    value = ctx.expr(call.args[0])
    if call.type in INTEGRAL:
        if digits >= 0:
            return value
        rounded = _round_integer(value, -digits, call.function == "bround")
        return rounded.cast(polars_type(call.type), wrap_numerical=True)
    return _round_float(value, digits, call.function == "bround", polars_type(call.type))


def _round_integer(value: pl.Expr, drop: int, even: bool) -> pl.Expr:
    if drop > 19:
        return value * 0
    wide = value.cast(pl.Int128)
    unit, half = (pl.lit(n, dtype=pl.Int128) for n in (10**drop, 10**drop // 2))
    whole = wide.truncdiv(unit)
    rest = (wide - whole * unit).abs()
    tie = (whole % 2 != 0) if even else pl.lit(True)
    up = (rest > half) | ((rest == half) & tie)
    return ((whole + pl.when(up).then(wide.sign()).otherwise(0)) * unit).cast(pl.Int64, wrap_numerical=True)


def _round_float(value: pl.Expr, digits: int, even: bool, kind: Any) -> pl.Expr:
    """Spark rounds the shortest decimal text of the value, so 2.675 becomes 2.68. Scaled values that are
    not near a tie need no text; the others are read digit by digit."""
    from rayetl.sql.lower.texts import elementwise, round_floats

    return elementwise(value, lambda s: round_floats(s, digits, even), kind)


def _log(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 2)
    return Typed(tuple(fit(_double, a, i) for i, a in enumerate(args)), DOUBLE, True)


def _log_lower(*args: Any) -> pl.Expr:
    value = args[-1]
    found = _positive(value).log()
    return found if len(args) == 1 else found / _positive(args[0]).log()


def _positive(value: pl.Expr) -> pl.Expr:
    """Logarithms of zero and below are NULL."""
    return pl.when(value > 0).then(value)


def _abs(ctx: Context, call: Call) -> pl.Expr:
    value = ctx.expr(call.args[0])
    return pl.when(value < 0).then(0 - value).otherwise(value) if call.type in INTEGRAL else value.abs()


def _shift(ctx: Context, call: Call) -> pl.Expr:
    bits = 64 if call.type == LONG else 32
    dtype, unsigned = (pl.Int64, pl.UInt64) if bits == 64 else (pl.Int32, pl.UInt32)
    value, count = ctx.expr(call.args[0]), ctx.expr(call.args[1]) & (bits - 1)
    factor = pl.lit(1, dtype=pl.Int128) * pl.lit(2, dtype=pl.Int128).pow(count.cast(pl.UInt32))
    if call.function == "shiftleft":
        return (value.cast(pl.Int128) * factor).cast(dtype, wrap_numerical=True)
    if call.function == "shiftright":
        return (value.cast(pl.Int128) // factor).cast(dtype)
    wide = value.cast(unsigned, wrap_numerical=True).cast(pl.Int128)
    return (wide // factor).cast(dtype, wrap_numerical=True)


def _shift_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    value = args[0] if args[0].type == LONG else fit(of(INT), args[0], 0)
    count = fit(of(INT), args[1], 1)
    return Typed((value, count), value.type, value.nullable or count.nullable)


def _number_sign(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    value = fit(_double, args[0], 0)
    return Typed((value,), DOUBLE, value.nullable)


def _unary(name: str, lower: Any, aliases: str = "") -> None:
    TABLE.add(name, takes(_double, returns=DOUBLE), lower, aliases=aliases)


def _hex(ctx: Context, call: Call) -> pl.Expr:
    value = ctx.expr(call.args[0])
    if call.args[0].type == LONG:
        from rayetl.sql.lower.texts import elementwise

        return elementwise(
            value,
            lambda s: pl.Series([None if v is None else f"{v & (2**64 - 1):X}" for v in s], dtype=pl.String),
            pl.String,
        )
    return (value.str if call.args[0].type == STRING else value.bin).encode("hex").str.to_uppercase()


def _hypot(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """Without the overflow of the squares; an infinite side wins over a NaN."""
    large, small = pl.max_horizontal(a.abs(), b.abs()), pl.min_horizontal(a.abs(), b.abs())
    share = pl.when(large == 0).then(0.0).otherwise(small / large)
    found = large * (1 + share * share).sqrt()
    infinite = a.is_infinite() | b.is_infinite()
    odd = pl.when(infinite).then(float("inf")).when(a.is_nan() | b.is_nan()).then(float("nan"))
    return pl.when(a.is_not_null() & b.is_not_null()).then(
        pl.when(infinite | a.is_nan() | b.is_nan()).then(odd).otherwise(found)
    )


def _pow(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """C makes 1 of 1 to the power of NaN, and of 1 or -1 to that of infinity; Java makes NaN of them."""
    return (
        pl.when(b.is_nan() | (b.is_infinite() & (a.abs() == 1)))
        .then(float("nan") + (a + b) * 0)
        .otherwise(a.pow(b))
    )


def _unsigned_zero(a: pl.Expr) -> pl.Expr:
    """0.0 for -0.0; in Polars -0.0 + 0.0 is -0.0."""
    return pl.when(a == 0).then(0.0).otherwise(a)


def _expm1(a: pl.Expr) -> pl.Expr:
    """exp(a) - 1 without the loss near 0."""
    tiny = pl.when(a.abs() < 1e-7).then(a * (1 + a / 2))
    return tiny.when(a.abs() < 1).then(2 * (a / 2).sinh() * (a / 2).exp()).otherwise(a.exp() - 1)


TABLE.add("abs", takes(numeric, returns=first_type), _abs, raw=True)
TABLE.add("ceil", _floor_rule, _floor("ceil"), raw=True, aliases="ceiling", keeps_alias=True)
TABLE.add("floor", _floor_rule, _floor("floor"), raw=True)
TABLE.add("round", _rounded, _round, raw=True, strict=True)
TABLE.add("bround", _rounded, _round, raw=True, strict=True)
TABLE.add("pow", takes(_double, _double, returns=DOUBLE), _pow, aliases="power", keeps_alias=True)
TABLE.add("log", _log, _log_lower)
TABLE.add("ln", takes(_double, returns=DOUBLE, nullable=True), lambda a: _positive(a).log())
TABLE.add("log10", takes(_double, returns=DOUBLE, nullable=True), lambda a: _positive(a).log10())
TABLE.add("log2", takes(_double, returns=DOUBLE, nullable=True), lambda a: _positive(a).log(2))
TABLE.add("log1p", takes(_double, returns=DOUBLE, nullable=True), lambda a: pl.when(a > -1).then(a).log1p())
TABLE.add("sign", _number_sign, lambda a: a.sign(), aliases="signum")
TABLE.add("pi", takes(returns=DOUBLE), lambda: pl.lit(math.pi))
TABLE.add("e", takes(returns=DOUBLE), lambda: pl.lit(math.e))
TABLE.add("hypot", takes(_double, _double, returns=DOUBLE), _hypot)
TABLE.add(
    "atan2",
    takes(_double, _double, returns=DOUBLE),
    lambda a, b: pl.arctan2(_unsigned_zero(a), _unsigned_zero(b)),
)
for shift in ("shiftleft", "shiftright", "shiftrightunsigned"):
    TABLE.add(shift, _shift_rule, _shift, raw=True)
TABLE.add("hex", takes(of(LONG, STRING, BINARY), returns=STRING), _hex, raw=True)
_unary("sqrt", lambda a: a.sqrt())
_unary("cbrt", lambda a: a.cbrt())
_unary("exp", lambda a: a.exp())
_unary("expm1", _expm1)
_unary("sin", lambda a: a.sin())
_unary("cos", lambda a: a.cos())
_unary("tan", lambda a: a.tan())
_unary("cot", lambda a: 1 / a.tan())
_unary("asin", lambda a: a.arcsin())
_unary("acos", lambda a: a.arccos())
_unary("atan", lambda a: a.arctan())
_unary("sinh", lambda a: a.sinh())
_unary("cosh", lambda a: a.cosh())
_unary("tanh", lambda a: a.tanh())
_unary("degrees", lambda a: a.degrees())
_unary("radians", lambda a: a.radians())
_unary("rint", lambda a: a.round(0, mode="half_to_even"))
