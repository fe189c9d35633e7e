"""Rules on the whole input: one function for each kind, all of them in `TABLE_RULES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any

from rayetl.model import format_duration
from rayetl.quality.asking import Asked, Measure, number
from rayetl.quality.compile import quoted, text
from rayetl.quality.fitting import TIMES
from rayetl.quality.row_rules import told, within
from rayetl.quality.rules import Aggregate, Bound, Freshness, NullShare, RowCount
from rayetl.sql import types as t


def row_count(rule: RowCount, asked: Asked) -> Measure:
    """The number of rows."""
    value = asked.condition("count(*)", "row_count")
    reason = f"the number of rows is not {told(rule.min, rule.max)}"
    return Measure(None, reason, value, within("observed", rule.min, rule.max))


def aggregate(rule: Aggregate, asked: Asked) -> Measure:
    """Any aggregate."""
    value = asked.expression(rule.expression, "aggregate", "expression")
    ends = []
    for side, sign, bound in (("min", ">=", rule.min), ("max", "<=", rule.max)):
        if bound is not None:
            ends.append(f"observed {sign} {_limit(bound, asked, side)}")
    reason = f"{' '.join(rule.expression.split())} is not {told(rule.min, rule.max)}"
    return Measure(None, reason, value, " AND ".join(ends))


def _limit(bound: Bound, asked: Asked, side: str) -> str:
    if isinstance(bound, str):
        return text(bound)
    try:
        return number(bound)
    except ValueError as error:
        asked.fault(str(error), "aggregate", side)
        return "NULL"


def null_share(rule: NullShare, asked: Asked) -> Measure:
    """The share of rows without a value; none of no rows."""
    column = asked.column(rule.column, "null_share", "column")
    missing = f"CASE WHEN {quoted(column.name)} IS NULL THEN 1.0D ELSE 0.0D END"
    value = asked.condition(f"coalesce(avg({missing}), 0.0D)", "null_share")
    reason = f"more than {rule.max:.2%} of {column.name} are NULL"
    return Measure(column.name, reason, value, f"observed <= {rule.max!r}D")


def freshness(rule: Freshness, asked: Asked) -> Measure:
    """The age of the newest value at the time of the run. An input without any is not fresh."""
    column = asked.column(rule.column, "freshness", "column")
    asked.expect(column, (*TIMES, t.DATE), "a date or a time", "freshness", "column")
    value = asked.condition(f"max(CAST({quoted(column.name)} AS TIMESTAMP))", "freshness")
    oldest = (asked.context.now - rule.max_age).astimezone(UTC).replace(tzinfo=None)
    age = format_duration(rule.max_age)
    return Measure(
        column.name,
        f"the newest {column.name} is older than {age}",
        value,
        f"observed >= TIMESTAMP '{oldest.isoformat(sep=' ')}Z'",
        identity=f"newer than {age}",
    )


TABLE_RULES: Mapping[str, Callable[[Any, Asked], Measure]] = {
    "row_count": row_count,
    "aggregate": aggregate,
    "null_share": null_share,
    "freshness": freshness,
}
