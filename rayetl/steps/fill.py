"""`fill`: values in the place of NULL."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field, FiniteFloat, StrictBool, StrictInt
from sqlglot import exp

from rayetl.model import ColumnName
from rayetl.sql.types import DATE, FRACTIONAL, STRING, TIMESTAMP, TIMESTAMP_NTZ, DataType, DecimalType
from rayetl.sql.types import Field as TypedField
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import Reader, aliased, column, columns, select, visible
from rayetl.steps.literals import fits, literal

FillValue = StrictBool | StrictInt | FiniteFloat | str
_DATED = (DATE, TIMESTAMP, TIMESTAMP_NTZ)


class Fill(Step):
    """Put a value where a column is NULL (or NaN, as Spark's `na.fill` does).

    One `value` fills every column of its family: a number the numeric ones, a text the strings, a boolean the
    booleans. A map fills the columns it names; there a text may also be a date or timestamp. The type of a
    column never changes.
    """

    type: Literal["fill"] = Field(default="fill", description="Put a value where a column is NULL.")
    value: Annotated[FillValue | dict[ColumnName, FillValue], Field(union_mode="left_to_right")] = Field(
        description="One value for all columns that can take it, or a map of column to value.",
        examples=[0, {"dep_delay": 0, "tailnum": "unknown"}],
    )
    columns: list[ColumnName] | None = Field(
        default=None, description="With one value: only these columns.", examples=[["dep_delay"]]
    )

    effect: ClassVar[RowEffect] = RowEffect.KEEPS

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        values = self._values(read, context)
        chosen = [
            _filled(field, values[field.name]) if field.name in values else column(field.name)
            for field in visible(context)
        ]
        return read.done(select([*chosen, *columns(context.carry)], context.main.name))

    def _values(self, read: Reader, context: StepContext) -> dict[str, FillValue]:
        if not isinstance(self.value, dict):
            return self._one_value(read, context, self.value)
        if self.columns is not None:
            read.fault("`columns` goes with a single value; the map names its columns itself", "columns")
        values = {}
        for text, value in self.value.items():
            found = visible(context).get(read.own(text, "value", text))
            if found is not None:
                self._check(read, found, value, "value", text)
                values[found.name] = value
        return values

    def _one_value(self, read: Reader, context: StepContext, value: FillValue) -> dict[str, FillValue]:
        if self.columns is None:
            return {field.name: value for field in visible(context) if fits(value, field.type)}
        values = {}
        for index, text in enumerate(self.columns):
            found = visible(context).get(read.own(text, "columns", index))
            if found is not None:
                self._check(read, found, value, "columns", index)
                values[found.name] = value
        return values

    def _check(self, read: Reader, found: TypedField, value: FillValue, *field: str | int) -> None:
        if not fits(value, found.type) and not (isinstance(value, str) and found.type in _DATED):
            read.fault(f"`{found.name}` is {found.type} and cannot be filled with {value!r}", *field)


def _filled(field: TypedField, value: FillValue) -> exp.Expression:
    present: exp.Expression = column(field.name)
    if field.type in FRACTIONAL:
        present = exp.Anonymous(this="nanvl", expressions=[present, _cast(exp.null(), field.type)])
    exact = isinstance(field.type, DecimalType) and isinstance(value, float)
    new = literal(Decimal(repr(value)) if exact else value)
    if not (isinstance(value, bool) or field.type == STRING):
        new = _cast(new, field.type)
    return aliased(exp.Anonymous(this="coalesce", expressions=[present, new]), field.name)


def _cast(tree: exp.Expression, kind: DataType) -> exp.Expression:
    return exp.Cast(this=tree, to=exp.DataType.build(str(kind), dialect="spark"))
