"""Joins: which parts of a condition are keys, and what to do with the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from rayetl.names import PREFIX
from rayetl.records import dataclass
from rayetl.sql.analyze.exprs import columns_of, conjunction, conjuncts
from rayetl.sql.expr import Call, Expr
from rayetl.sql.lower.expressions import Lowering
from rayetl.sql.relations import Filter, Join, Relation

_KEY = PREFIX + "key"
_LEFT, _RIGHT = PREFIX + "left", PREFIX + "right"
Lower = Callable[[Relation], pl.LazyFrame]


@dataclass(frozen=True, slots=True)
class Keys:
    """The equalities of a condition, and what is left of it."""

    left: tuple[Expr, ...]
    right: tuple[Expr, ...]
    null_safe: tuple[bool, ...]
    rest: tuple[Expr, ...]


def ids(relation: Relation) -> set[str]:
    return {column.id for column in relation.columns}


def split(parts: list[Expr], left: set[str], right: set[str]) -> Keys:
    """Which of `parts` compare a value of the left side with one of the right."""
    pairs: list[tuple[Expr, Expr, bool]] = []
    rest: list[Expr] = []
    for part in parts:
        pair = _pair(part, left, right)
        if pair is None:
            rest.append(part)
        else:
            pairs.append(pair)
    # What is equal is also null-safe equal, and Polars takes no pair of keys twice.
    plain = {(a, b) for a, b, safe in pairs if not safe}
    pairs = list(dict.fromkeys(pair for pair in pairs if not pair[2] or pair[:2] not in plain))
    return Keys(
        tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), tuple(p[2] for p in pairs), tuple(rest)
    )


def _pair(part: Expr, left: set[str], right: set[str]) -> tuple[Expr, Expr, bool] | None:
    if not isinstance(part, Call) or part.function not in ("=", "<=>"):
        return None
    a, b = part.args
    used_a, used_b = columns_of(a), columns_of(b)
    if not used_a or not used_b:
        return None
    if used_a <= left and used_b <= right:
        return a, b, part.function == "<=>"
    if used_a <= right and used_b <= left:
        return b, a, part.function == "<=>"
    return None


def flatten(relation: Relation) -> tuple[list[Relation], list[Expr]]:
    """The tables of a tree of inner joins and filters, and all its conditions."""
    if isinstance(relation, Join) and relation.kind == "inner":
        left, right = flatten(relation.left), flatten(relation.right)
        own = conjuncts(relation.condition) if relation.condition is not None else []
        return [*left[0], *right[0]], [*left[1], *right[1], *own]
    if isinstance(relation, Filter) and _is_inner(relation.input):
        leaves, parts = flatten(relation.input)
        return leaves, [*parts, *conjuncts(relation.condition)]
    return [relation], []


def _is_inner(relation: Relation) -> bool:
    if isinstance(relation, Filter):
        return _is_inner(relation.input)
    return isinstance(relation, Join) and relation.kind == "inner"


def inner(relation: Relation, lower: Lower, ctx: Lowering) -> pl.LazyFrame:
    """A tree of inner joins in the order written, but never a product where a key connects tables."""
    leaves, parts = flatten(relation)
    waiting = [_own_filters(leaf, parts) for leaf in leaves]
    parts = [
        part
        for part in parts
        if not any(columns_of(part) and columns_of(part) <= ids(leaf) for leaf in leaves)
    ]
    first = waiting.pop(0)
    frame, known = lower(first), ids(first)
    while waiting:
        index = next((i for i, leaf in enumerate(waiting) if split(parts, known, ids(leaf)).left), 0)
        leaf = waiting.pop(index)
        keys = split(parts, known, ids(leaf))
        frame = _inner(frame, lower(leaf), keys, ctx)
        known |= ids(leaf)
        ready = [part for part in keys.rest if columns_of(part) <= known]
        parts = [part for part in keys.rest if part not in ready]
        frame = _filtered(frame, ready, ctx)
    return frame


def _own_filters(leaf: Relation, parts: list[Expr]) -> Relation:
    mine = conjunction(part for part in parts if columns_of(part) and columns_of(part) <= ids(leaf))
    return leaf if mine is None else Filter(leaf.columns, leaf, mine)


def _filtered(frame: pl.LazyFrame, parts: list[Expr] | tuple[Expr, ...], ctx: Lowering) -> pl.LazyFrame:
    condition = conjunction(parts)
    return frame if condition is None else frame.filter(ctx.expr(condition))


def _inner(left: pl.LazyFrame, right: pl.LazyFrame, keys: Keys, ctx: Lowering) -> pl.LazyFrame:
    if not keys.left:
        return left.join(right, how="cross")
    return _on(left, right, keys, "inner", ctx)


def _on(left: pl.LazyFrame, right: pl.LazyFrame, keys: Keys, how: str, ctx: Lowering) -> pl.LazyFrame:
    """An equi join. With both `=` and `<=>` keys, NULLs count as equal and the right side's NULLs in `=`
    keys are taken out first, so that they match nothing."""
    if any(keys.null_safe) and not all(keys.null_safe):
        plain = [key for key, safe in zip(keys.right, keys.null_safe, strict=True) if not safe]
        right = right.filter(*(ctx.expr(key).is_not_null() for key in plain))
    mine, theirs = ([ctx.expr(key) for key in side] for side in (keys.left, keys.right))
    if how in ("semi", "anti"):
        return _filtering(left, right, mine, theirs, how, any(keys.null_safe))
    return left.join(
        right,
        left_on=mine,
        right_on=theirs,
        how=how,  # type: ignore[arg-type]
        nulls_equal=any(keys.null_safe),
        coalesce=False,
    )


def _filtering(
    left: pl.LazyFrame,
    right: pl.LazyFrame,
    mine: list[pl.Expr],
    theirs: list[pl.Expr],
    how: str,
    nulls_equal: bool,
) -> pl.LazyFrame:
    """A semi or anti join, its keys computed before it: inside of it Polars runs them on all its threads
    at once, and a Python function there that asks Polars for something waits for ever."""
    names = [f"{_KEY}{number}" for number in range(len(mine))]
    if not all(key.meta.is_column() for key in mine):
        left = left.with_columns(key.alias(name) for key, name in zip(mine, names, strict=True))
        mine = [pl.col(name) for name in names]
    right = right.select(key.alias(name) for key, name in zip(theirs, names, strict=True))
    joined = left.join(right, left_on=mine, right_on=names, how=how, nulls_equal=nulls_equal)  # type: ignore[arg-type]
    return joined.drop(names, strict=False)


def outer(relation: Join, lower: Lower, ctx: Lowering) -> pl.LazyFrame:
    """Left, right, full, semi and anti joins."""
    if relation.kind == "right":
        relation = replace(relation, left=relation.right, right=relation.left, kind="left")
    left_ids, right_ids = ids(relation.left), ids(relation.right)
    parts = conjuncts(relation.condition) if relation.condition is not None else []
    right = relation.right
    if relation.kind != "full":
        mine = [part for part in parts if columns_of(part) and columns_of(part) <= right_ids]
        parts = [part for part in parts if part not in mine]
        condition = conjunction(mine)
        right = right if condition is None else Filter(right.columns, right, condition)
    keys = split(parts, left_ids, right_ids)
    mixed = relation.kind == "full" and any(keys.null_safe) and not all(keys.null_safe)
    if keys.left and not keys.rest and not mixed:
        return _on(lower(relation.left), lower(right), keys, relation.kind, ctx)
    return _by_row(lower(relation.left), lower(right), relation.kind, keys, ctx)


def _by_row(left: pl.LazyFrame, right: pl.LazyFrame, kind: str, keys: Keys, ctx: Lowering) -> pl.LazyFrame:
    """Any condition: number the rows, join and filter, then see which rows found no partner. The numbered
    rows are read twice, and what gives rows in no fixed order would number them in another way each time:
    they are made once."""
    left = left.with_row_index(_LEFT).cache()
    right = right.with_row_index(_RIGHT).cache()
    matched = _filtered(_inner(left, right, keys, ctx), keys.rest, ctx)
    if kind in ("semi", "anti"):
        return left.join(matched.select(_LEFT), on=_LEFT, how=kind).drop(_LEFT)  # type: ignore[arg-type]
    frames = [matched, left.join(matched.select(_LEFT), on=_LEFT, how="anti")]
    if kind == "full":
        frames.append(right.join(matched.select(_RIGHT), on=_RIGHT, how="anti"))
    return pl.concat(frames, how="diagonal").drop(_LEFT, _RIGHT)
