"""The rows of a load into its staging directory: by Spark's own writer for Parquet, else by ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rayetl.connectors.base import FilesTarget
from rayetl.connectors.commit.layout import data_files
from rayetl.connectors.files_load import WriteOptions
from rayetl.connectors.formats.writing import sink_files
from rayetl.engines.spark.exchange import hand_back, named, target_location
from rayetl.sql.types import TIMESTAMP, TIMESTAMP_NTZ

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_CODECS = {
    "zstd": "zstd",
    "snappy": "snappy",
    "gzip": "gzip",
    "lz4": "lz4_raw",
    "uncompressed": "uncompressed",
}
"""Codecs of Parquet that Spark has too, by our names."""


def stage(frame: DataFrame, target: FilesTarget, work: Path) -> int:
    """Write the columns of `target.schema` and return how many rows the files hold."""
    if _is_sparks(target):
        return _by_spark(frame, target)
    rows = hand_back(frame.select(*named(target.schema.names)), target.schema, work)
    counted, _ = pl.collect_all([rows.select(pl.len()), sink_files(rows, target)])
    return int(counted.item())


def _is_sparks(target: FilesTarget) -> bool:
    """Whether Spark's writer makes files of the very same kind. It knows no size of files, no columns that
    are derived here and no field ids, and spells the times in names of directories in the session's time
    zone."""
    times = (TIMESTAMP, TIMESTAMP_NTZ)
    by_time = any(field.name in target.partition_by and field.type in times for field in target.schema)
    own = bool(target.derived) or target.columns is not None or target.max_bytes is not None or by_time
    return target.format == "parquet" and not own and codec(target) is not None


def codec(target: FilesTarget) -> str | None:
    """Spark's name of a target's codec; `None` for one that it does not have."""
    assert isinstance(target.options, WriteOptions)
    return _CODECS.get(target.options.compression or "zstd")


def _by_spark(frame: DataFrame, target: FilesTarget) -> int:
    chosen = frame.select(*named(target.schema.names))
    writer = chosen.write.mode("append").option("compression", str(codec(target)))
    if target.partition_by:
        writer = writer.partitionBy(*target.partition_by)
    writer.parquet(target_location(target.directory))
    root = Path(target.directory)
    counts = [pl.scan_parquet(root / file, glob=False).select(pl.len()) for file in data_files(root)]
    return sum(int(count.item()) for count in pl.collect_all(counts))
