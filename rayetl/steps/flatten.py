"""`flatten`: a row for each element of an array or map, or a column for each field of a struct."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from rayetl.model import ColumnName
from rayetl.sql.types import ArrayType, MapType, StructType
from rayetl.sql.types import Field as TypedField
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import Reader, aliased, column, columns, name, select, visible


class Flatten(Step):
    """Unfold a nested column where it stands.

    An array gives a row for each element, a map a row for each entry (columns `key` and `value`), a struct a
    column for each field. Rows whose array or map is empty or NULL are dropped unless `outer` is true.
    """

    type: Literal["flatten"] = Field(
        default="flatten", description="Unfold an array or map into rows, or a struct into columns."
    )
    column: ColumnName = Field(description="The array, map or struct column.", examples=["tags"])
    as_: ColumnName | list[ColumnName] | None = Field(
        default=None,
        alias="as",
        description=(
            "Names of what comes out: one for an array (by default the column's own), two for a map (by "
            "default `key` and `value`), one for each field of a struct (by default the fields' own)."
        ),
        examples=["tag", ["key", "value"]],
    )
    outer: bool = Field(
        default=False, description="Keep rows whose array or map is empty or NULL, with NULL in its place."
    )
    position: ColumnName | None = Field(
        default=None,
        description="Name of an added column with the place in the array or map, from 0.",
        examples=["position"],
    )

    effect: ClassVar[RowEffect] = RowEffect.EXPANDS

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        found = visible(context).get(read.own(self.column, "column"))
        read.check()
        assert found is not None
        unfolded = self._unfolded(read, found)
        chosen: list[exp.Expression] = []
        for field in visible(context):
            chosen.extend(unfolded if field is found else [column(field.name)])
        return read.done(select([*chosen, *columns(context.carry)], context.main.name))

    def _unfolded(self, read: Reader, field: TypedField) -> list[exp.Expression]:
        if isinstance(field.type, StructType):
            return self._fields(read, field.name, field.type)
        if isinstance(field.type, ArrayType):
            return self._rows(field.name, self._names(read, (field.name,)))
        if isinstance(field.type, MapType):
            return self._rows(field.name, self._names(read, ("key", "value")))
        message = f"`{field.name}` is {field.type}; only arrays, maps and structs can be flattened"
        read.fault(message, "column")
        return []

    def _names(self, read: Reader, default: tuple[str, ...]) -> list[str]:
        names = [self.as_] if isinstance(self.as_, str) else self.as_ or list(default)
        if len(names) != len(default):
            wanted = "one name is" if len(default) == 1 else f"{len(default)} names are"
            read.fault(f"{wanted} needed here, and {len(names)} given", "as")
        return names

    def _rows(self, text: str, names: list[str]) -> list[exp.Expression]:
        function = ("pos" if self.position else "") + "explode" + ("_outer" if self.outer else "")
        call = exp.Anonymous(this=function, expressions=[column(text)])
        names = [self.position, *names] if self.position else names
        if len(names) == 1:
            return [exp.Alias(this=call, alias=name(names[0]))]
        return [exp.Aliases(this=call, expressions=[name(text) for text in names])]

    def _fields(self, read: Reader, text: str, struct: StructType) -> list[exp.Expression]:
        if self.position:
            read.fault("a struct has no positions", "position", hint="leave `position` out")
        names = self._names(read, struct.names)
        return [
            aliased(exp.Dot(this=column(text), expression=name(field.name)), new)
            for field, new in zip(struct, names, strict=False)
        ]
