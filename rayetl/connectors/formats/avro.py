"""Avro: a columnar reader where it is exact, fastavro record by record for maps and unions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.ahead import Stalled, ahead
from rayetl.connectors.formats.arrow import WIDER, MisfitError, conform
from rayetl.connectors.formats.avro_blocks import Header, framed_rows, header_of, retold
from rayetl.connectors.formats.avro_types import (
    UnreadableError,
    branched,
    columnar,
    is_record,
    plain_rows,
    spark_schema,
)
from rayetl.connectors.formats.schemas import nullable
from rayetl.connectors.formats.streams import DAMAGED
from rayetl.connectors.listing import gone
from rayetl.errors import RayetlError, SourceError
from rayetl.lazy import lazily
from rayetl.sql.interop import to_arrow, to_polars
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import fastavro
    import polars_avro
    import pyarrow as pa
else:
    fastavro = lazily("fastavro")
    polars_avro = lazily("polars_avro")
    pa = lazily("pyarrow")

BATCH = 20_000
STALLED = 20.0
"""Seconds without a batch after which a file counts as damaged."""


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """Turns what readers raise over a damaged file into one sentence naming it."""
    try:
        yield
    except RayetlError:
        raise
    except MisfitError as error:
        raise SourceError(f"the file {path} does not fit: {error}", hint=WIDER) from error
    except UnreadableError as error:
        raise SourceError(f"the file {path} cannot be read: {error}") from error
    except FileNotFoundError as error:
        raise gone(path) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, Exception) as error:
        # fastavro raises whatever its decoders stumble on: IndexError, KeyError, struct.error, zlib.error.
        text = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise SourceError(f"the file {path} is damaged or not an Avro file: {text}", hint=DAMAGED) from error


def file_schema(file: InputFile) -> Schema:
    """The columns of one file, from its header. Raises SourceError."""
    with guarded(file.path), io.BufferedReader(file.open()) as stream:
        return spark_schema(_shape(header_of(stream, file)))


def _shape(header: Header) -> Any:
    return fastavro.block_reader(io.BytesIO(header.encoded())).writer_schema


def batches(file: InputFile, schema: Schema) -> Iterator[pl.DataFrame]:
    """The rows of one file in order, converted to `schema`; missing columns are NULL."""
    with guarded(file.path), io.BufferedReader(file.open()) as stream:
        header = header_of(stream, file)
        start = stream.tell()
        promised = framed_rows(stream, header.marker, file)
        stream.seek(start)
        shape = _shape(header)
        fast = is_record(shape) and columnar(shape)
        own = spark_schema(shape)
        source = _columnar(file, own, schema) if fast else _slow(stream, header, shape, schema)
        rows = 0
        for frame in source:
            rows += frame.height
            yield frame
        if rows != promised:
            raise SourceError(
                f"the file {file.path} is damaged: it has {rows} of its {promised} records", hint=DAMAGED
            )


def _watched(file: InputFile) -> Iterator[pl.DataFrame]:
    """Batches of the columnar reader, which never returns from some damaged blocks."""
    # Not by its name: a `$HOME` in that would be replaced.
    stream = io.BufferedReader(file.open())
    patience = STALLED if file.store is None else 10 * STALLED
    try:
        frames = polars_avro.scan_avro(stream, batch_size=BATCH).collect_batches()
        yield from ahead(iter(frames), 2, patience)
    except pl.exceptions.PolarsError as error:
        # It keeps the words of what the stream raises, and loses the rest.
        raise getattr(stream.raw, "fault", None) or error from None
    except Stalled:
        raise SourceError(
            f"the file {file.path} is damaged: decoding it makes no progress", hint=DAMAGED
        ) from None


def _columnar(file: InputFile, own: Schema, schema: Schema) -> Iterator[pl.DataFrame]:
    """`own` are the columns as they are in the file. Polars' cast to other ones would take what it can: 2 for
    2.7, and NULL for a field whose name has another letter case."""
    types = {column.name.lower(): nullable(column.type) for column in own}
    as_is = all(types.get(c.name.lower(), nullable(c.type)) == nullable(c.type) for c in schema)
    for frame in _watched(file):
        if not as_is:
            yield conform(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), schema)
            continue
        found = {name.lower(): name for name in frame.columns}
        yield frame.select(
            (pl.col(found[name.lower()]) if name.lower() in found else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in to_polars(schema).items()
        )


def _slow(stream: BinaryIO, header: Header, shape: Any, schema: Schema) -> Iterator[pl.DataFrame]:
    told, own = branched(shape), spark_schema(shape)
    reader = fastavro.reader(retold(stream, header, json.dumps(told).encode()))
    records = plain_rows(reader, reader.writer_schema)
    while rows := list(islice(records, BATCH)):
        yield _made(rows, own, schema)


def _made(rows: list[dict[str, Any]], own: Schema, schema: Schema) -> pl.DataFrame:
    wanted = {column.name.lower() for column in schema}
    arrow = to_arrow(Schema(tuple(column for column in own if column.name.lower() in wanted)))
    columns = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in arrow]
    if not columns:
        return pl.DataFrame(
            {
                name: pl.Series([None], dtype=kind).new_from_index(0, len(rows))
                for name, kind in to_polars(schema).items()
            },
            height=len(rows),
        )
    return conform(pa.Table.from_arrays(columns, names=arrow.names), schema)
