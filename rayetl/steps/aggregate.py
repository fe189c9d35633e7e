"""`aggregate`: one row for each group."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from sqlglot import exp

from rayetl.model import ColumnName, SqlText
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import Reader, aliased, select


class Aggregate(Step):
    """One row for each group of rows that agree in `group_by`; one row in all without it."""

    type: Literal["aggregate"] = Field(default="aggregate", description="One row for each group.")
    group_by: list[SqlText] = Field(
        default=[],
        description="What a group has in common: SQL expressions, each with or without `AS name`.",
        examples=[["carrier", "to_date(time_hour) AS day"]],
    )
    metrics: dict[ColumnName, SqlText] = Field(
        default={},
        description="What is computed for each group: name to SQL expression with aggregate functions.",
        examples=[{"flights": "count(*)", "mean_delay": "avg(arr_delay)"}],
    )
    having: SqlText | None = Field(
        default=None,
        description="A condition on the finished groups; it may use the names of `metrics`.",
        examples=["flights > 100"],
    )

    effect: ClassVar[RowEffect] = RowEffect.FOLDS

    @model_validator(mode="after")
    def _something(self) -> Aggregate:
        if not self.group_by and not self.metrics:
            raise ValueError("give `group_by`, `metrics`, or both")
        return self

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        groups = grouping(read, self.group_by)
        metrics = [
            aliased(read.expression(text, "metrics", name), name) for name, text in self.metrics.items()
        ]
        query = select([*groups, *metrics], context.main.name)
        if groups:
            query.set("group", exp.Group(expressions=[group.unalias().copy() for group in groups]))
        if self.having:
            query.having(read.expression(self.having, "having"), copy=False)
        return read.done(query)


def grouping(read: Reader, texts: list[str]) -> list[exp.Expression]:
    """The projections of a `group_by`; a bare number would be taken for a position."""
    groups = read.projections(texts, "group_by")
    for index, group in enumerate(groups):
        if isinstance(group.unalias(), exp.Literal):
            read.fault("a group needs a column or an expression, not a constant", "group_by", index)
        elif group.is_star:
            read.fault("`*` is not allowed here", "group_by", index, hint="name the columns")
    return groups
