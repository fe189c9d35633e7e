"""Values that are used several times, computed once under a name.

A function is lowered to an expression that writes its arguments out wherever it needs them. Of functions one
inside the other the text would grow with the power of their depth: four divisions of decimals did not end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from rayetl.names import PREFIX
from rayetl.sql.expr import Call, Cast, Column, Expr, Lambda, LambdaVariable, Literal
from rayetl.sql.types import DecimalType

if TYPE_CHECKING:
    from rayetl.sql.lower.expressions import Lowering

_LARGE = 200
"""Parts, as they are written out. Smaller ones take less time to repeat than to name."""

_WRITTEN_ONCE = "+ - * and or not = <=> <> < <= > >= isnull isnotnull concat upper lower trim"
_ONCE = frozenset(_WRITTEN_ONCE.split())
"""Functions that write each argument out a single time."""

_TIMES, _TIMES_OF_DECIMALS, _TIMES_OF_CASTS = 3, 18, 4
"""How often the others do, at most or nearly so."""


def shared(ctx: Lowering, node: Expr, lower: Callable[[Lowering, Expr], pl.Expr]) -> pl.Expr:
    """What `lower` makes of a node, whose large arguments are fields of a struct that it is computed from."""
    if _times(node) == 1:
        return lower(ctx, node)
    large: dict[str, Expr] = {}

    def name(child: Expr) -> Expr:
        if isinstance(child, Column | Lambda | LambdaVariable | Literal) or _size(ctx, child) < _LARGE:
            return child
        called = f"{PREFIX}{len(large)}"
        large[called] = child
        return LambdaVariable(child.type, child.nullable, called)

    short = node.map_children(name)
    if not large:
        return lower(ctx, node)
    fields = [ctx.expr(child).alias(called) for called, child in large.items()]
    found = lower(ctx.bind({called: pl.field(called) for called in large}), short)
    return pl.struct(fields).struct.with_fields(found.alias(PREFIX)).struct.field(PREFIX)


def _size(ctx: Lowering, node: Expr) -> int:
    """About how many parts a node is written out in. Arguments that are named count once."""
    known = ctx.sizes.get(id(node))
    if known is None:
        times = _times(node)
        inner = [_size(ctx, child) for child in node.children()]
        size = 1 + sum(each * times if each < _LARGE else each for each in inner)
        # With the node, which stays alive so long as its number stands for it.
        known = ctx.sizes[id(node)] = (node, size)
    return known[1]


def _times(node: Expr) -> int:
    match node:
        case Cast():
            return _TIMES_OF_CASTS
        case Call(function=function) if function not in _ONCE:
            decimals = any(isinstance(each.type, DecimalType) for each in (node, *node.args))
            return _TIMES_OF_DECIMALS if decimals else _TIMES
    return 1
