"""Operators: arithmetic, comparison, logic, bits, and access by index or key."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Cast, Column, Expr, LambdaVariable, Literal
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    boolean,
    check_count,
    equal,
    exactly,
    first_type,
    fit,
    is_constant,
    numeric,
    of,
    takes,
)
from rayetl.sql.functions.shifts import shifted
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    BOOLEAN,
    BYTE,
    CALENDAR_INTERVAL,
    DATE,
    DOUBLE,
    INT,
    INTEGRAL,
    LONG,
    NULL,
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    AtomicType,
    DataType,
    DecimalType,
    MapType,
    StructType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_TIMES = (TIMESTAMP, TIMESTAMP_NTZ)


# Types


def _arithmetic(operator: str) -> Callable[[tuple[Expr, ...]], Typed]:
    def rule(args: tuple[Expr, ...]) -> Typed:
        check_count(args, 2, 2)
        left, right = args
        if operator in "+-" and any(coerce.is_datetime(a.type) or coerce.is_interval(a.type) for a in args):
            return _time_arithmetic(operator, left, right)
        if operator in "*/" and any(coerce.is_interval(a.type) for a in args):
            raise TypeFault("multiplying intervals is not supported in the embedded engine", refused=True)
        pair = coerce.arithmetic_operands(left, right)
        if operator == "/" and pair is not None and not isinstance(pair[0].type, DecimalType):
            # Each side by itself: a bigint that met a float first would lose digits.
            pair = (coerce.implicit_cast(left, DOUBLE), coerce.implicit_cast(right, DOUBLE))
        if pair is None:
            raise TypeFault(f"{left.type} and {right.type} do not go together")
        return _number_arithmetic(operator, *pair)

    return rule


def _number_arithmetic(operator: str, left: Expr, right: Expr) -> Typed:
    nullable = left.nullable or right.nullable or operator in ("/", "%", "div", "pmod")
    if isinstance(left.type, DecimalType) and isinstance(right.type, DecimalType):
        kind = (
            LONG
            if operator == "div"
            else coerce.decimal_result("%" if operator == "pmod" else operator, left.type, right.type)
        )
        return Typed((left, right), kind, True)
    if operator == "div":
        if left.type not in INTEGRAL:
            raise TypeFault(f"div takes integers or decimals, not {left.type}")
        pair = (coerce.implicit_cast(left, LONG), coerce.implicit_cast(right, LONG))
        return Typed(pair, LONG, True)
    return Typed((left, right), left.type, nullable)


def _time_arithmetic(operator: str, left: Expr, right: Expr) -> Typed:
    nullable = left.nullable or right.nullable
    if operator == "+" and coerce.is_interval(left.type) and not coerce.is_interval(right.type):
        left, right = right, left
    one, two = left.type, right.type
    if one == NULL or two == NULL:
        raise TypeFault("NULL beside a date, timestamp or interval is not supported here", refused=True)
    if coerce.is_interval(one) and coerce.is_interval(two):
        both = coerce.tightest(one, two)
        if both is None or both == CALENDAR_INTERVAL:
            raise TypeFault("mixed intervals are not supported in the embedded engine", refused=True)
        return Typed((left, right), both, nullable)
    if operator == "-" and one == STRING and two == DATE:
        # The one text that Spark takes for a date here: not that after the minus, nor beside a timestamp.
        left, one, nullable = coerce.implicit_cast(left, DATE), DATE, True
    if operator == "-" and coerce.is_datetime(one) and coerce.is_datetime(two):
        if one == two == DATE:
            return Typed((left, right), AtomicType("interval day"), nullable)
        kind = TIMESTAMP if TIMESTAMP in (one, two) else TIMESTAMP_NTZ
        pair = (coerce.implicit_cast(left, kind), coerce.implicit_cast(right, kind))
        return Typed(pair, AtomicType("interval day to second"), nullable)
    return _shifted(operator, left, right, nullable)


def _shifted(operator: str, left: Expr, right: Expr, nullable: bool) -> Typed:
    """A date or timestamp moved by an interval or, for dates, by days."""
    one, two = left.type, right.type
    if one == DATE and two in INTEGRAL[:3]:
        name = "date_add" if operator == "+" else "date_sub"
        moved = Call(DATE, nullable, name, (left, coerce.implicit_cast(right, INT)), name)
        return Typed((), DATE, nullable, rewritten=moved)
    if operator == "+" and two == DATE and one in INTEGRAL[:3]:
        moved = Call(DATE, nullable, "date_add", (right, coerce.implicit_cast(left, INT)), "date_add")
        return Typed((), DATE, nullable, rewritten=moved)
    if not coerce.is_interval(two):
        raise TypeFault(f"{one} and {two} do not go together")
    if one == STRING and coerce.is_day_time(two):
        moved = Call(TIMESTAMP, True, operator, (coerce.implicit_cast(left, TIMESTAMP), right), operator)
        return Typed((), STRING, True, rewritten=Cast(STRING, True, moved, implicit=True))
    if not coerce.is_datetime(one):
        raise TypeFault(f"{one} and {two} do not go together")
    if one == DATE and coerce.is_day_time(two) and str(two) != "interval day":
        return Typed((coerce.implicit_cast(left, TIMESTAMP), right), TIMESTAMP, nullable)
    return Typed((left, right), one, nullable)


def _comparison(args: tuple[Expr, ...]) -> Typed:
    typed = _compared(args, coerce.is_orderable)
    if isinstance(typed.args[0].type, ArrayType | StructType):
        raise TypeFault(
            "the order of arrays and structs is not supported in the embedded engine", refused=True
        )
    return typed


def _equality(nullable: bool | None = None) -> Callable[[tuple[Expr, ...]], Typed]:
    def rule(args: tuple[Expr, ...]) -> Typed:
        return _compared(args, coerce.is_comparable, equality=True, nullable=nullable)

    return rule


def _compared(
    args: tuple[Expr, ...],
    allowed: Callable[[Any], bool],
    equality: bool = False,
    nullable: bool | None = None,
) -> Typed:
    check_count(args, 2, 2)
    left, right = args
    pair = coerce.comparison_operands(left, right)
    if pair is None and equality:
        pair = coerce.boolean_operands(left, right)
        whole = left.type == BOOLEAN and right.type in INTEGRAL
        if whole and nullable is None and isinstance(right, Literal) and right.value in (0, 1):
            test = left if right.value else Call(BOOLEAN, left.nullable, "not", (left,), "not")
            return Typed((), BOOLEAN, left.nullable, rewritten=test)
    if pair is None:
        raise TypeFault(f"{left.type} and {right.type} cannot be compared")
    if not allowed(pair[0].type):
        raise TypeFault(f"values of the type {pair[0].type} cannot be compared")
    null = nullable if nullable is not None else pair[0].nullable or pair[1].nullable
    return Typed(pair, BOOLEAN, null)


def _in(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, None)
    fitted = coerce.unify(args)
    if fitted is None:
        raise TypeFault("the items have no common type: " + ", ".join(str(a.type) for a in args))
    return Typed(tuple(fitted), BOOLEAN, any(a.nullable for a in fitted))


def _bits(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    whole = exactly(INT, *INTEGRAL)
    left, right = (arg if arg.type == NULL else fit(whole, arg, i) for i, arg in enumerate(args))
    both = coerce.tightest(left.type, right.type)
    both = INT if both in (NULL, None) else both
    pair = (coerce.implicit_cast(left, both), coerce.implicit_cast(right, both))
    return Typed(pair, both, left.nullable or right.nullable)


def _sign(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    if coerce.is_day_time(args[0].type) or coerce.is_year_month(args[0].type):
        return Typed(args, args[0].type, args[0].nullable)
    found = fit(numeric, args[0], 0)
    return Typed((found,), found.type, found.nullable)


def _item(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    child, key = args
    if isinstance(child.type, ArrayType) and key.type == NULL:
        key = coerce.implicit_cast(key, INT)
    if isinstance(child.type, ArrayType) and key.type in INTEGRAL:
        return Typed((child, key), child.type.element, True)
    if isinstance(child.type, MapType):
        return Typed((child, fit(of(child.type.key), key, 1)), child.type.value, True)
    raise TypeFault(f"[{key.type}] is asked of a {child.type}")


# Lowering


def _add(sign: int) -> Callable[[Context, Call], pl.Expr]:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        left, right = call.args
        if not (coerce.is_datetime(left.type) or coerce.is_interval(left.type)):
            one, two = ctx.expr(left), ctx.expr(right)
            return one + two if sign > 0 else one - two
        return shifted(ctx, call, sign)

    return lower


def _divide(ctx: Context, call: Call) -> pl.Expr:
    from rayetl.sql.lower.floats import divided

    above, below = (ctx.expr(arg) for arg in call.args)
    one = all(not isinstance(node, Column | LambdaVariable) for node in call.args[1].walk())
    return pl.when(below != 0).then(divided(above, below) if one else above / below)


def _integral_divide(ctx: Context, call: Call) -> pl.Expr:
    if isinstance(call.args[0].type, DecimalType):
        from rayetl.sql.lower.decimals import integral_divide

        return integral_divide(ctx, call).cast(pl.Int64, wrap_numerical=True)
    above, below = (ctx.expr(arg) for arg in call.args)
    return above.truncdiv(below)


def _remainder(ctx: Context, call: Call) -> pl.Expr:
    above, below = (ctx.expr(arg) for arg in call.args)
    if call.args[0].type in INTEGRAL:
        return above - above.truncdiv(below) * below
    return pl.when(below != 0).then(_float_remainder(above, below, call.type))


def _float_remainder(above: pl.Expr, below: pl.Expr, kind: DataType) -> pl.Expr:
    """C's fmod; a division and a floor would lose the low digits of a large quotient."""
    from rayetl.sql.interop import polars_type
    from rayetl.sql.lower.texts import zipped

    def one(a: float, b: float) -> float:
        return math.fmod(a, b) if b and math.isfinite(a) else math.nan

    return zipped(above, below, one, polars_type(kind))


def _pmod(ctx: Context, call: Call) -> pl.Expr:
    above, below = (ctx.expr(arg) for arg in call.args)
    if call.args[0].type in INTEGRAL:
        rest = above - above.truncdiv(below) * below
        if call.type in INTEGRAL[:2]:  # Java adds bytes and shorts as ints.
            rest, below = rest.cast(pl.Int32), below.cast(pl.Int32)
        again = rest + below
        found = pl.when(rest < 0).then(again - again.truncdiv(below) * below).otherwise(rest)
        return found.cast({BYTE: pl.Int8, SHORT: pl.Int16}[call.type]) if call.type in INTEGRAL[:2] else found
    rest = _float_remainder(above, below, call.type)
    again = _float_remainder(rest + below, below, call.type)
    return pl.when(below != 0).then(pl.when(rest < 0).then(again).otherwise(rest))


def _eq_missing(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    return a.eq_missing(b)


_Comparison = Callable[["pl.Expr", "pl.Expr"], "pl.Expr"]


def _compare(operation: _Comparison, mirrored: _Comparison) -> Callable[[Context, Call], pl.Expr]:
    """`mirrored(b, a)` must say what `operation(a, b)` says."""

    def lower(ctx: Context, call: Call) -> pl.Expr:
        form = ctx.scaled if isinstance(call.args[0].type, DecimalType) else ctx.expr
        left, right = (form(arg) for arg in call.args)
        return mirrored(right, left) if is_constant(left) else operation(left, right)

    return lower


_FEW_TEXTS = 3
"""Up to so many texts, comparing with each takes half the time that Polars' `is_in` does."""


def _member(ctx: Context, call: Call) -> pl.Expr:
    value, *items = call.args
    plain = all(isinstance(item, Literal) and item.value is not None for item in items)
    few = value.type == STRING and len(items) <= _FEW_TEXTS
    if plain and not few and value.type in (*INTEGRAL, STRING):
        return ctx.expr(value).is_in([item.value for item in items])  # type: ignore[attr-defined]
    form = ctx.scaled if isinstance(value.type, DecimalType) else ctx.expr
    tests = [equal(form(value), form(item)) for item in items]
    return pl.any_horizontal(tests)


def _get(ctx: Context, call: Call) -> pl.Expr:
    child, key = call.args
    value, index = ctx.expr(child), ctx.expr(key)
    if isinstance(child.type, MapType):
        return value.map.get(index)
    return item_of(value, pl.when(index >= 0).then(index.cast(pl.Int64)))


def item_of(lists: pl.Expr, index: pl.Expr) -> pl.Expr:
    """One item of each list; NULL where there is none. Of a single NULL for all rows Polars makes two rows,
    so a constant is made one list for each row."""
    if is_constant(lists):
        lists = pl.when(index.is_not_null()).then(lists)
    return lists.list.get(index, null_on_oob=True)


def _unary_minus(ctx: Context, call: Call) -> pl.Expr:
    value = ctx.expr(call.args[0])
    if call.type in INTEGRAL:
        return pl.lit(0, dtype=pl.Int8) - value
    return -value


def _chain(join: Callable[[Any, Any], Any]) -> Callable[..., pl.Expr]:
    """Joins neighbours, then what that gave: a chain of thousands is as deep as the pairs of pairs are."""

    def joined(*parts: pl.Expr) -> pl.Expr:
        while len(parts) > 1:
            parts = tuple(reduce(join, parts[at : at + 2]) for at in range(0, len(parts), 2))
        return parts[0]

    return joined


for name, sign in (("+", 1), ("-", -1)):
    TABLE.add(name, _arithmetic(name), _add(sign), raw=True)
TABLE.add("*", _arithmetic("*"), lambda a, b: a * b)
TABLE.add("/", _arithmetic("/"), _divide, raw=True)
TABLE.add("div", _arithmetic("div"), _integral_divide, raw=True)
TABLE.add("%", _arithmetic("%"), _remainder, raw=True, aliases="mod")
TABLE.add("pmod", _arithmetic("pmod"), _pmod, raw=True)
TABLE.add("negative", _sign, _unary_minus, raw=True)
TABLE.add("positive", _sign, lambda a: a)
TABLE.add("=", _equality(), _compare(operator.eq, operator.eq), raw=True)
TABLE.add("<=>", _equality(False), _compare(_eq_missing, _eq_missing), raw=True, aliases="equal_null")
TABLE.add("<", _comparison, _compare(operator.lt, operator.gt), raw=True)
TABLE.add("<=", _comparison, _compare(operator.le, operator.ge), raw=True)
TABLE.add(">", _comparison, _compare(operator.gt, operator.lt), raw=True)
TABLE.add(">=", _comparison, _compare(operator.ge, operator.le), raw=True)
TABLE.add("and", takes(boolean, boolean, rest=boolean, returns=BOOLEAN), _chain(operator.and_))
TABLE.add("or", takes(boolean, boolean, rest=boolean, returns=BOOLEAN), _chain(operator.or_))
TABLE.add("not", takes(boolean, returns=BOOLEAN), lambda a: ~a)
TABLE.add("in", _in, _member, raw=True)
TABLE.add("&", _bits, lambda a, b: a & b)
TABLE.add("|", _bits, lambda a, b: a | b)
TABLE.add("^", _bits, lambda a, b: a ^ b)
TABLE.add("~", takes(exactly(INT, *INTEGRAL), returns=first_type), lambda a: ~a)
TABLE.add("getitem", _item, _get, raw=True)
