"""All families together: names to entries."""

from __future__ import annotations

from functools import cache

from sqlglot import exp

from rayetl.sql.faults import did_you_mean, fault, unsupported
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
from rayetl.sql.functions.known import SPARK_ONLY, UNREPEATABLE

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


def function_called(name: str, node: exp.Expression) -> Function:
    """The function that a call names. Raises `SqlError` for one that there is not."""
    entry = functions().get(name.lower())
    if entry is None or (not name[0].isalpha() and name[0] != "_"):
        if name.lower() in SPARK_ONLY:
            raise unsupported(
                node,
                f"function {name} is not supported by the embedded engine",
                hint="engine: spark runs it",
            )
        hint = did_you_mean(name, (n for n in functions() if n[0].isalpha()))
        raise fault(node, f"unknown function {name}", hint=hint, code="sql.function")
    return entry


def assert_repeatable(call: exp.Anonymous) -> None:
    """Raise `SqlError` for a call whose answer no run could repeat."""
    reason = UNREPEATABLE.get(call.name.lower())
    if reason is not None:
        raise fault(call, f"{call.name} {reason}", code="sql.function")
