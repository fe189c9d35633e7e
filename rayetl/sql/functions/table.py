"""All families together: names to entries."""

from __future__ import annotations

from functools import cache

from rayetl.sql.functions import (
    aggregates,
    arrays,
    conditional,
    conversions,
    date_arithmetic,
    datetimes,
    generators,
    hashes,
    lambdas,
    letters,
    maps,
    maths,
    operators,
    regexes,
    strings,
    time_texts,
    windows,
)
from rayetl.sql.functions.base import Function

FAMILIES = (
    operators,
    conditional,
    conversions,
    maths,
    strings,
    regexes,
    hashes,
    datetimes,
    date_arithmetic,
    time_texts,
    arrays,
    lambdas,
    letters,
    maps,
    aggregates,
    windows,
    generators,
)


@cache
def functions() -> dict[str, Function]:
    """Every function by name and alias, lower case."""
    found: dict[str, Function] = {}
    for family in FAMILIES:
        for entry in family.TABLE.entries:
            for name in (entry.name, *entry.aliases):
                assert name not in found, name
                found[name] = entry
    return found


def function(name: str) -> Function:
    """The entry of a canonical name; the resolver has checked that it exists."""
    return functions()[name]
