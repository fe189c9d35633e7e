"""The source records of chosen rows, by position: one pass over the files, however many rows there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import polars as pl
from polars.io.plugins import register_io_source

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats.options import CsvOptions, JsonOptions
from rayetl.connectors.formats.reading import scan_files, text_reader
from rayetl.connectors.formats.streams import reading
from rayetl.names import PREFIX, RECORD, ROW, ROW_BITS
from rayetl.sql.interop import polars_type
from rayetl.sql.types import (
    BINARY,
    FRACTIONAL,
    STRING,
    ArrayType,
    DataType,
    Field,
    MapType,
    Schema,
    StructType,
)

_HIDDEN = f"^{PREFIX}.*$"


def fetch_records(scan: FilesScan, wanted: pl.LazyFrame, held: Mapping[str, str]) -> pl.LazyFrame:
    """See `rayetl.connectors.formats.fetch_records`."""
    if scan.format in ("csv", "json"):
        return _fetch_texts(scan, wanted.select(pl.col(_HIDDEN)))
    inside = _columns(scan)
    if held.keys() >= set(inside.names):
        return wanted.select(pl.col(_HIDDEN), row_json(inside, held).alias(RECORD))
    rows = scan_files(scan, position=True).select(*inside.names, ROW)
    found = _merged(_ascending(wanted.select(pl.col(_HIDDEN))), rows)
    return found.select(pl.col(_HIDDEN), row_json(inside).alias(RECORD))


def source_records(scan: FilesScan, file: InputFile) -> Iterator[bytes]:
    """See `rayetl.connectors.formats.source_records`."""
    reader = text_reader(scan, file)
    with reading(file.path):
        for chunk in reader.chunks(file):
            yield from reader.records(chunk)


def _columns(scan: FilesScan) -> Schema:
    """The columns that any of the files has."""
    one_of_each = {tuple(name for name, _ in file.partition): file for file in scan.files}
    names = {name for file in one_of_each.values() for name in scan.inside(file).names}
    return Schema(tuple(column for column in scan.schema if column.name in names))


def row_json(schema: Schema, names: Mapping[str, str] | None = None) -> pl.Expr:
    """A row as the bytes of a JSON object with the columns of `schema`, binary values in base64, and in
    quotes what JSON has no number for (`"NaN"`, `"Infinity"`), as readers take it. `names` says what the
    columns are called in the frame, where that is something else."""
    called = names or {}
    parts: list[pl.Expr] = []
    for fractional, fields in groupby(schema, lambda field: field.type in FRACTIONAL):
        columns = [(field, pl.col(called.get(field.name, field.name))) for field in fields]
        if fractional:
            parts += [_number(column, field.name) for field, column in columns]
        else:
            parts.append(_inner([_plain(column, field.type).alias(field.name) for field, column in columns]))
    if not parts:
        return pl.lit(b"{}")
    return pl.concat_str(pl.lit("{"), pl.concat_str(parts, separator=","), pl.lit("}")).cast(pl.Binary)


def _inner(members: Sequence[pl.Expr]) -> pl.Expr:
    """The members of a JSON object without the braces around them."""
    return pl.struct(members).struct.json_encode().str.strip_prefix("{").str.strip_suffix("}")


def _number(column: pl.Expr, name: str) -> pl.Expr:
    """The member of a number that may be none; Polars writes NULL for such a one."""
    none = pl.when(column.is_nan()).then(pl.lit("NaN"))
    word = none.otherwise(pl.when(column > 0).then(pl.lit("Infinity")).otherwise(pl.lit("-Infinity")))
    return (
        pl.when(column.is_finite() | column.is_null())
        .then(_inner([column.alias(name)]))
        .otherwise(_inner([word.alias(name)]))
    )


def _plain(value: pl.Expr, kind: DataType) -> pl.Expr:
    """`value` as Polars can write it as JSON: it has no way for binary values."""
    if not _holds_binary(kind):
        return value
    match kind:
        case ArrayType(element):
            return value.list.eval(_plain(pl.element(), element))
        case MapType(key, item):
            entry = StructType((Field("key", key), Field("value", item)))
            entries = _plain(value.cast(polars_type(ArrayType(entry))), ArrayType(entry))
            return entries.cast(polars_type(_texted(kind)))
        case StructType(fields):
            return _members(value, {field.name: field.type for field in fields})
    return value.bin.encode("base64")


def _members(value: pl.Expr, kinds: Mapping[str, DataType]) -> pl.Expr:
    made = [_plain(value.struct.field(name), kind).alias(name) for name, kind in kinds.items()]
    return pl.when(value.is_not_null()).then(pl.struct(made))


def _texted(kind: DataType) -> DataType:
    """The type of what `_plain` makes of values of `kind`."""
    match kind:
        case ArrayType(element):
            return ArrayType(_texted(element))
        case MapType(key, item):
            return MapType(_texted(key), _texted(item))
        case StructType(fields):
            return StructType(tuple(Field(field.name, _texted(field.type)) for field in fields))
    return STRING if kind == BINARY else kind


def _holds_binary(kind: DataType) -> bool:
    match kind:
        case ArrayType(element):
            return _holds_binary(element)
        case MapType(key, item):
            return _holds_binary(key) or _holds_binary(item)
        case StructType(fields):
            return any(_holds_binary(field.type) for field in fields)
    return kind == BINARY


def _ascending(wanted: pl.LazyFrame) -> pl.LazyFrame:
    """`wanted` by position. It nearly always is already, and sorting would take it into memory whole."""
    falls = wanted.select((pl.col(ROW).diff() < 0).any()).collect(engine="streaming").item()
    return wanted.sort(ROW) if falls else wanted


def _merged(wanted: pl.LazyFrame, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Ascending positions and ascending rows side by side: neither is held in memory."""
    return wanted.set_sorted(ROW).join(rows.set_sorted(ROW), on=ROW, maintain_order="left")


def _fetch_texts(scan: FilesScan, wanted: pl.LazyFrame) -> pl.LazyFrame:
    file, row = pl.col(ROW) // (1 << ROW_BITS), pl.col(ROW) % (1 << ROW_BITS)
    last = wanted.group_by(file.alias("file")).agg(row.max().alias("last")).sort("file")
    texts = _texts(scan, last.collect(engine="streaming").rows())
    found = _merged(_ascending(wanted), texts)
    assert isinstance(scan.options, CsvOptions | JsonOptions)
    return found.with_columns(_encoded(pl.col(RECORD), scan.options.encoding or "utf-8"))


def _texts(scan: FilesScan, last: Sequence[tuple[int, int]]) -> pl.LazyFrame:
    """Position and bytes, in UTF-8, of every record in the files of `last`, up to the last row it names."""

    def frames(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        del rows, size
        for index, row in last:
            for frame in _file_texts(scan, index, row):
                found = frame if predicate is None else frame.filter(predicate)
                yield found if columns is None else found.select(columns)

    return register_io_source(frames, schema={ROW: pl.Int64(), RECORD: pl.Binary()}, is_pure=True)


def _file_texts(scan: FilesScan, index: int, last: int) -> Iterator[pl.DataFrame]:
    reader, file, start = text_reader(scan, scan.files[index]), scan.files[index], 0
    with reading(file.path):
        for chunk in reader.chunks(file):
            texts = reader.records(chunk)
            position = pl.int_range(len(texts), eager=True, dtype=pl.Int64) + ((index << ROW_BITS) + start)
            yield pl.DataFrame({ROW: position, RECORD: texts})
            start += len(texts)
            if start > last:
                return


def _encoded(records: pl.Expr, encoding: str) -> pl.Expr:
    """Records as the bytes that they were in the file. Those of UTF-8 are, with what is no text in them."""
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        return records

    def encoded(batch: pl.Series) -> pl.Series:
        found = [record.decode("utf-8", "replace").encode(encoding, "replace") for record in batch]
        return pl.Series(batch.name, found, dtype=pl.Binary)

    return records.map_batches(encoded, return_dtype=pl.Binary, is_elementwise=True)
