"""IS, BETWEEN, IN, LIKE and CASE to typed expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from rayetl.sql import coerce
from rayetl.sql.expr import Case, Expr, Literal
from rayetl.sql.faults import fault, take, unsupported
from rayetl.sql.types import BOOLEAN

if TYPE_CHECKING:
    from rayetl.sql.resolve import Resolver

_PATTERNS: dict[type[exp.Expression], str] = {exp.Like: "like", exp.ILike: "ilike", exp.RegexpLike: "rlike"}


def is_(resolver: Resolver, node: exp.Expression) -> Expr:
    this, what = take(node, "this", "expression")
    child = resolver.resolve(this)
    if isinstance(what, exp.Null):
        return resolver.make("isnull", (child,), node)
    if isinstance(what, exp.Boolean):
        return resolver.make("<=>", (child, Literal(BOOLEAN, False, bool(what.this))), node)
    raise unsupported(node, "only IS [NOT] NULL, TRUE, FALSE, DISTINCT FROM are supported")


def between(resolver: Resolver, node: exp.Expression) -> Expr:
    this, low, high = take(node, "this", "low", "high")
    child, least, most = resolver.all((this, low, high))
    lower = resolver.make(">=", (child, least), node)
    return resolver.make("and", (lower, resolver.make("<=", (child, most), node)), node)


def in_(resolver: Resolver, node: exp.Expression) -> Expr:
    this, items, query = take(node, "this", "expressions", "query")
    if query is not None:
        values = this.expressions if isinstance(this, exp.Tuple) else [this]
        return resolver.scope.subquery(query, "in", resolver.all(values))
    return resolver.make("in", resolver.all([this, *items]), node)


def like(resolver: Resolver, node: exp.Expression) -> Expr:
    this, pattern, negated = take(node, "this", "expression", "negate")
    return _like(resolver, type(node), this, pattern, None, bool(negated), node)


def escape(resolver: Resolver, node: exp.Expression) -> Expr:
    inner, char = take(node, "this", "expression")
    if isinstance(inner, exp.Not):
        (inner,) = take(inner, "this")
        return resolver.negate(_escaped(resolver, inner, char, node), node)
    return _escaped(resolver, inner, char, node)


def _escaped(resolver: Resolver, inner: exp.Expression, char: exp.Expression, node: exp.Expression) -> Expr:
    this, pattern, negated = take(inner, "this", "expression", "negate")
    return _like(resolver, type(inner), this, pattern, char, bool(negated), node)


def _like(
    resolver: Resolver,
    kind: type[exp.Expression],
    this: exp.Expression,
    pattern: exp.Expression,
    char: exp.Expression | None,
    negated: bool,
    node: exp.Expression,
) -> Expr:
    name = _PATTERNS[kind]
    if isinstance(pattern, exp.Any | exp.All):
        return _like_many(resolver, name, this, pattern, negated, node)
    args = resolver.all([this, pattern] + ([char] if char is not None else []))
    found = resolver.make(name, args, node)
    return resolver.negate(found, node) if negated else found


def _like_many(
    resolver: Resolver,
    name: str,
    this: exp.Expression,
    patterns: exp.Expression,
    negated: bool,
    node: exp.Expression,
) -> Expr:
    (inner,) = take(patterns, "this")
    nodes = (
        inner.expressions
        if isinstance(inner, exp.Tuple)
        else [inner.this if isinstance(inner, exp.Paren) else inner]
    )
    child = resolver.resolve(this)
    tests = [resolver.make(name, (child, pattern), node) for pattern in resolver.all(nodes)]
    tests = [resolver.negate(test, node) for test in tests] if negated else tests
    found = tests[0]
    for test in tests[1:]:
        found = resolver.make("or" if isinstance(patterns, exp.Any) else "and", (found, test), node)
    return found


def case(resolver: Resolver, node: exp.Expression) -> Expr:
    this, ifs, default = take(node, "this", "ifs", "default")
    pairs = [tuple(take(branch, "this", "true")) for branch in ifs]
    conditions = resolver.all([condition for condition, _ in pairs])
    if this is not None:
        operand = resolver.resolve(this)
        conditions = tuple(resolver.make("=", (operand, c), node) for c in conditions)
    values = resolver.all([value for _, value in pairs] + ([default] if default is not None else []))
    return make_case(resolver, conditions, values, default is not None, node)


def make_case(
    resolver: Resolver,
    conditions: Sequence[Expr],
    values: Sequence[Expr],
    has_else: bool,
    node: exp.Expression,
    word: str = "WHEN",
) -> Expr:
    """CASE from typed parts: `values` has one more than `conditions` when there is an ELSE. Spark takes
    a bare NULL for no boolean here, though it does so for IF."""
    for condition in conditions:
        if condition.type != BOOLEAN:
            raise fault(node, f"{word} needs a boolean, not {condition.type}")
    unified = coerce.unify(values)
    if unified is None:
        raise fault(node, "the branches have no common type: " + ", ".join(str(v.type) for v in values))
    resolver.check_coercions(unified, node)
    nullable = not has_else or any(v.nullable for v in unified)
    branches = tuple(zip(conditions, unified, strict=False))
    return Case(unified[0].type, nullable, branches, unified[-1] if has_else else None)
