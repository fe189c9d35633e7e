"""Values as the text formats hold them, so that Spark's readers get the same values back."""

from __future__ import annotations

import re
from functools import partial

import polars as pl

from rayetl.connectors.files_load import WriteOptions
from rayetl.errors import LoadError
from rayetl.sql.interop import polars_type
from rayetl.sql.types import (
    BINARY,
    FRACTIONAL,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    DataType,
    Field,
    MapType,
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
    elif kind in FRACTIONAL:
        text = column.cast(pl.String).replace({"inf": "Infinity", "-inf": "-Infinity"})
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


def json_value(name: str, column: pl.Expr, kind: DataType) -> pl.Expr:
    """The value of the column `name`, or a part of it, as JSON holds it: binary as base64, timestamps as ISO
    8601 text."""
    if kind == BINARY:
        return column.bin.encode("base64")
    if kind == TIMESTAMP:
        return column.dt.strftime(_ZONED)
    if kind == TIMESTAMP_NTZ:
        return column.dt.strftime(_UNZONED)
    if kind in FRACTIONAL:
        return column.map_batches(partial(_all_finite, name), is_elementwise=True)
    if isinstance(kind, ArrayType) and _is_reshaped(kind.element):
        return column.list.eval(json_value(name, pl.element(), kind.element))
    if isinstance(kind, StructType) and _is_reshaped(kind):
        members = [json_value(name, column.struct.field(f.name), f.type).alias(f.name) for f in kind]
        return pl.when(column.is_not_null()).then(pl.struct(members))
    if isinstance(kind, MapType) and _is_reshaped(kind):
        entries = ArrayType(StructType((Field("key", kind.key), Field("value", kind.value))))
        texts = json_value(name, column.cast(polars_type(entries)), entries)
        return texts.cast(polars_type(rebuilt(kind, _json_type)))
    return column


def _is_reshaped(kind: DataType) -> bool:
    return any(each in (*_AS_TEXT, *FRACTIONAL) for each in kinds_within(kind))


def _json_type(kind: DataType) -> DataType:
    return STRING if kind in _AS_TEXT else kind


def _all_finite(name: str, values: pl.Series) -> pl.Series:
    if not values.is_finite().all():
        raise LoadError(
            f"JSON has no way to write NaN or infinity, which the column {name!r} holds",
            hint="replace them in a select step, or choose another format",
        )
    return values
