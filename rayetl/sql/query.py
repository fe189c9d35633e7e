"""`rayetl.query`: one Spark SQL query over tables in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal, TypeAlias

import polars as pl
import pyarrow as pa

from rayetl.errors import Problem, SqlError, Terminal
from rayetl.sql import interop
from rayetl.sql.analyzed import analyze
from rayetl.sql.literals import known_time_zone
from rayetl.sql.lower.relations import lower_relation
from rayetl.sql.types import Schema

Table: TypeAlias = "pa.Table | pl.DataFrame | pl.LazyFrame"


def query(
    sql: str, tables: Mapping[str, Table], *, engine: Literal["polars"] = "polars", time_zone: str = "UTC"
) -> pa.Table:
    """Run a Spark SQL query and return its rows as an Arrow table, named and typed as Spark 3.5 would.

    `tables` are the names that the query may read. `time_zone` is the session time zone (an IANA name).
    Raises `SqlError` when the query makes no sense, `UnsupportedSqlError` when only Spark can run it, and
    `Terminal` when a value makes it fail while it runs; `TypeError` for what is no text or no table.
    """
    if not isinstance(sql, str):
        raise TypeError(f"sql is a text, not {type(sql).__name__}")
    if engine != "polars":
        raise SqlError(
            [Problem("sql.engine", f"there is no engine {engine} here", hint="use engine='polars'")]
        )
    try:
        known_time_zone(time_zone)
    except ValueError as error:
        raise SqlError([Problem("sql.time_zone", str(error))]) from None
    schemas, frames = {}, {}
    for name, table in tables.items():
        if not isinstance(table, pa.Table | pl.DataFrame | pl.LazyFrame):
            raise TypeError(f"the table {name!r} is neither of Arrow nor of Polars: {type(table).__name__}")
        schemas[name], frames[name] = _frame(table)
    analyzed = analyze(sql, schemas, time_zone=time_zone, now=time.time_ns() // 1000)
    ids = [f"column_{index}" for index in range(len(analyzed.schema))]
    frame = lower_relation(analyzed, frames, ids)
    try:
        result = frame.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Terminal(f"the query failed while it ran: {str(error).splitlines()[0]}") from error
    wanted = interop.to_castable_arrow(analyzed.schema)
    arrow = result.to_arrow(compat_level=pl.CompatLevel.oldest())
    columns = [arrow.column(i).cast(field.type) for i, field in zip(ids, wanted, strict=True)]
    return pa.Table.from_arrays(columns, schema=wanted)


def _frame(table: Table) -> tuple[Schema, pl.LazyFrame]:
    if isinstance(table, pa.Table):
        schema = interop.from_arrow(table.schema)
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        lazy = frame.lazy()
    else:
        lazy = table.lazy()
        schema = interop.from_polars(lazy.collect_schema())
    physical = interop.to_polars(schema)
    present = lazy.collect_schema()
    casts = [pl.col(name).cast(dtype) for name, dtype in physical.items() if present[name] != dtype]
    return schema, lazy.with_columns(casts) if casts else lazy
