"""`filter`: keep the rows for which a condition is true."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from rayetl.model import SqlText
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import Reader, select, star


class Filter(Step):
    """Keep the rows for which `where` is true; rows for which it is false or NULL are dropped."""

    type: Literal["filter"] = Field(default="filter", description="Keep the rows for which `where` is true.")
    where: SqlText = Field(
        description="A Spark SQL condition.",
        examples=["dep_delay IS NOT NULL AND origin = 'JFK'"],
    )

    effect: ClassVar[RowEffect] = RowEffect.FILTERS

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        condition = read.scalar(self.where, "where")
        return read.done(select(star(), context.main.name).where(condition, copy=False))
