"""`union`: the rows of several inputs one after the other."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from rayetl.errors import ConfigPath
from rayetl.model import Identifier
from rayetl.sql.types import Schema
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import Reader, aliased, column, select, star, visible_part


class Union(Step):
    """Append the rows of other inputs. Duplicates are kept; a `deduplicate` step removes them."""

    type: Literal["union"] = Field(default="union", description="Append the rows of other inputs.")
    with_: Identifier | list[Identifier] = Field(
        alias="with", description="Id or ids of the sources or steps to append.", examples=["archive"]
    )
    by_name: bool = Field(
        default=True, description="Match columns by name, in any order; by position if false."
    )
    allow_missing: bool = Field(
        default=False, description="Fill columns that an input does not have with NULL; needs `by_name`."
    )

    effect: ClassVar[RowEffect] = RowEffect.UNITES

    def other_inputs(self) -> tuple[tuple[ConfigPath, str], ...]:
        if isinstance(self.with_, str):
            return ((("with",), self.with_),)
        return tuple((("with", index), other) for index, other in enumerate(self.with_))

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        if self.allow_missing and not self.by_name:
            read.fault("`allow_missing` needs `by_name: true`", "allow_missing")
        if len(context.inputs) < 2:
            read.fault("there is nothing to append", "with", hint="name at least one source or step")
        schemas = [visible_part(found.schema) for found in context.inputs]
        names = _all_names(schemas)
        if self.by_name and not self.allow_missing:
            self._refuse_missing(read, context, schemas, names)
        elif not self.by_name:
            self._refuse_widths(read, context, schemas)
        plain = not self.by_name or all(_folded(schema.names) == _folded(names) for schema in schemas)
        parts = [
            select(star() if plain else _aligned(schema, names), found.name)
            for found, schema in zip(context.inputs, schemas, strict=True)
        ]
        query: exp.Query = parts[0]
        for part in parts[1:]:
            query = exp.Union(this=query, expression=part, distinct=False)
        return read.done(query)

    def _field(self, index: int) -> tuple[str | int, ...]:
        return ("with",) if isinstance(self.with_, str) else ("with", max(0, index - 1))

    def _refuse_missing(
        self, read: Reader, context: StepContext, schemas: list[Schema], names: list[str]
    ) -> None:
        for index, (found, schema) in enumerate(zip(context.inputs, schemas, strict=True)):
            missing = [text for text in names if schema.get(text) is None]
            if missing:
                read.fault(
                    f"`{found.name}` has no column {', '.join(f'`{text}`' for text in missing)}",
                    *self._field(index),
                    hint="set `allow_missing: true` to fill with NULL, or bring the inputs into line before",
                )

    def _refuse_widths(self, read: Reader, context: StepContext, schemas: list[Schema]) -> None:
        for index, schema in enumerate(schemas):
            if len(schema) != len(schemas[0]):
                message = (
                    f"`{context.main.name}` has {len(schemas[0])} columns, "
                    f"`{context.inputs[index].name}` has {len(schema)}"
                )
                read.fault(message, *self._field(index))


def _folded(names: list[str] | tuple[str, ...]) -> list[str]:
    return [text.lower() for text in names]


def _all_names(schemas: list[Schema]) -> list[str]:
    names: dict[str, str] = {}
    for schema in schemas:
        for text in schema.names:
            names.setdefault(text.lower(), text)
    return list(names.values())


def _aligned(schema: Schema, names: list[str]) -> list[exp.Expression]:
    aligned = []
    for text in names:
        found = schema.get(text)
        aligned.append(aliased(column(found.name) if found else exp.null(), text))
    return aligned
