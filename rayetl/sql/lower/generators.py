"""explode and its kin: one row in, many out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from rayetl.names import PREFIX
from rayetl.sql.expr import Expr, GeneratorCall, null
from rayetl.sql.interop import polars_type
from rayetl.sql.lower.expressions import Lowering
from rayetl.sql.types import MapType

_ITEM, _POSITION = PREFIX + "item", PREFIX + "position"


def generated(frame: pl.LazyFrame, call: GeneratorCall, names: Sequence[str], ctx: Lowering) -> pl.LazyFrame:
    """The frame's rows, each repeated with the columns `names` that the generator makes of it."""
    return _FUNCTIONS[call.function](frame, call, list(names), ctx)


def _items(call: GeneratorCall, ctx: Lowering) -> pl.Expr:
    """The argument as a list; a map as a list of its entries."""
    (arg,) = call.args
    value = ctx.expr(arg)
    if isinstance(arg.type, MapType):
        entry = pl.Struct({"key": polars_type(arg.type.key), "value": polars_type(arg.type.value)})
        return value.cast(pl.List(entry))
    return value


def _explode(frame: pl.LazyFrame, call: GeneratorCall, names: list[str], ctx: Lowering) -> pl.LazyFrame:
    made = frame.with_columns(_items(call, ctx).alias(_ITEM))
    made = made.explode(_ITEM, empty_as_null=call.outer, keep_nulls=call.outer)
    return made.with_columns(_members(call, names)).drop(_ITEM)


def _posexplode(frame: pl.LazyFrame, call: GeneratorCall, names: list[str], ctx: Lowering) -> pl.LazyFrame:
    items = _items(call, ctx)
    positions = pl.int_ranges(0, items.list.len().cast(pl.Int64), dtype=pl.Int32)
    made = frame.with_columns(items.alias(_ITEM), positions.alias(_POSITION))
    made = made.explode(_ITEM, _POSITION, empty_as_null=call.outer, keep_nulls=call.outer)
    columns = [pl.col(_POSITION).alias(names[0]), *_members(call, names[1:])]
    return made.with_columns(columns).drop(_ITEM, _POSITION)


def _members(call: GeneratorCall, names: list[str]) -> list[pl.Expr]:
    if isinstance(call.args[0].type, MapType):
        return [pl.col(_ITEM).struct.field(f).alias(n) for f, n in zip(("key", "value"), names, strict=True)]
    return [pl.col(_ITEM).alias(names[0])]


def _inline(frame: pl.LazyFrame, call: GeneratorCall, names: list[str], ctx: Lowering) -> pl.LazyFrame:
    made = frame.with_columns(_items(call, ctx).alias(_ITEM))
    made = made.explode(_ITEM, empty_as_null=call.outer, keep_nulls=call.outer)
    fields = [
        pl.col(_ITEM).struct.field(member.name).alias(name)
        for member, name in zip(call.outputs, names, strict=True)
    ]
    return made.with_columns(fields).drop(_ITEM)


def _stack(frame: pl.LazyFrame, call: GeneratorCall, names: list[str], ctx: Lowering) -> pl.LazyFrame:
    values, width = list(call.args[1:]), len(names)
    missing: list[Expr] = [
        null(call.outputs[i % width].type) for i in range(len(values), -(-len(values) // width) * width)
    ]
    values += missing
    rows = [values[start : start + width] for start in range(0, len(values), width)]
    return pl.concat(
        frame.with_columns(ctx.expr(value).alias(name) for value, name in zip(row, names, strict=True))
        for row in rows
    )


_FUNCTIONS: dict[str, Callable[[pl.LazyFrame, GeneratorCall, list[str], Lowering], pl.LazyFrame]] = {
    "explode": _explode,
    "posexplode": _posexplode,
    "inline": _inline,
    "stack": _stack,
}
