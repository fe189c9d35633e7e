"""Values as the text formats hold them, so that Spark's readers get the same values back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import polars as pl

from rayetl.connectors.files_load import WriteOptions
from rayetl.errors import LoadError
from rayetl.sql.interop import polars_type
from rayetl.sql.lower.moments import format_dates
from rayetl.sql.lower.texts import elementwise
from rayetl.sql.types import (
    BINARY,
    DATE,
    FRACTIONAL,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    DataType,
    Field,
    MapType,
    Schema,
    StructType,
    kinds_within,
    rebuilt,
)

_AS_TEXT = (BINARY, TIMESTAMP, TIMESTAMP_NTZ)
"""Types that JSON has no values of."""

_ZONED = "%Y-%m-%dT%H:%M:%S%.6fZ"
_UNZONED = "%Y-%m-%dT%H:%M:%S%.6f"


def csv_text(column: pl.Expr, kind: DataType, options: WriteOptions) -> pl.Expr:
    """The value of a top-level column as a CSV field, quoted where it must be; NULL stays NULL."""
    if kind == TIMESTAMP:
        text = column.dt.strftime(_ZONED)
    elif kind == TIMESTAMP_NTZ:
        text = column.dt.strftime(_UNZONED)
    elif kind == DATE:
        text = elementwise(column, format_dates, pl.String)
    elif kind in FRACTIONAL:
        # Not `replace`: it takes a column into memory whole.
        infinity = pl.when(column > 0).then(pl.lit("Infinity")).otherwise(pl.lit("-Infinity"))
        text = pl.when(column.is_infinite()).then(infinity).otherwise(column.cast(pl.String))
    else:
        text = column.cast(pl.String)
    if kind == STRING or options.quote_all or options.sep in "+-.:0123456789TZtrufalseINnity":
        return _quoted(text, options)
    return text


def _quoted(text: pl.Expr, options: WriteOptions) -> pl.Expr:
    quote, escape = options.quote, options.escape
    special = "".join(re.escape(sign) for sign in {options.sep, quote, escape, "\n", "\r", "#"})
    inner = text
    if escape != quote:
        inner = inner.str.replace_all(escape, escape * 2, literal=True)
    inner = inner.str.replace_all(quote, escape + quote, literal=True)
    quoted = pl.concat_str(pl.lit(quote), inner, pl.lit(quote))
    if options.quote_all:
        return quoted
    awkward = text.str.contains(rf"[{special}]|^\s|\s$|^$") | (text == options.null_value)
    return pl.when(awkward).then(quoted).otherwise(text)


def json_field(column: pl.Expr, kind: DataType) -> pl.Expr:
    """The value of a top-level column as JSON holds it; dates as text, which is quicker written."""
    return elementwise(column, format_dates, pl.String) if kind == DATE else json_value(column, kind)


def json_value(column: pl.Expr, kind: DataType) -> pl.Expr:
    """The value of a column as JSON holds it: binary as base64, timestamps as ISO 8601 text."""
    if kind == BINARY:
        return column.bin.encode("base64")
    if kind == TIMESTAMP:
        return column.dt.strftime(_ZONED)
    if kind == TIMESTAMP_NTZ:
        return column.dt.strftime(_UNZONED)
    if isinstance(kind, ArrayType) and _is_reshaped(kind.element):
        return column.list.eval(json_value(pl.element(), kind.element))
    if isinstance(kind, StructType) and _is_reshaped(kind):
        members = [json_value(column.struct.field(f.name), f.type).alias(f.name) for f in kind]
        return pl.when(column.is_not_null()).then(pl.struct(members))
    if isinstance(kind, MapType) and _is_reshaped(kind):
        entries = _entries(kind)
        texts = json_value(column.cast(polars_type(entries)), entries)
        return texts.cast(polars_type(rebuilt(kind, _json_type)))
    return column


def finite(rows: pl.LazyFrame, schema: Schema, load: str | None) -> pl.LazyFrame:
    """`rows`, which hold numbers alone where `schema` says so: JSON has no NaN and no infinity. Collecting it
    raises `LoadError`, at `load`, where they do not."""
    tests = {f.name: list(_floats(pl.col(f.name), f.type)) for f in schema}
    checked = [
        pl.all_horizontal(part.is_finite().all() for part in parts).alias(name)
        for name, parts in tests.items()
        if parts
    ]

    def judged(batch: pl.DataFrame) -> pl.DataFrame:
        for name, fine in batch.select(checked).to_dicts()[0].items():
            if not fine:
                raise LoadError(
                    f"JSON has no way to write NaN or infinity, which the column {name!r} holds",
                    hint="replace them in a select step, or choose another format",
                    step=load,
                )
        return batch

    return rows.map_batches(judged, streamable=True) if checked else rows


def _floats(column: pl.Expr, kind: DataType) -> Iterator[pl.Expr]:
    """All floating point numbers in a column, those inside of its values too."""
    match kind:
        case ArrayType(element):
            yield from _floats(column.explode(), element)
        case MapType():
            entries = _entries(kind)
            yield from _floats(column.cast(polars_type(entries)), entries)
        case StructType(fields):
            for field in fields:
                yield from _floats(column.struct.field(field.name), field.type)
        case _ if kind in FRACTIONAL:
            yield column


def _entries(kind: MapType) -> ArrayType:
    return ArrayType(StructType((Field("key", kind.key), Field("value", kind.value))))


def _is_reshaped(kind: DataType) -> bool:
    return any(each in _AS_TEXT for each in kinds_within(kind))


def _json_type(kind: DataType) -> DataType:
    return STRING if kind in _AS_TEXT else kind
