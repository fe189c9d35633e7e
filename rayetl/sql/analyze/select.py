"""One SELECT: from, where, group, having, windows, projection, distinct, order, limit, in that order."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import field, replace
from typing import TypeVar

from sqlglot import exp

from rayetl.errors import SqlError
from rayetl.records import dataclass
from rayetl.sql import coerce
from rayetl.sql.analyze.aggregate import Grouping, aggregate
from rayetl.sql.analyze.exprs import canonical, columns_of, contains, map_window
from rayetl.sql.analyze.places import (
    HAVING,
    ORDER_BY,
    SELECT_LIST,
    SORTED_BY_NAME,
    WHERE,
    Place,
    allowed,
    has_window,
)
from rayetl.sql.analyze.query import limited, ordinal_of, sort_key
from rayetl.sql.analyze.scope import Context, Scope
from rayetl.sql.analyze.source import from_clause, generated
from rayetl.sql.analyze.subquery import assert_grouped, attached, filtered, on_subquery, predicate
from rayetl.sql.expr import (
    Call,
    Cast,
    Column,
    Expr,
    GeneratorCall,
    GetField,
    SortKey,
    WindowCall,
    contains_aggregate,
)
from rayetl.sql.faults import collect, fault, raise_all, take, unsupported
from rayetl.sql.functions.naming import spark_name
from rayetl.sql.relations import Distinct, Generate, Project, Relation, Sort, Window
from rayetl.sql.resolve import resolve
from rayetl.sql.types import StructType

T = TypeVar("T")


@dataclass(slots=True)
class Item:
    """One column of the select list: its expression, its output name, and where it stands."""

    expr: Expr
    name: str
    node: exp.Expression
    rows: tuple[GeneratorCall, tuple[Column, ...]] | None = None
    """The row-making function of which this is the first column, and all its columns."""


@dataclass(slots=True)
class Faults:
    """Goes on after an error, so that one look shows them all."""

    errors: list[SqlError] = field(default_factory=list)

    def attempt(self, function: Callable[[], T]) -> T | None:
        try:
            return function()
        except SqlError as error:
            self.errors.append(error)
            return None

    def check(self) -> None:
        raise_all(self.errors)


def select(node: exp.Select, context: Context, outer: Scope | None) -> Relation:
    """The relation of a SELECT. Raises all problems of its clauses together."""
    take(
        node, "with_", "expressions", "from_", "joins", "laterals", "where", "group", "having", "windows",
        "order", "limit", "offset", "distinct", "hint", "distribute", "sort", "cluster",
    )  # fmt: skip
    relation, entries = from_clause(node, context, outer)
    scope = Scope(context, entries, outer)
    scope.on_subquery = on_subquery
    scope.windows = {window.this.name.lower(): window for window in node.args.get("windows") or ()}
    faults = Faults()
    where = node.args.get("where")
    condition = faults.attempt(lambda: predicate(where.this, scope, WHERE)) if where is not None else None
    items = _items(node, scope, faults)
    grouping = faults.attempt(lambda: Grouping.of(node, items, scope))
    names = {item.name.lower(): item.expr for item in reversed(items)}
    wide = scope.with_names(fallback=names)
    having = node.args.get("having")
    kept = faults.attempt(lambda: predicate(having.this, wide, HAVING)) if having is not None else None
    keys = _sort_keys(node, items, scope.with_names(first=names), faults)
    _check_distribution(node, scope.with_names(fallback=names), faults)
    faults.check()
    if condition is not None:
        relation = filtered(relation, condition, context)
    assert grouping is not None
    return _Builder(context, relation, items).build(node, grouping, kept, keys)


def _items(node: exp.Select, scope: Scope, faults: Faults) -> list[Item]:
    items: list[Item] = []
    lateral: dict[str, Expr] = {}
    inner = scope.with_names(fallback=lateral)
    for item in node.expressions:
        faults.attempt(lambda item=item: _assert_no_alias_in_windows(item, scope, lateral))  # type: ignore[misc]
        found = faults.attempt(lambda item=item: _expanded(item, inner)) or []  # type: ignore[misc]
        if isinstance(item, exp.Alias | exp.Aliases):
            lateral.update((named.name.lower(), named.expr) for named in found)
        items += found
    return items


def _assert_no_alias_in_windows(item: exp.Expression, scope: Scope, aliases: Collection[str]) -> None:
    """Spark 3.5 knows the columns named before in the same list everywhere but in window functions
    (UNSUPPORTED_FEATURE.LATERAL_COLUMN_ALIAS_IN_WINDOW)."""
    if not aliases:
        return
    for window in item.find_all(exp.Window):
        for column in window.find_all(exp.Column):
            named = not column.table and column.name.lower() in aliases
            if named and scope.find(column, [column.name]) is None:
                raise unsupported(
                    column,
                    f"{column.name} is named in this select list, which a window function cannot use",
                    hint="name it in a subquery or in the step before",
                )


def _expanded(item: exp.Expression, scope: Scope) -> list[Item]:
    if isinstance(item, exp.Star):
        return _star(item, item, None, scope)
    if isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
        (star, table) = take(item, "this", "table")
        return _star(item, star, table.name, scope)
    if isinstance(item, exp.Alias):
        this, alias = take(item, "this", "alias")
        return _named(_item(this, scope), [alias.name], item, scope)
    if isinstance(item, exp.Aliases):
        return _named(_item(item.this, scope), [part.name for part in item.expressions], item, scope)
    return _named(_item(item, scope), [], item, scope)


def _item(node: exp.Expression, scope: Scope) -> Expr:
    return allowed(resolve(node, scope), node, SELECT_LIST)


def _named(expr: Expr, names: list[str], item: exp.Expression, scope: Scope) -> list[Item]:
    """The columns that one expression gives: several only for a row-making function."""
    if isinstance(expr, GeneratorCall):
        columns = generated(expr, names, item, scope.context)
        first, *more = [Item(column, column.name, item) for column in columns]
        return [replace(first, rows=(expr, columns)), *more]
    if len(names) > 1:
        raise fault(item, "several names are given to one value")
    return [Item(expr, names[0] if names else _own_name(item, expr), item)]


def _own_name(item: exp.Expression, expr: Expr) -> str:
    """Spark's name for an item without AS: the last part of a dotted name, else the text of it."""
    if isinstance(item, exp.Column) and not (isinstance(expr, Call) and expr.function == item.name.lower()):
        return item.name
    if isinstance(item, exp.Dot) and item.find(exp.Bracket, exp.Func) is None:
        return str(item.expression.name)
    if isinstance(item, exp.Subquery):
        return "scalarsubquery()"
    if isinstance(expr, Cast) and isinstance(expr.child, Column):
        return expr.child.name
    return str(spark_name(expr))


def _star(item: exp.Expression, star: exp.Expression, qualifier: str | None, scope: Scope) -> list[Item]:
    (dropped,) = take(star, "except_")
    if dropped:
        raise fault(dropped[0], "Spark SQL 3.5 has no * EXCEPT", hint="name the columns to keep")
    if qualifier is not None and not scope.has_table(qualifier):
        return _struct_star(item, qualifier, scope)
    return [Item(column, column.name, item) for column in scope.star(item, qualifier)]


def _struct_star(item: exp.Expression, name: str, scope: Scope) -> list[Item]:
    """`s.*` for a struct column: its fields."""
    found = scope.find(item, [name])
    if found is None or not isinstance(found[0].type, StructType):
        raise scope.unknown_table(item, name)
    column, _ = found
    fields = enumerate(found[0].type)
    return [
        Item(GetField(f.type, column.nullable or f.nullable, column, f.name, index), f.name, item)
        for index, f in fields
    ]


def _check_distribution(node: exp.Select, scope: Scope, faults: Faults) -> None:
    """SORT BY and its kin change no result, but what they name must be there."""
    for clause in ("distribute", "sort", "cluster"):
        for item in getattr(node.args.get(clause), "expressions", ()):
            this = item.this if isinstance(item, exp.Ordered) else item
            place = Place(f"{clause.upper()} BY")
            faults.attempt(lambda this=this, place=place: allowed(resolve(this, scope), this, place))  # type: ignore[misc]


def _sort_keys(node: exp.Select, items: list[Item], scope: Scope, faults: Faults) -> list[SortKey]:
    order = node.args.get("order")
    if order is None:
        return []
    nodes = take(order, "expressions")[0]
    if len(nodes) == 1 and isinstance(nodes[0].this, exp.Var) and nodes[0].this.name.upper() == "ALL":
        return [sort_key(nodes[0], item.expr) for item in items]
    found = [faults.attempt(lambda item=item: _sort_key(item, items, scope)) for item in nodes]  # type: ignore[misc]
    return [key for key in found if key is not None]


def _sort_key(node: exp.Expression, items: list[Item], scope: Scope) -> SortKey:
    ordinal = ordinal_of(node.this, len(items)) if items else None
    if ordinal is not None:
        return sort_key(node, items[ordinal].expr)
    place = ORDER_BY if has_window(node) else SORTED_BY_NAME
    return sort_key(node, allowed(resolve(node.this, scope), node, place))


class _Builder:
    """Puts the relation of one SELECT together from its resolved parts."""

    def __init__(self, context: Context, relation: Relation, items: list[Item]) -> None:
        self.context = context
        self.relation = relation
        self.items = items

    def build(
        self, node: exp.Select, grouping: Grouping, having: Expr | None, keys: list[SortKey]
    ) -> Relation:
        exprs = [item.expr for item in self.items]
        sorts = [key.expr for key in keys]
        conditions = [having] if having is not None else []
        makers = [item for item in self.items if item.rows is not None]
        calls: list[Expr] = [item.rows[0] for item in makers if item.rows is not None]
        every = [*exprs, *conditions, *sorts, *calls]
        aggregated = grouping.present or having is not None or any(map(contains_aggregate, every))
        self._check_makers(makers, grouping, having, aggregated)
        if aggregated:
            grouped = {canonical(key) for key in grouping.keys}
            collect(lambda item: assert_grouped(item.expr, grouped, item.node), self.items)
            nodes = [item.node for item in self.items] + [node.args.get("having") or node] * len(conditions)
            nodes += [node.args.get("order") or node] * len(sorts) + [item.node for item in makers]
            made = [column for item in makers if item.rows is not None for column in item.rows[1]]
            self.relation, every = aggregate(self.relation, grouping, every, nodes, self.context, made)
            exprs, every = every[: len(exprs)], every[len(exprs) :]
            conditions, every = every[: len(conditions)], every[len(conditions) :]
            sorts, calls = every[: len(sorts)], every[len(sorts) :]
        for condition in conditions:
            self.relation = filtered(self.relation, condition, self.context)
        for item, call in zip(makers, calls, strict=True):
            self._generate(item, call)
        every = self._windows([*exprs, *sorts])
        # An item that ORDER BY names by its position is the same expression, and stays one column.
        known: dict[int, Expr] = {}
        for expr in every:
            if id(expr) not in known:
                known[id(expr)] = self._attached(expr)
        every = [known[id(expr)] for expr in every]
        exprs, sorts = every[: len(exprs)], every[len(exprs) :]
        return limited(self._projected(node, exprs, keys, sorts), node, self.context)

    def _attached(self, expr: Expr) -> Expr:
        self.relation, done = attached(self.relation, expr, self.context)
        return done

    def _check_makers(
        self, makers: list[Item], grouping: Grouping, having: Expr | None, aggregated: bool
    ) -> None:
        """explode and its kin in the select list: one of them, over the rows or over the groups."""
        if len(makers) > 1:
            message = "only one row-making function in a select list is supported"
            raise unsupported(makers[1].node, message, hint="use LATERAL VIEW for the others")
        for item in makers:
            assert item.rows is not None
            call, columns = item.rows
            made = {column.id for column in columns}
            if any(columns_of(key) & made for key in grouping.keys):
                message = f"{call.shown} as a key of GROUP BY is not supported"
                raise unsupported(item.node, message, hint="use LATERAL VIEW")
            if grouping.sets is not None:
                message = f"{call.shown} beside ROLLUP, CUBE or GROUPING SETS is not supported"
                raise unsupported(item.node, message, hint="use a subquery and LATERAL VIEW")
            windows = contains(call, WindowCall)
            windows |= aggregated and any(contains(other.expr, WindowCall) for other in self.items)
            if windows or having is not None:
                what = "a window function" if windows else "HAVING"
                message = f"{call.shown} beside {what} is not supported"
                raise unsupported(item.node, message, hint="use a subquery and LATERAL VIEW")

    def _generate(self, item: Item, call: Expr) -> None:
        made = self._attached(call)
        assert isinstance(made, GeneratorCall)
        assert item.rows is not None
        self.relation = Generate((*self.relation.columns, *item.rows[1]), self.relation, made)

    def _windows(self, exprs: list[Expr]) -> list[Expr]:
        """Window calls computed beside the rows, innermost first; each replaced by its column."""
        while any(contains(expr, WindowCall) for expr in exprs):
            known: dict[Expr, tuple[Column, WindowCall]] = {}

            def swap(node: Expr, known: dict[Expr, tuple[Column, WindowCall]] = known) -> Expr | None:
                if not isinstance(node, WindowCall) or any(
                    contains(child, WindowCall) for child in node.children()
                ):
                    return None
                key = canonical(node)
                if key not in known:
                    name = self.context.names.fresh("window")
                    known[key] = (
                        Column(node.type, node.nullable, name, name),
                        map_window(node, self._attached),
                    )
                return known[key][0]

            exprs = [expr.transform(swap) for expr in exprs]
            columns = tuple(column for column, _ in known.values())
            calls = tuple(call for _, call in known.values())
            self.relation = Window((*self.relation.columns, *columns), self.relation, calls)
        return exprs

    def _projected(
        self, node: exp.Select, exprs: list[Expr], keys: list[SortKey], sorts: list[Expr]
    ) -> Relation:
        columns = self._output_columns(exprs)
        distinct = node.args.get("distinct")
        if distinct is not None:
            take(distinct)
        by_expr: dict[Expr, Column] = {}
        for expr, column in zip(exprs, columns, strict=True) if sorts else ():
            by_expr.setdefault(canonical(expr), column)
        hidden: dict[Expr, Column] = {}

        def outside(expr: Expr) -> Expr | None:
            known = by_expr.get(canonical(expr))
            if known is not None:
                return known
            if isinstance(expr, Column):
                return hidden.setdefault(canonical(expr), expr)
            return None

        sort_exprs = [expr.transform(outside) for expr in sorts]
        if hidden and distinct is not None:
            name = next(iter(hidden.values())).name
            raise fault(
                node.args["order"],
                f"with DISTINCT, ORDER BY can only use the select list: {name} is not in it",
            )
        taken = {column.id for column in columns}
        renamed = {c.id: c if c.id not in taken else self._fresh(c, c.name) for c in hidden.values()}
        sort_exprs = [_swap_ids(expr, renamed, set(taken)) for expr in sort_exprs]
        extra = tuple(renamed.values())
        out: Relation = Project((*columns, *extra), self.relation, (*exprs, *hidden.values()))
        if distinct is not None:
            for column, item in zip(columns, self.items, strict=True):
                if not coerce.is_comparable(column.type):
                    raise fault(item.node, f"DISTINCT cannot compare a {column.type}")
            out = Distinct(out.columns, out)
        if sort_exprs:
            ordered = tuple(replace(key, expr=expr) for key, expr in zip(keys, sort_exprs, strict=True))
            out = Sort(out.columns, out, ordered)
        return Project(columns, out, columns) if extra else out

    def _fresh(self, expr: Expr, name: str) -> Column:
        return Column(expr.type, expr.nullable, self.context.names.fresh(name), name)

    def _output_columns(self, exprs: list[Expr]) -> tuple[Column, ...]:
        """A column that is passed on keeps its id; everything else gets a new one."""
        given = {column.id for column in self.relation.columns}
        used: set[str] = set()
        columns = []
        for expr, item in zip(exprs, self.items, strict=True):
            if isinstance(expr, Column) and expr.id not in used and expr.id in given:
                column = Column(expr.type, expr.nullable, expr.id, item.name)
            else:
                column = self._fresh(expr, item.name)
            used.add(column.id)
            columns.append(column)
        return tuple(columns)


def _swap_ids(expr: Expr, renamed: dict[str, Column], kept: set[str]) -> Expr:
    def swap(node: Expr) -> Expr | None:
        if isinstance(node, Column) and node.id in renamed and node.id not in kept:
            return renamed[node.id]
        return None

    return expr.transform(swap) if columns_of(expr) & set(renamed) else expr
