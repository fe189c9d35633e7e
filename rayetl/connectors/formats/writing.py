"""Sinks that stage the rows of a load, for `polars.collect_all` to run together with others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import polars as pl

from rayetl.connectors.base import FilesTarget
from rayetl.connectors.files_load import WriteOptions
from rayetl.connectors.formats.partitions import Partitions
from rayetl.connectors.formats.text_values import csv_text, finite, json_field
from rayetl.connectors.listing import NULL_PARTITION
from rayetl.connectors.scanning import waiting
from rayetl.records import dataclass
from rayetl.sql.lower.texts import elementwise, format_decimals, format_floats
from rayetl.sql.types import FRACTIONAL, STRING, TIMESTAMP, TIMESTAMP_NTZ, DecimalType, Schema

_ENDINGS = {"gzip": ".gz", "zstd": ".zst"}


_PIECES = {"parquet": 32_768, "csv": 122_880, "json": 122_880, "avro": 0}
"""Rows of a partition that wait for more of them while many files are written: those of a row group, and
those that Polars makes one text of. There is no writer of many Avro files."""

Place = str | pl.PartitionBy


@dataclass(frozen=True, slots=True)
class FilesSink:
    """`rows` is collected, together with others; then `finish` writes what waits for the last row, or, where
    something went wrong, `abandon` ends what is still being written."""

    rows: pl.LazyFrame
    finish: Callable[[], None] = lambda: None
    abandon: Callable[[], None] = lambda: None

    def collect(self, *others: pl.LazyFrame) -> list[pl.DataFrame]:
        """Write all; and what `others` are, which are collected with it."""
        try:
            _, *found = pl.collect_all([self.rows, *others])
            self.finish()
        except BaseException:
            self.abandon()
            raise
        return found


def sink_files(frame: pl.LazyFrame, target: FilesTarget, load: str | None = None) -> FilesSink:
    """A sink that writes the columns of `target.schema` into `target.directory`.

    No row at all still makes one file that holds the schema (none below `partition_by`). Collecting it
    raises `LoadError`, at `load`, for values that the format cannot hold.
    """
    if not isinstance(target.options, WriteOptions):
        raise TypeError("the options of a files target are WriteOptions")
    rows = frame.select(target.schema.names)
    body = Schema(tuple(field for field in target.schema if field.name not in target.partition_by))
    if target.format == "json":
        rows = finite(rows, body, load)
    if target.partition_by or target.derived:
        return _partitioned(_with_partition_names(rows, target), replace(target, schema=body), target.options)
    place = _place(target, _ending(target.format, target.options))
    return FilesSink(_SINKS[target.format](rows, place, target, target.options))


def _partitioned(rows: pl.LazyFrame, target: FilesTarget, options: WriteOptions) -> FilesSink:
    sink, ending, piece = _SINKS[target.format], _ending(target.format, options), _PIECES[target.format]
    keys = {name: _directory_name(name) for name in (*target.partition_by, *dict(target.derived))}

    def into(directory: str, part: pl.LazyFrame) -> pl.LazyFrame:
        inside = replace(target, directory=directory, partition_by=(), derived=())
        return sink(part, _place(inside, f"-late{ending}"), inside, options)

    def named(file: Any) -> str:
        return f"{partitions.place(file.partition_keys.row(0))}/{file.index_in_partition:08d}{ending}"

    def at_once(parts: pl.LazyFrame) -> pl.LazyFrame:
        place = pl.PartitionBy(
            target.directory,
            key=list(keys),
            include_key=False,
            file_path_provider=named,
            approximate_bytes_per_file=target.max_bytes,
        )
        return sink(parts, place, target, options)

    partitions = Partitions(target.directory, keys, into, at_once if piece else None, piece)
    sunk = waiting(rows.sink_batches(partitions.take, lazy=True))
    return FilesSink(sunk, partitions.finish, partitions.abandon)


def _with_partition_names(rows: pl.LazyFrame, target: FilesTarget) -> pl.LazyFrame:
    """Partition columns as Spark spells them in directory names. An empty string counts as NULL, and so does
    the text that NULL's directory is called by: two writers would have one directory, and write one file.
    Zeros, which are equal and have two spellings, are positive."""
    spelled = []
    for name in target.partition_by:
        kind, column = next(field.type for field in target.schema if field.name == name), pl.col(name)
        if kind == STRING:
            spelled.append(pl.when(~column.is_in(["", NULL_PARTITION])).then(column).alias(name))
        elif kind in (TIMESTAMP, TIMESTAMP_NTZ):
            text = column.dt.strftime("%Y-%m-%d %H:%M:%S%.6f").str.replace(r"\.?0+$", "")
            whole = column.dt.strftime("%Y-%m-%d %H:%M:%S")
            spelled.append(pl.when(column.dt.microsecond() == 0).then(whole).otherwise(text).alias(name))
        elif kind in FRACTIONAL:
            one_zero = pl.when(column != 0).then(column).otherwise(column.abs())
            spelled.append(elementwise(one_zero, format_floats, pl.String).alias(name))
        elif isinstance(kind, DecimalType):
            spelled.append(elementwise(column, partial(format_decimals, scale=kind.scale), pl.String))
    return rows.with_columns(spelled, **dict(target.derived))


def _directory_name(column: str) -> str:
    return quote(column, safe=" ") if re.search("[%=/]", column) else column


def _ending(form: str, options: WriteOptions) -> str:
    packed = _ENDINGS.get(options.compression or "", "") if form in ("csv", "json") else ""
    return f".{form}{packed}"


def _place(target: FilesTarget, ending: str) -> Place:
    """The one file below a target's directory, or files of the length that it asks for."""
    if target.max_bytes is None:
        return os.path.join(target.directory, f"00000000{ending}")
    return pl.PartitionBy(
        target.directory,
        file_path_provider=lambda file: f"{file.index_in_partition:08d}{ending}",
        approximate_bytes_per_file=target.max_bytes,
    )


def _parquet(rows: pl.LazyFrame, place: Place, target: FilesTarget, options: WriteOptions) -> pl.LazyFrame:
    compression = options.compression or "zstd"
    if target.columns is not None:
        kinds = pl.DataFrame(target.columns.empty_table()).schema
        rows = rows.cast(kinds)
    sink = rows.sink_parquet(  # type: ignore[call-overload]
        place,
        compression=compression,
        row_group_size=_PIECES["parquet"] if target.partition_by or target.derived else None,
        arrow_schema=target.columns,
        mkdir=True,
        lazy=True,
    )
    return waiting(sink)


def _csv(rows: pl.LazyFrame, place: Place, target: FilesTarget, options: WriteOptions) -> pl.LazyFrame:
    texts = [csv_text(pl.col(field.name), field.type, options).alias(field.name) for field in target.schema]
    # A line with nothing on it is no row for a reader, so the only column of a file quotes its NULLs.
    null = options.quote * 2 if len(texts) == 1 and not options.null_value else options.null_value
    codec = options.compression or "uncompressed"
    names = target.schema.names
    head = [csv_text(pl.lit(name), STRING, options).alias(name) for name in names]
    renamed = dict(zip(names, pl.select(head).row(0), strict=True)) if head else {}
    sink = (
        rows.with_columns(texts)
        .rename({name: spelled for name, spelled in renamed.items() if name != spelled})
        .sink_csv(  # type: ignore[call-overload]
            place,
            compression=codec,
            include_header=options.header,
            separator=options.sep,
            quote_char=options.quote,
            line_terminator=options.line_sep,
            null_value=null,
            quote_style="never",
            mkdir=True,
            lazy=True,
        )
    )
    return waiting(sink)


def _json(rows: pl.LazyFrame, place: Place, target: FilesTarget, options: WriteOptions) -> pl.LazyFrame:
    values = [json_field(pl.col(field.name), field.type).alias(field.name) for field in target.schema]
    codec = options.compression or "uncompressed"
    sink = rows.with_columns(values).sink_ndjson(  # type: ignore[call-overload]
        place,
        compression=codec,
        check_extension=False,
        mkdir=True,
        lazy=True,
    )
    return waiting(sink)


def _avro(rows: pl.LazyFrame, _: Place, target: FilesTarget, options: WriteOptions) -> pl.LazyFrame:
    from rayetl.connectors.formats.avro_writing import AvroStage

    stage = AvroStage.begin(rows, target, options.compression or "snappy")
    return waiting(rows.sink_batches(stage.write, lazy=True))


_SINKS: dict[str, Callable[[pl.LazyFrame, Place, FilesTarget, WriteOptions], pl.LazyFrame]] = {
    "parquet": _parquet,
    "csv": _csv,
    "json": _json,
    "avro": _avro,
}
