"""Maps and structs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayetl.sql.expr import Call, Expr
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    check_count,
    constant,
    fit,
    mapping,
    of,
    takes,
    value_of,
)
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import BOOLEAN, STRING, ArrayType, DataType, Field, MapType, StructType

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()


def _map_of(args: tuple[Expr, ...]) -> MapType:
    kind = args[0].type
    assert isinstance(kind, MapType)
    return kind


def _keys(args: tuple[Expr, ...]) -> DataType:
    return ArrayType(_map_of(args).key, False)


def _values(args: tuple[Expr, ...]) -> DataType:
    return ArrayType(_map_of(args).value, _map_of(args).value_contains_null)


def _contains_key(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    pair = (fit(mapping, args[0], 0), fit(of(_map_of(args[:1]).key), args[1], 1))
    return Typed(pair, BOOLEAN, pair[0].nullable or pair[1].nullable)


def _named(args: tuple[Expr, ...]) -> Typed:
    if not args or len(args) % 2:
        raise TypeFault("it takes pairs of a name and a value")
    names = [fit(constant(of(STRING)), a, 2 * i) for i, a in enumerate(args[::2])]
    values = args[1::2]
    fields = tuple(Field(str(value_of(n)), v.type, v.nullable) for n, v in zip(names, values, strict=True))
    return Typed(
        tuple(part for pair in zip(names, values, strict=True) for part in pair), StructType(fields), False
    )


def _struct(ctx: Context, call: Call) -> pl.Expr:
    values = call.args[1::2] if call.function == "named_struct" else call.args
    assert isinstance(call.type, StructType)
    return pl.struct([ctx.expr(v).alias(f.name) for v, f in zip(values, call.type, strict=True)])


def _no_rule(_args: tuple[Expr, ...]) -> Typed:
    raise TypeFault("use it in a query")


TABLE.add("struct", _no_rule, _struct, raw=True)
TABLE.add("named_struct", _named, _struct, raw=True)
TABLE.add("map_keys", takes(mapping, returns=_keys), lambda m: m.map.keys())
TABLE.add("map_values", takes(mapping, returns=_values), lambda m: m.map.values())
TABLE.add("map_contains_key", _contains_key, lambda m, k: m.map.contains_key(k))
