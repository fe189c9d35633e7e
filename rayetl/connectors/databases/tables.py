"""The table that is loaded into, and what has to be so before a row is read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from rayetl.connectors.databases.naming import QualifiedName
from rayetl.errors import LoadError
from rayetl.records import dataclass
from rayetl.sql.types import DataType, Field, Schema


class Unfit(LoadError):
    """Rows do not fit into a table that exists."""


class Shown(Protocol):
    """A type of the server; `shown` is how people write it."""

    @property
    def shown(self) -> str: ...


TypeT = TypeVar("TypeT", bound=Shown)
WayT = TypeVar("WayT")


@dataclass(frozen=True)
class TargetColumn(Generic[TypeT]):
    """A column of the target. `required`: it is never NULL and has no default; `fixed`: the server alone
    gives its values."""

    name: str
    type: TypeT
    required: bool
    fixed: bool


@dataclass(frozen=True)
class Target(Generic[TypeT]):
    """An existing table with its columns. `intercepted`: rows sent to it need not arrive, so that what counts
    is what the server says about an INSERT."""

    name: QualifiedName
    columns: tuple[TargetColumn[TypeT], ...]
    intercepted: bool = False

    def find(self, name: str) -> TargetColumn[TypeT] | None:
        """The column of that name, in the same letter case or, where that is unmistakable, another one."""
        exact = [column for column in self.columns if column.name == name]
        alike = [column for column in self.columns if column.name.lower() == name.lower()]
        found = exact or alike
        return found[0] if len(found) == 1 else None

    def missing(self, schema: Schema) -> list[Field]:
        """The columns of `schema` that the table does not have."""
        return [field for field in schema if self.find(field.name) is None]

    def spelled(self, keys: Sequence[str]) -> list[str]:
        """Keys as the table spells them."""
        return [column.name for key in keys if (column := self.find(key)) is not None]

    def ways(self, schema: Schema, way: Callable[[str, DataType, str, TypeT], WayT | None]) -> list[WayT]:
        """How each column of `schema` gets into the table, as `way` says. Raises `LoadError` with all that
        stands against it."""
        made: list[WayT] = []
        problems = list(self._problems(schema, way, made))
        if problems:
            raise Unfit(
                f"the rows do not fit into the table {self.name}: {'; '.join(problems)}",
                hint="cast, rename or leave out columns in a select step, or change the table "
                "(`add_columns: true` adds columns that it lacks); no row was read",
            )
        return made

    def _problems(
        self,
        schema: Schema,
        way: Callable[[str, DataType, str, TypeT], WayT | None],
        made: list[WayT],
    ) -> Iterator[str]:
        names = [column.name for column in self.columns]
        filled = set()
        for field in schema:
            column = self.find(field.name)
            if column is None:
                near = difflib.get_close_matches(field.name, names, n=1)
                also = f" (did you mean {near[0]!r}?)" if near else ""
                yield f"it has no column {field.name!r}{also}"
                continue
            filled.add(column.name)
            found = way(field.name, field.type, column.name, column.type)
            if column.fixed:
                yield f"the server itself gives the values of {column.name!r}"
            elif found is None:
                yield f"{field.name!r} is {field.type}, which does not go into {column.type.shown}"
            else:
                made.append(found)
        for column in self.columns:
            if column.required and column.name not in filled:
                yield f"its column {column.name!r} must have a value, and no column of the rows gives one"


def create(
    table: QualifiedName, schema: Schema, keys: Sequence[str], define: Callable[[str, DataType, bool], str]
) -> str:
    """The statement that makes a table for rows of `schema`; `define` writes a column by its name, type and
    whether it may be NULL."""
    lines = [define(field.name, field.type, field.nullable and field.name not in keys) for field in schema]
    if keys:
        lines.append(f"PRIMARY KEY ({', '.join(map(table.spelling.identifier, keys))})")
    return f"CREATE TABLE {table.sql} (\n  " + ",\n  ".join(lines) + "\n)"


def no_unique_key(table: QualifiedName, wanted: Sequence[str], there: Sequence[Sequence[str]]) -> LoadError:
    """Why rows cannot be told apart by the keys `wanted`: `there` are the keys that the table has."""

    def listed(names: Sequence[str]) -> str:
        return ", ".join(map(table.spelling.identifier, names))

    return LoadError(
        f"the table {table} has no primary key or unique constraint on ({listed(wanted)})",
        hint=f"add one: ALTER TABLE {table.sql} ADD UNIQUE ({listed(wanted)}); keys there: "
        f"{'; '.join(sorted({listed(names) for names in there})) or 'none'}",
    )
