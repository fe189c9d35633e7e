"""The schema of CSV files that have none given: names from the header, types by Spark's inference."""

from __future__ import annotations

import random
from collections.abc import Iterator

import polars as pl

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats.csv import CsvReader, column_names
from rayetl.connectors.formats.options import CsvOptions
from rayetl.connectors.formats.patterns import compile_pattern
from rayetl.connectors.formats.schemas import renamed
from rayetl.connectors.formats.streams import reading
from rayetl.connectors.formats.values import by_pattern, parse
from rayetl.sql.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INT,
    LONG,
    NULL,
    STRING,
    TIMESTAMP,
    DataType,
    DecimalType,
    Field,
    Schema,
)


def csv_schema(scan: FilesScan, options: CsvOptions, promised: Schema | None) -> Schema:
    """Columns from the first record of the first file that has one; types from all data if asked for."""
    names: list[str] | None = None
    for file in scan.files:
        with reading(file.path):
            first = _first_record(file, options)
        if first is not None:
            names = column_names(first, options)
            break
    if names is None:
        return promised or Schema()
    if promised is not None and not options.header:
        return promised
    schema = renamed(Schema(tuple(Field(name, STRING) for name in names)), promised)
    return _inferred(scan, options, schema) if options.infer_schema and promised is None else schema


def _first_record(file: InputFile, options: CsvOptions) -> list[str | None] | None:
    reader = CsvReader(Schema(), options.model_copy(update={"header": False}))
    return next((fields for chunk in reader.chunks(file) if (fields := reader.first(chunk))), None)


def _inferred(scan: FilesScan, options: CsvOptions, schema: Schema) -> Schema:
    kinds: list[DataType] = [NULL] * len(schema)
    chosen = random.Random(1)
    for frame in _frames(scan, options, schema):
        if options.sampling_ratio < 1:
            keep = [chosen.random() < options.sampling_ratio for _ in range(frame.height)]
            frame = frame.filter(pl.Series(keep, dtype=pl.Boolean))
        kinds = [_column(kind, frame[name], options) for kind, name in zip(kinds, frame.columns, strict=True)]
    fields = zip(schema, kinds, strict=True)
    return Schema(tuple(Field(field.name, STRING if kind == NULL else kind) for field, kind in fields))


def _frames(scan: FilesScan, options: CsvOptions, schema: Schema) -> Iterator[pl.DataFrame]:
    """What types are found in. Where a record is a line, Spark takes for a header each line that is the same
    as that of the first file, wherever it stands, and no other line."""
    by_line = options.header and not options.multi_line
    reader = CsvReader(schema, options.model_copy(update={"header": False}) if by_line else options)
    header: bytes | None = None
    for file in scan.files:
        with reading(file.path):
            for chunk in reader.chunks(file):
                if by_line:
                    header = header or reader.first_line(chunk)
                    chunk = chunk if header is None else _without(chunk, header)
                yield reader.frame(chunk)[0]


def _without(chunk: bytes, line: bytes) -> bytes:
    if line not in chunk:
        return chunk
    return b"\n".join(found for found in chunk.split(b"\n") if found != line)


def _column(so_far: DataType, column: pl.Series, options: CsvOptions) -> DataType:
    """The type of a column so far, widened by more texts of it."""
    if so_far == STRING:
        return STRING
    text = column.drop_nulls()
    text = text.filter(text != "").unique()
    if not len(text):
        return so_far
    found = _kind(text, options)
    return found if so_far in (NULL, found) else _wider(so_far, found)


def _fits(text: pl.Series, kind: DataType, options: CsvOptions) -> bool:
    return parse(text, kind, options).null_count() == 0


def _kind(text: pl.Series, options: CsvOptions) -> DataType:
    patterned = options.date_format is not None or options.timestamp_format is not None
    if not patterned and not text.str.contains(r"\d").all():
        # To look for times takes long, and files may have thousands of columns of words.
        return next((kind for kind in (DOUBLE, BOOLEAN) if _fits(text, kind, options)), STRING)
    if _fits(text, INT, options):
        return INT
    if _fits(text, LONG, options):
        return LONG
    if text.str.contains(r"^[+-]?\d+$").all():
        digits = int(text.str.strip_chars("+-").str.strip_chars_start("0").str.len_bytes().max() or 1)  # type: ignore[arg-type]
        return DecimalType(digits, 0) if digits <= 38 else DOUBLE
    if _fits(text, DOUBLE, options):
        return DOUBLE
    if options.prefer_date and by_date(text, options):
        return DATE
    if _fits(text, TIMESTAMP, options):
        return TIMESTAMP
    return BOOLEAN if _fits(text, BOOLEAN, options) else STRING


def by_date(text: pl.Series, options: CsvOptions) -> bool:
    """Whether all texts are dates of the exact form, which inference asks for."""
    pattern = compile_pattern(options.date_format or "yyyy-MM-dd")
    return by_pattern(text, pattern, None).null_count() == 0


def _wider(first: DataType, second: DataType) -> DataType:
    kinds = (first, second)
    if STRING in kinds:
        return STRING
    numbers = [kind for kind in kinds if kind in (INT, LONG, DOUBLE) or isinstance(kind, DecimalType)]
    if len(numbers) == 2:
        if DOUBLE in kinds:
            return DOUBLE
        digits = [
            kind.precision if isinstance(kind, DecimalType) else 10 if kind == INT else 20 for kind in kinds
        ]
        return DecimalType(max(digits), 0) if any(isinstance(kind, DecimalType) for kind in kinds) else LONG
    return STRING
