"""Typed expressions: what the resolver makes of Spark SQL text and what the lowering reads.

Every node carries its Spark `type` and whether it may be NULL. Nodes are values: frozen, comparable,
hashable. Coercions are written out as `Cast(implicit=True)`, so that no later stage has to guess.

Literal values are physical: BOOLEAN bool; integers int; FLOAT and DOUBLE float; DECIMAL the unscaled
int; STRING str; BINARY bytes; DATE days and TIMESTAMP microseconds since 1970-01-01 (int);
day-time intervals microseconds and year-month intervals months (int); `interval` (calendar) a tuple
(months, days, microseconds); NULL of any type is None.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar
from typing import Literal as OneOf

from rayetl.records import dataclass
from rayetl.sql.types import BOOLEAN, DataType, Field

LiteralValue = bool | int | float | str | bytes | tuple[int, int, int] | None
N = TypeVar("N", bound="Node")


class Node:
    """Base of expressions and their parts; children are found in the dataclass fields."""

    __slots__ = ()

    def children(self) -> Iterator[Expr]:
        """The expressions directly below this one (through sort keys, branches and frames)."""
        for name in _names(type(self)):
            yield from _expressions(getattr(self, name))

    def map_children(self: N, function: Callable[[Expr], Expr]) -> N:
        """A copy with every direct child replaced; the node itself when nothing changed."""
        changes = {}
        for name in _names(type(self)):
            old = getattr(self, name)
            new = _mapped(old, function)
            if new is not old:
                changes[name] = new
        return replace(self, **changes) if changes else self  # type: ignore[type-var]


def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


_names: Callable[[Any], tuple[str, ...]] = functools.cache(_field_names)


def _expressions(value: object) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _expressions(item)
    elif isinstance(value, Node):
        yield from value.children()


def _mapped(value: Any, function: Callable[[Expr], Expr]) -> Any:
    if isinstance(value, Expr):
        return function(value)
    if isinstance(value, tuple):
        items = tuple(_mapped(item, function) for item in value)
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, Node):
        return value.map_children(function)
    return value


@dataclass(frozen=True, slots=True)
class Expr(Node):
    """An expression with its Spark type; `nullable` is False only where NULL is impossible."""

    type: DataType
    nullable: bool

    def walk(self) -> Iterator[Expr]:
        """This expression and all below it, parents first."""
        yield self
        for child in self.children():
            yield from child.walk()

    def transform(self, function: Callable[[Expr], Expr | None]) -> Expr:
        """Rewrite top-down: where `function` answers an expression it replaces the node and is not
        looked into again; None goes on below."""
        found = function(self)
        return found if found is not None else self.map_children(lambda child: child.transform(function))


@dataclass(frozen=True, slots=True)
class Column(Expr):
    """A column of the input: `id` is its name in the lowered frame, `name` what the user sees."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Literal(Expr):
    value: LiteralValue


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """Conversion to `type`. `implicit` ones were added by coercion and do not show in names."""

    child: Expr
    implicit: bool = False


@dataclass(frozen=True, slots=True)
class GetField(Expr):
    """One field of a struct, or of every struct of an array (then `type` is an array)."""

    child: Expr
    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """A scalar function or operator from the function table. `shown` is the name as Spark prints it
    (the alias as written where Spark keeps it)."""

    function: str
    args: tuple[Expr, ...]
    shown: str
    ignore_nulls: bool = False


@dataclass(frozen=True, slots=True)
class Case(Expr):
    """Searched CASE: the first branch whose condition is true, else `otherwise` (None is NULL)."""

    branches: tuple[tuple[Expr, Expr], ...]
    otherwise: Expr | None = None


@dataclass(frozen=True, slots=True)
class LambdaVariable(Expr):
    """A parameter inside the body of a lambda."""

    name: str


@dataclass(frozen=True, slots=True)
class Lambda(Expr):
    """`(x, y) -> body`; its type is the body's."""

    parameters: tuple[LambdaVariable, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class SortKey(Node):
    """One ORDER BY item. Spark's default: NULL first when ascending, last when descending."""

    expr: Expr
    descending: bool = False
    nulls_first: bool = True


@dataclass(frozen=True, slots=True)
class AggregateCall(Expr):
    """An aggregate function; `count(*)` has no args. `order` is WITHIN GROUP's."""

    function: str
    args: tuple[Expr, ...]
    shown: str
    distinct: bool = False
    filter: Expr | None = None
    order: tuple[SortKey, ...] = ()
    ignore_nulls: bool = False


Unit = OneOf["rows", "range"]


@dataclass(frozen=True, slots=True)
class Frame(Node):
    """A window frame. Bounds are offsets from the current row, negative before it; None is unbounded.
    For RANGE an offset is in the order column's physical unit (days for dates, microseconds for
    timestamps, the unscaled value for decimals, else the number itself)."""

    unit: Unit
    start: int | float | None
    end: int | float | None


@dataclass(frozen=True, slots=True)
class WindowCall(Expr):
    """`function OVER (...)`. `frame` is always filled in: Spark's default is the whole partition
    without ORDER BY, else RANGE up to the current row (and its peers). `explicit_frame` says whether
    it was written out (it then shows in the name)."""

    function: Call | AggregateCall
    partition: tuple[Expr, ...]
    order: tuple[SortKey, ...]
    frame: Frame
    explicit_frame: bool = False


@dataclass(frozen=True, slots=True)
class GeneratorCall(Expr):
    """explode and its kin: one row in, many out. `outputs` are the columns it makes (its own `type` is
    that of the first); `outer` keeps a row for an empty or NULL input."""

    function: str
    args: tuple[Expr, ...]
    shown: str
    outputs: tuple[Field, ...]
    outer: bool = False


@dataclass(frozen=True, slots=True)
class Subquery(Expr):
    """A subquery in an expression; `plan` is the analyzer's and opaque here. `kind` says how its rows
    become a value; `args` are the left side of IN. The relation lowering replaces it by a column."""

    kind: OneOf["scalar", "exists", "in"]
    plan: object
    args: tuple[Expr, ...] = ()


def null(type: DataType) -> Literal:  # noqa: A002
    """NULL of a type."""
    return Literal(type, True, None)


TRUE = Literal(BOOLEAN, False, True)
FALSE = Literal(BOOLEAN, False, False)


def contains_aggregate(expr: Expr) -> bool:
    """Whether an aggregate function occurs outside a window."""
    if isinstance(expr, AggregateCall):
        return True
    if isinstance(expr, WindowCall):
        parts = (*expr.function.args, *expr.partition, *(key.expr for key in expr.order))
        return any(contains_aggregate(part) for part in parts)
    return any(contains_aggregate(child) for child in expr.children())
