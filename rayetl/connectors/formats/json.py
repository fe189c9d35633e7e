"""JSON in chunks: columnar where every record provably fits the schema, record by record where not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.arrow import conform
from rayetl.connectors.formats.json_document import documents, one_a_line
from rayetl.connectors.formats.json_structure import deepest
from rayetl.connectors.formats.json_text import (
    BLANK,
    MARK,
    MAX_DEPTH,
    JsonFault,
    read_json,
    text_of,
    write_json,
)
from rayetl.connectors.formats.json_values import JsonConverter
from rayetl.connectors.formats.options import JsonOptions
from rayetl.connectors.formats.streams import line_chunks, lines_of, open_bytes, reading, utf8_pieces
from rayetl.connectors.formats.values import parse
from rayetl.lazy import lazily
from rayetl.names import BAD
from rayetl.records import dataclass
from rayetl.sql.interop import arrow_type, polars_type, to_arrow
from rayetl.sql.types import (
    BINARY,
    DATE,
    FLOAT,
    NULL,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    Schema,
    StructType,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.json as pa_json
else:
    pa = lazily("pyarrow")
    pa_json = lazily("pyarrow.json")

_ARRAY = r"^\ufeff?[\x00-\x20]*\["
_TIMES = (DATE, TIMESTAMP, TIMESTAMP_NTZ)
_GROUP = 1_000
_NEGATIVE_ZERO = re.compile(rb"-0(?![.0-9eE])")
"""A whole number that Arrow reads as the double -0.0, Java as 0."""
_SHORT_INFINITY = re.compile(rb"Inf(?=[\x00-\x20]*[,}\]])")
"""With -NaN the words for no number that Arrow knows and Java does not."""


@dataclass(frozen=True)
class JsonReader:
    """Reads the files of one scan. `schema` has the columns of the files, no partition columns."""

    schema: Schema
    options: JsonOptions

    def chunks(self, file: InputFile) -> Iterator[bytes]:
        """Whole lines; with `multi_line` the document, a large array as several."""
        encoding = self._encoding(file)
        if self.options.multi_line:
            yield from documents(file, lambda: utf8_pieces(file, encoding), self.options)
        else:
            yield from line_chunks(file, encoding, self.options.line_sep)

    def _encoding(self, file: InputFile) -> str | None:
        return self.options.encoding or found_encoding(file)

    def texts(self, chunk: bytes) -> list[str]:
        """The lines of a chunk that are not blank; with `multi_line` all of it."""
        records = [chunk] if self.options.multi_line else chunk.split(b"\n")
        return [text for text in map(text_of, records) if text.strip(BLANK)]

    def records(self, chunk: bytes) -> pl.Series:
        """The records of a chunk as their own bytes, in order; an array gives the text of each element."""
        lines = None if self.options.multi_line else _lines(chunk)
        if lines is not None and not lines.str.contains(_ARRAY).any():
            return lines.cast(pl.Binary)
        found: list[bytes] = []
        for record in [chunk] if self.options.multi_line else chunk.split(b"\n"):
            text = text_of(record).strip(BLANK)
            if text.startswith("["):
                found.extend(self._elements(text, record))
            elif text:
                found.append(record)
        return pl.Series(found, dtype=pl.Binary)

    def _elements(self, text: str, record: bytes) -> list[bytes]:
        try:
            return [write_json(item).encode("utf-8", "replace") for item in read_json(text, self.options)]
        except (JsonFault, RecursionError):
            return [record]

    def frame(self, chunk: bytes) -> tuple[pl.DataFrame, pl.Series]:
        """The typed rows of a chunk, and for each why it is malformed or NULL."""
        data = self.one_a_line(chunk)
        lines = None if data is None else _plain_lines(data)
        if data is None or lines is None or not self._fast:
            return self._slow(self.texts(chunk))
        found = self._columnar(data, lines)
        if found is not None:
            return found, _no_reasons(found.height)
        if self.options.multi_line:
            return self._slow(self.texts(chunk))
        parts = [self._group(lines[at : at + _GROUP]) for at in range(0, len(lines), _GROUP)]
        if not parts:
            return self._slow([])
        return pl.concat([part for part, _ in parts]), pl.concat([bad for _, bad in parts])

    def one_a_line(self, chunk: bytes) -> bytes | None:
        """A chunk with one record a line; `None` for a document that cannot be had so."""
        return one_a_line(chunk) if self.options.multi_line else chunk

    def untyped(self, data: bytes) -> pa.Table | None:
        """Lines with the types that Arrow finds in them; `None` if any is not plainly an object."""
        lines = _plain_lines(data)
        return None if lines is None else self._table(data, lines, None)

    def _group(self, lines: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
        found = self._columnar("\n".join(lines).encode(), lines)
        return self._slow(lines.to_list()) if found is None else (found, _no_reasons(found.height))

    @cached_property
    def _fast(self) -> bool:
        """Whether Arrow's strict reader can give these types and accepts nothing that the options refuse."""
        return len(self.schema) > 0 and all(_carried(column.type) for column in self.schema)

    @cached_property
    def _carrier(self) -> pa.Schema:
        return pa.schema([pa.field(column.name, _carrier(column.type)) for column in self.schema])

    def _columnar(self, data: bytes, lines: pl.Series) -> pl.DataFrame | None:
        """`data`, whose lines are `lines`, by Arrow's reader; None if any does not wholly fit the schema."""
        table = self._table(data, lines, self._carrier)
        try:
            return None if table is None else self._converted(table)
        except (pa.ArrowException, UnicodeDecodeError, pl.exceptions.PolarsError):
            return None

    def _table(self, data: bytes, lines: pl.Series, schema: pa.Schema | None) -> pa.Table | None:
        """What Arrow's reader makes of `data`, whose lines are `lines`; None if it would read any of them
        otherwise than Spark."""
        if not (lines.str.starts_with("{") & lines.str.ends_with("}")).all() or not len(lines):
            return None
        if any(word in data for word in (b"NaN", b"Inf")) and (
            not self.options.allow_non_numeric_numbers or b"-NaN" in data or _SHORT_INFINITY.search(data)
        ):
            return None
        if b"-0" in data and _NEGATIVE_ZERO.search(data):
            return None
        # Arrow reads deeper than Spark, and types that lie deeper than its stack end the process.
        if _has_many(lines) and deepest(data) > MAX_DEPTH:
            return None
        longest = int(lines.str.len_bytes().max() or 0)  # type: ignore[arg-type]
        try:
            table = pa_json.read_json(
                io.BytesIO(data),
                read_options=pa_json.ReadOptions(block_size=max(2 << 20, 2 * longest)),
                parse_options=pa_json.ParseOptions(
                    explicit_schema=schema,
                    unexpected_field_behavior="infer" if schema is None else "ignore",
                ),
            )
        except (pa.ArrowException, UnicodeDecodeError):
            return None
        return table if table.num_rows == len(lines) else None

    def _converted(self, table: pa.Table) -> pl.DataFrame | None:
        columns: dict[str, pl.Series] = {}
        frame = pl.DataFrame(table.select(self._carrier.names).rename_columns(_numbered(self._carrier.names)))
        for place, column in enumerate(self.schema):
            carried = frame[str(place)]
            value = _from_carrier(carried, column.type, self.options)
            if value is None:
                return None
            columns[column.name] = value
        return pl.DataFrame(columns)

    def _slow(self, records: Sequence[str]) -> tuple[pl.DataFrame, pl.Series]:
        converter = JsonConverter(self.schema, self.options)
        rows: list[tuple[object, ...]] = []
        bad: list[str | None] = []
        for record in records:
            for row, reason in converter.rows(record):
                rows.append(row)
                bad.append(reason)
        return _made(rows, self.schema), pl.Series(BAD, bad, dtype=pl.String)


def _has_many(lines: pl.Series) -> bool:
    """Whether a line has so many arrays and objects that they may lie too deep in each other."""
    return bool((lines.str.count_matches(r"[\[{]") > MAX_DEPTH).any())


def _numbered(names: Sequence[str]) -> list[str]:
    return [str(place) for place in range(len(names))]


def _no_reasons(height: int) -> pl.Series:
    return pl.Series(BAD, [None], dtype=pl.String).new_from_index(0, height)


def _lines(chunk: bytes) -> pl.Series | None:
    """The lines of a chunk as they are, blank ones left out; None if it is not valid UTF-8."""
    lines = lines_of(chunk)
    return None if lines is None else lines.filter(_bare(lines) != "")


def _plain_lines(chunk: bytes) -> pl.Series | None:
    """The lines of a chunk that are not blank; None if it is not valid UTF-8."""
    lines = lines_of(chunk)
    if lines is None:
        return None
    if not (lines.str.starts_with("{") & lines.str.ends_with("}")).all():
        lines = _bare(lines)
    return lines.filter(lines != "") if (lines == "").any() else lines


def _bare(lines: pl.Series) -> pl.Series:
    return lines.str.strip_prefix(MARK).str.strip_chars(BLANK)


def _carried(kind: DataType) -> bool:
    match kind:
        case StructType(fields):
            return len(fields) > 0 and all(_carried_within(field.type) for field in fields)
        case ArrayType(element):
            return _carried_within(element)
        case MapType():
            return False
    return kind not in (NULL, BINARY)


def _carried_within(kind: DataType) -> bool:
    """Decimals inside others stay out: Arrow lets digits through that their precision has no room for."""
    return not isinstance(kind, DecimalType) and _carried(kind)


def _carrier(kind: DataType) -> Any:
    """The Arrow type that a value is read as: times as their texts."""
    match kind:
        case StructType(fields):
            return pa.struct([pa.field(field.name, _carrier(field.type)) for field in fields])
        case ArrayType(element):
            return pa.list_(_carrier(element))
    if kind in _TIMES:
        return pa.string()
    return pa.float64() if kind == FLOAT else arrow_type(kind)


def _from_carrier(carried: pl.Series, kind: DataType, options: JsonOptions) -> pl.Series | None:
    """A carried column as `kind`; None if a text in it is no time, so that the slow way must judge."""
    if kind in _TIMES:
        value = parse(carried, kind, options)
        return value if value.null_count() == carried.null_count() else None
    if isinstance(kind, DecimalType):
        # As unscaled integers: Arrow does not check the digits of a number such as 1e9.
        fits = carried.to_physical().abs() < 10**kind.precision
        return carried if fits.all() else None
    if isinstance(kind, ArrayType | StructType) and _holds_times(kind):
        return None if carried.null_count() < len(carried) else carried.cast(polars_type(kind))
    return carried.cast(polars_type(kind))


def _holds_times(kind: DataType) -> bool:
    match kind:
        case StructType(fields):
            return any(_holds_times(field.type) for field in fields)
        case ArrayType(element):
            return _holds_times(element)
    return kind in _TIMES


def _made(rows: list[tuple[object, ...]], schema: Schema) -> pl.DataFrame:
    arrow = to_arrow(schema)
    if not len(arrow):
        return pl.DataFrame(height=len(rows))
    columns = [pa.array([row[place] for row in rows], type=field.type) for place, field in enumerate(arrow)]
    made = pa.Table.from_arrays(columns, schema=pa.schema([pa.field(f.name, f.type) for f in arrow]))
    return conform(made, schema)


def found_encoding(file: InputFile) -> str:
    """UTF-8, or what the zero bytes of the first characters give away, as JSON's standard has it."""
    head = next(iter(utf8_head(file)), b"")
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


def utf8_head(file: InputFile) -> Iterator[bytes]:
    """The first bytes of a file, decompressed but not decoded."""
    with reading(file.path), open_bytes(file) as stream:
        yield stream.read(4)
