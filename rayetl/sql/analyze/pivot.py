"""PIVOT (rows to columns, in two groupings) and UNPIVOT (columns to rows)."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from rayetl.sql import coerce
from rayetl.sql.analyze.aggregate import Grouping, aggregate, regrouped
from rayetl.sql.analyze.exprs import columns_of
from rayetl.sql.analyze.places import NOTHING, PIVOT, allowed
from rayetl.sql.analyze.scope import Context, Entry, Scope
from rayetl.sql.expr import AggregateCall, Call, Column, Expr, Literal
from rayetl.sql.faults import collect, fault, take, unsupported
from rayetl.sql.functions.constants import folded
from rayetl.sql.functions.naming import spark_name
from rayetl.sql.relations import Aggregate, Expand, Filter, Project, Relation
from rayetl.sql.resolve import resolve
from rayetl.sql.types import BOOLEAN, STRING

From = tuple[Relation, tuple[Entry, ...]]


def apply_pivot(source: From, node: exp.Pivot, context: Context) -> From:
    """A PIVOT or UNPIVOT clause behind a table."""
    if node.args.get("unpivot"):
        return _unpivot(source, node, context)
    return _pivot(source, node, context)


def _args(node: exp.Pivot) -> tuple[list[exp.Expression], exp.Expression, str | None]:
    expressions, fields, alias, *_ = take(
        node, "expressions", "fields", "alias", "unpivot", "columns", "include_nulls", "default_on_null",
        "identify_pivot_strings", "prefixed_pivot_columns", "pivot_column_naming", "value_columns_first",
    )  # fmt: skip
    if len(fields) != 1:
        raise unsupported(node, "only one FOR ... IN is supported")
    return expressions, fields[0], alias.name if alias else None


def _named(node: exp.Expression) -> tuple[exp.Expression, str | None]:
    if isinstance(node, (exp.PivotAlias, exp.Alias)):
        this, alias = take(node, "this", "alias")
        return this, alias.name
    return node, None


def _pivot(source: From, node: exp.Pivot, context: Context) -> From:
    relation, entries = source
    nodes, field, qualifier = _args(node)
    scope = Scope(context, entries)
    target, value_nodes = take(field, "this", "expressions")
    if not isinstance(target, exp.Column):
        raise unsupported(node, "PIVOT by several columns is not supported")
    on = resolve(target, scope)
    pairs = [_named(item) for item in nodes]
    calls = collect(lambda pair: allowed(resolve(pair[0], scope), pair[0], PIVOT), pairs)
    used = set().union(columns_of(on), *(columns_of(call) for call in calls))
    shown = [entry.column for entry in entries if entry.shown]
    keys = [column for column in shown if column.id not in used]
    grouped, exprs = aggregate(
        relation,
        Grouping(True, (*keys, on)),
        [*keys, on, *calls],
        [node] * (len(keys) + 1 + len(calls)),
        context,
    )
    values = [_value(item, on, scope) for item in value_nodes]
    return _spread(grouped, exprs, len(keys), values, pairs, calls, qualifier, context)


def _value(item: exp.Expression, on: Expr, scope: Scope) -> tuple[Expr, str]:
    node, name = _named(item)
    expr = allowed(resolve(node, scope), node, NOTHING)
    text = expr.value if isinstance(expr, Literal) and isinstance(expr.value, str) else spark_name(expr)
    found = folded(expr)
    if isinstance(found, Literal) and found.value != found.value:
        raise unsupported(node, "PIVOT FOR NaN is not supported: Spark finds none")
    converted = coerce.implicit_cast(expr, on.type) if expr.type != on.type else expr
    return converted, name if name is not None else str(text)


def _spread(
    grouped: Relation,
    exprs: list[Expr],
    count: int,
    values: list[tuple[Expr, str]],
    pairs: list[tuple[exp.Expression, str | None]],
    calls: list[Expr],
    qualifier: str | None,
    context: Context,
) -> From:
    """The second grouping: for every value the one row that holds it."""
    keys, results = exprs[:count], exprs[count + 1 :]
    work = tuple(Column(e.type, e.nullable, context.names.fresh("pivot"), "pivot") for e in exprs)
    flat = Project(work, grouped, tuple(exprs))
    by_key, by_on, by_result = work[:count], work[count], work[count + 1 :]
    picked: list[AggregateCall] = []
    columns: list[Column] = []
    for value, label in values:
        same = Call(BOOLEAN, False, "<=>", (by_on, value), "<=>")
        for result, call, (_, alias) in zip(by_result, calls, pairs, strict=True):
            name = label if len(results) == 1 else f"{label}_{alias or spark_name(call)}"
            picked.append(AggregateCall(result.type, True, "first", (result,), "first", filter=same))
            columns.append(Column(result.type, True, context.names.fresh(name), name))
    front = tuple(
        replace(c, name=k.name if isinstance(k, Column) else c.name)
        for c, k in zip(by_key, keys, strict=True)
    )
    out = Aggregate((*front, *columns), flat, by_key, tuple(picked))
    return out, tuple(Entry(column, qualifier) for column in out.columns)


def _unpivot(source: From, node: exp.Pivot, context: Context) -> From:
    relation, entries = source
    nodes, field, qualifier = _args(node)
    scope = Scope(context, entries)
    label_node, column_nodes = take(field, "this", "expressions")
    if len(nodes) != 1 or not isinstance(nodes[0], (exp.Identifier, exp.Column)):
        raise unsupported(node, "UNPIVOT into several value columns is not supported")
    pairs = [_named(item) for item in column_nodes]
    found = collect(lambda pair: allowed(resolve(pair[0], scope), pair[0], NOTHING), pairs)
    values = coerce.unify(found, strings=False)
    if values is None:
        types = ", ".join(f"{spark_name(e)} {e.type}" for e in found)
        raise fault(node, f"the columns of UNPIVOT have no common type: {types}", hint="cast them first")
    used = set().union(*(columns_of(expr) for expr in found))
    kept = tuple(entry.column for entry in entries if entry.shown and entry.column.id not in used)
    label = Column(STRING, False, context.names.fresh(label_node.name), label_node.name)
    value = Column(
        values[0].type, any(v.nullable for v in values), context.names.fresh(nodes[0].name), nodes[0].name
    )
    projections = tuple(
        (Literal(STRING, False, alias or pair.name), expr)
        for (pair, alias), expr in zip(pairs, values, strict=True)
    )
    out: Relation = Expand((*kept, label, value), relation, kept, projections)
    if not node.args.get("include_nulls"):
        out = Filter(out.columns, out, Call(BOOLEAN, False, "isnotnull", (value,), "isnotnull"))
    return regrouped(out, out.columns), tuple(Entry(column, qualifier) for column in out.columns)
