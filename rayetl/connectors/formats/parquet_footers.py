"""Footers of Parquet files: what is in a file, as Spark sees it, and whether its parts lie where it says."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import polars as pl

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.arrow import WIDER, MisfitError
from rayetl.connectors.formats.calendars import Calendar, calendar_of
from rayetl.connectors.formats.streams import DAMAGED
from rayetl.connectors.listing import gone
from rayetl.errors import Problem, SourceError, SqlError, UnsupportedSqlError
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.interop import from_arrow
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
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

_SIGNATURE = 28
_SEALED = b"PARE"
_TEXTS = ("ENUM", "JSON")
_FOREIGN = ("GEOMETRY", "GEOGRAPHY", "UNDEFINED")
_VARIANT = re.compile(r"^ +\w+ group field_id=-?\d+ (.*) \(Variant\(\d+\)\) \{$", re.MULTILINE)
_STORED: dict[str, DataType] = {
    "BOOLEAN": BOOLEAN,
    "INT32": INT,
    "INT64": LONG,
    "FLOAT": FLOAT,
    "DOUBLE": DOUBLE,
}
_OTHER_TYPE = "have the column written with another type, or leave the file out of the `path`"
_ENCRYPTED = "have it written without encryption, or leave it out of the `path`"


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """Turns what readers raise over a damaged file into one sentence naming it."""
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError as error:
        raise gone(path) from error
    except SqlError as error:
        raise SourceError(
            f"the file {path} cannot be read: {error.problems[0].message}", hint=_OTHER_TYPE
        ) from error
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
        raise SourceError(
            f"the file {path} is not a readable Parquet file: {_first_line(error)}", hint=DAMAGED
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["unknown fault"])[0].rstrip(".")[:200]


def open_parquet(file: InputFile) -> Any:
    """A file in Arrow's reader, with INT96 in microseconds."""
    return pq.ParquetFile(
        file.path if file.store is None else file.open(),
        # What is fetched ahead is that of all row groups that are asked for, and is held until it is read.
        pre_buffer=file.store is not None,
        coerce_int96_timestamp_unit="us",
        thrift_string_size_limit=1 << 28,
        thrift_container_size_limit=1 << 24,
    )


@dataclass(frozen=True, slots=True)
class Footer:
    """What is asked of a footer more than once; the footer itself grows with the row groups."""

    rows: int
    """Those of all row groups, as Spark counts them."""
    counted: bool
    """Whether the footer as a whole names the same number, by which Polars goes."""
    writer: str
    calendar: Calendar
    arrow: Any
    told: Any
    schema: Schema
    codecs: frozenset[str]
    stored: frozenset[tuple[str, str, str]]
    """The physical types of columns with their logical ones and the encodings that they come in."""


@lru_cache(maxsize=1024)
def footer(file: InputFile) -> Footer:
    """The footer of a file that can be read. Raises SourceError."""
    with guarded(file.path):
        end = _end(file)
        if end.endswith(_SEALED):
            raise SourceError(f"the file {file.path} is encrypted, which cannot be read", hint=_ENCRYPTED)
        opened = open_parquet(file)
        metadata = opened.metadata
        calendar = writer_calendar(opened)
        arrow = opened.schema_arrow
        if _is_signed(end, metadata):
            # Asking Arrow for what its columns are like would end the process.
            raise SourceError(
                f"the file {file.path} has encrypted columns, which cannot be read", hint=_ENCRYPTED
            )
        try:
            codecs, stored = _ways(metadata, file.size)
        except _DamageError as fault:
            # Decoders ask for as much memory as what lies there says, and one of them ends the process then.
            raise SourceError(f"the file {file.path} is cut off or damaged: {fault}", hint=DAMAGED) from None
        rows = sum(metadata.row_group(place).num_rows for place in range(metadata.num_row_groups))
        counted = bool(rows == metadata.num_rows)
        told, schema = _told(metadata, arrow), _spark_schema(opened)
        return Footer(rows, counted, str(metadata.created_by), calendar, arrow, told, schema, codecs, stored)


def _told(metadata: Any, arrow: Any) -> Any:
    """The types that the columns had in Arrow: Polars goes by them even where those of Parquet are others."""
    text = (metadata.metadata or {}).get(b"ARROW:schema")
    found = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) if text else arrow
    return found if found.names == arrow.names else arrow


def _end(file: InputFile) -> bytes:
    """The length of the footer and the mark behind it."""
    with file.open() as stream:
        stream.seek(max(0, file.size - 8))
        return bytes(stream.read(8))


def _is_signed(end: bytes, metadata: Any) -> bool:
    """Whether a signature follows on a footer, as where columns are encrypted and the footer is not."""
    return int.from_bytes(end[:4], "little") - int(metadata.serialized_size) == _SIGNATURE


class _DamageError(Exception):
    """Parts of a file do not lie where its footer says."""


def _ways(metadata: Any, size: int) -> tuple[frozenset[str], frozenset[tuple[str, str, str]]]:
    """The codecs and the encodings of what a file holds. Raises `_DamageError`."""
    leaves = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    kinds = [(leaf.physical_type, leaf.logical_type.type) for leaf in leaves]
    codecs: set[str] = set()
    stored: set[tuple[tuple[str, str], tuple[str, ...]]] = set()
    for place in range(metadata.num_row_groups):
        group = metadata.row_group(place)
        if group.num_rows < 0:
            raise _DamageError(f"its footer counts {group.num_rows} rows in a row group")
        if group.num_columns != len(leaves):
            raise _DamageError(f"a row group has {group.num_columns} of its {len(leaves)} columns")
        for number, leaf in enumerate(leaves):
            chunk = group.column(number)
            if fault := _fault(chunk, leaf, group.num_rows, size):
                raise _DamageError(fault)
            codecs.add(chunk.compression)
            stored.add((kinds[number], chunk.encodings or ("",)))
    return frozenset(codecs), frozenset((*kind, name) for kind, names in stored for name in names)


def _fault(chunk: Any, leaf: Any, rows: int, size: int) -> str | None:
    if chunk.file_path:
        return f"its rows lie in other files, the first in {chunk.file_path}"
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    if not 0 <= first <= first + chunk.total_compressed_size <= size:
        return "a column reaches beyond its end"
    if not leaf.max_repetition_level and chunk.num_values != rows:
        return f"its footer counts {chunk.num_values} values of {leaf.path} in {rows} rows"
    return None


def file_schema(file: InputFile) -> Schema:
    """The columns of one file, from its footer. Raises SourceError."""
    return footer(file).schema


def _spark_schema(opened: Any) -> Schema:
    """Spark's view of a footer: INT96 is an instant, enums and JSON are text, and a column that says it
    has no type has the one it is stored with."""
    if variant := _VARIANT.search(str(opened.schema)):
        raise _foreign(variant[1], "VARIANT")
    leaves = iter([opened.schema.column(place) for place in range(len(opened.schema))])
    found = from_arrow(opened.schema_arrow)
    return Schema(tuple(Field(field.name, _by_leaves(field.type, leaves)) for field in found))


def _by_leaves(kind: DataType, leaves: Iterator[Any]) -> DataType:
    match kind:
        case StructType(()):
            raise ValueError("it has a struct without fields")
        case StructType(fields):
            return StructType(tuple(Field(field.name, _by_leaves(field.type, leaves)) for field in fields))
        case ArrayType(element):
            return ArrayType(_by_leaves(element, leaves))
        case MapType(key, value):
            if key == NULL:
                raise ValueError("it has a map whose keys have no type")
            return MapType(_by_leaves(key, leaves), _by_leaves(value, leaves))
    leaf = next(leaves)
    if leaf.logical_type.type in _FOREIGN:
        raise _foreign(leaf.path, leaf.logical_type.type)
    if leaf.physical_type == "INT96":
        return TIMESTAMP
    if kind == NULL:
        return _STORED.get(leaf.physical_type, BINARY)
    return STRING if leaf.logical_type.type in _TEXTS or leaf.converted_type in _TEXTS else kind


def _foreign(column: str, kind: str) -> SqlError:
    """What Spark says of a file with a type that came after it."""
    return UnsupportedSqlError(
        [Problem("sql.type", f"column {column} has the type {kind}, which Spark SQL does not know")]
    )


def row_count(file: InputFile) -> int:
    """Rows of one file by its footer. Raises SourceError."""
    return footer(file).rows if file.count is None else file.count


def row_groups(file: InputFile) -> list[tuple[int, int]]:
    """Rows and bytes of the row groups of one file, in order. Raises SourceError."""
    with guarded(file.path):
        metadata = open_parquet(file).metadata
    groups = (metadata.row_group(place) for place in range(metadata.num_row_groups))
    return [(group.num_rows, group.total_byte_size) for group in groups]


@lru_cache(maxsize=1024)
def never_null(file: InputFile) -> frozenset[str]:
    """The columns of one file of which its footer says that no value is NULL. Raises SourceError."""
    footer(file)
    with guarded(file.path):
        metadata = open_parquet(file).metadata
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


def writer_calendar(opened: Any) -> Calendar:
    """The calendar that the writer of a file counted days in."""
    metadata = opened.metadata
    return calendar_of(metadata.metadata or {}, str(metadata.created_by), int96=bool(int96_columns(opened)))


def int96_columns(opened: Any) -> set[str]:
    """The paths of what is stored as INT96."""
    columns = (opened.schema.column(place) for place in range(len(opened.schema)))
    return {column.path for column in columns if column.physical_type == "INT96"}
