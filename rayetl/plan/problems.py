"""Problems of a plan, in the order of the config."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rayetl.errors import ConfigPath, Problem

_SECTIONS = {"extract": 0, "transform": 1, "load": 2}


def ordered(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once."""
    return sorted(dict.fromkeys(problems), key=_place)


def below(problem: Problem, path: ConfigPath) -> Problem:
    """A problem whose path may still be relative to `path`."""
    return problem if problem.path[: len(path)] == path else problem.under(path)


def _place(problem: Problem) -> tuple[Any, ...]:
    section = _SECTIONS.get(str(problem.path[0]), 3) if problem.path else 3
    rest = tuple((isinstance(part, str), str(part).zfill(6)) for part in problem.path[1:])
    return (section, rest, problem.offset or 0)
