"""Conditions, and the subqueries inside expressions: each becomes a join against its own relation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from sqlglot import exp

from rayetl.sql import coerce
from rayetl.sql.analyze import query as queries
from rayetl.sql.analyze.exprs import canonical, columns_of, conjunction, conjuncts, has_subquery
from rayetl.sql.analyze.places import HAVING, Place, allowed
from rayetl.sql.analyze.scope import Context, Scope
from rayetl.sql.analyze.tied import Plan, produced
from rayetl.sql.expr import FALSE, TRUE, AggregateCall, Call, Case, Column, Expr, Literal, Subquery, null
from rayetl.sql.faults import fault, unsupported
from rayetl.sql.relations import Aggregate, Attach, Distinct, Filter, Join, Project, Relation
from rayetl.sql.resolve import resolve
from rayetl.sql.types import BOOLEAN, LONG, NULL


def predicate(node: exp.Expression, scope: Scope, place: Place) -> Expr:
    """A boolean expression. Raises `SqlError` for another type, and for what may not stand there."""
    expr = allowed(resolve(node, scope), node, place)
    if expr.type == NULL and place is HAVING:
        return null(BOOLEAN)
    if expr.type != BOOLEAN:
        raise fault(node, f"{place.name} must be a boolean, not {expr.type}")
    return expr


def on_subquery(node: exp.Expression, kind: str, args: tuple[Expr, ...], scope: Scope) -> Subquery:
    """Analyze a subquery where it stands; it may refer to the columns around it in its WHERE."""
    query = node.this if isinstance(node, exp.Subquery) else node
    whole = queries.analyze(query, scope.context, scope)
    wanted = {"scalar": 1, "in": len(args)}.get(kind, len(whole.columns))
    if len(whole.columns) != wanted:
        raise fault(
            node,
            f"this subquery must give {wanted} column{'s' * (wanted > 1)}, it gives {len(whole.columns)}",
        )
    relation, ties = _untied(whole, node)
    if kind == "exists":
        return Subquery(BOOLEAN, False, "exists", Plan(relation, ties, node))
    if kind == "in":
        return _in(args, relation, ties, node, scope.context)
    return Subquery(relation.columns[0].type, True, "scalar", Plan(relation, ties, node))


def assert_untied(condition: Expr, node: exp.Expression) -> None:
    """Raise for a subquery over columns of the query around it, which Spark 3.5 takes in no ON: it refuses
    the scalar ones, and fails on the others while it runs."""
    for part in condition.walk():
        if isinstance(part, Subquery) and isinstance(part.plan, Plan) and part.plan.ties:
            raise unsupported(
                node,
                "a subquery in ON cannot use columns of the query around it",
                hint="for an inner join put it into WHERE, else filter one side in a subquery first",
            )


def assert_grouped(expr: Expr, keys: Collection[Expr], node: exp.Expression) -> None:
    """Raise for a scalar subquery over outer columns that a grouped select list holds outside of aggregate
    functions and keys. Spark refuses it (SCALAR_SUBQUERY_IS_NOT_IN_GROUP_BY_OR_AGGREGATE_FUNCTION)."""
    if canonical(expr) in keys or isinstance(expr, AggregateCall):
        return
    if isinstance(expr, Subquery) and expr.kind == "scalar":
        assert isinstance(expr.plan, Plan)
        if expr.plan.ties:
            raise fault(
                node,
                "a subquery that uses columns of the outer query must be grouped by or be in an aggregate "
                "function",
                hint="wrap it in first(...), or add it to GROUP BY",
            )
    for child in expr.children():
        assert_grouped(child, keys, node)


def _in(
    args: tuple[Expr, ...], relation: Relation, ties: tuple[Expr, ...], node: exp.Expression, context: Context
) -> Subquery:
    own, more = relation.columns[: len(args)], relation.columns[len(args) :]
    pairs = [coerce.comparison_operands(a, c) for a, c in zip(args, own, strict=True)]
    if any(pair is None for pair in pairs):
        raise fault(node, "the values and the columns of the IN subquery cannot be compared")
    left = tuple(pair[0] for pair in pairs if pair)
    right = tuple(pair[1] for pair in pairs if pair)
    if right != own:
        columns = tuple(
            c if isinstance(e, Column) else Column(e.type, e.nullable, context.names.fresh(c.name), c.name)
            for e, c in zip(right, own, strict=True)
        )
        # What the ties to the query around it read stays, as it was before the cast.
        tied = set().union(*(columns_of(tie) for tie in ties))
        more = (*more, *(c for c, e in zip(own, right, strict=True) if e != c and c.id in tied))
        relation = Project((*columns, *more), relation, (*right, *more))
    nullable = any(e.nullable for e in (*left, *own))
    return Subquery(BOOLEAN, nullable, "in", Plan(relation, ties, node), left)


def _foreign(expr: Expr, own: set[str]) -> bool:
    return not columns_of(expr) <= own


def _untied(relation: Relation, node: exp.Expression) -> tuple[Relation, tuple[Expr, ...]]:
    """The relation without its conditions on outer columns, and those conditions."""
    own = produced(relation)
    loose, ties = _lift(relation, own)
    for part in loose.walk():
        for expr in queries.expressions_of(part):
            if _foreign(expr, own):
                raise unsupported(
                    node,
                    "a subquery may use columns of the outer query only in its WHERE",
                    hint="write it as a join",
                )
    return loose, ties


def _lift(relation: Relation, own: set[str]) -> tuple[Relation, tuple[Expr, ...]]:
    if isinstance(relation, Filter):
        inner, ties = _lift(relation.input, own)
        parts = conjuncts(relation.condition)
        kept = conjunction(part for part in parts if not _foreign(part, own))
        mine = tuple(part for part in parts if _foreign(part, own))
        return (inner if kept is None else Filter(inner.columns, inner, kept)), (*ties, *mine)
    if isinstance(relation, Project):
        inner, ties = _lift(relation.input, own)
        extra = _needed(ties, own, relation.columns)
        by_id = {column.id: column for column in inner.columns}
        if ties and all(name in by_id for name in extra):
            more = tuple(by_id[name] for name in extra)
            return Project((*relation.columns, *more), inner, (*relation.exprs, *more)), ties
    if isinstance(relation, Aggregate) and not relation.keys:
        return _lift_aggregate(relation, own)
    return relation, ()


def _needed(ties: tuple[Expr, ...], own: set[str], present: tuple[Column, ...]) -> list[str]:
    have = {column.id for column in present}
    return sorted({name for tie in ties for name in columns_of(tie) if name in own and name not in have})


def _lift_aggregate(relation: Aggregate, own: set[str]) -> tuple[Relation, tuple[Expr, ...]]:
    """A total over the rows tied by equality becomes one total for each value they are tied by."""
    inner, ties = _lift(relation.input, own)
    if not ties or not all(isinstance(tie, Call) and tie.function in ("=", "<=>") for tie in ties):
        return relation, ()
    by_id = {column.id: column for column in inner.columns}
    needed = _needed(ties, own, ())
    if not all(name in by_id for name in needed):
        return relation, ()
    keys = tuple(by_id[name] for name in needed)
    return Aggregate((*keys, *relation.columns), inner, keys, relation.calls), ties


def filtered(relation: Relation, condition: Expr, context: Context) -> Relation:
    """The rows for which the condition is true; its subqueries become joins. What asks no subquery comes
    first: where it ties tables together, the joins would see the product of them all without it."""
    columns = relation.columns
    parts = conjuncts(condition)
    relation = _kept(relation, [part for part in parts if not has_subquery(part)])
    answered: list[Expr] = []
    for part in filter(has_subquery, parts):
        joined = _as_join(relation, part)
        if joined is not None:
            relation = joined
            continue
        relation, answer = attached(relation, part, context)
        answered.append(answer)
    relation = _kept(relation, answered)
    return relation if relation.columns == columns else Project(columns, relation, columns)


def _kept(relation: Relation, parts: Sequence[Expr]) -> Relation:
    condition = conjunction(parts)
    return relation if condition is None else Filter(relation.columns, relation, condition)


def _as_join(relation: Relation, part: Expr) -> Relation | None:
    """`EXISTS (...)`, `NOT EXISTS (...)` and `x IN (...)` standing alone in a WHERE."""
    negated = isinstance(part, Call) and part.function == "not"
    inner = part.args[0] if isinstance(part, Call) and negated else part
    if not isinstance(inner, Subquery) or not isinstance(inner.plan, Plan) or inner.kind == "scalar":
        return None
    if any(has_subquery(arg) for arg in inner.args) or (negated and inner.kind == "in"):
        return None
    condition = conjunction((*_equalities(inner), *inner.plan.ties))
    if condition is None:
        return None
    kind = "anti" if negated else "semi"
    return Join(relation.columns, relation, inner.plan.relation, kind, condition)  # type: ignore[arg-type]


def _equalities(subquery: Subquery) -> list[Expr]:
    assert isinstance(subquery.plan, Plan)
    columns = subquery.plan.relation.columns
    return [
        Call(BOOLEAN, arg.nullable or column.nullable, "=", (arg, column), "=")
        for arg, column in zip(subquery.args, columns, strict=False)
    ]


def attached(relation: Relation, expr: Expr, context: Context) -> tuple[Relation, Expr]:
    """The relation with a further column for every subquery in the expression, and the expression with
    those columns in place of the subqueries."""
    if not has_subquery(expr):
        return relation, expr
    state = [relation]

    def swap(node: Expr) -> Expr | None:
        inner = node.args[0] if isinstance(node, Call) and node.function == "not" else node
        if not isinstance(inner, Subquery) or (inner is not node and inner.kind != "in"):
            return None
        args = []
        for arg in inner.args:
            state[0], done = attached(state[0], arg, context)
            args.append(done)
        attach = _ATTACH[inner.kind] if inner is node else _attach_not_in
        state[0], value = attach(state[0], replace(inner, args=tuple(args)), context)
        return value

    found = expr.transform(swap)
    return state[0], found


def _column(context: Context, like: Expr, name: str) -> Column:
    return Column(like.type, True, context.names.fresh(name), name)


def _attach_scalar(relation: Relation, node: Subquery, context: Context) -> tuple[Relation, Expr]:
    assert isinstance(node.plan, Plan)
    single, ties = node.plan.relation, node.plan.ties
    if not ties:
        column = _column(context, node, "scalar")
        single = Project((column,), single, (single.columns[0],))
        return Attach((*relation.columns, column), relation, single), column
    below = single.input if isinstance(single, Project) else single
    if not isinstance(below, Aggregate):
        raise unsupported(
            node.plan.node,
            "a correlated scalar subquery must be a single aggregate",
            hint="write it as a join",
        )
    value = _value_for_no_rows(single, below)
    mark, result = _column(context, TRUE, "found"), _column(context, node, "scalar")
    keys = tuple(column for column in single.columns if column.id in _keys(below))
    right = Project((*keys, mark, result), single, (*keys, TRUE, single.columns[0]))
    columns = (*relation.columns, *right.columns)
    joined = Join(columns, relation, right, "left", conjunction(ties))
    if isinstance(value, Literal) and value.value is None:
        return joined, result
    present = Call(BOOLEAN, False, "isnotnull", (mark,), "isnotnull")
    return joined, Case(node.type, True, ((present, result),), value)


def _keys(aggregate: Aggregate) -> set[str]:
    return {column.id for column in aggregate.columns[: len(aggregate.keys)]}


def _value_for_no_rows(single: Relation, aggregate: Aggregate) -> Expr:
    """What the subquery gives for an outer row without inner rows: count gives 0, others NULL."""
    calls = dict(zip([c.id for c in aggregate.columns[len(aggregate.keys) :]], aggregate.calls, strict=True))

    def empty(node: Expr) -> Expr | None:
        if isinstance(node, Column) and node.id in calls:
            return _over_nothing(calls[node.id])
        return None

    first = single.exprs[0] if isinstance(single, Project) else single.columns[0]
    found = first.transform(empty)
    if isinstance(found, Literal):
        return found
    return (
        found
        if any(isinstance(n, Literal) and n.value is not None for n in found.walk())
        else null(found.type)
    )


def _over_nothing(call: AggregateCall) -> Literal:
    return Literal(LONG, False, 0) if call.function.startswith("count") else null(call.type)


def _count(context: Context, name: str, condition: Expr | None) -> tuple[Column, AggregateCall]:
    column = Column(LONG, False, context.names.fresh(name), name)
    return column, AggregateCall(LONG, False, "count", (), "count", filter=condition)


def _attach_exists(relation: Relation, node: Subquery, context: Context) -> tuple[Relation, Expr]:
    assert isinstance(node.plan, Plan)
    if node.plan.ties:
        return _marked(relation, node, context)
    rows, call = _count(context, "rows", None)
    single = Aggregate((rows,), node.plan.relation, (), (call,))
    zero = Literal(LONG, False, 0)
    return Attach((*relation.columns, rows), relation, single), Call(BOOLEAN, False, ">", (rows, zero), ">")


def _marked(relation: Relation, node: Subquery, context: Context) -> tuple[Relation, Expr]:
    """A left join against the distinct right side, with a column that is TRUE where it matched."""
    assert isinstance(node.plan, Plan)
    own = produced(node.plan.relation)
    condition = conjunction((*_equalities(node), *node.plan.ties))
    needed = [
        c for c in node.plan.relation.columns if condition is not None and c.id in columns_of(condition) & own
    ]
    simple = (
        all(isinstance(p, Call) and p.function in ("=", "<=>") for p in conjuncts(condition))
        if condition
        else False
    )
    if not simple:
        raise unsupported(
            node.plan.node,
            "this correlated subquery is supported only alone in WHERE",
            hint="write it as a join",
        )
    keys = Project(tuple(needed), node.plan.relation, tuple(needed))
    distinct = Distinct(keys.columns, keys)
    mark = _column(context, TRUE, "matched")
    right = Project((*keys.columns, mark), distinct, (*keys.columns, TRUE))
    joined = Join((*relation.columns, *right.columns), relation, right, "left", condition)
    return joined, Call(BOOLEAN, False, "isnotnull", (mark,), "isnotnull")


def _attach_not_in(relation: Relation, node: Subquery, context: Context) -> tuple[Relation, Expr]:
    """Where a NULL on either side might have matched, Spark takes NOT IN as false (and IN as well)."""
    assert isinstance(node.plan, Plan)
    if node.plan.ties:
        raise unsupported(node.plan.node, "a correlated NOT IN is not supported", hint="use NOT EXISTS")
    if len(node.args) != 1:
        raise unsupported(
            node.plan.node, "NOT IN with several values is not supported", hint="use NOT EXISTS"
        )
    relation, matched = _marked(relation, node, context)
    column = node.plan.relation.columns[0]
    fresh = Column(column.type, column.nullable, context.names.fresh("item"), "item")
    is_null = Call(BOOLEAN, False, "isnull", (fresh,), "isnull")
    rows, count_rows = _count(context, "rows", None)
    nulls, count_nulls = _count(context, "nulls", is_null)
    items = Project((fresh,), node.plan.relation, (column,))
    single = Aggregate((rows, nulls), items, (), (count_rows, count_nulls))
    relation = Attach((*relation.columns, rows, nulls), relation, single)
    zero = Literal(LONG, False, 0)
    left_null = Call(BOOLEAN, False, "isnull", (node.args[0],), "isnull")
    some_null = Call(BOOLEAN, False, ">", (nulls, zero), ">")
    unknown = Call(BOOLEAN, False, "or", (left_null, some_null), "or")
    empty = Call(BOOLEAN, False, "=", (rows, zero), "=")
    return relation, Case(BOOLEAN, False, ((matched, FALSE), (empty, TRUE), (unknown, FALSE)), TRUE)


_ATTACH: dict[str, Callable[[Relation, Subquery, Context], tuple[Relation, Expr]]] = {
    "scalar": _attach_scalar,
    "exists": _attach_exists,
    "in": _marked,
}
