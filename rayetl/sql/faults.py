"""Making SQL errors that know their place in the user's text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

from sqlglot import exp

from rayetl.errors import ConfigPath, Problem, SqlError, UnsupportedSqlError

UNSUPPORTED = "sql.unsupported"
"""The code of what Spark runs and the embedded engine does not."""

T = TypeVar("T")
R = TypeVar("R")


def place(node: exp.Expression) -> tuple[ConfigPath, int | None]:
    """Config path and character offset of a node; of its nearest descendant or ancestor that has them."""
    for found in node.walk(bfs=True):
        if "start" in found.meta:
            return tuple(found.meta.get("origin", ())), found.meta["start"]
    return next((tuple(n.meta["origin"]) for n in node.walk() if "origin" in n.meta), ()), None


def fault(node: exp.Expression, message: str, *, hint: str | None = None, code: str = "sql") -> SqlError:
    """Something that Spark would refuse too."""
    origin, offset = place(node)
    return SqlError([Problem(code, message, path=origin, hint=hint, offset=offset)])


def unsupported(node: exp.Expression, message: str, *, hint: str | None = None) -> UnsupportedSqlError:
    """Something that Spark runs and the embedded engine does not."""
    origin, offset = place(node)
    return UnsupportedSqlError([Problem(UNSUPPORTED, message, path=origin, hint=hint, offset=offset)])


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint with the nearest known names, None when nothing is near."""
    near = get_close_matches(name.lower(), list(known), 3, 0.6)
    return f"did you mean {' or '.join(near)}?" if near else None


def collect(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Apply to every item and raise the problems of all failures together."""
    results: list[R] = []
    errors: list[SqlError] = []
    for item in items:
        try:
            results.append(function(item))
        except SqlError as error:
            errors.append(error)
    raise_all(errors)
    return results


def raise_all(errors: Iterable[SqlError]) -> None:
    """One error with the problems of all; unsupported only if every one of them is."""
    errors = list(errors)
    if not errors:
        return
    kind = UnsupportedSqlError if all(isinstance(e, UnsupportedSqlError) for e in errors) else SqlError
    raise kind(_once(problem for error in errors for problem in error.problems))


def _once(problems: Iterable[Problem]) -> list[Problem]:
    """The same words about the same place once: a key of GROUP BY stands in the select list too."""
    first: dict[object, Problem] = {}
    for number, problem in enumerate(problems):
        place = (problem.path, problem.offset) if problem.offset is not None else number
        first.setdefault((problem.message, place), problem)
    return list(first.values())


def take(node: exp.Expression, *keys: str) -> list[Any]:
    """The named args of a node. Any other arg that is set is a construct that the caller does not know:
    dropping it could silently change the answer, so it is refused by name."""
    for key, value in node.args.items():
        if key not in keys and value not in (None, False, []):
            raise unsupported(node, f"{label(node)}: {key.replace('_', ' ')} is not supported here")
    return [node.args.get(key) for key in keys]


def label(node: exp.Expression) -> str:
    """What to call a node in a message: SQL keywords as the user wrote them, as far as known."""
    name = node.name if isinstance(node, exp.Anonymous) else ""
    return name or {"TryCast": "CAST", "RegexpLike": "RLIKE", "EQ": "="}.get(
        type(node).__name__, node.key.upper()
    )
