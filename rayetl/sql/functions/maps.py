"""Maps and structs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr, Literal
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    anything,
    as_key,
    check_count,
    exactly,
    fit,
    mapping,
    takes,
)
from rayetl.sql.functions.constants import constant, folded, is_null, value_of
from rayetl.sql.interop import polars_type
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
    pair = (fit(mapping, args[0], 0), as_key(_map_of(args[:1]), args[1]))
    return Typed(pair, BOOLEAN, pair[0].nullable or pair[1].nullable)


def _named(args: tuple[Expr, ...]) -> Typed:
    if not args or len(args) % 2:
        raise TypeFault("it takes pairs of a name and a value")
    names = [fit(constant(exactly(STRING)), a, 2 * i) for i, a in enumerate(args[::2])]
    if any(is_null(name) for name in names):
        raise TypeFault("the names of fields must not be NULL")
    values = args[1::2]
    fields = tuple(Field(str(value_of(n)), v.type, v.nullable) for n, v in zip(names, values, strict=True))
    return Typed(
        tuple(part for pair in zip(names, values, strict=True) for part in pair), StructType(fields), False
    )


def _struct(ctx: Context, call: Call) -> pl.Expr:
    values = call.args[1::2] if call.function == "named_struct" else call.args
    assert isinstance(call.type, StructType)
    return pl.struct([ctx.expr(v).alias(f.name) for v, f in zip(values, call.type, strict=True)])


def _make_rule(args: tuple[Expr, ...]) -> Typed:
    """Duplicate keys fail in Spark; they cannot be seen before the rows are, so only constants pass."""
    if not args:
        raise TypeFault("a map without entries is not supported in the embedded engine", refused=True)
    if len(args) % 2:
        raise TypeFault("it takes pairs of a key and a value")
    keys = coerce.unify([fit(constant(anything), a, 2 * i) for i, a in enumerate(args[::2])])
    values = coerce.unify(args[1::2])
    if keys is None or values is None:
        raise TypeFault("the keys, or the values, have no common type")
    if not all(isinstance(folded(key), Literal) for key in keys):
        raise TypeFault("keys of several types are not supported in the embedded engine", refused=True)
    if any(is_null(key) for key in keys) or len({value_of(key) for key in keys}) < len(keys):
        raise TypeFault("keys must be there and differ")
    kind = MapType(keys[0].type, values[0].type, any(v.nullable for v in values))
    return Typed(tuple(part for pair in zip(keys, values, strict=True) for part in pair), kind, False)


def _make(ctx: Context, call: Call) -> pl.Expr:
    pairs = zip(call.args[::2], call.args[1::2], strict=True)
    entries = [pl.struct(ctx.expr(k).alias("key"), ctx.expr(v).alias("value")) for k, v in pairs]
    return pl.concat_list(entries).cast(polars_type(call.type))


def _no_rule(_args: tuple[Expr, ...]) -> Typed:
    raise TypeFault("use it in a query")


TABLE.add("map", _make_rule, _make, raw=True)
TABLE.add("struct", _no_rule, _struct, raw=True)
TABLE.add("named_struct", _named, _struct, raw=True)
TABLE.add("map_keys", takes(mapping, returns=_keys), lambda m: m.map.keys())
TABLE.add("map_values", takes(mapping, returns=_values), lambda m: m.map.values())
TABLE.add(
    "map_contains_key", _contains_key, lambda m, k: pl.when(k.is_not_null()).then(m.map.contains_key(k))
)
