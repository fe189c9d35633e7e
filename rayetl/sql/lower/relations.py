"""Typed relations to one LazyFrame. Columns of the frame are named by the ids of the relation's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from rayetl.names import PREFIX
from rayetl.sql.analyze.exprs import columns_of
from rayetl.sql.analyzed import AnalyzedQuery
from rayetl.sql.expr import Call, Column, Expr, Literal, SortKey
from rayetl.sql.functions.base import is_constant
from rayetl.sql.lower import joins
from rayetl.sql.lower.expressions import Lowering
from rayetl.sql.lower.generators import generated
from rayetl.sql.lower.windows import windowed
from rayetl.sql.relations import (
    Aggregate,
    Attach,
    Distinct,
    Expand,
    Filter,
    Generate,
    Input,
    Join,
    Limit,
    Project,
    Relation,
    SetOperation,
    Sort,
    Values,
    Window,
)
from rayetl.sql.types import DOUBLE, FLOAT

_NUMBER = PREFIX + "number"
_ONE = PREFIX + "one"


def lower_relation(
    analyzed: AnalyzedQuery, frames: Mapping[str, pl.LazyFrame], names: Sequence[str]
) -> pl.LazyFrame:
    """The query over `frames`, its columns called `names` (which must differ). Nothing is read."""
    return _Lowerer(frames, Lowering(analyzed.time_zone, analyzed.now)).root(analyzed.plan, names)


class _Lowerer:
    def __init__(self, frames: Mapping[str, pl.LazyFrame], ctx: Lowering) -> None:
        self.frames = frames
        self.ctx = ctx

    def root(self, relation: Relation, names: Sequence[str]) -> pl.LazyFrame:
        if isinstance(relation, Project):
            return self.projected(relation.input, relation.exprs, names)
        ids = [column.id for column in relation.columns]
        frame = self.lower(relation)
        if ids == list(names) and not isinstance(relation, Input | Join | Filter):
            return frame
        return frame.select([_alias(pl.col(i), i, name) for i, name in zip(ids, names, strict=True)])

    def lower(self, relation: Relation) -> pl.LazyFrame:
        return _LOWER[type(relation)](self, relation)

    def exprs(self, exprs: Sequence[Expr], names: Sequence[str]) -> list[pl.Expr]:
        return [
            pl.col(e.id) if isinstance(e, Column) and e.id == name else self.ctx.expr(e).alias(name)
            for e, name in zip(exprs, names, strict=True)
        ]

    def input(self, node: Input) -> pl.LazyFrame:
        frame = self.frames[node.table]
        ids = [column.id for column in node.columns]
        if ids == list(node.sources):
            return frame
        return frame.select([_alias(pl.col(s), s, i) for s, i in zip(node.sources, ids, strict=True)])

    def values(self, node: Values) -> pl.LazyFrame:
        if not node.columns:
            return pl.LazyFrame({_ONE: [0]})
        names = [column.id for column in node.columns]
        return pl.concat([pl.select(self.exprs(row, names)).lazy() for row in node.rows])

    def filter(self, node: Filter) -> pl.LazyFrame:
        if (kept := _one_of_each(node)) is not None:
            project, window, keys = kept
            number = window.columns[-1].id
            rows = self.lower(window.input).unique(keys, keep="first")
            found = rows.with_columns(pl.lit(1, pl.Int32).alias(number))
            return found.select(self.exprs(project.exprs, [column.id for column in project.columns]))
        if joins.flatten(node)[0] != [node]:
            return joins.inner(node, self.lower, self.ctx)
        return self.lower(node.input).filter(self.ctx.expr(node.condition))

    def project(self, node: Project) -> pl.LazyFrame:
        return self.projected(node.input, node.exprs, [column.id for column in node.columns])

    def projected(self, source: Relation, exprs: Sequence[Expr], names: Sequence[str]) -> pl.LazyFrame:
        frame, lowered = self.lower(source), self.exprs(exprs, names)
        # What reads no column gives one row alone, whatever the expressions it was lowered from read.
        if all(is_constant(expr) for expr in lowered):
            return frame.with_columns(lowered).select(names)
        return frame.select(lowered)

    def window(self, node: Window) -> pl.LazyFrame:
        names = [column.id for column in node.columns[len(node.input.columns) :]]
        return windowed(self.lower(node.input), node.calls, names, self.ctx)

    def aggregate(self, node: Aggregate) -> pl.LazyFrame:
        frame = self.lower(node.input)
        names = [column.id for column in node.columns]
        calls = self.exprs(node.calls, names[len(node.keys) :])
        if not node.keys:
            return frame.select(calls or [pl.len().alias(_ONE)])
        computed = [(k, n) for k, n in zip(node.keys, names, strict=False) if not columns_of(k)]
        if computed:
            frame = frame.with_columns(self.exprs([k for k, _ in computed], [n for _, n in computed]))
        constant = {name for _, name in computed}
        keys = [
            pl.col(name) if name in constant else self.key(key, name)
            for key, name in zip(node.keys, names, strict=False)
        ]
        return frame.group_by(keys).agg(calls) if calls else frame.select(keys).unique()

    def key(self, key: Expr, name: str) -> pl.Expr:
        """A grouping key; Spark makes -0.0 a plain 0.0 there."""
        found = self.ctx.expr(key)
        return (_normalised(found) if key.type in (FLOAT, DOUBLE) else found).alias(name)

    def join(self, node: Join) -> pl.LazyFrame:
        if node.kind == "inner":
            return joins.inner(node, self.lower, self.ctx)
        return joins.outer(node, self.lower, self.ctx)

    def attach(self, node: Attach) -> pl.LazyFrame:
        single = self.lower(node.single)
        names = [column.id for column in node.single.columns]
        if not _is_total(node.single):
            single = single.select([pl.col(name).item(allow_empty=True) for name in names])
        return self.lower(node.input).join(single.select(names), how="cross")

    def sort(self, node: Sort) -> pl.LazyFrame:
        return ordered(self.lower(node.input), node.keys, self.ctx)

    def limit(self, node: Limit) -> pl.LazyFrame:
        frame = self.lower(node.input)
        return frame.slice(node.offset, node.count) if node.offset else frame.head(node.count or 0)

    def distinct(self, node: Distinct) -> pl.LazyFrame:
        return _unique(self.lower(node.input), node.columns)

    def set_operation(self, node: SetOperation) -> pl.LazyFrame:
        names = [column.id for column in node.columns]
        left = self.lower(node.left).select(names)
        right = self.lower(node.right).select(
            [_alias(pl.col(c.id), c.id, name) for c, name in zip(node.right.columns, names, strict=True)]
        )
        if node.kind == "union":
            frame = pl.concat([left, right])
            return _unique(frame, node.columns) if node.distinct else frame
        if node.distinct:
            left = _unique(left, node.columns)
        else:
            left, right = (side.with_columns(_occurrence(names)) for side in (left, right))
            names = [*names, _NUMBER]
        how: Any = "semi" if node.kind == "intersect" else "anti"
        frame = left.join(right, on=names, how=how, nulls_equal=True)
        return frame if node.distinct else frame.drop(_NUMBER)

    def generate(self, node: Generate) -> pl.LazyFrame:
        names = [column.id for column in node.columns[len(node.input.columns) :]]
        return generated(self.lower(node.input), node.call, names, self.ctx)

    def expand(self, node: Expand) -> pl.LazyFrame:
        frame = self.lower(node.input)
        names = [column.id for column in node.columns]
        kept: list[Expr] = list(node.kept)
        parts = [self.exprs([*kept, *projection], names) for projection in node.projections]
        return pl.concat([_select(frame, part, bool(kept)) for part in parts])


def ordered(frame: pl.LazyFrame, keys: Sequence[SortKey], ctx: Lowering) -> pl.LazyFrame:
    """The frame sorted; NaN counts as the greatest value, as in Spark."""
    if not keys:
        return frame
    return frame.sort(
        [ctx.expr(key.expr) for key in keys],
        descending=[key.descending for key in keys],
        nulls_last=[not key.nulls_first for key in keys],
    )


def _select(frame: pl.LazyFrame, exprs: list[pl.Expr], keeps_height: bool) -> pl.LazyFrame:
    if keeps_height:
        return frame.select(exprs)
    return frame.with_columns(exprs).select([expr.meta.output_name() for expr in exprs])


def _alias(expr: pl.Expr, old: str, new: str) -> pl.Expr:
    return expr if old == new else expr.alias(new)


def _normalised(expr: pl.Expr) -> pl.Expr:
    """-0.0 as 0.0. (Adding 0.0 would do, but Polars takes the addition out.)"""
    return pl.when(expr == 0.0).then(pl.lit(0.0)).otherwise(expr)


def _unique(frame: pl.LazyFrame, columns: Sequence[Column]) -> pl.LazyFrame:
    """Each row once."""
    floats = [column.id for column in columns if column.type in (FLOAT, DOUBLE)]
    if floats:
        frame = frame.with_columns(_normalised(pl.col(name)).alias(name) for name in floats)
    return frame.select([column.id for column in columns]).unique()


def _occurrence(names: list[str]) -> pl.Expr:
    """Numbers equal rows, so that ALL set operations pair them one to one."""
    return pl.int_range(pl.len()).over(names).alias(_NUMBER)


def _one_of_each(node: Filter) -> tuple[Project, Window, list[str]] | None:
    """What a filter stands on that keeps the first row of each partition in no order of its own, and the
    columns that make the partitions: those rows are found without taking all others into memory."""
    match node:
        case Filter(
            condition=Call(function="=", args=(Column(id=number), Literal(value=1))),
            input=Project(input=Window(calls=(call,)) as window) as project,
        ) if number == window.columns[-1].id:
            keys = [key.id for key in call.partition if isinstance(key, Column)]
            function = call.function
            numbered = isinstance(function, Call) and function.function == "row_number"
            tied = all(key.expr in call.partition for key in call.order)
            whole = keys and len(keys) == len(call.partition)
            return (project, window, keys) if numbered and tied and whole else None
    return None


def _is_total(relation: Relation) -> bool:
    """Whether the relation has exactly one row."""
    if isinstance(relation, Project):
        return _is_total(relation.input)
    return isinstance(relation, Aggregate) and not relation.keys


_LOWER: dict[type[Relation], Callable[..., pl.LazyFrame]] = {
    Input: _Lowerer.input,
    Values: _Lowerer.values,
    Filter: _Lowerer.filter,
    Project: _Lowerer.project,
    Window: _Lowerer.window,
    Aggregate: _Lowerer.aggregate,
    Join: _Lowerer.join,
    Attach: _Lowerer.attach,
    Sort: _Lowerer.sort,
    Limit: _Lowerer.limit,
    Distinct: _Lowerer.distinct,
    SetOperation: _Lowerer.set_operation,
    Generate: _Lowerer.generate,
    Expand: _Lowerer.expand,
}
