"""Spark SQL: parse, types, function table, lowering to Polars.

    analyzed = sql.analyze("SELECT a + 1 AS b FROM t", {"t": schema})
    frame = sql.lower(analyzed, {"t": lazy_frame})

Importing this package loads neither Polars nor Arrow; only `lower` and `interop` do.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

# Loading a subpackage binds its name here. Loaded first, `analyze` and `lower` are then the functions below.
import rayetl.sql.analyze
import rayetl.sql.lower  # noqa: F401
from rayetl.errors import ConfigPath
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import polars as pl
    from sqlglot import exp

    from rayetl.sql.analyzed import AnalyzedQuery

__all__ = [
    "analyze",
    "known_by_spark",
    "lower",
    "parse_expression",
    "parse_projection",
    "parse_query",
    "render",
]


# A query is read, typed and lowered by going down it, twenty calls and more for each bracket: Python's 1,000
# end at 40 brackets, which generated SQL has. These many calls need less than 1 MiB of the stack of a thread.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 4_000))


def parse_query(text: str, origin: ConfigPath = ()) -> exp.Query:
    """A query as a tree whose nodes know their place in the text. Raises `SqlError` on a syntax error."""
    from rayetl.sql import parse

    return parse.parse_query(text, origin)


def parse_expression(text: str, origin: ConfigPath = ()) -> exp.Expression:
    """One expression without a name. Raises `SqlError` on a syntax error."""
    from rayetl.sql import parse

    return parse.parse_expression(text, origin)


def parse_projection(text: str, origin: ConfigPath = ()) -> exp.Expression:
    """One item of a select list, with or without `AS name`. Raises `SqlError` on a syntax error."""
    from rayetl.sql import parse

    return parse.parse_projection(text, origin)


def render(tree: exp.Expression, *, spent: bool = False) -> str:
    """The tree as Spark SQL text, pretty-printed. A tree that is `spent` is not used afterwards and need not
    be copied."""
    from rayetl.sql import parse

    return parse.render(tree, spent=spent)


def analyze(
    query: exp.Query | str, schemas: Mapping[str, Schema], *, time_zone: str = "UTC", now: int = 0
) -> AnalyzedQuery:
    """The query typed by Spark's rules over tables with these schemas. `now` is what `current_timestamp` and
    its like give, in microseconds since 1970.

    Raises `SqlError` with every problem found, `UnsupportedSqlError` when Spark would run the query but
    the embedded engine cannot.
    """
    from rayetl.sql import analyzed

    return analyzed.analyze(query, schemas, time_zone=time_zone, now=now)


def known_by_spark(schemas: Mapping[str, Schema], schema: Schema, why: str) -> AnalyzedQuery:
    """A query over tables with these schemas that Spark alone can run, and to which it gives `schema`. `why`
    says what keeps the embedded engine from it."""
    from rayetl.sql import analyzed

    return analyzed.known_by_spark(schemas, schema, why)


def lower(analyzed: AnalyzedQuery, frames: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The query as one LazyFrame over `frames` (by table name, columns as in the schemas). Nothing is
    read. Raises `SqlError` when two output columns have the same name."""
    from rayetl.sql.analyzed import unique_names
    from rayetl.sql.lower.relations import lower_relation

    return lower_relation(analyzed, frames, unique_names(analyzed))
