"""`pivot` and `unpivot`: values to columns and columns to values."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, FiniteFloat, StrictBool, StrictInt
from sqlglot import exp

from rayetl.model import ColumnName, SqlText
from rayetl.steps.aggregate import grouping
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import (
    AGGREGATES,
    Reader,
    aliased,
    calls,
    columns,
    name,
    replaced,
    select,
    table,
    visible,
)
from rayetl.steps.literals import Value, literal

MAX_VALUES = 10_000
"""As Spark's `spark.sql.pivotMaxValues`."""


class Pivot(Step):
    """One row for each group, and a column for each value of `column`.

    With one aggregate a column is named by its value, with several by value and aggregate (`JFK_flights`).
    An aggregate sees the rows of its value only: a sum over none is NULL, a count over none is 0.
    """

    type: Literal["pivot"] = Field(default="pivot", description="Turn the values of a column into columns.")
    group_by: list[SqlText] = Field(
        default=[],
        description="What a row has in common: SQL expressions, each with or without `AS name`.",
        examples=[["carrier"]],
    )
    column: SqlText = Field(
        description="The column or SQL expression whose values become columns.", examples=["origin"]
    )
    values: list[StrictBool | StrictInt | FiniteFloat | str | None] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_VALUES,
        description=(
            "The values that get a column, in this order. Without them they are found in the data, sorted; "
            "then the columns of this and the later steps cannot be checked before the run."
        ),
        examples=[["EWR", "JFK", "LGA"]],
    )
    aggregates: dict[ColumnName, SqlText] = Field(
        min_length=1,
        description="What stands in the new columns: name to SQL expression with aggregate functions.",
        examples=[{"flights": "count(*)"}],
    )

    effect: ClassVar[RowEffect] = RowEffect.FOLDS

    def waits(self) -> bool:
        return self.values is None

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        groups = grouping(read, self.group_by)
        by = read.scalar(self.column, "column")
        metrics = {
            text: read.expression(source, "aggregates", text) for text, source in self.aggregates.items()
        }
        for text, tree in metrics.items():
            if not any(calls(tree, AGGREGATES)) and not isinstance(tree, exp.Null):
                read.fault("there is no aggregate function in this", "aggregates", text)
        read.check()
        cells = [
            aliased(_only(tree, _is(by, value)), self._name(value, text))
            for value in self._values(read, context, by)
            for text, tree in metrics.items()
        ]
        query = select([*groups, *cells], context.main.name)
        if groups:
            query.set("group", exp.Group(expressions=[group.unalias().copy() for group in groups]))
        return read.done(query)

    def _name(self, value: object, metric: str) -> str:
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        shown = shown if shown.strip() else "blank"
        return shown if len(self.aggregates) == 1 else f"{shown}_{metric}"

    def _values(self, read: Reader, context: StepContext, by: exp.Expression) -> list[Value]:
        if self.values is not None:
            return list(self.values)
        query = select([exp.Alias(this=by.copy(), alias=name("value"))], context.main.name)
        query.distinct(copy=False)
        query.set("limit", exp.Limit(expression=exp.Literal.number(MAX_VALUES + 1)))
        answer = context.found(query)
        found = list(answer or ())
        if answer is not None and not found and not self.group_by:
            hint = "name some in `values`, or give the rows something in common with `group_by`"
            read.fault("there is no value, so that no column would be left", "column", hint=hint)
            read.check()
        if len(found) > MAX_VALUES:
            hint = "name the wanted ones in `values`"
            read.fault(
                f"there are more than {MAX_VALUES} values, each of which would be a column",
                "column",
                hint=hint,
            )
            read.check()
        return sorted(found, key=lambda value: (value is not None, value))


def _only(tree: exp.Expression, condition: exp.Expression) -> exp.Expression:
    """The aggregates of `tree` over the rows that fulfil `condition`."""

    def narrowed(call: exp.Expression) -> exp.Expression:
        if isinstance(call, exp.Filter):
            both = exp.and_(call.expression.this, condition.copy())
            return exp.Filter(this=call.this, expression=exp.Where(this=both))
        return exp.Filter(this=call, expression=exp.Where(this=condition.copy()))

    return replaced(tree, AGGREGATES, narrowed)


def _is(by: exp.Expression, value: object) -> exp.Expression:
    left = by.copy() if isinstance(by, exp.Column) else exp.Paren(this=by.copy())
    if value is None:
        return exp.Is(this=left, expression=exp.null())
    return exp.EQ(this=left, expression=literal(value))


class Unpivot(Step):
    """A row for each of some columns, with the column's name and its value.

    All other columns are kept, or only `ids` where given. The columns must have a common type.
    """

    type: Literal["unpivot"] = Field(default="unpivot", description="Turn columns into rows.")
    columns: list[ColumnName] = Field(
        min_length=1, description="The columns that become rows.", examples=[["dep_delay", "arr_delay"]]
    )
    ids: list[ColumnName] | None = Field(
        default=None,
        description="The columns to keep beside them; by default all others.",
        examples=[["carrier", "flight"]],
    )
    name: ColumnName = Field(
        default="name", description="Name of the column with the columns' names.", examples=["month"]
    )
    value: ColumnName = Field(
        default="value", description="Name of the column with their values.", examples=["amount"]
    )
    drop_nulls: bool = Field(default=False, description="Leave out the rows whose value is NULL.")

    effect: ClassVar[RowEffect] = RowEffect.EXPANDS

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        turned = [read.own(text, "columns", index) for index, text in enumerate(self.columns)]
        kept = self._kept(read, context, turned)
        source: exp.Expression = table(context.main.name)
        if self.ids is not None:
            source = exp.Subquery(this=select(columns([*kept, *turned, *context.carry]), context.main.name))
        pivot = exp.Pivot(
            unpivot=True,
            include_nulls=True,
            expressions=[name(self.value)],
            fields=[exp.In(this=name(self.name), expressions=columns(turned))],
        )
        source.append("pivots", pivot)
        plain = not context.carry
        result = [*kept, self.name, self.value, *context.carry]
        query = select([exp.Star()] if plain else columns(result), source)
        if self.drop_nulls:
            # Spark's own EXCLUDE NULLS fails for a column whose name is no plain word.
            query.set("where", exp.Where(this=columns([self.value])[0].is_(exp.null()).not_()))
        return read.done(query)

    def _kept(self, read: Reader, context: StepContext, turned: list[str]) -> list[str]:
        folded = {text.lower() for text in turned}
        if self.ids is None:
            return [text for text in visible(context).names if text.lower() not in folded]
        for index, text in enumerate(self.ids):
            if text.lower() in folded:
                read.fault(f"`{text}` is in `ids` and in `columns`", "ids", index)
        return [read.own(text, "ids", index) for index, text in enumerate(self.ids)]
