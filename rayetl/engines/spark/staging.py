"""The rows of a load into its staging directory: by Spark's own writer for Parquet, else by ours."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rayetl.connectors.base import FilesTarget, InputFile
from rayetl.connectors.commit.layout import data_files
from rayetl.connectors.commit.parts import link_parts
from rayetl.connectors.commit.publish import remove_tree
from rayetl.connectors.files_load import WriteOptions
from rayetl.connectors.formats.writing import sink_files
from rayetl.connectors.listing import NULL_PARTITION
from rayetl.engines.polars.failing import told_at
from rayetl.engines.spark.exchange import Spread, named, set_down, taken_back, target_location
from rayetl.errors import at_step
from rayetl.quality.compile import quoted
from rayetl.records import dataclass
from rayetl.sql.types import FRACTIONAL, STRING, TIMESTAMP, TIMESTAMP_NTZ

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_CODECS = {
    "zstd": "zstd",
    "snappy": "snappy",
    "gzip": "gzip",
    "lz4": "lz4_raw",
    "uncompressed": "uncompressed",
}
"""Codecs of Parquet that Spark has too, by our names."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One `file` of those that Spark has set down for a `load`; `target.directory` is where its own files go
    below. Plain data, for any process that reaches both."""

    load: str
    file: InputFile
    target: FilesTarget


def stage(frame: DataFrame, load: str, target: FilesTarget, work: Path, spread: Spread) -> int:
    """Write the columns of `target.schema` and return how many rows the files hold."""
    if _is_sparks(target):
        return _by_spark(frame, target)
    files = set_down(frame.select(*named(target.schema.names)), target.schema, work)
    if len(files) < 2:
        return _written(load, files, target)
    # In the directory of the attempt, which is cleared with all that is in it, whatever becomes of this one.
    own = Path(target.directory).parent / f"pieces-{secrets.token_hex(4)}"
    own.mkdir()
    apart = replace(target, directory=str(own))
    try:
        parts = spread(write, [Piece(load, file, apart) for file in files])
        link_parts(target.directory, parts)
    finally:
        remove_tree(own)
    return sum(rows for _, rows in parts)


def write(piece: Piece) -> tuple[Path, int]:
    """Where the files of a piece are, and how many rows they hold. A piece may be written again: nobody looks
    at the files of a process that died over it. Raises `LoadError` for values that the format cannot hold."""
    place = Path(piece.target.directory, secrets.token_hex(4))
    place.mkdir()
    return place, _written(piece.load, [piece.file], replace(piece.target, directory=str(place)))


def _written(load: str, files: Sequence[InputFile], target: FilesTarget) -> int:
    rows = taken_back(files, target.schema)
    with at_step(load), told_at(load):
        (counted,) = sink_files(rows, target).collect(rows.select(pl.len()))
    return int(counted.item())


def _is_sparks(target: FilesTarget) -> bool:
    """Whether Spark's writer makes files of the very same kind. It knows no files without columns, no size of
    files, no columns that are derived here and no field ids, and spells the times in names of directories in
    the session's time zone."""
    times = (TIMESTAMP, TIMESTAMP_NTZ)
    by_time = any(field.name in target.partition_by and field.type in times for field in target.schema)
    own = bool(target.derived) or target.columns is not None or target.max_bytes is not None or by_time
    return target.format == "parquet" and bool(target.schema.fields) and not own and codec(target) is not None


def _partition_names(target: FilesTarget) -> dict[str, Column]:
    """Values that would share a directory are one: texts that are called as that of NULL is are NULL, as
    whoever reads them back finds, and zeros are positive."""
    from pyspark.sql import functions as f

    found = {}
    for field in target.schema:
        column = f.col(quoted(field.name))
        if field.name in target.partition_by and field.type == STRING:
            found[field.name] = f.when(column != NULL_PARTITION, column)
        elif field.name in target.partition_by and field.type in FRACTIONAL:
            found[field.name] = f.when(column == 0, f.abs(column)).otherwise(column)
    return found


def codec(target: FilesTarget) -> str | None:
    """Spark's name of a target's codec; `None` for one that it does not have."""
    assert isinstance(target.options, WriteOptions)
    return _CODECS.get(target.options.compression or "zstd")


def _by_spark(frame: DataFrame, target: FilesTarget) -> int:
    chosen = frame.select(*named(target.schema.names)).withColumns(_partition_names(target))
    writer = chosen.write.mode("append").option("compression", str(codec(target)))
    if target.partition_by:
        writer = writer.partitionBy(*target.partition_by)
    writer.parquet(target_location(target.directory))
    root = Path(target.directory)
    counts = [pl.scan_parquet(root / file, glob=False).select(pl.len()) for file in data_files(root)]
    return sum(int(count.item()) for count in pl.collect_all(counts))
