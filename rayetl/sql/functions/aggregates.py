"""Aggregate functions. Each lowering is an expression over a group, good in `agg` and in `over`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayetl.sql import coerce
from rayetl.sql.expr import AggregateCall, Column, Expr, Literal
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    anything,
    boolean,
    check_count,
    first_type,
    fit,
    for_each_row,
    numeric,
    of,
    orderable,
    takes,
)
from rayetl.sql.functions.constants import constant, is_null, value_of
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    BOOLEAN,
    BYTE,
    DOUBLE,
    FRACTIONAL,
    INTEGRAL,
    LONG,
    ArrayType,
    DataType,
    DecimalType,
    StructType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_double = of(DOUBLE)


def values(ctx: Context, call: AggregateCall, index: int = 0) -> pl.Expr:
    """An argument with NULL where FILTER says no; for aggregates that skip NULL."""
    return _kept(ctx, call, for_each_row(call.args[index], ctx.expr(call.args[index])))


def _kept(ctx: Context, call: AggregateCall, value: pl.Expr) -> pl.Expr:
    return value if call.filter is None else pl.when(ctx.expr(call.filter)).then(value)


def _rows(ctx: Context, call: AggregateCall, value: pl.Expr) -> pl.Expr:
    """The argument for those rows alone that FILTER lets through; for aggregates that see NULL."""
    return value if call.filter is None else value.filter(ctx.expr(call.filter))


def _sum_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    if coerce.is_interval(args[0].type):
        raise TypeFault("intervals are not supported in the embedded engine", refused=True)
    value = fit(numeric, args[0], 0)
    kind = value.type
    if isinstance(kind, DecimalType):
        return Typed((value,), coerce.bounded(kind.precision + 10, kind.scale), True)
    return Typed((value,), LONG if kind in INTEGRAL else DOUBLE, True)


def _sum(ctx: Context, call: AggregateCall) -> pl.Expr:
    kind = call.type
    if isinstance(kind, DecimalType):
        from rayetl.sql.lower.decimals import to_column

        return to_column(_decimal_sum(ctx, call, kind), kind)
    value = _distinct(call, values(ctx, call)).cast(pl.Int64 if kind == LONG else pl.Float64)
    return pl.when(value.count() > 0).then(value.sum())


def _distinct(call: AggregateCall, value: pl.Expr) -> pl.Expr:
    return value.unique() if call.distinct else value


def _decimal_sum(ctx: Context, call: AggregateCall, kind: DecimalType) -> pl.Expr:
    """The scaled sum. Where the argument has 28 digits or less the result cannot pass 38 (as in Spark,
    for 10**10 rows); else high and low parts are summed apart so that nothing wraps unseen."""
    from rayetl.sql.lower import decimals

    source = call.args[0].type
    assert isinstance(source, DecimalType)
    value = _distinct(call, _kept(ctx, call, for_each_row(call.args[0], ctx.scaled(call.args[0]))))
    if source.precision + 10 <= 38:
        total = value.sum()
    else:
        unit = decimals.int128(10**19)
        high, low = value.truncdiv(unit).sum(), (value - value.truncdiv(unit) * unit).sum()
        high = high + low.truncdiv(unit)
        low = low - low.truncdiv(unit) * unit
        fits = high.abs() < decimals.int128(10**19)
        total = pl.when(fits).then(high * unit + low)
        total = decimals.fit(total, kind.precision)
    return pl.when(value.count() > 0).then(total)


def _avg_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    if coerce.is_interval(args[0].type):
        raise TypeFault("intervals are not supported in the embedded engine", refused=True)
    value = fit(numeric, args[0], 0)
    kind = value.type
    if isinstance(kind, DecimalType):
        return Typed((value,), coerce.bounded(kind.precision + 4, kind.scale + 4), True)
    return Typed((value,), DOUBLE, True)


def _avg(ctx: Context, call: AggregateCall) -> pl.Expr:
    kind = call.type
    if not isinstance(kind, DecimalType):
        value = _distinct(call, values(ctx, call)).cast(pl.Float64)
        return pl.when(value.count() > 0).then(value.sum() / value.count())
    from rayetl.sql.lower import decimals

    source = call.args[0].type
    assert isinstance(source, DecimalType)
    summed = coerce.bounded(source.precision + 10, source.scale)
    total = _decimal_sum(ctx, call, summed)
    count = (
        _distinct(call, _kept(ctx, call, for_each_row(call.args[0], ctx.scaled(call.args[0]))))
        .count()
        .cast(pl.Int128)
    )
    quotient = decimals.divide(total, count, kind.scale - summed.scale, summed, kind)
    return decimals.to_column(quotient, kind)


def _count_rule(args: tuple[Expr, ...]) -> Typed:
    return Typed(args, LONG, False)


def _count(ctx: Context, call: AggregateCall) -> pl.Expr:
    plain = [a for a in call.args if not (isinstance(a, Literal) and a.value is not None)]
    if not call.distinct and not plain:
        if call.filter is None:
            return pl.len().cast(pl.Int64)
        return for_each_row(call.filter, ctx.expr(call.filter)).sum().cast(pl.Int64)
    parts = [for_each_row(a, ctx.expr(a)) for a in call.args]
    if len(parts) == 1:
        value = _kept(ctx, call, parts[0])
        if not call.distinct:
            return value.count().cast(pl.Int64)
        return value.drop_nulls().n_unique().cast(pl.Int64)
    present = pl.all_horizontal([p.is_not_null() for p in parts])
    if not call.distinct:
        return _kept(ctx, call, present).fill_null(False).sum().cast(pl.Int64)
    if call.filter is not None:
        present = present & ctx.expr(call.filter)
    together = pl.struct([p.alias(f"c{i}") for i, p in enumerate(parts)])
    return together.filter(present.fill_null(False)).n_unique().cast(pl.Int64)


def _extreme(ctx: Context, call: AggregateCall) -> pl.Expr:
    value = values(ctx, call)
    return (_greatest if call.function == "max" else _least)(value, call.type)


def _least(value: pl.Expr, kind: DataType) -> pl.Expr:
    return value.drop_nulls().sort().first() if _is_nested(kind) else value.min()


def _greatest(value: pl.Expr, kind: DataType) -> pl.Expr:
    """NaN is above all numbers."""
    if _is_nested(kind):
        return value.drop_nulls().sort().last()
    if kind not in FRACTIONAL:
        return value.max()
    nan = pl.lit(float("nan"), dtype=pl.Float64 if kind == DOUBLE else pl.Float32)
    return pl.when(value.is_nan().any()).then(nan).otherwise(value.max())


def _is_nested(kind: DataType) -> bool:
    """Values that Polars sorts and finds no extremes of."""
    return isinstance(kind, ArrayType | StructType)


def _pick(name: str) -> Callable[[Context, AggregateCall], pl.Expr]:
    def lower(ctx: Context, call: AggregateCall) -> pl.Expr:
        value = for_each_row(call.args[0], ctx.expr(call.args[0]))
        skip = call.ignore_nulls or (len(call.args) > 1 and bool(value_of(call.args[1])))
        value = _rows(ctx, call, value)
        value = value.drop_nulls() if skip else value
        if isinstance(call.args[0], Column):
            return value.first() if name == "first" else value.last()
        # The optimizer of Polars moves first() into what is done to the items of a list: one item would be
        # left of `transform(a, ...)`, and one word of initcap. It leaves get() where it is.
        return value.get(0 if name == "first" else -1, null_on_oob=True)

    return lower


def _spread(method: str, ddof: int) -> Callable[[Context, AggregateCall], pl.Expr]:
    def lower(ctx: Context, call: AggregateCall) -> pl.Expr:
        value = _distinct(call, values(ctx, call))
        # Over frames Polars gives 0.0 for no value at all.
        return pl.when(value.count() > ddof).then(getattr(value, method)(ddof=ddof))

    return lower


def _logic(name: str) -> Callable[[Context, AggregateCall], pl.Expr]:
    def lower(ctx: Context, call: AggregateCall) -> pl.Expr:
        value = values(ctx, call)
        found = value.fill_null(name == "all")
        found = found.all() if name == "all" else found.any()
        return pl.when(value.count() > 0).then(found)

    return lower


def _count_if(ctx: Context, call: AggregateCall) -> pl.Expr:
    return values(ctx, call).fill_null(False).sum().cast(pl.Int64)


def _by(ctx: Context, call: AggregateCall) -> pl.Expr:
    value, key = for_each_row(call.args[0], ctx.expr(call.args[0])), values(ctx, call, 1)
    best = (_greatest if call.function == "max_by" else _least)(key, call.args[1].type)
    # Of equal keys Spark keeps the last it saw.
    return value.filter(key == best).last()


def _collect(ctx: Context, call: AggregateCall) -> pl.Expr:
    value = values(ctx, call).drop_nulls()
    if call.distinct:
        value = value.unique(maintain_order=True)
    elif call.function == "collect_set":
        first = value.is_first_distinct()
        # The set that Spark collects in takes no two NaN for the same.
        value = value.filter(first | value.is_nan() if call.args[0].type in FRACTIONAL else first)
    return value.implode()


def _median_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    return Typed((fit(_double, args[0], 0),), DOUBLE, True)


def _percentile_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    share = fit(constant(_double), args[1], 1)
    if is_null(share) or not 0 <= value_of(share) <= 1:
        raise TypeFault("the share must lie between 0.0 and 1.0")
    return Typed((fit(_double, args[0], 0), share), DOUBLE, True)


def _percentile(ctx: Context, call: AggregateCall) -> pl.Expr:
    share = 0.5 if call.function == "median" else float(value_of(call.args[1]))
    share = 1 - share if call.order and call.order[0].descending else share
    value = _distinct(call, values(ctx, call))
    kept = value.drop_nulls().sort()
    rank = (kept.len().cast(pl.Float64) - 1) * share
    low, high = rank.floor(), rank.ceil()
    below = kept.get(low.cast(pl.Int64), null_on_oob=True)
    above = kept.get(high.cast(pl.Int64), null_on_oob=True)
    found = pl.when(low == high).then(below).otherwise((high - rank) * below + (rank - low) * above)
    return pl.when(value.count() > 0).then(found)


def _pair(kind: str) -> Callable[[Context, AggregateCall], pl.Expr]:
    def lower(ctx: Context, call: AggregateCall) -> pl.Expr:
        one, two = values(ctx, call, 0), values(ctx, call, 1)
        both = one.is_not_null() & two.is_not_null()
        one, two = pl.when(both).then(one), pl.when(both).then(two)
        count = both.sum()
        covariance = ((one - one.mean()) * (two - two.mean())).sum()
        if kind == "corr":
            spread = (((one - one.mean()) ** 2).sum() * ((two - two.mean()) ** 2).sum()).sqrt()
            return pl.when((count > 1) & (spread != 0)).then(covariance / spread)
        least = 0 if kind == "pop" else 1
        return pl.when(count > least).then(covariance / (count - least))

    return lower


def _approximate(_args: tuple[Expr, ...]) -> Typed:
    raise TypeFault("approximate results differ between engines; use the exact function", refused=True)


def _flagged(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 2)
    if any(not isinstance(arg, Literal) or arg.type != BOOLEAN for arg in args[1:]):
        raise TypeFault("argument 2 must be true or false, written out")
    return Typed(args, args[0].type, True)


def _array_of(args: tuple[Expr, ...]) -> ArrayType:
    return ArrayType(args[0].type, False)


_one_order = takes(orderable, returns=first_type, nullable=True)
_two = takes(_double, _double, returns=DOUBLE, nullable=True)
_spread_rule = takes(_double, returns=DOUBLE, nullable=True)
_flag = takes(boolean, returns=BOOLEAN, nullable=True)


def _add(name: str, rule: Any, lower: Any, aliases: str = "") -> None:
    TABLE.add(name, rule, lower, kind="aggregate", raw=True, aliases=aliases)


_add("count", _count_rule, _count)
_add("sum", _sum_rule, _sum)
_add("avg", _avg_rule, _avg, "mean")
_add("min", _one_order, _extreme)
_add("max", _one_order, _extreme)
_add("first", _flagged, _pick("first"), "first_value any_value")
_add("last", _flagged, _pick("last"), "last_value")
_add("stddev", _spread_rule, _spread("std", 1), "stddev_samp std")
_add("stddev_pop", _spread_rule, _spread("std", 0))
_add("variance", _spread_rule, _spread("var", 1), "var_samp")
_add("var_pop", _spread_rule, _spread("var", 0))
_add("corr", _two, _pair("corr"))
_add("covar_pop", _two, _pair("pop"))
_add("covar_samp", _two, _pair("samp"))
_add("bool_and", _flag, _logic("all"), "every")
_add("bool_or", _flag, _logic("any"), "some any")
_add("count_if", takes(boolean, returns=LONG, nullable=False), _count_if)
_add("max_by", takes(anything, orderable, returns=first_type, nullable=True), _by)
_add("min_by", takes(anything, orderable, returns=first_type, nullable=True), _by)
_add("collect_list", takes(anything, returns=_array_of, nullable=False), _collect, "array_agg")
_add("collect_set", takes(anything, returns=_array_of, nullable=False), _collect)
_add("median", _median_rule, _percentile)
_add("percentile", _percentile_rule, _percentile, "percentile_cont")
_add("approx_count_distinct", _approximate, None)
_add("percentile_approx", _approximate, None, "approx_percentile")
# No column of a group holds them: they are read from its grouping set when the query is analyzed.
_add("grouping", takes(anything, returns=BYTE, nullable=False), None)
_add("grouping_id", takes(rest=anything, returns=LONG, nullable=False), None)
