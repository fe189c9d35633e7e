"""JSON in chunks: columnar where every record provably fits the schema, record by record where not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from rayetl.connectors.formats.json_values import JsonConverter
from rayetl.connectors.formats.options import JsonOptions
from rayetl.connectors.formats.streams import line_chunks, utf8_pieces
from rayetl.names import BAD
from rayetl.sql.interop import to_arrow
from rayetl.sql.types import Schema

_BLANK = "".join(map(chr, range(33)))


@dataclass(frozen=True)
class JsonReader:
    """Reads the files of one scan. `schema` has the columns of the files, no partition columns."""

    schema: Schema
    options: JsonOptions

    def chunks(self, path: str) -> Iterator[bytes]:
        """Whole lines; with `multi_line` the whole document."""
        if self.options.multi_line:
            yield b"".join(utf8_pieces(path, self._encoding(path)))
        else:
            yield from line_chunks(path, self._encoding(path), self.options.line_sep)

    def _encoding(self, path: str) -> str | None:
        return self.options.encoding or found_encoding(path)

    def records(self, chunk: bytes) -> list[str]:
        """The texts of the records of a chunk, in order."""
        text = chunk.decode("utf-8", "replace")
        if self.options.multi_line:
            return [text] if text.strip(_BLANK) else []
        return [line for line in text.split("\n") if line.strip(_BLANK)]

    def frame(self, chunk: bytes) -> tuple[pl.DataFrame, pl.Series]:
        """The typed rows of a chunk, and for each why it is malformed or NULL."""
        converter = JsonConverter(self.schema, self.options)
        rows: list[tuple[object, ...]] = []
        bad: list[str | None] = []
        for record in self.records(chunk):
            for row, reason in converter.rows(record):
                rows.append(row)
                bad.append(reason)
        return _made(rows, self.schema), pl.Series(BAD, bad, dtype=pl.String)


def _made(rows: list[tuple[object, ...]], schema: Schema) -> pl.DataFrame:
    import pyarrow as pa

    from rayetl.connectors.formats.arrow import conform

    arrow = to_arrow(schema)
    if not len(arrow):
        return pl.DataFrame(height=len(rows))
    columns = [pa.array([row[place] for row in rows], type=field.type) for place, field in enumerate(arrow)]
    made = pa.Table.from_arrays(columns, schema=pa.schema([pa.field(f.name, f.type) for f in arrow]))
    return conform(made, schema)


def found_encoding(path: str) -> str:
    """UTF-8, or what the zero bytes of the first characters give away, as JSON's standard has it."""
    head = next(iter(utf8_head(path)), b"")
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    zeros = [byte == 0 for byte in head[:4]]
    known = {
        (True, True, True, False): "utf-32-be",
        (False, True, True, True): "utf-32-le",
        (True, False, True, False): "utf-16-be",
        (False, True, False, True): "utf-16-le",
    }
    return known.get(tuple(zeros), "utf-8") if len(zeros) == 4 else "utf-8"  # type: ignore[arg-type]


def utf8_head(path: str) -> Iterator[bytes]:
    """The first bytes of a file, decompressed but not decoded."""
    from rayetl.connectors.formats.streams import open_bytes, reading

    with reading(path), open_bytes(path) as stream:
        yield stream.read(4)
