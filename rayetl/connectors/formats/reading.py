"""Scans to lazy frames: one way in for the engine, whatever the format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import polars as pl
from polars.io.plugins import register_io_source

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats import avro, parquet, parquet_footers
from rayetl.connectors.formats.ahead import ahead, spread
from rayetl.connectors.formats.csv import CsvReader
from rayetl.connectors.formats.json import JsonReader
from rayetl.connectors.formats.options import CsvOptions, JsonOptions
from rayetl.connectors.formats.streams import reading
from rayetl.errors import SourceError
from rayetl.names import BAD, ROW, ROW_BITS
from rayetl.sql.interop import to_polars

TextReader = CsvReader | JsonReader
MORSEL = 32_768
"""Rows handed on at a time: sinks work on several such parts at once, on one large part they do not."""

READERS = min(4, os.cpu_count() or 1)
"""Threads that make frames of chunks of text."""

Batches = Iterator[tuple[pl.DataFrame, pl.Series | None]]


def scan_files(scan: FilesScan, *, position: bool = False, malformed: bool = False) -> pl.LazyFrame:
    """See `rayetl.connectors.formats.scan_files`."""
    if scan.format == "parquet":
        found = parquet.scan_native(scan, position=position)
        if found is not None:
            return _without_reasons(found, malformed)
    schema = to_polars(scan.schema)
    if position:
        schema[ROW] = pl.Int64()
    if malformed:
        schema[BAD] = pl.String()

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        del size
        names = list(schema) if columns is None else columns
        needed = names if predicate is None else [*names, *predicate.meta.root_names()]
        for frame in _frames(scan, needed, position, malformed):
            found = frame if predicate is None else frame.filter(predicate)
            found = found.select(names)
            if rows is not None:
                found = found.head(rows)
                rows -= found.height
            yield from found.iter_slices(MORSEL)
            if rows == 0:
                return

    return register_io_source(batches, schema=schema, is_pure=True)


def _without_reasons(frame: pl.LazyFrame, malformed: bool) -> pl.LazyFrame:
    return frame.with_columns(pl.lit(None, dtype=pl.String).alias(BAD)) if malformed else frame


def _frames(scan: FilesScan, names: Sequence[str], position: bool, malformed: bool) -> Iterator[pl.DataFrame]:
    """Frames of all columns, of which those not in `names` may hold nothing. Without `position`, a column
    called `ROW` is one of the files: rows that Spark gives back hold positions of their own."""
    for index, file in enumerate(scan.files, scan.first_file):
        start = file.first
        for frame, bad in _file_batches(scan, file, names):
            height = frame.height
            made = frame.with_columns(parquet.partition_columns(scan, file))
            if position:
                row = pl.int_range(height, dtype=pl.Int64) + ((index << ROW_BITS) + start)
                made = made.with_columns(row.alias(ROW))
            start += height
            yield _judged(scan, file, made, bad, malformed, start - height)


def _judged(
    scan: FilesScan, file: InputFile, made: pl.DataFrame, bad: pl.Series | None, malformed: bool, start: int
) -> pl.DataFrame:
    if bad is None or bad.null_count() == len(bad):
        return made.with_columns(pl.lit(None, dtype=pl.String).alias(BAD)) if malformed else made
    if scan.mode == "fail":
        at = int(bad.is_not_null().arg_true()[0])
        raise SourceError(
            f"{file.path}, record {start + at + 1}: {bad[at]}",
            hint="`mode: permissive` sends such records to the rejects, `drop` leaves them out",
        )
    if malformed:
        return made.with_columns(bad.alias(BAD))
    return made.filter(bad.is_null()) if scan.mode == "drop" else made


def text_reader(scan: FilesScan, file: InputFile) -> TextReader:
    """The reader of a file of a CSV or JSON scan."""
    if isinstance(scan.options, CsvOptions):
        return CsvReader(scan.inside(file), scan.options)
    assert isinstance(scan.options, JsonOptions)
    return JsonReader(scan.inside(file), scan.options)


def _file_batches(scan: FilesScan, file: InputFile, names: Sequence[str]) -> Batches:
    if scan.format == "parquet":
        yield from ((frame, None) for frame in parquet.batches(file, scan.inside(file), names))
    elif scan.format == "avro":
        yield from ((frame, None) for frame in avro.batches(file, scan.inside(file)))
    else:
        reader = text_reader(scan, file)
        renamed = {str(place): name for place, name in enumerate(scan.inside(file).names)}
        with reading(file.path):
            for frame, bad in spread(reader.frame, ahead(reader.chunks(file), 1), READERS):
                yield (frame.rename(renamed) if isinstance(reader, CsvReader) else frame), bad


def find_damage(scan: FilesScan) -> SourceError | None:
    """See `rayetl.connectors.formats.find_damage`."""
    for file in scan.files if scan.format == "parquet" else ():
        try:
            parquet.check_pages(file)
        except SourceError as error:
            return error
    return None


def count_rows(scan: FilesScan) -> int | None:
    """See `rayetl.connectors.formats.count_rows`."""
    if scan.format != "parquet":
        return None
    return sum(parquet_footers.row_count(file) for file in scan.files)


def row_groups(file: InputFile) -> list[tuple[int, int]]:
    """See `rayetl.connectors.formats.row_groups`."""
    return parquet_footers.row_groups(file)


def never_null(scan: FilesScan) -> frozenset[str]:
    """See `rayetl.connectors.formats.never_null`."""
    if scan.format != "parquet" or not scan.files:
        return frozenset()
    every = frozenset.intersection(*map(parquet_footers.never_null, scan.files))
    return every & frozenset(scan.schema.names)
