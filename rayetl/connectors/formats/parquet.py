"""Parquet: Polars' own scan where it reads as Spark does, Arrow batches converted where it does not."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import polars as pl

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats.arrow import WIDER, MisfitError, conform
from rayetl.connectors.formats.calendars import Calendar, calendar_of, rebased
from rayetl.connectors.formats.values import partition_value
from rayetl.errors import SourceError, SqlError
from rayetl.lazy import lazily
from rayetl.names import ROW, ROW_BITS
from rayetl.records import dataclass
from rayetl.sql.interop import from_arrow, polars_type, to_polars
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    NULL,
    STRING,
    TIMESTAMP,
    ArrayType,
    DataType,
    Field,
    MapType,
    Schema,
    StructType,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = lazily("pyarrow")
    pq = lazily("pyarrow.parquet")

BATCH = 65_536
_MOST_SCANS = 1_000
_SIGNATURE = 28
_TEXTS = ("ENUM", "JSON")
_STORED: dict[str, DataType] = {
    "BOOLEAN": BOOLEAN,
    "INT32": INT,
    "INT64": LONG,
    "FLOAT": FLOAT,
    "DOUBLE": DOUBLE,
}
_SURE_WRITERS = ("parquet-cpp-arrow", "Polars", "DuckDB")


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
    except MisfitError as error:
        raise SourceError(f"the file {path} does not fit: {error}", hint=WIDER) from error
    except (
        pa.ArrowException,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
        ValueError,
        OverflowError,
        TypeError,
        MemoryError,
        RecursionError,
    ) as error:
        raise SourceError(f"the file {path} is not a readable Parquet file: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["unknown fault"])[0].rstrip(".")[:200]


def _open(file: InputFile) -> Any:
    return pq.ParquetFile(
        file.path if file.store is None else file.open(),
        # What is fetched ahead is that of all row groups that are asked for, and is held until it is read.
        pre_buffer=file.store is not None,
        coerce_int96_timestamp_unit="us",
        thrift_string_size_limit=1 << 28,
        thrift_container_size_limit=1 << 24,
    )


@dataclass(frozen=True, slots=True)
class _Footer:
    """What is asked of a footer more than once; the footer itself grows with the row groups."""

    rows: int
    writer: str
    calendar: Calendar
    arrow: Any
    told: Any
    schema: Schema


@lru_cache(maxsize=1024)
def _footer(file: InputFile) -> _Footer:
    with guarded(file.path):
        opened = _open(file)
        metadata = opened.metadata
        calendar = _calendar(opened)
        arrow = opened.schema_arrow
        groups = sum(metadata.row_group(place).num_rows for place in range(metadata.num_row_groups))
        if groups != metadata.num_rows:
            # One reader goes by the one number, another by the other.
            raise SourceError(
                f"the file {file.path} is damaged: its footer counts {metadata.num_rows} rows in all, but "
                f"{groups} in its row groups"
            )
        if _is_signed(file, metadata):
            # Asking Arrow for what its columns are like would end the process.
            raise SourceError(f"the file {file.path} has encrypted columns, which cannot be read")
        if fault := _fault(metadata, file.size):
            # Decoders ask for as much memory as what lies there says, and one of them ends the process then.
            raise SourceError(f"the file {file.path} is cut off or damaged: {fault}")
        told = _told(metadata, arrow)
        return _Footer(
            metadata.num_rows, str(metadata.created_by), calendar, arrow, told, _spark_schema(opened)
        )


def _told(metadata: Any, arrow: Any) -> Any:
    """The types that the columns had in Arrow: Polars goes by them even where those of Parquet are others."""
    text = (metadata.metadata or {}).get(b"ARROW:schema")
    found = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) if text else arrow
    return found if found.names == arrow.names else arrow


def _is_signed(file: InputFile, metadata: Any) -> bool:
    """Whether a signature follows on a footer, as where columns are encrypted and the footer is not."""
    with file.open() as stream:
        stream.seek(-8, os.SEEK_END)
        length = int.from_bytes(stream.read(4), "little")
    return length - int(metadata.serialized_size) == _SIGNATURE


def _fault(metadata: Any, size: int) -> str | None:
    leaves = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    for place in range(metadata.num_row_groups):
        group = metadata.row_group(place)
        for number, leaf in enumerate(leaves):
            chunk = group.column(number)
            first = chunk.dictionary_page_offset or chunk.data_page_offset
            if not 0 <= first <= first + chunk.total_compressed_size <= size:
                return "a column reaches beyond its end"
            if not leaf.max_repetition_level and chunk.num_values != group.num_rows:
                return f"its footer counts {chunk.num_values} values of {leaf.path} in {group.num_rows} rows"
    return None


def file_schema(file: InputFile) -> Schema:
    """The columns of one file, from its footer. Raises SourceError."""
    return _footer(file).schema


def _spark_schema(opened: Any) -> Schema:
    """Spark's view of a footer: INT96 is an instant, enums and JSON are text, and a column that says it
    has no type has the one it is stored with."""
    leaves = iter([opened.schema.column(place) for place in range(len(opened.schema))])
    found = from_arrow(opened.schema_arrow)
    return Schema(tuple(Field(field.name, _by_leaves(field.type, leaves)) for field in found))


def _by_leaves(kind: DataType, leaves: Iterator[Any]) -> DataType:
    match kind:
        case StructType(fields):
            return StructType(tuple(Field(field.name, _by_leaves(field.type, leaves)) for field in fields))
        case ArrayType(element):
            return ArrayType(_by_leaves(element, leaves))
        case MapType(key, value):
            if key == NULL:
                raise ValueError("it has a map whose keys have no type")
            return MapType(_by_leaves(key, leaves), _by_leaves(value, leaves))
    leaf = next(leaves)
    if leaf.physical_type == "INT96":
        return TIMESTAMP
    if kind == NULL:
        return _STORED.get(leaf.physical_type, BINARY)
    return STRING if leaf.logical_type.type in _TEXTS or leaf.converted_type in _TEXTS else kind


def row_count(file: InputFile) -> int:
    """Rows of one file by its footer. Raises SourceError."""
    return _footer(file).rows if file.count is None else file.count


def row_groups(file: InputFile) -> list[tuple[int, int]]:
    """Rows and bytes of the row groups of one file, in order. Raises SourceError."""
    with guarded(file.path):
        metadata = _open(file).metadata
    groups = (metadata.row_group(place) for place in range(metadata.num_row_groups))
    return [(group.num_rows, group.total_byte_size) for group in groups]


@lru_cache(maxsize=1024)
def never_null(file: InputFile) -> frozenset[str]:
    """The columns of one file of which its footer says that no value is NULL. Raises SourceError."""
    _footer(file)
    with guarded(file.path):
        metadata = _open(file).metadata
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    paths = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    return frozenset(
        path
        for place, path in enumerate(paths)
        # The path of a member is spelled like a column with a dot in its name.
        if "." not in path
        and paths.count(path) == 1
        and not metadata.schema.column(place).max_repetition_level
        and all(_nulls(group.column(place).statistics) == 0 for group in groups)
    )


def _nulls(statistics: Any) -> int | None:
    return statistics.null_count if statistics is not None and statistics.has_null_count else None


def scan_native(scan: FilesScan, *, position: bool) -> pl.LazyFrame | None:
    """Polars' scan with its pushdowns, if every file has exactly the types of the schema."""
    groups = _groups(scan, position)
    if not scan.files or len(groups) > _MOST_SCANS or not has_types_of(scan):
        return None
    if any(file.store is not None for file in scan.files):
        # Only our own reads ask a store for the very version of a file that was listed.
        return None
    frames = [_native(scan, files, start, position) for start, files in groups]
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def has_types_of(scan: FilesScan) -> bool:
    """Whether every file has exactly the types of the schema, so that any reader gives the same rows.
    Raises SourceError for a damaged footer."""
    return all(_fits(_footer(file), scan.inside(file)) for file in scan.files)


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


def _fits(footer: _Footer, schema: Schema) -> bool:
    """Whether Polars gives the columns of `schema` from this file without any conversion; without columns it
    would give no rows."""
    if not len(schema):
        return False
    sure = footer.writer.startswith(_SURE_WRITERS) or footer.calendar is Calendar.PROLEPTIC
    for column in schema:
        places = footer.arrow.get_all_field_indices(column.name)
        if len(places) != 1 or footer.schema.fields[places[0]].type != column.type:
            return False
        kind = footer.arrow.field(places[0]).type
        if not sure and (pa.types.is_nested(kind) or column.type in (DATE, TIMESTAMP)):
            return False
        if not all(_same(told.field(column.name).type, column.type) for told in (footer.arrow, footer.told)):
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


def _calendar(opened: Any) -> Calendar:
    metadata = opened.metadata
    return calendar_of(metadata.metadata or {}, str(metadata.created_by), int96=_has_int96(opened))


def _has_int96(opened: Any) -> bool:
    columns = (opened.schema.column(place) for place in range(len(opened.schema)))
    return any(column.physical_type == "INT96" for column in columns)


def batches(file: InputFile, schema: Schema, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of one file, converted to `schema`; columns that it does not have, and those that `names`
    leaves out, are NULL."""
    wanted = {name.lower() for name in names}
    with guarded(file.path):
        opened = _open(file)
        found = {name.lower(): name for name in reversed(opened.schema_arrow.names)}
        asked = Schema(tuple(column for column in schema if column.name.lower() in wanted & found.keys()))
        if not len(asked):
            yield from _empty(schema, opened.metadata.num_rows if file.count is None else file.count)
            return
        calendar = _calendar(opened)
        zone = (opened.metadata.metadata or {}).get(b"org.apache.spark.timeZone", b"UTC").decode()
        others = [
            pl.lit(None, dtype=polars_type(c.type)).alias(c.name) for c in schema if c not in asked.fields
        ]
        columns = [found[column.name.lower()] for column in asked]
        groups = _wanted_groups(opened.metadata, file)
        for batch in _batches(opened, file, groups, columns):
            frame = conform(pa.Table.from_batches([batch]), asked)
            yield rebased(frame, asked, calendar, file.path, zone).with_columns(others).select(schema.names)


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
        for _ in _open(file).iter_batches(batch_size=BATCH):
            pass
        if file.store is None:
            for _ in pl.scan_parquet([file.path], glob=False, hive_partitioning=False).collect_batches():
                pass
