"""`sort` and `limit`: the order and the number of rows."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from rayetl.model import SqlText
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import Reader, select, star


class Sort(Step):
    """Put the rows in order. Steps after this one may lose it again; `limit` and loads keep it."""

    type: Literal["sort"] = Field(default="sort", description="Put the rows in order.")
    by: SqlText | list[SqlText] = Field(
        description=(
            "SQL expressions, each with or without `ASC` (default), `DESC`, `NULLS FIRST`, `NULLS LAST`. As "
            "in Spark, NULLs come first with `ASC` and last with `DESC`."
        ),
        examples=["dep_delay DESC", ["carrier", "dep_delay DESC NULLS FIRST"]],
    )

    effect: ClassVar[RowEffect] = RowEffect.KEEPS

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        order = [read.ordered(self.by, "by")] if isinstance(self.by, str) else read.order(self.by, "by")
        if not order:
            read.fault("there is nothing to sort by", "by")
        query = select(star(), context.main.name)
        query.set("order", exp.Order(expressions=order))
        return read.done(query)


class Limit(Step):
    """Keep the first rows. Which these are is decided by a `sort` directly before, else by chance."""

    type: Literal["limit"] = Field(default="limit", description="Keep the first rows.")
    rows: int = Field(ge=0, le=2**31 - 1, description="How many rows to keep at most.", examples=[1000])
    offset: int = Field(
        default=0, ge=0, le=2**31 - 1, description="How many rows to leave out before them.", examples=[100]
    )

    effect: ClassVar[RowEffect] = RowEffect.LIMITS

    def to_query(self, context: StepContext) -> exp.Query:
        query = select(star(), context.main.name)
        query.set("limit", exp.Limit(expression=exp.Literal.number(self.rows)))
        if self.offset:
            query.set("offset", exp.Offset(expression=exp.Literal.number(self.offset)))
        return query
