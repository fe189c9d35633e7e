"""Avro: a columnar reader where it is exact, fastavro record by record for maps and unions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.arrow import conform
from rayetl.connectors.formats.avro_types import plain_value, spark_schema
from rayetl.errors import SourceError
from rayetl.sql.interop import to_arrow
from rayetl.sql.types import Schema

BATCH = 20_000
_MAGIC = b"Obj\x01"


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """Turns what readers raise over a damaged file into one sentence naming it."""
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"the file {path} is not there any more") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, Exception) as error:
        # fastavro raises whatever its decoders stumble on: IndexError, KeyError, struct.error, zlib.error.
        text = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise SourceError(f"the file {path} is damaged or not an Avro file: {text}") from error


def file_schema(file: InputFile) -> Schema:
    """The columns of one file, from its header. Raises SourceError."""
    with guarded(file.path), open(file.path, "rb") as stream:
        return spark_schema(_header(stream, file.path).writer_schema)


def _header(stream: Any, path: str) -> Any:
    if stream.read(4) != _MAGIC:
        raise SourceError(f"the file {path} is not an Avro file: it does not begin as one")
    stream.seek(0)
    return fastavro.block_reader(stream)


def _ends_whole(stream: Any, marker: bytes) -> bool:
    """A whole file ends with the sync marker of its last block (or of its header)."""
    stream.seek(-16, os.SEEK_END)
    return bool(stream.read(16) == marker)


def batches(file: InputFile, schema: Schema) -> Iterator[pl.DataFrame]:
    """The rows of one file in order, converted to `schema`; missing columns are NULL."""
    with guarded(file.path), open(file.path, "rb") as stream:
        header = _header(stream, file.path)
        marker = header._header["sync"]
        if not _ends_whole(stream, marker):
            raise SourceError(f"the file {file.path} is cut off: it does not end with its sync marker")
        stream.seek(0)
        yield from _slow(stream, schema)


def _slow(stream: Any, schema: Schema) -> Iterator[pl.DataFrame]:
    rows: list[dict[str, Any]] = []
    reader = fastavro.reader(stream)
    shape = reader.writer_schema
    for record in reader:
        rows.append(plain_value(record, shape))
        if len(rows) == BATCH:
            yield _made(rows, schema)
            rows = []
    if rows:
        yield _made(rows, schema)


def _made(rows: list[dict[str, Any]], schema: Schema) -> pl.DataFrame:
    by_name = [{key.lower(): value for key, value in row.items()} for row in rows]
    arrow = to_arrow(schema)
    columns = [pa.array([row.get(field.name.lower()) for row in by_name], type=field.type) for field in arrow]
    if not columns:
        return pl.DataFrame(height=len(rows))
    return conform(pa.Table.from_arrays(columns, names=arrow.names), schema)
