"""Lambda arguments: parameters get their types from the other arguments of the call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from rayetl.sql.expr import Expr, Lambda, LambdaVariable
from rayetl.sql.faults import fault, take, unsupported
from rayetl.sql.functions.base import Function, TypeFault
from rayetl.sql.types import DataType

if TYPE_CHECKING:
    from rayetl.sql.resolve import Resolver


def lambda_args(
    resolver: Resolver, entry: Function, nodes: Sequence[exp.Expression], node: exp.Expression
) -> tuple[Expr, ...]:
    """Resolve the plain arguments first; they give the lambda parameters their types."""
    plain = [None if isinstance(n, exp.Lambda) else resolver.resolve(n) for n in nodes]
    args: list[Expr] = []
    for item, typed in zip(nodes, plain, strict=True):
        if typed is not None:
            args.append(typed)
            continue
        try:
            types = entry.lambda_types(
                tuple(a for a in plain if a is not None), tuple(args), len(_params(item))
            )
        except TypeFault as error:
            raise (unsupported if error.refused else fault)(node, f"{entry.name}: {error.message}") from None
        args.append(_lambda(resolver, item, types))
    return tuple(args)


def _lambda(resolver: Resolver, node: exp.Expression, types: Sequence[tuple[DataType, bool]]) -> Lambda:
    body, names, _ = take(node, "this", "expressions", "colon")
    if len(names) > len(types):
        raise fault(node, f"the lambda has {len(names)} parameters, {len(types)} are given to it")
    variables = tuple(
        LambdaVariable(kind, nullable, name.name)
        for name, (kind, nullable) in zip(names, types, strict=False)
    )
    resolver.lambdas.append({v.name.lower(): v for v in variables})
    try:
        typed = resolver.resolve(body)
    finally:
        resolver.lambdas.pop()
    return Lambda(typed.type, typed.nullable, variables, typed)


def _params(node: exp.Expression) -> list[exp.Expression]:
    return list(node.args.get("expressions") or ())
