"""Typed relations: what the analyzer makes of a query and what the lowering reads.

Every relation lists its output `columns`; their `id`s are the column names of the lowered frame and unique
in the whole query, so that joins never clash. Expressions inside a relation refer to ids of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Literal as OneOf

from rayetl.records import dataclass
from rayetl.sql.expr import AggregateCall, Column, Expr, GeneratorCall, SortKey, WindowCall

JoinKind = OneOf["inner", "left", "right", "full", "semi", "anti"]
SetKind = OneOf["union", "intersect", "except"]


@dataclass(frozen=True, slots=True)
class Relation:
    """Base of all relations."""

    columns: tuple[Column, ...]

    def children(self) -> Iterator[Relation]:
        """The relations directly below this one."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Relation):
                yield value

    def walk(self) -> Iterator[Relation]:
        """This relation and all below it, parents first."""
        yield self
        for child in self.children():
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Input(Relation):
    """A named table; `sources[i]` is the name in the table of the column `columns[i]`."""

    table: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SparkOnly(Relation):
    """A query over `tables` that Spark alone can run. `why` says what keeps the embedded engine from it."""

    tables: tuple[Input, ...]
    why: str

    def children(self) -> Iterator[Relation]:
        yield from self.tables


@dataclass(frozen=True, slots=True)
class Values(Relation):
    """Rows of constant expressions. One row without columns is the FROM of a query that has none."""

    rows: tuple[tuple[Expr, ...], ...]


@dataclass(frozen=True, slots=True)
class Filter(Relation):
    input: Relation
    condition: Expr


@dataclass(frozen=True, slots=True)
class Project(Relation):
    """`columns[i]` is computed by `exprs[i]`; a column that is passed on keeps its id."""

    input: Relation
    exprs: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Window(Relation):
    """The input's columns, then one more for each of `calls`."""

    input: Relation
    calls: tuple[WindowCall, ...]


@dataclass(frozen=True, slots=True)
class Aggregate(Relation):
    """Groups by `keys`, then one row for each: the keys' columns, then those of `calls`. Without keys it
    gives one row even for an empty input."""

    input: Relation
    keys: tuple[Expr, ...]
    calls: tuple[AggregateCall, ...]


@dataclass(frozen=True, slots=True)
class Join(Relation):
    """`condition` is None for a cross product (kind `inner`)."""

    left: Relation
    right: Relation
    kind: JoinKind
    condition: Expr | None


@dataclass(frozen=True, slots=True)
class Attach(Relation):
    """The input's columns, then those of `single`, a relation of one row. For no row they are NULL; more
    than one row is a run-time error."""

    input: Relation
    single: Relation


@dataclass(frozen=True, slots=True)
class Sort(Relation):
    input: Relation
    keys: tuple[SortKey, ...]


@dataclass(frozen=True, slots=True)
class Limit(Relation):
    input: Relation
    count: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class Distinct(Relation):
    input: Relation


@dataclass(frozen=True, slots=True)
class SetOperation(Relation):
    """Rows of both sides by position; `columns` are the left's."""

    left: Relation
    right: Relation
    kind: SetKind
    distinct: bool


@dataclass(frozen=True, slots=True)
class Generate(Relation):
    """The input's columns, then those the generator makes, for every row that it makes."""

    input: Relation
    call: GeneratorCall


@dataclass(frozen=True, slots=True)
class Expand(Relation):
    """Every input row once for each of `projections`: the input's columns `kept`, then the projection's."""

    input: Relation
    kept: tuple[Column, ...]
    projections: tuple[tuple[Expr, ...], ...]
