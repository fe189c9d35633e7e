"""`window`: columns computed over the neighbours of each row."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from rayetl.model import ColumnName, SqlText
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import (
    FRAMED,
    RANKINGS,
    Reader,
    aliased,
    called,
    calls,
    everything,
    replaced,
    select,
)

_FUNCTIONS = FRAMED | RANKINGS


class Window(Step):
    """Add columns computed over the rows of the same partition: ranks, neighbours, running figures.

    The window is written once and stands behind every aggregate or ranking function in `columns` that has
    no `OVER` of its own. Rows are neither dropped nor reordered.
    """

    type: Literal["window"] = Field(
        default="window", description="Add columns computed over the neighbours of each row."
    )
    partition_by: list[SqlText] = Field(
        default=[],
        description="SQL expressions: rows that agree in them see each other; by default all do.",
        examples=[["carrier"]],
    )
    order_by: list[SqlText] = Field(
        default=[],
        description="SQL expressions, each with or without `ASC`, `DESC`, `NULLS FIRST`, `NULLS LAST`.",
        examples=[["time_hour", "dep_delay DESC"]],
    )
    frame: SqlText | None = Field(
        default=None,
        description=(
            "The rows around each row that aggregates see. By default, as in Spark, the whole partition "
            "without `order_by`, else everything up to the row and its equals."
        ),
        examples=["ROWS BETWEEN 6 PRECEDING AND CURRENT ROW"],
    )
    columns: dict[ColumnName, SqlText] = Field(
        min_length=1,
        description="Name to SQL expression with aggregate or ranking functions.",
        examples=[{"rank": "row_number()", "mean_of_7": "avg(dep_delay)"}],
    )

    effect: ClassVar[RowEffect] = RowEffect.KEEPS

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        partition = [read.scalar(text, "partition_by", index) for index, text in enumerate(self.partition_by)]
        order = read.order(self.order_by, "order_by")
        frame = read.frame(self.frame, "frame") if self.frame else None

        def over(call: exp.Expression) -> exp.Expression:
            ranking = called(call) in RANKINGS or called(call.this if call.this else call) in RANKINGS
            window = exp.Window(this=call, partition_by=[tree.copy() for tree in partition])
            if order:
                window.set("order", exp.Order(expressions=[item.copy() for item in order]))
            if frame and not ranking:
                window.set("spec", frame.copy())
            return window

        added = []
        for name, text in self.columns.items():
            tree = read.expression(text, "columns", name)
            if (
                not tree.find(exp.Window)
                and not any(calls(tree, _FUNCTIONS))
                and not isinstance(tree, exp.Null)
            ):
                hint = "use `avg(...)`, `row_number()`, `lag(...)` and the like, or a `select` step"
                read.fault("there is no aggregate or ranking function in this", "columns", name, hint=hint)
            for node in tree.find_all(exp.Filter):
                hint = "put the condition inside: `sum(CASE WHEN ... THEN x END)`"
                offset = node.meta.get("start")
                read.fault("Spark has no FILTER in windows", "columns", name, hint=hint, offset=offset)
            added.append(aliased(replaced(tree, _FUNCTIONS, over), name))
        return read.done(select(everything(context, added), context.main.name))
