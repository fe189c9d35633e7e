"""Rows from the embedded engine to Spark and back, as Parquet files in a directory both can reach."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import polars as pl

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats import scan_files
from rayetl.connectors.formats.options import ParquetOptions
from rayetl.errors import Terminal
from rayetl.quality.compile import ddl, quoted
from rayetl.sql.coerce import is_day_time, is_year_month
from rayetl.sql.interop import polars_type, to_polars
from rayetl.sql.types import INT, LONG, NULL, DataType, Field, Schema

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

T = TypeVar("T")
R = TypeVar("R")

ROW_GROUP = 128 * 1024
"""Rows of a row group of files handed over: Spark reads groups in parallel."""


class Spread(Protocol):
    """Does work on each of several items in processes of a cluster; the results are in their order."""

    def __call__(self, work: Callable[[T], R], items: Sequence[T]) -> Sequence[R]: ...


_GLOB = re.compile(r"([\\{}\[\]*?,])")


def location(path: str | Path) -> str:
    """A path as Spark's readers take it: local, absolute, with no character left that is a pattern."""
    return "file://" + _GLOB.sub(r"\\\1", str(Path(path).absolute()))


def target_location(path: str | Path) -> str:
    """A path as Spark's writers take it, which know no patterns."""
    return "file://" + str(Path(path).absolute())


def columns_ddl(schema: Schema) -> str:
    """A schema as Spark's readers take it."""
    return ", ".join(f"{quoted(field.name)} {ddl(field.type)}" for field in schema)


def named(names: Sequence[str]) -> list[Column]:
    """Columns by their exact names, whatever is in these."""
    from pyspark.sql import functions

    return [functions.col(quoted(name)) for name in names]


def sink_for_spark(rows: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """A lazy sink that writes `rows` where `from_files` finds them."""
    sink = rows.sink_parquet(path, compression="lz4", row_group_size=ROW_GROUP, mkdir=True, lazy=True)
    assert sink is not None
    return sink


def from_files(spark: SparkSession, paths: Sequence[Path], schema: Schema) -> DataFrame:
    """The rows that were handed over in these files."""
    from pyspark.sql.types import StructType

    held = Schema(tuple(field for field in schema if field.type != NULL))
    # Without a column there is no text that Spark would take.
    frame = spark.read.schema(columns_ddl(held) or StructType()).parquet(*map(location, paths))
    return frame if len(held) == len(schema) else frame.selectExpr(*map(_held_or_null, schema))


def _held_or_null(field: Field) -> str:
    return f"NULL AS {quoted(field.name)}" if field.type == NULL else quoted(field.name)


def hand_back(frame: DataFrame, schema: Schema, directory: Path) -> pl.LazyFrame:
    """The rows of a Spark query in the physical types of the embedded engine, in Spark's order.

    They are written into `directory`, which must stay until the frame has been collected.
    """
    return taken_back(set_down(frame, schema, directory), schema)


def set_down(frame: DataFrame, schema: Schema, directory: Path) -> tuple[InputFile, ...]:
    """The files that Spark's tasks have written into `directory`, in the order of the rows."""
    stored = [field for field in schema if field.type != NULL]
    chosen = frame.select(*named([field.name for field in stored]))
    if not stored:
        from pyspark.sql import functions

        chosen = frame.select(functions.lit(True).alias("present"))
    chosen.write.option("compression", "lz4_raw").parquet(target_location(directory))
    return tuple(_input_file(path) for path in written_files(directory))


def taken_back(files: Sequence[InputFile], schema: Schema) -> pl.LazyFrame:
    """The rows of files that were set down."""
    if not files:
        return pl.LazyFrame(schema=to_polars(schema))
    stored = [field for field in schema if field.type != NULL]
    read = Schema(tuple(Field(field.name, _stored(field.type)) for field in stored))
    found = scan_files(
        FilesScan("parquet", tuple(files), read or Schema((Field("present", NULL),)), ParquetOptions())
    )
    return found.select([_restored(field) for field in schema])


def written_files(directory: Path) -> list[Path]:
    """The Parquet files that Spark left in `directory`, in the order of its tasks."""
    return sorted(path for path in directory.glob("part-*") if path.is_file())


def _input_file(path: Path) -> InputFile:
    stat = path.stat()
    return InputFile(str(path), stat.st_size, stat.st_mtime_ns)


def _stored(kind: DataType) -> DataType:
    """The type under which a column is found again in a file: Parquet knows no intervals."""
    if is_day_time(kind):
        return LONG
    return INT if is_year_month(kind) else kind


def _restored(field: Field) -> pl.Expr:
    if field.type == NULL:
        return pl.lit(None, dtype=pl.Null()).alias(field.name)
    column = pl.col(field.name)
    return column.cast(polars_type(field.type)) if _stored(field.type) != field.type else column


def check_types(frame: DataFrame, schema: Schema, step: str) -> None:
    """Raise `Terminal` where Spark gives a query other columns than the plan was checked with."""
    found = [(field.name, field.dataType.simpleString()) for field in frame.schema]
    planned = [(field.name, str(field.type)) for field in schema]
    for (name, kind), (wanted_name, wanted) in zip(found, planned, strict=False):
        if kind != wanted:
            raise Terminal(
                f"Spark makes the column {name} {kind}, the plan {wanted_name} {wanted}",
                hint="nothing was committed; please report this with the config",
                step=step,
            )
    if len(found) != len(planned):
        raise Terminal(f"Spark gives {len(found)} columns, the plan {len(planned)}", step=step)
