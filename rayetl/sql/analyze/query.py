"""Whole queries: CTEs, set operations, and the modifiers that follow them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from sqlglot import exp

from rayetl.sql import coerce
from rayetl.sql.analyze.places import Place, allowed
from rayetl.sql.analyze.scope import Context, Entry, Scope
from rayetl.sql.expr import Column, Expr, Literal, Node, SortKey
from rayetl.sql.faults import fault, take, unsupported
from rayetl.sql.functions.constants import folded
from rayetl.sql.relations import Limit, Project, Relation, SetKind, SetOperation, Sort
from rayetl.sql.types import INT, DataType

_COMMON = ("with_", "order", "limit", "offset")
_IGNORED = ("hint", "distribute", "sort", "cluster")


def analyze(node: exp.Expression, context: Context, outer: Scope | None) -> Relation:
    """The typed relation of a query; its columns carry the output names.

    Raises `SqlError` or `UnsupportedSqlError` with every problem found.
    """
    from rayetl.sql.analyze.select import select

    context = _with_ctes(node, context)
    if isinstance(node, exp.Select):
        return select(node, context, outer)
    if isinstance(node, exp.SetOperation):
        return _modified(_set_operation(node, context, outer), node, context)
    if isinstance(node, exp.Subquery):
        this, *_ = take(node, "this", *_COMMON)
        return _modified(analyze(this, context, outer), node, context)
    if isinstance(node, (exp.Values, exp.Table)):
        return analyze(exp.select("*").from_(node.copy()), context, outer)
    raise unsupported(node, f"{node.key.upper()} is not a query that can be run here")


def expressions_of(relation: Relation) -> Iterator[Expr]:
    """All expressions that stand in one relation (not in its inputs)."""
    for field in fields(relation):
        if field.name != "columns":
            yield from _expressions(getattr(relation, field.name))


def _expressions(value: object) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, Node):
        yield from value.children()
    elif isinstance(value, tuple):
        for item in value:
            yield from _expressions(item)


def _with_ctes(node: exp.Expression, context: Context) -> Context:
    clause = node.args.get("with_")
    if clause is None:
        return context
    expressions, recursive = take(clause, "expressions", "recursive")
    if recursive:
        raise unsupported(clause, "WITH RECURSIVE is not part of Spark SQL 3.5")
    for cte in expressions:
        take(cte, "this", "alias")
        name = cte.alias.lower()
        context = replace(context, ctes={**context.ctes, name: (cte, context)})
    return context


def _set_operation(node: exp.SetOperation, context: Context, outer: Scope | None) -> Relation:
    this, expression, distinct, *_ = take(node, "this", "expression", "distinct", *_COMMON)
    left, right = analyze(this, context, outer), analyze(expression, context, outer)
    if len(left.columns) != len(right.columns):
        counts = f"{len(left.columns)} and {len(right.columns)}"
        message = f"{node.key.upper()} needs the same number of columns: {counts}"
        raise fault(node, message)
    kind: SetKind = "union" if isinstance(node, exp.Union) else "except"
    kind = "intersect" if isinstance(node, exp.Intersect) else kind
    types = []
    for a, b in zip(left.columns, right.columns, strict=True):
        common = coerce.wider(a.type, b.type)
        if common is None:
            raise fault(
                node,
                f"column {a.name} is {a.type} on one side and {b.type} on the other of {node.key.upper()}",
            )
        if kind != "union" and not coerce.is_comparable(common):
            raise fault(node, f"column {a.name} is a {common}, which cannot be compared")
        types.append(common)
    left, right = (_as_types(side, types, context) for side in (left, right))
    columns = tuple(
        replace(
            a,
            nullable=_nullable(kind, a.nullable, b.nullable),
        )
        for a, b in zip(left.columns, right.columns, strict=True)
    )
    return SetOperation(columns, left, right, kind, bool(distinct))


def _nullable(kind: SetKind, left: bool, right: bool) -> bool:
    if kind == "union":
        return left or right
    return left if kind == "except" else left and right


def _as_types(side: Relation, types: list[DataType], context: Context) -> Relation:
    if all(column.type == wanted for column, wanted in zip(side.columns, types, strict=True)):
        return side
    exprs = tuple(coerce.implicit_cast(c, t) for c, t in zip(side.columns, types, strict=True))
    columns = tuple(
        c if isinstance(e, Column) else Column(e.type, e.nullable, context.names.fresh(c.name), c.name)
        for c, e in zip(side.columns, exprs, strict=True)
    )
    return Project(columns, side, exprs)


def _modified(relation: Relation, node: exp.Expression, context: Context) -> Relation:
    """ORDER BY, LIMIT and OFFSET over a whole set operation: only output names are in reach."""
    order = node.args.get("order")
    if order is not None:
        scope = Scope(context, [Entry(column) for column in relation.columns])
        keys = []
        for item in take(order, "expressions")[0]:
            ordinal = ordinal_of(item.this, len(relation.columns))
            if ordinal is not None:
                keys.append(sort_key(item, relation.columns[ordinal]))
            else:
                keys.append(resolved_key(item, scope))
        relation = Sort(relation.columns, relation, tuple(keys))
    return limited(relation, node, context)


def ordinal_of(node: exp.Expression, count: int) -> int | None:
    """The position from 0 that `ORDER BY 2` or `GROUP BY 2` names, None for any other expression."""
    if not isinstance(node, exp.Literal) or node.args.get("is_string") or not node.this.isdigit():
        return None
    position = int(node.this)
    if not 1 <= position <= count:
        raise fault(node, f"position {position} is not in the select list, which has {count} items")
    return position - 1


def sort_key(item: exp.Expression, expr: Expr) -> SortKey:
    _, desc, nulls_first = take(item, "this", "desc", "nulls_first")
    if not coerce.is_orderable(expr.type):
        raise fault(item, f"a {expr.type} has no order")
    return SortKey(expr, bool(desc), bool(nulls_first))


def resolved_key(item: exp.Expression, scope: Scope) -> SortKey:
    from rayetl.sql.resolve import resolve

    return sort_key(item, allowed(resolve(item.this, scope), item, Place("ORDER BY")))


def limited(relation: Relation, node: exp.Expression, context: Context) -> Relation:
    """The relation cut by the node's LIMIT and OFFSET."""
    limit, offset = node.args.get("limit"), node.args.get("offset")
    count = None if limit is None else _row_count(take(limit, "expression")[0], "LIMIT", context)
    skip = 0 if offset is None else _row_count(take(offset, "expression")[0], "OFFSET", context) or 0
    if count is None and not skip:
        return relation
    return Limit(relation.columns, relation, count, skip)


def _row_count(node: exp.Expression, word: str, context: Context) -> int | None:
    from rayetl.sql.resolve import resolve

    if isinstance(node, exp.Var) and node.name.upper() == "ALL":
        return None
    expr = folded(resolve(node, Scope(context)))
    if not isinstance(expr, Literal) or expr.type != INT or not isinstance(expr.value, int) or expr.value < 0:
        raise fault(node, f"{word} takes a whole number that is not negative")
    return expr.value
