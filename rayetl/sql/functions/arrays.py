"""Arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr, Literal
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    array,
    as_key,
    check_count,
    element_type,
    exactly,
    first_type,
    fit,
    of,
    takes,
)
from rayetl.sql.functions.constants import constant, folded, value_of
from rayetl.sql.functions.operators import item_of
from rayetl.sql.functions.strings import joined
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    BOOLEAN,
    DOUBLE,
    FLOAT,
    FRACTIONAL,
    INT,
    INTEGRAL,
    LONG,
    NULL,
    STRING,
    ArrayType,
    DataType,
    MapType,
    StructType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_int = of(INT)


def _make(args: tuple[Expr, ...]) -> Typed:
    fitted = coerce.unify(args)
    if fitted is None:
        raise TypeFault("the items have no common type: " + ", ".join(str(a.type) for a in args))
    element = fitted[0].type if fitted else NULL
    return Typed(tuple(fitted), ArrayType(element, any(a.nullable for a in fitted)), False)


def _lower_make(ctx: Context, call: Call) -> pl.Expr:
    from rayetl.sql.interop import polars_type

    dtype = polars_type(call.type)
    if not call.args:
        return pl.lit([], dtype=dtype)
    if isinstance(call.args[0].type, ArrayType):
        # concat_list joins lists; inside structs they stay items.
        items = pl.concat_list([pl.struct(ctx.expr(arg).alias("v")) for arg in call.args])
        return items.list.eval(pl.element().struct.field("v"))
    return pl.concat_list([ctx.expr(arg) for arg in call.args])


def _size_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    if args[0].type == NULL:
        return Typed((fit(array, args[0], 0),), INT, False)
    if not isinstance(args[0].type, ArrayType | MapType):
        raise TypeFault(f"argument 1 must be an array or a map, not {args[0].type}")
    return Typed(args, INT, False)


def _size(ctx: Context, call: Call) -> pl.Expr:
    value = ctx.expr(call.args[0])
    count = (value.map if isinstance(call.args[0].type, MapType) else value.list).len().cast(pl.Int32)
    return count if call.function == "array_size" else count.fill_null(-1)


def _with_element(result: Any, nullable: bool | None = None) -> Callable[[tuple[Expr, ...]], Typed]:
    """A rule for (array, value): both sides meet in the wider element type."""

    def fitted(args: tuple[Expr, ...]) -> Typed:
        check_count(args, 2, 2)
        values = fit(array, args[0], 0)
        assert isinstance(values.type, ArrayType)
        if result == BOOLEAN and args[1].type == NULL:
            raise TypeFault("argument 2 must not be a bare NULL")
        rule = coerce.wider_without_strings if result == BOOLEAN else coerce.tightest
        both = rule(values.type.element, args[1].type)
        if both is None:
            raise TypeFault(f"a {args[1].type} cannot be in a {values.type}")
        pair = (
            coerce.implicit_cast(values, ArrayType(both, values.type.contains_null)),
            coerce.implicit_cast(args[1], both),
        )
        null = (
            nullable
            if nullable is not None
            else pair[0].nullable or pair[1].nullable or values.type.contains_null
        )
        return Typed(pair, result if isinstance(result, DataType) else result(pair), null)

    return fitted


def _contains(values: pl.Expr, item: pl.Expr) -> pl.Expr:
    """True when it is there; NULL when it is not but a NULL is."""
    there = values.list.contains(item, nulls_equal=False)
    holds_null = values.list.eval(pl.element().is_null()).list.any()
    known = values.is_not_null() & item.is_not_null()
    return pl.when(known & there).then(True).when(known & ~holds_null).then(False)


def _element_at(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    kind = args[0].type
    if isinstance(kind, MapType):
        return Typed((args[0], as_key(kind, args[1])), kind.value, True)
    values = fit(array, args[0], 0)
    if args[1].type not in INTEGRAL[:3]:
        raise TypeFault(f"argument 2 must be int, not {args[1].type}")
    index = coerce.implicit_cast(args[1], INT)
    if isinstance(index, Literal) and index.value == 0:
        raise TypeFault("positions count from 1; 0 is none")
    return Typed((values, index), element_type((values,)), True)


def _lower_element_at(ctx: Context, call: Call) -> pl.Expr:
    value, key = ctx.expr(call.args[0]), ctx.expr(call.args[1])
    if isinstance(call.args[0].type, MapType):
        return value.map.get(key)
    index = pl.when(key > 0).then(key - 1).when(key < 0).then(key).cast(pl.Int64)
    return item_of(value, index)


def _same_arrays(returns: Any = first_type) -> Callable[[tuple[Expr, ...]], Typed]:
    def rule(args: tuple[Expr, ...]) -> Typed:
        check_count(args, 2, 2)
        if NULL in (args[0].type, args[1].type):
            raise TypeFault("no argument may be a bare NULL")
        fitted = coerce.unify([fit(array, a, i) for i, a in enumerate(args)], strings=False)
        if fitted is None:
            raise TypeFault(f"{args[0].type} and {args[1].type} have no common type")
        kind = returns(tuple(fitted)) if callable(returns) else returns
        return Typed(tuple(fitted), kind, True if kind == BOOLEAN else any(a.nullable for a in fitted))

    return rule


def _distinct(ctx: Context, call: Call) -> pl.Expr:
    return _told_apart(call, ctx.expr(call.args[0]))


def _union(ctx: Context, call: Call) -> pl.Expr:
    a, b = (ctx.expr(arg) for arg in call.args)
    return pl.when(a.is_not_null() & b.is_not_null()).then(_told_apart(call, pl.concat_list([a, b])))


def _told_apart(call: Call, values: pl.Expr) -> pl.Expr:
    """Each item once, in the order of their first places. Spark tells 0.0 and -0.0 apart here, so floats
    are compared by their bits, which are the same for all NaN it makes."""
    kind = element_type((call,))
    bits = _BITS.get(kind)
    if bits is None:
        return values.list.unique(maintain_order=True)
    from rayetl.sql.interop import polars_type

    items = values.list.eval(pl.element().reinterpret(dtype=bits())).list.unique(maintain_order=True)
    return items.list.eval(pl.element().reinterpret(dtype=polars_type(kind)))


_BITS: dict[DataType, Callable[[], Any]] = {DOUBLE: lambda: pl.Int64, FLOAT: lambda: pl.Int32}


def _joined(ctx: Context, call: Call) -> pl.Expr:
    values, mark = ctx.expr(call.args[0]), ctx.expr(call.args[1])
    if len(call.args) > 2:
        values = values.list.eval(pl.element().fill_null(pl.lit(value_of(call.args[2]))))
    return joined(values, mark)


def _slice(values: pl.Expr, start: pl.Expr, length: pl.Expr) -> pl.Expr:
    start = start.cast(pl.Int64)
    size = values.list.len().cast(pl.Int64)
    first = pl.when(start > 0).then(start - 1).when(start < 0).then(size + start)
    outside = (first < 0) | (first >= size)
    found = values.list.slice(
        pl.max_horizontal(first, pl.lit(0, dtype=pl.Int64)), pl.when(outside).then(0).otherwise(length)
    )
    # Spark ends the query over a length below zero, as over a start of zero.
    known = values.is_not_null() & first.is_not_null() & (length >= 0)
    return pl.when(known).then(found)


def _sort_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 2)
    values = fit(array, args[0], 0)
    if not coerce.is_orderable(values.type):
        raise TypeFault(f"{values.type} has no order")
    if any(not isinstance(arg, Literal) or arg.type != BOOLEAN for arg in args[1:]):
        raise TypeFault("argument 2 must be true or false, written out")
    return Typed((values, *args[1:]), values.type, values.nullable)


def _sort(ctx: Context, call: Call) -> pl.Expr:
    ascending = len(call.args) < 2 or bool(value_of(call.args[1]))
    return ctx.expr(call.args[0]).list.sort(descending=not ascending, nulls_last=not ascending)


def _array_sort_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 2)
    if len(args) == 2:
        raise TypeFault("a comparator is not supported in the embedded engine", refused=True)
    return _sort_rule(args)


def _extreme(ctx: Context, call: Call) -> pl.Expr:
    values, item = ctx.expr(call.args[0]), pl.element()
    if call.type in FRACTIONAL:
        # The first of equal ones, so that 0.0 and -0.0 are told apart; NaN is the largest.
        found = item.drop_nulls().sort()
        extreme = found.first() if call.function == "array_min" else found.last()
        return values.list.agg(item.filter(item == extreme).first())
    if isinstance(call.type, ArrayType | StructType):  # Polars sorts them and finds no extremes of them.
        found = item.drop_nulls().sort()
        items = values.list.eval(found).list
        return items.first() if call.function == "array_min" else items.last()
    return values.list.min() if call.function == "array_min" else values.list.max()


def _flatten_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    kind = args[0].type
    if not (isinstance(kind, ArrayType) and isinstance(kind.element, ArrayType)):
        raise TypeFault(f"argument 1 must be an array of arrays, not {kind}")
    return Typed(args, kind.element, args[0].nullable or kind.contains_null)


def _flatten(values: pl.Expr) -> pl.Expr:
    whole = values.list.eval(pl.element().is_null()).list.any().not_()
    return pl.when(whole).then(values.list.agg(pl.element().explode(empty_as_null=False).implode()))


def _position(values: pl.Expr, item: pl.Expr) -> pl.Expr:
    from rayetl.sql.lower.texts import zipped

    def find(row: Any, wanted: Any) -> int:
        keys, key = [_key(item) for item in row], _key(wanted)
        return keys.index(key) + 1 if key in keys else 0

    return zipped(values, item, find, pl.Int64)


def _key(value: Any, signed: bool = False) -> Any:
    """Equal when Spark calls the values equal: NaN is NaN, and with `signed` -0.0 is not 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else (value, math.copysign(1, value)) if signed else value
    if isinstance(value, dict):
        return tuple(_key(item) for item in value.values())
    return tuple(_key(item) for item in value) if isinstance(value, list) else value


def _setwise(kept: bool) -> Callable[[Context, Call], pl.Expr]:
    """Items of the first array, each once, that are (or are not) in the second. Polars' set operations
    give them in another order than Spark, and take no two NaN for the same."""

    def run(row: list[Any], other: list[Any]) -> list[Any]:
        seen = {_key(item, signed=True) for item in other}
        found = []
        for item in row:
            key = _key(item, signed=True)
            if (key in seen) is kept:
                found.append(item)
                (seen.discard if kept else seen.add)(key)
        return found

    def lower(ctx: Context, call: Call) -> pl.Expr:
        from rayetl.sql.interop import polars_type
        from rayetl.sql.lower.texts import zipped

        return zipped(ctx.expr(call.args[0]), ctx.expr(call.args[1]), run, polars_type(call.type))

    return lower


def _sequence(ctx: Context, call: Call) -> pl.Expr:
    start, stop = (ctx.expr(a).cast(pl.Int64) for a in call.args[:2])
    from rayetl.sql.interop import polars_type

    dtype = polars_type(call.type)
    if len(call.args) == 2:
        return (
            pl.when(stop >= start)
            .then(pl.int_ranges(start, stop + 1))
            .otherwise(pl.int_ranges(start, stop - 1, -1))
            .cast(dtype)
        )
    step = value_of(call.args[2])
    return pl.int_ranges(start, stop + (1 if step > 0 else -1), step).cast(dtype)


def _sequence_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 3)
    if any(a.type not in (INT, LONG) for a in args):
        raise TypeFault("only sequences of int and bigint are supported in the embedded engine", refused=True)
    fitted = coerce.unify(args)
    assert fitted is not None
    rest = tuple(fit(constant(of(LONG, INT)), a, 2) for a in fitted[2:])
    if rest:
        _check_step(fitted[0], fitted[1], value_of(rest[0]))
    return Typed((*fitted[:2], *rest), ArrayType(fitted[0].type, False), any(a.nullable for a in fitted))


def _check_step(start: Expr, stop: Expr, step: int | None) -> None:
    if step is None:
        raise TypeFault("a step of NULL is not supported in the embedded engine", refused=True)
    if step == 0:
        raise TypeFault("the step must not be 0")
    ends = [folded(end) for end in (start, stop)]
    if all(isinstance(end, Literal) and end.value is not None for end in ends):
        first, last = (value_of(end) for end in ends)
        if (last - first) * step < 0:
            raise TypeFault(f"{last} is not reached from {first} by steps of {step}")


def _slice_rule(args: tuple[Expr, ...]) -> Typed:
    typed = takes(array, _int, _int, returns=first_type)(args)
    start, length = (folded(arg) for arg in typed.args[1:])
    if isinstance(start, Literal) and start.value == 0:
        raise TypeFault("positions begin with 1, or with -1 from the end")
    if isinstance(length, Literal) and isinstance(length.value, int) and length.value < 0:
        raise TypeFault("the length must not be negative")
    return typed


TABLE.add("array", _make, _lower_make, raw=True)
TABLE.add("size", _size_rule, _size, raw=True, aliases="cardinality")
TABLE.add("array_size", takes(array, returns=INT), _size, raw=True)
TABLE.add("array_contains", _with_element(BOOLEAN), _contains)
TABLE.add("element_at", _element_at, _lower_element_at, raw=True)
TABLE.add("array_distinct", takes(array, returns=first_type), _distinct, raw=True)
TABLE.add("array_union", _same_arrays(), _union, raw=True)
TABLE.add("array_intersect", _same_arrays(), _setwise(kept=True), raw=True)
TABLE.add("array_except", _same_arrays(), _setwise(kept=False), raw=True)
TABLE.add("array_position", _with_element(LONG), _position)
TABLE.add(
    "array_join",
    takes(of(ArrayType(STRING)), exactly(STRING), constant(exactly(STRING)), returns=STRING, required=2),
    _joined,
    raw=True,
    strict=True,
)
TABLE.add("array_min", takes(array, returns=element_type, nullable=True), _extreme, raw=True)
TABLE.add("array_max", takes(array, returns=element_type, nullable=True), _extreme, raw=True)
TABLE.add(
    "array_compact",
    takes(array, returns=lambda a: ArrayType(element_type(a), False)),
    lambda a: a.list.drop_nulls(),
)
TABLE.add("slice", _slice_rule, _slice)
TABLE.add("sort_array", _sort_rule, _sort, raw=True)
TABLE.add("array_sort", _array_sort_rule, lambda a: a.list.sort(nulls_last=True))
TABLE.add("flatten", _flatten_rule, _flatten)
TABLE.add("sequence", _sequence_rule, _sequence, raw=True)
