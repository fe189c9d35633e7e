"""Parquet: Polars' own scan where it reads as Spark does, Arrow batches converted where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats.arrow import conform
from rayetl.errors import SourceError, SqlError
from rayetl.names import ROW, ROW_BITS
from rayetl.sql.interop import from_arrow, polars_type, to_polars
from rayetl.sql.types import DataType, Schema

BATCH = 65_536


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """Turns what readers raise over a damaged file into one sentence naming it."""
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"the file {path} is not there any more") from error
    except SqlError as error:
        raise SourceError(f"the file {path} cannot be read: {error.problems[0].message}") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise SourceError(f"the file {path} is not a readable Parquet file: {_first_line(error)}") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise SourceError(f"the file {path} is not a readable Parquet file: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["unknown fault"])[0].rstrip(".")[:200]


def file_schema(file: InputFile) -> Schema:
    """The columns of one file, from its footer. Raises SourceError."""
    with guarded(file.path):
        return from_arrow(_arrow_schema(file.path))


def _arrow_schema(path: str) -> pa.Schema:
    return _open(path).schema_arrow


def _open(path: str) -> Any:
    return pq.ParquetFile(path, thrift_string_size_limit=1 << 28, thrift_container_size_limit=1 << 24)


def row_count(file: InputFile) -> int:
    """Rows of one file by its footer. Raises SourceError."""
    with guarded(file.path):
        return int(_open(file.path).metadata.num_rows)


def scan_native(scan: FilesScan, *, position: bool) -> pl.LazyFrame | None:
    """Polars' scan with its pushdowns, if every file has exactly the types of the schema."""
    if not scan.files or any(file.partition for file in scan.files):
        return None
    wanted = to_polars(scan.schema)
    for file in scan.files:
        with guarded(file.path):
            if not _fits(_arrow_schema(file.path), scan.schema):
                return None
    frames = []
    for index, group in enumerate([[file.path] for file in scan.files] if position else [_paths(scan)]):
        frame = pl.scan_parquet(
            group,
            glob=False,
            hive_partitioning=False,
            extra_columns="ignore",
            row_index_name=ROW if position else None,
        )
        if position:
            frame = frame.with_columns((pl.col(ROW).cast(pl.Int64) + (index << ROW_BITS)).alias(ROW))
        frames.append(frame.select([*wanted, ROW] if position else list(wanted)))
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _paths(scan: FilesScan) -> list[str]:
    return [file.path for file in scan.files]


def _fits(found: pa.Schema, schema: Schema) -> bool:
    """Whether Polars gives the columns of `schema` from this file without any conversion."""
    for column in schema:
        places = found.get_all_field_indices(column.name)
        if len(places) != 1 or not _same(found.field(places[0]).type, column.type):
            return False
    return True


def _same(arrow: Any, kind: DataType) -> bool:
    exact = polars_type(kind)
    if pa.types.is_nested(arrow) or pa.types.is_dictionary(arrow):
        return False
    empty = pl.Series(pa.array([], type=arrow))
    return bool(empty.dtype == exact)


def batches(file: InputFile, schema: Schema, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of one file, column by column converted to `schema`; missing columns are NULL."""
    del names
    with guarded(file.path):
        opened = _open(file.path)
        found = {name.lower(): name for name in reversed(opened.schema_arrow.names)}
        columns = [found[column.name.lower()] for column in schema if column.name.lower() in found]
        if not columns:
            yield from _empty(schema, opened.metadata.num_rows)
            return
        for batch in opened.iter_batches(batch_size=BATCH, columns=columns, use_threads=True):
            yield conform(pa.Table.from_batches([batch]), schema)


def _empty(schema: Schema, height: int) -> Iterator[pl.DataFrame]:
    none = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in to_polars(schema).items()]
    for start in range(0, height, BATCH):
        size = min(BATCH, height - start)
        yield pl.select(pl.int_range(size).alias("\0")).with_columns(none).drop("\0")
