"""The source records of chosen rows, by position: one pass over the files, however many rows there are."""

from __future__ import annotations

import json
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
    for spelled, fields in groupby(schema, lambda field: _is_spelled(field.type)):
        columns = [(field, pl.col(called.get(field.name, field.name))) for field in fields]
        if spelled:
            parts += [_member(field.name, _text(column, field.type)) for field, column in columns]
        else:
            parts.append(_inner([column.alias(field.name) for field, column in columns]))
    return _joined("{", parts, "}").cast(pl.Binary)


def _inner(members: Sequence[pl.Expr]) -> pl.Expr:
    """The members of a JSON object without the braces around them."""
    return pl.struct(members).struct.json_encode().str.strip_prefix("{").str.strip_suffix("}")


def _alone(value: pl.Expr) -> pl.Expr:
    """The JSON text of a value that Polars writes as it is."""
    return _inner([value.alias("")]).str.strip_prefix('"":')


def _member(name: str, text: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit(f"{json.dumps(name, ensure_ascii=False)}:"), text)


def _joined(start: str, parts: Sequence[pl.Expr], end: str) -> pl.Expr:
    if not parts:
        return pl.lit(start + end)
    return pl.concat_str(pl.lit(start), pl.concat_str(parts, separator=","), pl.lit(end))


def _is_spelled(kind: DataType) -> bool:
    """Whether Polars does not write values of `kind` as they are: it has NULL for numbers that are none, and
    no way for binary values and for keys of maps that are no texts."""
    match kind:
        case ArrayType(element):
            return _is_spelled(element)
        case MapType(key, item):
            return key != STRING or _is_spelled(item)
        case StructType(fields):
            return any(_is_spelled(field.type) for field in fields)
    return kind in FRACTIONAL or kind == BINARY


def _text(value: pl.Expr, kind: DataType) -> pl.Expr:
    """`value` as JSON text, put together from that of its parts where Polars cannot write it whole."""
    if not _is_spelled(kind):
        return _alone(value)
    match kind:
        case ArrayType(element):
            text = _list_text("[", value.list.eval(_text(pl.element(), element)), "]")
        case MapType(key, item):
            entry = StructType((Field("key", key), Field("value", item)))
            entries = value.cast(polars_type(ArrayType(entry)))
            text = _list_text("{", entries.list.eval(_entry(pl.element(), key, item)), "}")
        case StructType(fields):
            members = [_member(field.name, _text(_field(value, field.name), field.type)) for field in fields]
            text = _joined("{", members, "}")
        case _:
            text = _alone(value.bin.encode("base64")) if kind == BINARY else _number(value)
    return pl.when(value.is_null()).then(pl.lit("null")).otherwise(text)


def _list_text(start: str, texts: pl.Expr, end: str) -> pl.Expr:
    return pl.concat_str(pl.lit(start), texts.list.join(","), pl.lit(end))


def _entry(entry: pl.Expr, key: DataType, item: DataType) -> pl.Expr:
    """The member that an entry of a map becomes; a key that is no text is named by its JSON text."""
    text = _text(_field(entry, "key"), key)
    if key != STRING:
        bare = text.str.starts_with('"')
        text = pl.when(bare).then(text).otherwise(_text(text, STRING))
    return pl.concat_str(text, pl.lit(":"), _text(_field(entry, "value"), item))


def _field(value: pl.Expr, name: str) -> pl.Expr:
    return value.struct.field(name)


def _number(value: pl.Expr) -> pl.Expr:
    """The text of a number that may be none."""
    none = pl.when(value.is_nan()).then(pl.lit('"NaN"'))
    word = none.otherwise(pl.when(value > 0).then(pl.lit('"Infinity"')).otherwise(pl.lit('"-Infinity"')))
    return pl.when(value.is_finite()).then(_alone(value)).otherwise(word)


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
