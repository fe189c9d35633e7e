"""`deduplicate`: keep one row of those that agree in some columns."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from sqlglot import exp

from rayetl.model import ColumnName, SqlText
from rayetl.names import PREFIX
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import Reader, column, columns, select, star, visible

_RANK = PREFIX + "rank"


class Deduplicate(Step):
    """Keep one row for each combination of `keys`; NULLs count as equal.

    `keep: first` and `last` follow `order_by`; rows that tie in it are taken at random, as with
    `keep: any`. Without `keys` two rows are the same when all their columns are.
    """

    type: Literal["deduplicate"] = Field(
        default="deduplicate", description="Keep one row for each combination of `keys`."
    )
    keys: list[ColumnName] = Field(
        default=[],
        description="Columns whose values make a row the same as another; all columns by default.",
        examples=[["flight_id"]],
    )
    keep: Literal["any", "first", "last"] | None = Field(
        default=None,
        description=(
            "Which row of several: the `first` or `last` by `order_by`, or `any`. By default `first` with "
            "`order_by` and `any` without."
        ),
    )
    order_by: list[SqlText] = Field(
        default=[],
        description="SQL expressions, each with or without `ASC`, `DESC`, `NULLS FIRST`, `NULLS LAST`.",
        examples=[["updated_at DESC"]],
    )

    effect: ClassVar[RowEffect] = RowEffect.DEDUPLICATES

    @model_validator(mode="after")
    def _ordered(self) -> Deduplicate:
        if self.keep in ("first", "last") and not self.order_by:
            raise ValueError(f"`keep: {self.keep}` needs `order_by`: rows have no order of their own")
        if self.keep == "any" and self.order_by:
            raise ValueError("`order_by` means nothing with `keep: any`; use `first` or `last`")
        return self

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        if not self.keys and not self.order_by and not context.carry:
            return select(star(), context.main.name).distinct(copy=False)
        keys = [read.own(key, "keys", index) for index, key in enumerate(self.keys)]
        keys = keys or list(visible(context).names)
        order = read.order(self.order_by, "order_by") or [
            exp.Ordered(this=column(key), nulls_first=True) for key in keys[:1]
        ]
        rank = exp.Window(
            this=exp.Anonymous(this="row_number", expressions=[]),
            partition_by=columns(keys),
            order=exp.Order(expressions=[_reversed(o) for o in order] if self.keep == "last" else order),
        )
        numbered = select(
            [exp.Star(), exp.Alias(this=rank, alias=exp.to_identifier(_RANK))], context.main.name
        )
        names = [*visible(context).names, *context.carry]
        outer = select(columns(names), exp.Subquery(this=numbered))
        return read.done(
            outer.where(exp.EQ(this=column(_RANK), expression=exp.Literal.number(1)), copy=False)
        )


def _reversed(order: exp.Ordered) -> exp.Ordered:
    nulls_first = not order.args.get("nulls_first")
    return exp.Ordered(this=order.this, desc=not order.args.get("desc") or None, nulls_first=nulls_first)
