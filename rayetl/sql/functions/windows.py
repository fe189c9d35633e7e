"""Functions that only make sense with OVER; `lower/windows.py` computes them."""

from __future__ import annotations

from rayetl.sql.coerce import implicit
from rayetl.sql.expr import Expr, Literal
from rayetl.sql.functions.base import Table, Typed, TypeFault, check_count, exactly, fit, of, takes
from rayetl.sql.functions.constants import constant, is_null, value_of
from rayetl.sql.types import DOUBLE, INT

TABLE = Table()
_int, _whole = of(INT), exactly(INT)


def _shifted(args: tuple[Expr, ...]) -> Typed:
    """lag and lead: value, offset (1), default (NULL)."""
    check_count(args, 1, 3)
    value = args[0]
    offset = fit(constant(_whole), args[1], 1) if len(args) > 1 else Literal(INT, False, 1)
    if is_null(offset):
        raise TypeFault("an offset of NULL is not supported in the embedded engine", refused=True)
    default = args[2] if len(args) > 2 else Literal(value.type, True, None)
    fitted = implicit(default, value.type)
    if fitted is None:
        raise TypeFault(f"the default is a {default.type}, the value a {value.type}")
    return Typed((value, offset, fitted), value.type, value.nullable or fitted.nullable)


def _nth(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    return Typed((args[0], _above_zero(fit(constant(_int), args[1], 1))), args[0].type, True)


def _above_zero(arg: Expr) -> Expr:
    if not (value_of(arg) or 0) > 0:
        raise TypeFault("the number must be above 0")
    return arg


def _ntile(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 0, 1)
    return Typed(tuple(_above_zero(fit(constant(_whole), arg, 0)) for arg in args), INT, False)


_rank = takes(returns=INT, nullable=False)
_share = takes(returns=DOUBLE, nullable=False)
for name, rule in (
    ("row_number", _rank),
    ("rank", _rank),
    ("dense_rank", _rank),
    ("ntile", _ntile),
    ("percent_rank", _share),
    ("cume_dist", _share),
    ("lag", _shifted),
    ("lead", _shifted),
    ("nth_value", _nth),
):
    TABLE.add(name, rule, None, kind="window", raw=True)
