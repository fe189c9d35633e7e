"""FROM: tables, subqueries, VALUES, joins, lateral views, PIVOT and UNPIVOT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from rayetl.sql import coerce
from rayetl.sql.analyze import query as queries
from rayetl.sql.analyze.exprs import columns_of, conjunction, conjuncts, has_subquery
from rayetl.sql.analyze.pivot import apply_pivot
from rayetl.sql.analyze.places import LATERAL_VIEW, ON, VALUES, allowed
from rayetl.sql.analyze.scope import Context, Entry, Scope
from rayetl.sql.analyze.subquery import assert_untied, attached, filtered, on_subquery, predicate
from rayetl.sql.expr import TRUE, Call, Column, Expr, GeneratorCall
from rayetl.sql.faults import did_you_mean, fault, take, unsupported
from rayetl.sql.relations import Generate, Input, Join, JoinKind, Project, Relation, Values
from rayetl.sql.resolve import resolve
from rayetl.sql.types import BOOLEAN

From = tuple[Relation, tuple[Entry, ...]]

_KINDS: dict[tuple[str, str], JoinKind] = {
    ("", ""): "inner",
    ("", "INNER"): "inner",
    ("", "CROSS"): "inner",
    ("LEFT", ""): "left",
    ("LEFT", "OUTER"): "left",
    ("RIGHT", ""): "right",
    ("RIGHT", "OUTER"): "right",
    ("FULL", ""): "full",
    ("FULL", "OUTER"): "full",
    ("", "SEMI"): "semi",
    ("LEFT", "SEMI"): "semi",
    ("", "ANTI"): "anti",
    ("LEFT", "ANTI"): "anti",
}


def from_clause(select: exp.Select, context: Context, outer: Scope | None) -> From:
    """The relation that a SELECT reads, and the names it can see."""
    clause = select.args.get("from_")
    if clause is None:
        return Values((), ((),)), ()
    (table,) = take(clause, "this")
    result = relation(table, context, outer)
    for join in select.args.get("joins") or ():
        result = _join(result, join, context, outer)
    for lateral in select.args.get("laterals") or ():
        result = _lateral_view(result, lateral, context, outer)
    return result


def relation(node: exp.Expression, context: Context, outer: Scope | None) -> From:
    """One item of FROM."""
    if isinstance(node, exp.Table):
        result = _table(node, context)
    elif isinstance(node, exp.Subquery):
        result = _subquery(node, context, outer)
    elif isinstance(node, exp.Values):
        result = _values(node, context)
    elif isinstance(node, exp.Lateral):
        raise unsupported(
            node, "a LATERAL subquery or function in FROM is not supported", hint="use LATERAL VIEW"
        )
    else:
        raise unsupported(node, f"{node.key.upper()} is not supported in FROM")
    for pivot in node.args.get("pivots") or ():
        result = apply_pivot(result, pivot, context)
    for join in node.args.get("joins") or ():
        result = _join(result, join, context, outer)
    for lateral in node.args.get("laterals") or ():
        result = _lateral_view(result, lateral, context, outer)
    return result


def _table(node: exp.Table, context: Context) -> From:
    this, alias, *_ = take(node, "this", "alias", "joins", "pivots", "laterals", "hints")
    if not isinstance(this, exp.Identifier):
        raise unsupported(node, f"the table function {this.name} is not supported")
    name = this.name
    if name.lower() in context.ctes:
        cte, inner = context.ctes[name.lower()]
        output = queries.analyze(cte.this, inner, None)
        columns = renamed(output.columns, cte.args.get("alias"), cte)
        return aliased(replace_columns(output, columns), columns, alias, name, node)
    if name.lower() not in context.tables:
        known = sorted([table for table, _ in context.tables.values()] + list(context.ctes))
        hint = did_you_mean(name, known) or (f"there is {', '.join(known)}" if known else None)
        raise fault(node, f"there is no table {name}", hint=hint, code="sql.table")
    context.names.note_reading(node)
    actual, schema = context.tables[name.lower()]
    columns = tuple(Column(f.type, f.nullable, context.names.fresh(f.name), f.name) for f in schema)
    source = Input(columns, actual, schema.names)
    return aliased(source, columns, alias, name, node)


def _subquery(node: exp.Subquery, context: Context, outer: Scope | None) -> From:
    this, alias, *_ = take(node, "this", "alias", "pivots", "joins", "laterals")
    if isinstance(this, (exp.Table, exp.Values)):
        inner = relation(this, context, outer)
        columns = tuple(entry.column for entry in inner[1] if entry.shown)
        return aliased(inner[0], columns, alias, None, node) if alias else inner
    output = queries.analyze(this, context, None)
    return aliased(output, output.columns, alias, None, node)


def _values(node: exp.Values, context: Context) -> From:
    expressions, alias, *_ = take(node, "expressions", "alias", "pivots")
    scope = Scope(context)
    rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in expressions]
    if any(len(row) != len(rows[0]) for row in rows):
        raise fault(node, "the rows of VALUES differ in length")
    typed = [[allowed(resolve(item, scope), item, VALUES) for item in row] for row in rows]
    by_column: list[list[Expr]] = []
    for index, items in enumerate(zip(*typed, strict=True)):
        unified = coerce.unify(list(items))
        if unified is None:
            raise fault(rows[0][index], f"the values of column {index + 1} have no common type")
        by_column.append(unified)
    names = [f"col{index + 1}" for index in range(len(by_column))]
    columns = tuple(
        Column(items[0].type, any(i.nullable for i in items), context.names.fresh(name), name)
        for items, name in zip(by_column, names, strict=True)
    )
    source = Values(columns, tuple(zip(*by_column, strict=True)))
    return aliased(source, columns, alias, None, node)


def renamed(
    columns: Sequence[Column], alias: exp.TableAlias | None, node: exp.Expression
) -> tuple[Column, ...]:
    """The columns under the names of `AS t(a, b)`."""
    names = [identifier.name for identifier in (alias.columns if alias else ())]
    if not names:
        return tuple(columns)
    if len(names) != len(columns):
        raise fault(node, f"{len(names)} column names are given for {len(columns)} columns")
    return tuple(replace(column, name=name) for column, name in zip(columns, names, strict=True))


def replace_columns(source: Relation, columns: tuple[Column, ...]) -> Relation:
    return replace(source, columns=columns) if columns != source.columns else source


def aliased(
    source: Relation,
    columns: tuple[Column, ...],
    alias: exp.TableAlias | None,
    name: str | None,
    node: exp.Expression,
) -> From:
    """A relation under its alias (or its own name), its columns renamed where the alias lists names."""
    columns = renamed(columns, alias, node)
    qualifier = alias.name if alias and alias.name else name
    return source, tuple(Entry(column, qualifier) for column in columns)


def _join(left: From, node: exp.Join, context: Context, outer: Scope | None) -> From:
    this, on, using, side, kind, method, *_ = take(
        node, "this", "on", "using", "side", "kind", "method", "hint"
    )
    right = relation(this, context, outer)
    how = _KINDS.get(((side or "").upper(), (kind or "").upper()))
    if how is None:
        raise unsupported(node, f"{side or ''} {kind or ''} JOIN is not supported".strip())
    if method:
        if method.upper() != "NATURAL":
            raise unsupported(node, f"{method} JOIN is not supported")
        using = _common(left, right)
        if not using:
            method, using = None, None
    if using:
        return _join_using(left, right, how, [_name(item) for item in using], node, context)
    condition = None
    if on is not None:
        scope = Scope(context, (*left[1], *right[1]), outer)
        scope.on_subquery = on_subquery
        condition = predicate(on, scope, ON)
        if has_subquery(condition):
            return _joined_with_subqueries(left, right, how, condition, on, context)
    return _joined(left, right, how, condition)


def _joined_with_subqueries(
    left: From, right: From, how: JoinKind, condition: Expr, on: exp.Expression, context: Context
) -> From:
    """Subqueries of an inner join filter what it gives; those of another kind become a column of the side
    whose columns they compare with."""
    parts = conjuncts(condition)
    plain, asking = (
        [p for p in parts if not has_subquery(p)],
        [p for p in parts if has_subquery(p)],
    )
    assert_untied(condition, on)
    if how == "inner":
        joined, entries = _joined(left, right, how, conjunction(plain))
        return filtered(joined, conjunction(asking) or TRUE, context), entries
    sides = [left[0], right[0]]
    for part in asking:
        used = columns_of(part)
        index = next((i for i in (1, 0) if used <= {c.id for c in sides[i].columns}), None)
        if index is None:
            message = f"a subquery in the ON of a {how} join may be compared with one of its sides only"
            raise unsupported(on, message, hint="compute what is compared in a subquery of that side first")
        sides[index], done = attached(sides[index], part, context)
        plain.append(done)
    wanted, entries = _joined(left, right, how, None)
    joined, _ = _joined((sides[0], left[1]), (sides[1], right[1]), how, conjunction(plain))
    return Project(wanted.columns, joined, wanted.columns), entries


def _name(item: exp.Expression | str) -> str:
    return item if isinstance(item, str) else item.name


def _common(left: From, right: From) -> list[str]:
    names = {entry.column.name.lower() for entry in right[1] if entry.shown}
    return [entry.column.name for entry in left[1] if entry.shown and entry.column.name.lower() in names]


def _joined(left: From, right: From, how: JoinKind, condition: Expr | None) -> From:
    loose_left = how in ("right", "full")
    loose_right = how in ("left", "full")
    entries = [_loose(entry, loose_left) for entry in left[1]]
    kept = [replace(c, nullable=c.nullable or loose_left) for c in left[0].columns]
    if how not in ("semi", "anti"):
        entries += [_loose(entry, loose_right) for entry in right[1]]
        kept += [replace(c, nullable=c.nullable or loose_right) for c in right[0].columns]
    return Join(tuple(kept), left[0], right[0], how, condition), tuple(entries)


def _loose(entry: Entry, loose: bool) -> Entry:
    return replace(entry, column=replace(entry.column, nullable=True)) if loose else entry


def _join_using(
    left: From, right: From, how: JoinKind, names: list[str], node: exp.Join, context: Context
) -> From:
    """USING and NATURAL: the common columns once and in front; both originals stay in reach by qualifier."""
    pairs = [(_named(left, name, "left", node), _named(right, name, "right", node)) for name in names]
    condition: Expr | None = None
    for a, b in pairs:
        operands = coerce.comparison_operands(a.column, b.column)
        if operands is None:
            message = f"{a.column.name} is {a.column.type} on the left and {b.column.type} on the right"
            raise fault(node, f"{message}: they cannot be compared")
        equal = Call(BOOLEAN, a.column.nullable or b.column.nullable, "=", operands, "=")
        condition = equal if condition is None else Call(BOOLEAN, True, "and", (condition, equal), "and")
    relation_, entries = _joined(left, right, how, condition)
    if how in ("semi", "anti"):
        ids = {a.column.id for a, _ in pairs}
        front = [entry for name in names for entry in entries if entry.column.name.lower() == name.lower()]
        front = [entry for entry in front if entry.column.id in ids]
        return relation_, (*front, *(e for e in entries if e.column.id not in ids))
    by_id = {entry.column.id: entry for entry in entries}
    shared: list[Entry] = []
    computed: list[tuple[Column, Expr]] = []
    for name, (a, b) in zip(names, pairs, strict=True):
        mine, theirs = by_id[a.column.id], by_id[b.column.id]
        if how == "full":
            both = coerce.unify([mine.column, theirs.column]) or [mine.column, theirs.column]
            value = Call(
                both[0].type, a.column.nullable or b.column.nullable, "coalesce", tuple(both), "coalesce"
            )
            column = Column(value.type, value.nullable, context.names.fresh(name), a.column.name)
            computed.append((column, value))
            shared.append(Entry(column))
        else:
            shared.append(Entry((theirs if how == "right" else mine).column))
    if computed:
        columns = (*relation_.columns, *(column for column, _ in computed))
        relation_ = Project(columns, relation_, (*relation_.columns, *(value for _, value in computed)))
    hidden = {entry.column.id for pair in pairs for entry in pair}
    rest = [replace(entry, shown=entry.shown and entry.column.id not in hidden) for entry in entries]
    return relation_, (*shared, *rest)


def _named(side: From, name: str, where: str, node: exp.Join) -> Entry:
    found = [entry for entry in side[1] if entry.shown and entry.column.name.lower() == name.lower()]
    if len({entry.column.id for entry in found}) == 1:
        return found[0]
    if found:
        raise fault(node, f"{name} is ambiguous on the {where} side of the join", code="sql.ambiguous")
    known = [entry.column.name for entry in side[1] if entry.shown]
    hint = did_you_mean(name, [n.lower() for n in known]) or f"it has {', '.join(known)}"
    raise fault(node, f"the {where} side of the join has no column {name}", hint=hint, code="sql.column")


def _lateral_view(source: From, node: exp.Lateral, context: Context, outer: Scope | None) -> From:
    this, is_outer, alias, view = take(node, "this", "outer", "alias", "view")
    if not view:
        raise unsupported(node, "LATERAL without VIEW is not supported", hint="use LATERAL VIEW")
    call = allowed(resolve(this, Scope(context, source[1], outer)), this, LATERAL_VIEW)
    if not isinstance(call, GeneratorCall):
        raise fault(
            node, f"{this.name} makes no rows", hint="LATERAL VIEW takes explode, posexplode, inline or stack"
        )
    call = replace(call, outer=bool(is_outer) or call.outer)
    names = [identifier.name for identifier in (alias.columns if alias else ())]
    columns = generated(call, names, node, context)
    qualifier = alias.name if alias and alias.name else None
    made = Generate((*source[0].columns, *columns), source[0], call)
    return made, (*source[1], *(Entry(column, qualifier) for column in columns))


def generated(
    call: GeneratorCall, names: list[str], node: exp.Expression, context: Context
) -> tuple[Column, ...]:
    """The columns that a generator makes, under `names` if any are given."""
    if names and len(names) != len(call.outputs):
        raise fault(node, f"{len(names)} names are given for the {len(call.outputs)} columns of {call.shown}")
    names = names or [member.name for member in call.outputs]
    return tuple(
        Column(member.type, member.nullable or call.outer, context.names.fresh(name), name)
        for member, name in zip(call.outputs, names, strict=True)
    )
