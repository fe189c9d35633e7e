"""Parquet: Polars' own scan where it reads as Spark does, Arrow batches converted where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import polars as pl

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats.arrow import conform
from rayetl.connectors.formats.calendars import Calendar, rebased
from rayetl.connectors.formats.parquet_footers import (
    file_schema,
    footer,
    guarded,
    int96_columns,
    open_parquet,
    row_count,
    writer_calendar,
)
from rayetl.connectors.formats.values import partition_value
from rayetl.errors import SourceError
from rayetl.lazy import lazily
from rayetl.names import ROW, ROW_BITS
from rayetl.sql.interop import polars_type, to_polars
from rayetl.sql.types import (
    DATE,
    TIMESTAMP,
    DataType,
    Schema,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = lazily("pyarrow")
    pq = lazily("pyarrow.parquet")

BATCH = 65_536
_FIRST_DAY = -2_440_588 * 86_400_000_000
_NOT_INT96 = "write the file again with spark.sql.parquet.outputTimestampType set to TIMESTAMP_MICROS"
_MOST_SCANS = 1_000
_NOT_IN_POLARS = ("DELTA_BYTE_ARRAY", "BYTE_STREAM_SPLIT")
"""Encodings that Polars does not know in columns of a fixed length of bytes, as decimals are."""
_SURE_WRITERS = ("parquet-cpp-arrow", "Polars", "DuckDB")


def scan_native(scan: FilesScan, *, position: bool) -> pl.LazyFrame | None:
    """Polars' scan with its pushdowns, if every file has exactly the types of the schema."""
    groups = _groups(scan, position)
    if not scan.files or len(groups) > _MOST_SCANS or not has_types_of(scan):
        return None
    if any(file.store is not None for file in scan.files):
        # Only our own reads ask a store for the very version of a file that was listed.
        return None
    if not all(_is_for_polars(file) for file in scan.files):
        return None
    frames = [_native(scan, files, start, position) for start, files in groups]
    return frames[0] if len(frames) == 1 else pl.concat(frames)


@lru_cache(maxsize=1024)
def _is_for_polars(file: InputFile) -> bool:
    """Whether Polars takes a file: it is stricter about footers than Spark and Arrow, and knows fewer
    encodings than Arrow."""
    try:
        pl.read_parquet_schema(file.path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    end = footer(file)
    return end.counted and not any(
        kind == "FIXED_LEN_BYTE_ARRAY" and encoding in _NOT_IN_POLARS for kind, _, encoding in end.stored
    )


def has_types_of(scan: FilesScan) -> bool:
    """Whether every file has exactly the types of the schema, so that any reader gives the same rows.
    Raises SourceError for a damaged footer."""
    return all(has_types(file, scan.inside(file)) for file in scan.files)


def _groups(scan: FilesScan, position: bool) -> list[tuple[int, list[InputFile]]]:
    """Files that one scan can take: all of a partition, or one where rows have to be numbered or not all of
    them are read."""
    groups: list[tuple[int, list[InputFile]]] = []
    for index, file in enumerate(scan.files, scan.first_file):
        last = groups[-1][1][-1] if groups and not position else None
        if last and last.partition == file.partition and last.count is None and file.count is None:
            groups[-1][1].append(file)
        else:
            groups.append((index, [file]))
    return groups


def _native(scan: FilesScan, files: Sequence[InputFile], start: int, position: bool) -> pl.LazyFrame:
    inside = scan.inside(files[0])
    frame = pl.scan_parquet(
        [file.path for file in files],
        glob=False,
        hive_partitioning=False,
        extra_columns="ignore",
        row_index_name=ROW if position else None,
    )
    if files[0].count is not None:
        frame = frame.slice(files[0].first, files[0].count)
    columns = [*inside.names, ROW] if position else list(inside.names)
    frame = frame.select(columns)
    if position:
        frame = frame.with_columns((pl.col(ROW).cast(pl.Int64) + (start << ROW_BITS)).alias(ROW))
    values = partition_columns(scan, files[0])
    if values:
        names = [*scan.schema.names, ROW] if position else list(scan.schema.names)
        frame = frame.with_columns(values).select(names)
    return frame


def partition_columns(scan: FilesScan, file: InputFile) -> list[pl.Expr]:
    """The partition columns of a file as literals."""
    found = ((scan.schema.get(name), text) for name, text in file.partition)
    return [partition_value(text, column.type).alias(column.name) for column, text in found if column]


@lru_cache(maxsize=1024)
def has_types(file: InputFile, schema: Schema) -> bool:
    """Whether Polars gives the columns of `schema` from this file without any conversion; without columns it
    would give no rows."""
    if not len(schema):
        return False
    end = footer(file)
    sure = end.writer.startswith(_SURE_WRITERS) or end.calendar is Calendar.PROLEPTIC
    for column in schema:
        places = end.arrow.get_all_field_indices(column.name)
        if len(places) != 1 or end.schema.fields[places[0]].type != column.type:
            return False
        kind = end.arrow.field(places[0]).type
        if not sure and (pa.types.is_nested(kind) or column.type in (DATE, TIMESTAMP)):
            return False
        if not all(_same(told.field(column.name).type, column.type) for told in (end.arrow, end.told)):
            return False
    return True


def _same(arrow: Any, kind: DataType) -> bool:
    if pa.types.is_dictionary(arrow) or "decimal256" in str(arrow):
        return False
    return bool(_dtype(arrow) == polars_type(kind))


@lru_cache(maxsize=1024)
def _dtype(arrow: Any) -> pl.DataType:
    """What Polars makes of a type of Arrow; asked for each column of each file."""
    return pl.Series(pa.nulls(0, arrow)).dtype


def batches(file: InputFile, schema: Schema, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of one file, converted to `schema`; columns that it does not have, and those that `names`
    leaves out, are NULL."""
    wanted = {name.lower() for name in names}
    with guarded(file.path):
        opened = open_parquet(file)
        found = {name.lower(): name for name in reversed(opened.schema_arrow.names)}
        asked = Schema(tuple(column for column in schema if column.name.lower() in wanted & found.keys()))
        if not len(asked):
            yield from _empty(schema, row_count(file))
            return
        calendar = writer_calendar(opened)
        zone = (opened.metadata.metadata or {}).get(b"org.apache.spark.timeZone", b"UTC").decode()
        others = [
            pl.lit(None, dtype=polars_type(c.type)).alias(c.name) for c in schema if c not in asked.fields
        ]
        columns = [found[column.name.lower()] for column in asked]
        groups = _wanted_groups(opened.metadata, file)
        stored = int96_columns(opened)
        wrapping = [column.name for column in asked if found[column.name.lower()] in stored]
        for batch in _batches(opened, file, groups, columns):
            frame = conform(pa.Table.from_batches([batch]), asked)
            _refuse_wrapped(frame, wrapping, file.path)
            yield rebased(frame, asked, calendar, file.path, zone).with_columns(others).select(schema.names)


def _refuse_wrapped(frame: pl.DataFrame, names: Sequence[str], path: str) -> None:
    """INT96 has a count of days from 4713 BC on. Of one that Spark let run over, in the year 285428, Arrow
    makes some other time."""
    for name in names:
        oldest = frame[name].to_physical().min()
        if isinstance(oldest, int) and oldest < _FIRST_DAY:
            raise SourceError(
                f"the file {path} has times in the column {name} that INT96 cannot hold", hint=_NOT_INT96
            )


def _batches(opened: Any, file: InputFile, groups: list[int], columns: Sequence[str]) -> Iterator[Any]:
    """Batches of the columns, of which no more than those of a row group are in memory. From a store they
    come in few large requests, a row group at a time."""
    kinds = [field.type for field in opened.schema_arrow if field.name in columns]
    alone = file.store is not None or any(map(_holds_dictionary, kinds))
    for asked in [[group] for group in groups] if alone else [groups]:
        yield from opened.iter_batches(BATCH, asked, columns=columns, use_threads=True)


def _holds_dictionary(kind: Any) -> bool:
    """Whether there is a dictionary inside of lists, maps or structs, of which Arrow makes no batch over the
    end of a row group."""
    return bool(pa.types.is_nested(kind)) and "dictionary<" in str(kind)


def _wanted_groups(metadata: Any, file: InputFile) -> list[int]:
    """The row groups that hold the rows to be read."""
    if file.count is None:
        return list(range(metadata.num_row_groups))
    rows = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
    starts = list(accumulate(rows, initial=0))[:-1]
    end = file.first + file.count
    return [place for place, start in enumerate(starts) if file.first <= start < end]


def _empty(schema: Schema, height: int) -> Iterator[pl.DataFrame]:
    none = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in to_polars(schema).items()]
    for start in range(0, height, BATCH):
        size = min(BATCH, height - start)
        yield pl.select(pl.int_range(size).alias("\0")).with_columns(none).drop("\0")


def check_pages(file: InputFile) -> None:
    """Read a file to its end, both ways. Raises SourceError naming it if it is damaged."""
    with guarded(file.path):
        schema = file_schema(file)
        for _ in batches(file, schema, schema.names):
            pass
        if file.store is None and _is_for_polars(file):
            for _ in pl.scan_parquet([file.path], glob=False, hive_partitioning=False).collect_batches():
                pass
