"""Functions that make rows: explode and its kin. Their lowering is in `rayetl.sql.lower.generators`."""

from __future__ import annotations

from rayetl.sql.coerce import implicit_cast
from rayetl.sql.expr import Expr, Literal
from rayetl.sql.functions.base import Table, Typed, TypeFault, check_count
from rayetl.sql.types import INT, NULL, ArrayType, Field, MapType, StructType

TABLE = Table()


def _members(args: tuple[Expr, ...]) -> tuple[Field, ...]:
    check_count(args, 1, 1)
    kind = args[0].type
    if isinstance(kind, ArrayType):
        return (Field("col", kind.element, kind.contains_null),)
    if isinstance(kind, MapType):
        return Field("key", kind.key, False), Field("value", kind.value, kind.value_contains_null)
    raise TypeFault(f"it takes an array or a map, not {kind}")


def _explode(args: tuple[Expr, ...]) -> Typed:
    outputs = _members(args)
    return Typed(args, outputs[0].type, True, outputs=outputs)


def _posexplode(args: tuple[Expr, ...]) -> Typed:
    return Typed(args, INT, True, outputs=(Field("pos", INT, False), *_members(args)))


def _inline(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    kind = args[0].type
    if not isinstance(kind, ArrayType) or not isinstance(kind.element, StructType):
        raise TypeFault(f"it takes an array of structs, not {kind}")
    outputs = tuple(Field(f.name, f.type, f.nullable or kind.contains_null) for f in kind.element)
    return Typed(args, outputs[0].type, True, outputs=outputs)


def _stack(args: tuple[Expr, ...]) -> Typed:
    """`stack(n, v1, v2, ...)`: n rows; the values of one column must have one type."""
    check_count(args, 2, None)
    count = args[0]
    if not isinstance(count, Literal) or not isinstance(count.value, int) or count.value < 1:
        raise TypeFault("the number of rows must be a constant above 0")
    values = args[1:]
    width = -(-len(values) // count.value)
    fitted = list(values)
    outputs = []
    for column in range(width):
        own = values[column::width]
        kind = next((value.type for value in own if value.type != NULL), NULL)
        wrong = next((value.type for value in own if value.type not in (kind, NULL)), None)
        if wrong is not None:
            raise TypeFault(f"column {column + 1} holds {kind} and {wrong}")
        fitted[column::width] = [implicit_cast(value, kind) for value in own]
        short = len(own) < count.value
        outputs.append(Field(f"col{column}", kind, short or any(value.nullable for value in own)))
    return Typed((count, *fitted), outputs[0].type, True, outputs=tuple(outputs))


TABLE.add("explode", _explode, kind="generator", aliases="explode_outer")
TABLE.add("posexplode", _posexplode, kind="generator", aliases="posexplode_outer")
TABLE.add("inline", _inline, kind="generator", aliases="inline_outer")
TABLE.add("stack", _stack, kind="generator")
