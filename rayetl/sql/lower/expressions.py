"""Typed expressions to Polars expressions.

Meaning comes from the typed nodes alone; nothing here looks at a Polars dtype. Decimals are computed as
scaled Int128 (`scaled`) and take their column form (`expr`) only where they leave the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field, replace
from typing import Any

import polars as pl

from rayetl.records import dataclass
from rayetl.sql import coerce
from rayetl.sql.expr import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expr,
    GetField,
    Lambda,
    LambdaVariable,
    Literal,
)
from rayetl.sql.functions.constants import is_null
from rayetl.sql.functions.table import function
from rayetl.sql.interop import polars_type
from rayetl.sql.lower import casts, decimals
from rayetl.sql.lower.sharing import shared
from rayetl.sql.types import DATE, TIMESTAMP, TIMESTAMP_NTZ, ArrayType, DecimalType


@dataclass(frozen=True)
class Lowering:
    """What expressions need to know beyond themselves: the time zone and the time of the session (in
    microseconds since 1970). `variables` are lambda parameters and other names in force."""

    time_zone: str = "UTC"
    now: int = 0
    variables: dict[str, pl.Expr] = field(default_factory=dict)
    sizes: dict[int, tuple[Expr, int]] = field(default_factory=dict)

    def expr(self, node: Expr) -> pl.Expr:
        """The value in its column form (see `interop`)."""
        return shared(self, coerce.folded(node), Lowering._expr)

    def _expr(self, node: Expr) -> pl.Expr:
        if isinstance(node.type, DecimalType) and decimals.is_computed(node):
            return decimals.to_column(decimals.scaled(self, node), node.type)
        return _LOWER[type(node)](self, node)

    def scaled(self, node: Expr) -> pl.Expr:
        """A decimal as its unscaled Int128."""
        return shared(self, coerce.folded(node), decimals.scaled)

    def bind(self, values: dict[str, pl.Expr]) -> Lowering:
        return replace(self, variables={**self.variables, **values})


def literal(value: Any, kind: Any) -> pl.Expr:
    """A literal from its physical value."""
    if isinstance(kind, DecimalType):
        return decimals.to_column(pl.lit(value, dtype=pl.Int128), kind)
    dtype = polars_type(kind)
    if value is None:
        return pl.lit(None, dtype=dtype)
    if kind == DATE:
        return pl.lit(value, dtype=pl.Int32).cast(dtype)
    if kind in (TIMESTAMP, TIMESTAMP_NTZ) or dtype == pl.Duration:
        return pl.lit(value, dtype=pl.Int64).cast(dtype)
    return pl.lit(value, dtype=dtype)


_LONG_CASE = 100
"""Branches. The time that Polars takes to plan a longer chain grows with the square of it."""


def _case(ctx: Lowering, node: Case) -> pl.Expr:
    branches = [(ctx.expr(condition), ctx.expr(value)) for condition, value in node.branches]
    # A group names its conditions twice: one inside the other would double each time.
    within = (part for condition, _ in node.branches for part in condition.walk())
    if _is_long(node) and not any(map(_is_long, within)):
        branches = _grouped(branches, math.isqrt(len(branches)))
    chain = _chain(branches)
    found: pl.Expr = chain if node.otherwise is None else chain.otherwise(ctx.expr(node.otherwise))
    return found


def _is_long(node: Expr) -> bool:
    return isinstance(node, Case) and len(node.branches) > _LONG_CASE


def _grouped(branches: list[tuple[pl.Expr, pl.Expr]], size: int) -> list[tuple[pl.Expr, pl.Expr]]:
    """The same choice by fewer branches, each of them a group that is entered where one of it holds."""
    groups = [branches[start : start + size] for start in range(0, len(branches), size)]
    return [(pl.any_horizontal([condition for condition, _ in group]), _chain(group)) for group in groups]


def _chain(branches: list[tuple[pl.Expr, pl.Expr]]) -> Any:
    chain: Any = pl
    for condition, value in branches:
        chain = chain.when(condition).then(value)
    return chain


def _call(ctx: Lowering, node: Call | AggregateCall) -> pl.Expr:
    entry = function(node.function)
    assert entry.lower is not None, node.function
    if entry.strict and any(is_null(arg) for arg in node.args):
        return _null_for_each_row(ctx, node)
    found: pl.Expr = (
        entry.lower(ctx, node) if entry.raw else entry.lower(*(ctx.expr(arg) for arg in node.args))
    )
    return found


def _null_for_each_row(ctx: Lowering, node: Call | AggregateCall) -> pl.Expr:
    """A literal alone would be one row where the arguments are many."""
    nothing = literal(None, node.type)
    for arg in node.args:
        if any(isinstance(part, Column | LambdaVariable) for part in arg.walk()):
            return pl.when(ctx.expr(arg).is_null()).then(nothing).otherwise(nothing)
    return nothing


def _field(ctx: Lowering, node: GetField) -> pl.Expr:
    child = ctx.expr(node.child)
    if isinstance(node.child.type, ArrayType):
        return child.list.eval(pl.element().struct.field(node.name))
    return child.struct.field(node.name)


def _cast(ctx: Lowering, node: Cast) -> pl.Expr:
    return casts.cast(ctx, node.child, node.type)


_LOWER: dict[type[Expr], Callable[..., pl.Expr]] = {
    Column: lambda _, node: pl.col(node.id),
    Literal: lambda _, node: literal(node.value, node.type),
    Cast: _cast,
    Case: _case,
    Call: _call,
    AggregateCall: _call,
    GetField: _field,
    LambdaVariable: lambda ctx, node: ctx.variables[node.name.lower()],
    Lambda: lambda ctx, node: ctx.expr(node.body),
}
