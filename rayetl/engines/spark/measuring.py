"""What is counted on Spark: all counts of a run by one query, all checks of whole tables by another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from rayetl.engines.base import TableFinding
from rayetl.engines.polars.frames import refusing
from rayetl.engines.spark.exchange import named
from rayetl.engines.spark.tables import Tables, any_of
from rayetl.plan.nodes import Plan, StepNode
from rayetl.records import dataclass

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True, slots=True)
class Judged:
    """A checking step: how many `rows` came in, how many of them were `refused`, and how many failed each of
    its checks."""

    rows: int
    refused: int
    failing: tuple[int, ...]


def judge(tables: Tables, plan: Plan, checking: Sequence[str], counted: Sequence[str]) -> dict[str, Judged]:
    """The steps `checking`, and of the nodes `counted` their rows alone."""
    queries = [_numbers(tables.flagged[name], name, _flags(plan, name)) for name in checking]
    queries += [_numbers(tables.add(name), name, ((), ())) for name in counted]
    found = {}
    for name, numbers in _together(queries):
        rows, refused, *failing = numbers
        found[name] = Judged(rows, refused, tuple(failing))
    return found


def findings(tables: Tables, needed: Sequence[str]) -> dict[str, tuple[TableFinding, ...]]:
    """What the checks of whole tables saw, step by step."""
    from pyspark.sql import functions as f

    asked = [name for name in needed if tables.verdicts.get(name)]
    queries = [
        query.select(f.lit(f"{place:04d}{name}"), f.array("observed", f.col("failed").cast("string")))
        for name in asked
        for place, query in enumerate(tables.verdicts[name])
    ]
    found: dict[str, tuple[TableFinding, ...]] = {}
    for key, (observed, failed) in sorted(_together(queries)):
        found[key[4:]] = (*found.get(key[4:], ()), TableFinding(observed, failed == "true"))
    return found


def _flags(plan: Plan, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    node = plan.nodes[name]
    assert isinstance(node, StepNode)
    assert node.checked is not None
    return refusing(node.checked), tuple(check.flag for check in node.checked.rows)


def _numbers(frame: DataFrame, name: str, flags: tuple[tuple[str, ...], tuple[str, ...]]) -> DataFrame:
    from pyspark.sql import functions as f

    def rows_where(condition: Column) -> Column:
        return f.count(f.when(condition, True))

    refusing_flags, every = flags
    refused = rows_where(any_of(refusing_flags)) if refusing_flags else f.lit(0).cast("bigint")
    counts = [f.count(f.lit(1)), refused, *(rows_where(flag) for flag in named(every))]
    return frame.agg(f.array(*counts).alias("numbers")).select(f.lit(name).alias("name"), "numbers")


def _together(queries: Sequence[DataFrame]) -> list[tuple[str, list[Any]]]:
    """The rows of all `queries`, which have two columns, by one job."""
    if not queries:
        return []
    return [(row[0], row[1]) for row in reduce(lambda left, right: left.union(right), queries).collect()]
