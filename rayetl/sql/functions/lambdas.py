"""Functions over arrays that take lambdas."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Column, Expr, Lambda, LambdaVariable
from rayetl.sql.functions.base import Context, Table, Typed, TypeFault, check_count
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import BOOLEAN, INT, NULL, ArrayType, DataType

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()


def _element_types(
    plain: tuple[Expr, ...], _before: tuple[Expr, ...], count: int
) -> list[tuple[DataType, bool]]:
    if not plain or not isinstance(plain[0].type, ArrayType):
        raise TypeFault("argument 1 must be an array")
    found: list[tuple[DataType, bool]] = [(plain[0].type.element, plain[0].type.contains_null)]
    return [*found, (INT, False)] if count > 1 else found


def _lambda_rule(name: str) -> Callable[[tuple[Expr, ...]], Typed]:
    def rule(args: tuple[Expr, ...]) -> Typed:
        check_count(args, 2, 2)
        values, function = args
        if not isinstance(values.type, ArrayType) or not isinstance(function, Lambda):
            raise TypeFault("it takes an array and a lambda function")
        if any(isinstance(node, Column) for node in function.walk()):
            raise TypeFault(
                "a lambda that reads other columns is not supported in the embedded engine", refused=True
            )
        if _reads_outer(function):
            raise TypeFault(
                "a lambda that reads the parameter of a lambda around it is not supported in the embedded "
                "engine",
                refused=True,
            )
        if len(function.parameters) > 1:
            raise TypeFault("the index parameter is not supported in the embedded engine", refused=True)
        if name == "transform":
            return Typed(args, ArrayType(function.type, function.nullable), values.nullable)
        if function.type not in (BOOLEAN, NULL):
            raise TypeFault(f"the lambda must give a boolean, not {function.type}")
        body = coerce.implicit_cast(function.body, BOOLEAN)
        fitted = Lambda(BOOLEAN, body.nullable, function.parameters, body)
        return Typed(
            (values, fitted),
            values.type if name == "filter" else BOOLEAN,
            values.nullable or function.nullable,
        )

    return rule


def _reads_outer(function: Lambda) -> bool:
    """Whether the body reads a parameter that is not its own: `pl.element()` is that of the innermost list,
    which would take the place of the outer one."""

    def reads(node: Expr, own: frozenset[str]) -> bool:
        if isinstance(node, LambdaVariable):
            return node.name.lower() not in own
        if isinstance(node, Lambda):
            own = own | {parameter.name.lower() for parameter in node.parameters}
            return reads(node.body, own)
        return any(reads(child, own) for child in node.children())

    return reads(function, frozenset())


def _lambda(ctx: Context, call: Call) -> pl.Expr:
    values, function = call.args
    assert isinstance(function, Lambda)
    lists = ctx.expr(values)
    body = ctx.bind({function.parameters[0].name.lower(): pl.element()}).expr(function.body)
    if call.function == "transform":
        return lists.list.eval(body)
    if call.function == "filter":
        return lists.list.eval(pl.element().filter(body.fill_null(False)))
    tests = lists.list.eval(body)
    yes, no = (
        tests.list.eval(pl.element().fill_null(False)).list.any(),
        tests.list.eval(pl.element().fill_null(True)).list.all(),
    )
    if call.function == "exists":
        some_null = tests.list.eval(pl.element().is_null()).list.any()
        return pl.when(yes).then(True).when(~some_null).then(False)
    some_null = tests.list.eval(pl.element().is_null()).list.any()
    return pl.when(~no).then(False).when(~some_null).then(True)


for _name in ("transform", "filter", "exists", "forall"):
    TABLE.add(_name, _lambda_rule(_name), _lambda, raw=True, lambdas=True, lambda_types=_element_types)
