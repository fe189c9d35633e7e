"""Parquet files that Spark reads itself, on its executors, with the positions of the rows where asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from rayetl.connectors.base import FilesScan, InputFile, Scan
from rayetl.connectors.formats.parquet import has_types
from rayetl.connectors.formats.parquet_footers import footer
from rayetl.connectors.listing import partition_of
from rayetl.engines.spark.exchange import columns_ddl, location, named
from rayetl.names import ROW, ROW_BITS
from rayetl.quality.compile import text
from rayetl.sql.coerce import is_day_time, is_year_month
from rayetl.sql.types import NULL

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_METADATA = "_metadata"
_CODECS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4"}
MOST_FILES = 10_000
"""Beyond this many, naming the files one by one costs Spark more than reading them here."""


def reads_alike(scan: Scan) -> TypeGuard[FilesScan]:
    """Whether Spark's own reader gives exactly the rows that ours gives. Raises `SourceError` for a damaged
    footer."""
    if not isinstance(scan, FilesScan) or scan.format != "parquet" or not 0 < len(scan.files) <= MOST_FILES:
        return False
    if any(file.store is not None for file in scan.files):
        # Spark knows no credential of ours: it is handed what this process reads.
        return False
    names = [name.lower() for name in scan.schema.names]
    if _METADATA in names or any(map(_is_odd, scan.files)) or len(_roots(scan)) != 1:
        return False
    kinds = [field.type for field in scan.schema]
    if any(kind == NULL or is_day_time(kind) or is_year_month(kind) for kind in kinds):
        return False
    return all(_is_for_spark(file) and has_types(file, scan.inside(file)) for file in scan.files)


def _is_for_spark(file: InputFile) -> bool:
    """Whether Spark has the codecs and encodings of a file, of which it knows fewer than Arrow and Polars."""
    end = footer(file)
    return end.codecs <= _CODECS and not any(
        encoding == "BYTE_STREAM_SPLIT" or (kind == "BYTE_ARRAY" and meaning == "DECIMAL")
        for kind, meaning, encoding in end.stored
    )


def _roots(scan: FilesScan) -> set[tuple[Path, tuple[str, ...]]]:
    """The directories above the partition directories, with the columns these name."""
    return {
        (_root(file) if file.partition else Path(), tuple(name for name, _ in file.partition))
        for file in scan.files
    }


def _is_odd(file: InputFile) -> bool:
    """Whether the directories of a file do not spell its partition, or do so with escapes, which Spark takes
    for Latin-1 and we for UTF-8, or without a value, which Spark refuses."""
    directories = Path(file.path).parts[-1 - len(file.partition) : -1]
    if any("%" in directory or directory.endswith("=") for directory in directories):
        return True
    return tuple(map(partition_of, directories)) != file.partition


def _root(file: InputFile) -> Path:
    return Path(file.path).absolute().parents[len(file.partition)]


def read(spark: SparkSession, scan: FilesScan, *, position: bool) -> DataFrame:
    """The columns of the schema, and `ROW` with `position`."""
    reader = spark.read.schema(columns_ddl(scan.schema))
    if scan.files[0].partition:
        reader = reader.option("basePath", location(_root(scan.files[0])))
    frame = reader.parquet(*(location(file.path) for file in scan.files))
    if not position:
        return frame.select(*named(scan.schema.names))
    return _numbered(spark, frame, scan)


def _numbered(spark: SparkSession, frame: DataFrame, scan: FilesScan) -> DataFrame:
    from pyspark.sql import functions as f

    index = f.col(f"{_METADATA}.row_index")
    if len(scan.files) == 1:
        return frame.select(*named(scan.schema.names), index.alias(ROW))
    places = spark.sql(f"SELECT * FROM VALUES {', '.join(_places(spark, scan))} AS places(file, start)")
    path = f.regexp_replace(f.col(f"{_METADATA}.file_path"), "^file:/+", "/").alias("file")
    rows = frame.select(*named(scan.schema.names), path, index.alias("index"))
    # A file that is not found again must stop the run: its rows would have no position.
    start = f.coalesce(f.col("places.start"), f.raise_error(f.concat(f.lit("no index for "), "rows.file")))
    found = rows.alias("rows").join(f.broadcast(places.alias("places")), "file", "left")
    return found.select(*named(scan.schema.names), (start + f.col("rows.index")).alias(ROW))


def _places(spark: SparkSession, scan: FilesScan) -> list[str]:
    """Each path as Spark spells it in its metadata, with the position of the file's first row."""
    java = spark._jvm
    assert java is not None
    path_of = java.org.apache.hadoop.fs.Path
    spelled = (path_of(str(Path(file.path).absolute())).toUri().toString() for file in scan.files)
    return [f"({text(path)}, {place << ROW_BITS}L)" for place, path in enumerate(spelled)]
