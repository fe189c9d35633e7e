"""GROUP BY: what the keys are, and how the other expressions are rewritten over the groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from sqlglot import exp

from rayetl.errors import SqlError
from rayetl.records import dataclass
from rayetl.sql import coerce
from rayetl.sql.analyze.exprs import canonical, map_window
from rayetl.sql.analyze.places import GROUP_BY, allowed
from rayetl.sql.analyze.query import ordinal_of
from rayetl.sql.analyze.scope import Context, Scope
from rayetl.sql.analyze.subquery import attached
from rayetl.sql.analyze.tied import Plan
from rayetl.sql.expr import (
    AggregateCall,
    Call,
    Cast,
    Column,
    Expr,
    Literal,
    Subquery,
    WindowCall,
    contains_aggregate,
    null,
)
from rayetl.sql.faults import collect, fault, take, unsupported
from rayetl.sql.relations import Aggregate, Expand, Project, Relation
from rayetl.sql.resolve import resolve
from rayetl.sql.types import BYTE, INT, LONG

Key = Callable[[exp.Expression], Expr]
_SPECIAL = (exp.GroupingSets, exp.Cube, exp.Rollup)
_BITS = 63
"""Of a number that tells grouping sets apart."""

if TYPE_CHECKING:
    from rayetl.sql.analyze.select import Item


@dataclass(frozen=True, slots=True)
class Grouping:
    """The keys of GROUP BY; `sets` lists the grouping sets as indexes of keys, None for plain keys."""

    present: bool
    keys: tuple[Expr, ...] = ()
    sets: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def of(cls, node: exp.Select, items: list[Item], scope: Scope) -> Grouping:
        """Read the clause of a SELECT; names are columns first, then items of the select list."""
        clause = node.args.get("group")
        if clause is None:
            return cls(False)
        expressions, sets, cube, rollup, all_ = take(
            clause, "expressions", "grouping_sets", "cube", "rollup", "all"
        )
        if all_:
            keys = [item.expr for item in items if not contains_aggregate(item.expr)]
            return cls(True, _distinct(keys))
        aliases = {item.name.lower(): item.expr for item in reversed(items)}
        wide = scope.with_names(fallback=aliases)

        def key(part: exp.Expression) -> Expr:
            return _key(part, items, wide)

        grouped = [*(expressions or ()), *(sets or ()), *(cube or ()), *(rollup or ())]
        if not any(isinstance(part, _SPECIAL) for part in grouped):
            return cls(True, _distinct(collect(key, grouped)))
        return cls._with_sets(grouped, key)

    @classmethod
    def _with_sets(cls, parts: list[exp.Expression], key: Key) -> Grouping:
        combined: list[tuple[Expr, ...]] = [()]
        for part in parts:
            options = _options(part, key, parts)
            if isinstance(part, (exp.Cube, exp.Rollup)) and not part.expressions:
                combined = []
            combined = [(*left, *right) for left in combined for right in options] if combined else options
        keys = _distinct([expr for one in combined for expr in one])
        index = {canonical(expr): i for i, expr in enumerate(keys)}
        sets = tuple(tuple(sorted({index[canonical(expr)] for expr in one})) for one in combined)
        repeats = max(Counter(sets).values()) - 1
        if len(keys) + repeats.bit_length() > _BITS:
            message = f"{len(keys)} keys in ROLLUP, CUBE or GROUPING SETS are not supported"
            raise unsupported(parts[0], message, hint=f"name at most {_BITS}")
        return cls(True, keys, sets)


def _options(part: exp.Expression, key: Key, parts: list[exp.Expression]) -> list[tuple[Expr, ...]]:
    return _sets_of(part, key, parts) if isinstance(part, _SPECIAL) else [(key(part),)]


def _sets_of(part: exp.Expression, key: Key, parts: list[exp.Expression]) -> list[tuple[Expr, ...]]:
    if isinstance(part, exp.GroupingSets):
        found: list[tuple[Expr, ...]] = []
        for one in part.expressions:
            if isinstance(one, (exp.Cube, exp.Rollup)):
                found += _sets_of(one, key, parts)
            else:
                found.append(tuple(key(item) for item in _members(one)))
        return found
    nodes = part.expressions or [p for p in parts if not isinstance(p, (exp.Cube, exp.Rollup))]
    groups = [tuple(key(item) for item in _members(one)) for one in nodes]
    if isinstance(part, exp.Rollup):
        chosen = [groups[:count] for count in range(len(groups), -1, -1)]
    else:
        chosen = [list(some) for count in range(len(groups), -1, -1) for some in combinations(groups, count)]
    return [tuple(expr for group in some for expr in group) for some in chosen]


def _members(node: exp.Expression) -> list[exp.Expression]:
    if isinstance(node, exp.Tuple):
        return list(node.expressions)
    return [node.this] if isinstance(node, exp.Paren) else [node]


def _distinct(exprs: list[Expr]) -> tuple[Expr, ...]:
    first: dict[Expr, Expr] = {}
    for expr in exprs:
        first.setdefault(canonical(expr), expr)
    return tuple(first.values())


def _key(node: exp.Expression, items: list[Item], scope: Scope) -> Expr:
    ordinal = ordinal_of(node, len(items))
    expr = items[ordinal].expr if ordinal is not None else resolve(node, scope)
    allowed(expr, items[ordinal].node if ordinal is not None else node, GROUP_BY)
    if not coerce.is_comparable(expr.type):
        raise fault(node, f"GROUP BY cannot compare a {expr.type}")
    return expr


def aggregate(
    relation: Relation,
    grouping: Grouping,
    exprs: list[Expr],
    nodes: list[exp.Expression],
    context: Context,
    made: Sequence[Column] = (),
) -> tuple[Relation, list[Expr]]:
    """The grouped relation, and `exprs` rewritten to read its columns. The columns `made` are those of a
    row-making function over the groups.

    Raises `SqlError` for a column that is neither grouped nor inside an aggregate function.
    """
    relation, keys, key_columns, more = _grouped(relation, grouping, context)
    known = {**key_columns, **{canonical(column): column for column in made}}
    levels = None if grouping.sets is None else _Levels(more[-1], tuple(map(canonical, grouping.keys)))
    writer = _Rewriter(context, relation, known, levels)
    done = collect(lambda pair: writer.rewrite(*pair), list(zip(exprs, nodes, strict=True)))
    columns = (*more, *(column for column, _ in writer.calls.values()))
    calls = tuple(call for _, call in writer.calls.values())
    return Aggregate(columns, writer.relation, keys, calls), done


def _grouped(
    relation: Relation, grouping: Grouping, context: Context
) -> tuple[Relation, tuple[Expr, ...], dict[Expr, Column], tuple[Column, ...]]:
    """The input with subqueries in keys attached and grouping sets expanded; keys and their columns."""
    exprs: list[Expr] = []
    for key in grouping.keys:
        relation, done = attached(relation, key, context)
        exprs.append(done)
    wanted = [key.name if isinstance(key, Column) else "key" for key in grouping.keys]
    if grouping.sets is None:
        columns = [
            e if isinstance(e, Column) else Column(e.type, e.nullable, context.names.fresh(name), name)
            for e, name in zip(exprs, wanted, strict=True)
        ]
        known = {canonical(key): column for key, column in zip(grouping.keys, columns, strict=True)}
        return relation, tuple(exprs), known, tuple(columns)
    columns = [
        Column(e.type, True, context.names.fresh(name), name) for e, name in zip(exprs, wanted, strict=True)
    ]
    set_id = Column(LONG, False, context.names.fresh("set_id"), "set_id")
    repeats: Counter[tuple[int, ...]] = Counter()
    projections = []
    for chosen in grouping.sets:
        projections.append(_projection(exprs, repeats[chosen], chosen))
        repeats[chosen] += 1
    expanded = Expand((*relation.columns, *columns, set_id), relation, relation.columns, tuple(projections))
    known = {canonical(key): column for key, column in zip(grouping.keys, columns, strict=True)}
    return expanded, (*columns, set_id), known, (*columns, set_id)


def _projection(exprs: list[Expr], repeat: int, chosen: tuple[int, ...]) -> tuple[Expr, ...]:
    """The keys of a set and its id: the keys it leaves out, and above them which of its repeats it is."""
    values = tuple(expr if index in chosen else null(expr.type) for index, expr in enumerate(exprs))
    absent = sum(1 << _bit(index, len(exprs)) for index in range(len(exprs)) if index not in chosen)
    return (*values, Literal(LONG, False, repeat << len(exprs) | absent))


def _bit(index: int, keys: int) -> int:
    """The bit of Spark's grouping_id() that says that a key is left out; the last key has the lowest."""
    return keys - 1 - index


@dataclass(frozen=True, slots=True)
class _Levels:
    """What `grouping` and `grouping_id` are read from: the column that tells sets apart, whose low bits say
    which of the `keys` a set leaves out."""

    set_id: Column
    keys: tuple[Expr, ...]

    def of(self, call: AggregateCall, node: exp.Expression) -> Expr:
        """The value of a call. Raises `SqlError` for arguments that are not the keys Spark wants."""
        found = tuple(map(canonical, call.args))
        if call.distinct or call.filter is not None:
            raise fault(node, f"{call.function} takes neither DISTINCT nor FILTER")
        if call.function == "grouping_id":
            if found and found != self.keys:
                raise fault(node, "grouping_id takes all keys of GROUP BY in their order, or nothing")
            return self._low(self.set_id, (1 << len(self.keys)) - 1)
        if found[0] not in self.keys:
            raise fault(node, "the argument of grouping is no key of GROUP BY")
        place = Literal(INT, False, _bit(self.keys.index(found[0]), len(self.keys)))
        shifted = Call(LONG, False, "shiftright", (self.set_id, place), "shiftright")
        return Cast(BYTE, False, self._low(shifted, 1))

    def _low(self, value: Expr, mask: int) -> Expr:
        return Call(LONG, False, "&", (value, Literal(LONG, False, mask)), "&")


class _Rewriter:
    """Replaces keys and aggregate calls by the columns that hold them."""

    def __init__(
        self, context: Context, relation: Relation, keys: dict[Expr, Column], levels: _Levels | None
    ) -> None:
        self.context = context
        self.relation = relation
        self.keys = keys
        self.levels = levels
        self.calls: dict[Expr, tuple[Column, AggregateCall]] = {}

    def rewrite(self, expr: Expr, node: exp.Expression) -> Expr:
        return expr.transform(lambda part: self._swap(part, node))

    def _swap(self, part: Expr, node: exp.Expression) -> Expr | None:
        known = self.keys.get(canonical(part))
        if known is not None:
            return replace(known, name=part.name) if isinstance(part, Column) else known
        if isinstance(part, AggregateCall) and part.function in ("grouping", "grouping_id"):
            if self.levels is None:
                raise fault(node, f"{part.function} needs ROLLUP, CUBE or GROUPING SETS")
            return self.levels.of(part, node)
        if isinstance(part, AggregateCall):
            return self._call(part)
        if isinstance(part, WindowCall):
            return map_window(part, lambda child: self.rewrite(child, node))
        if isinstance(part, Subquery) and isinstance(part.plan, Plan):
            args = tuple(self.rewrite(arg, node) for arg in part.args)
            return replace(part, args=args, plan=part.plan.retied(lambda tied: self._swap(tied, node)))
        if isinstance(part, Column):
            raise self._not_grouped(part, node)
        return None

    def _call(self, call: AggregateCall) -> Column:
        key = canonical(call)
        if key not in self.calls:
            name = self.context.names.fresh(call.function)
            relation = self.relation
            args = []
            for child in call.args:
                relation, done = attached(relation, child, self.context)
                args.append(done)
            kept = call.filter
            if kept is not None:
                relation, kept = attached(relation, kept, self.context)
            self.relation = relation
            column = Column(call.type, call.nullable, name, name)
            self.calls[key] = (column, replace(call, args=tuple(args), filter=kept))
        return self.calls[key][0]

    def _not_grouped(self, column: Column, node: exp.Expression) -> SqlError:
        hint = f"add {column.name} to GROUP BY or wrap it in first() or another aggregate function"
        place = next((c for c in node.find_all(exp.Column) if c.name.lower() == column.name.lower()), node)
        return fault(
            place, f"{column.name} is neither in GROUP BY nor inside an aggregate function", hint=hint
        )


def regrouped(relation: Relation, columns: tuple[Column, ...]) -> Relation:
    """The relation cut down to `columns`."""
    return relation if relation.columns == columns else Project(columns, relation, columns)
