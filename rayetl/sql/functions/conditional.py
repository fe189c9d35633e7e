"""Functions that choose between their arguments, and tests for NULL and NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Case, Expr
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    anything,
    check_count,
    equal,
    fit,
    of,
    same,
    takes,
)
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import BOOLEAN, DOUBLE, FLOAT, FRACTIONAL, NULL, ArrayType, DecimalType, StructType

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()


def _all_nullable(args: tuple[Expr, ...]) -> bool:
    return all(arg.nullable for arg in args)


def _nvl2(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 3, 3)
    fitted = coerce.unify(args[1:])
    if fitted is None:
        raise TypeFault(f"{args[1].type} and {args[2].type} have no common type")
    return Typed((args[0], *fitted), fitted[0].type, fitted[0].nullable or fitted[1].nullable)


def _nullif(args: tuple[Expr, ...]) -> Typed:
    """The result keeps the type of the first argument; only the comparison converts. That is written out when
    it is lowered: with the first argument a second time, one inside the other would double each time."""
    check_count(args, 2, 2)
    if _compared(*args) is None:
        raise TypeFault(f"{args[0].type} and {args[1].type} cannot be compared")
    return Typed(args, args[0].type, True)


def _compared(left: Expr, right: Expr) -> tuple[Expr, Expr] | None:
    return coerce.comparison_operands(left, right) or coerce.boolean_operands(left, right)


def _nanvl(args: tuple[Expr, ...]) -> Typed:
    """Other types become double, which alone with float can be NaN; a NULL takes the type of the first."""
    check_count(args, 2, 2)
    floating = of(DOUBLE, FLOAT)
    first = fit(floating, args[0], 0)
    other = coerce.implicit_cast(args[1], first.type) if args[1].type == NULL else fit(floating, args[1], 1)
    fitted = coerce.unify((first, other))
    assert fitted is not None, "float and double have a common type"
    return Typed(tuple(fitted), fitted[0].type, first.nullable or other.nullable)


def _extreme(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, None)
    fitted = coerce.unify(args, strings=False)
    if fitted is None:
        raise TypeFault("the arguments have no common type: " + ", ".join(str(a.type) for a in args))
    if not coerce.is_orderable(fitted[0].type):
        raise TypeFault(f"values of the type {fitted[0].type} have no order")
    if isinstance(fitted[0].type, ArrayType | StructType):
        raise TypeFault(
            "the order of arrays and structs is not supported in the embedded engine", refused=True
        )
    return Typed(tuple(fitted), fitted[0].type, _all_nullable(tuple(fitted)))


def _lower_extreme(ctx: Context, call: Call) -> pl.Expr:
    greatest = call.function == "greatest"
    if call.type in FRACTIONAL or isinstance(call.type, DecimalType):
        return _folded(ctx, call, greatest)
    values = [ctx.expr(arg) for arg in call.args]
    return pl.max_horizontal(values) if greatest else pl.min_horizontal(values)


def _folded(ctx: Context, call: Call, greatest: bool) -> pl.Expr:
    """One by one: NaN counts as the greatest, which the horizontal functions ignore."""
    best: pl.Expr = ctx.expr(call.args[0])
    for arg in call.args[1:]:
        value = ctx.expr(arg)
        better = value > best if greatest else value < best
        best = pl.when(best.is_null() | better).then(value).otherwise(best)
    return best


def _choose(ctx: Context, call: Call) -> pl.Expr:
    condition, yes, no = call.args
    found: pl.Expr = ctx.expr(Case(call.type, call.nullable, ((condition, yes),), no))
    return found


def _lower_nullif(ctx: Context, call: Call) -> pl.Expr:
    pair = _compared(*call.args)
    assert pair is not None, "the types were compared before"
    left, right = map(ctx.expr, pair)
    return pl.when(equal(left, right).fill_null(False).not_()).then(ctx.expr(call.args[0]))


TABLE.add("coalesce", same(nullable=_all_nullable), lambda *args: pl.coalesce(*args))
TABLE.add("nvl", same(least=2, nullable=_all_nullable), lambda *args: pl.coalesce(*args), aliases="ifnull")
TABLE.add("nvl2", _nvl2, lambda a, b, c: pl.when(a.is_not_null()).then(b).otherwise(c))
TABLE.add("nullif", _nullif, _lower_nullif, raw=True)
TABLE.add("if", same(), _choose, raw=True)
TABLE.add("greatest", _extreme, _lower_extreme, raw=True)
TABLE.add("least", _extreme, _lower_extreme, raw=True)
TABLE.add("isnull", takes(anything, returns=BOOLEAN, nullable=False), lambda a: a.is_null())
TABLE.add("isnotnull", takes(anything, returns=BOOLEAN, nullable=False), lambda a: a.is_not_null())
TABLE.add(
    "isnan", takes(of(DOUBLE, FLOAT), returns=BOOLEAN, nullable=False), lambda a: a.is_nan().fill_null(False)
)
TABLE.add("nanvl", _nanvl, lambda a, b: pl.when(a.is_nan()).then(b).otherwise(a))
