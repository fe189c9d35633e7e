"""Dotted names, fields and brackets to typed expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from sqlglot import exp

from rayetl.errors import SqlError
from rayetl.sql.expr import Expr, GetField, LambdaVariable, Literal
from rayetl.sql.faults import did_you_mean, fault, take, unsupported
from rayetl.sql.types import STRING, ArrayType, MapType, StructType

if TYPE_CHECKING:
    from rayetl.sql.resolve import Resolver

BARE_FUNCTIONS = ("current_date", "current_timestamp", "current_user", "user")
"""What is a function without parentheses too, where no column is called so (Spark's
`LiteralFunctionResolution`)."""


def star(_: Resolver, node: exp.Expression) -> NoReturn:
    """All columns, where one value is expected; Spark has functions that take them, as struct(*)."""
    raise unsupported(node, "* is not supported here", hint="write count(*) or name the columns")


def name(resolver: Resolver, node: exp.Expression) -> Expr:
    parts = _parts(node)
    if parts is None:
        inner, last = take(node, "this", "expression")
        return field(resolver, resolver.resolve(inner), last.name, node)
    if any(isinstance(part, exp.Star) for part in parts):
        return star(resolver, node)
    names = [part.name for part in parts]
    variable = _variable(resolver, names[0])
    found, used = (variable, 1) if variable is not None else _column(resolver, names, node)
    for name in names[used:]:
        found = field(resolver, found, name, node)
    return found


def _column(resolver: Resolver, names: list[str], node: exp.Expression) -> tuple[Expr, int]:
    try:
        return resolver.scope.column(names, node)
    except SqlError:
        if len(names) == 1 and names[0].lower() in BARE_FUNCTIONS:
            return resolver.call(node, names[0], ()), 1
        raise


def _variable(resolver: Resolver, name: str) -> LambdaVariable | None:
    for known in reversed(resolver.lambdas):
        if name.lower() in known:
            return known[name.lower()]
    return None


def field(resolver: Resolver, child: Expr, name: str, node: exp.Expression) -> Expr:
    """`child.name`: a struct's field, a map's value, or that field of every struct of an array."""
    kind = child.type
    if isinstance(kind, MapType):
        return item(resolver, child, Literal(STRING, False, name), node)
    inner = kind.element if isinstance(kind, ArrayType) else kind
    if not isinstance(inner, StructType):
        raise fault(node, f"{name} is asked of a {kind}, which has no fields")
    index = next((i for i, f in enumerate(inner) if f.name.lower() == name.lower()), None)
    if index is None:
        hint = did_you_mean(name, inner.names) or f"it has {', '.join(inner.names)}"
        raise fault(node, f"the struct has no field {name}", hint=hint, code="sql.column")
    field = inner.fields[index]
    if isinstance(kind, ArrayType):
        return GetField(
            ArrayType(field.type, kind.contains_null or field.nullable),
            child.nullable,
            child,
            field.name,
            index,
        )
    return GetField(field.type, child.nullable or field.nullable, child, field.name, index)


def bracket(resolver: Resolver, node: exp.Expression) -> Expr:
    this, keys = take(node, "this", "expressions")
    if len(keys) != 1:
        raise unsupported(node, "only one index or key is allowed in brackets")
    child = resolver.resolve(this)
    return item(resolver, child, resolver.resolve(keys[0]), node)


def item(resolver: Resolver, child: Expr, key: Expr, node: exp.Expression) -> Expr:
    if isinstance(child.type, StructType) and isinstance(key, Literal) and isinstance(key.value, str):
        return field(resolver, child, key.value, node)
    return resolver.make("getitem", (child, key), node)


def _parts(node: exp.Expression) -> list[exp.Expression] | None:
    """The identifiers of a dotted name; None when it hangs on something else, as in `f(x).y`."""
    if isinstance(node, exp.Identifier):
        return [node]
    if isinstance(node, exp.Column):
        this, table, db, catalog = take(node, "this", "table", "db", "catalog")
        return [part for part in (catalog, db, table, this) if part is not None]
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        inner, last = take(node, "this", "expression")
        front = _parts(inner)
        return None if front is None else [*front, last]
    return None
