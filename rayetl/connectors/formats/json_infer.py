"""The schema of JSON files that have none given, by Spark's inference over all records."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats.json import JsonReader
from rayetl.connectors.formats.json_text import JsonFault, Number, read_json, text_of
from rayetl.connectors.formats.options import JsonOptions
from rayetl.connectors.formats.streams import reading
from rayetl.errors import SourceError
from rayetl.sql.types import (
    BOOLEAN,
    DOUBLE,
    LONG,
    NULL,
    STRING,
    ArrayType,
    DataType,
    DecimalType,
    Field,
    MapType,
    Schema,
    StructType,
)


def json_schema(scan: FilesScan, options: JsonOptions, promised: Schema | None = None) -> Schema:
    """The columns of all records, sorted by name as Spark does; what is no JSON is passed over.

    With `promised`: its columns, then those that it does not name.
    """
    if promised is None:
        found = _inferred(scan, options)
        if not len(found):
            _refuse_records(scan, options)
        return found
    if not _has_others(scan, options, promised):
        return promised
    others = (field for field in _inferred(scan, options) if promised.get(field.name) is None)
    return Schema((*promised.fields, *others))


def _refuse_records(scan: FilesScan, options: JsonOptions) -> None:
    """Raises SourceError if there is a record: of rows without columns nothing would be left, not even
    their rejects."""
    reader = JsonReader(Schema(), options)
    for file in scan.files:
        with reading(file.path):
            for chunk in reader.chunks(file):
                if len(reader.records(chunk)):
                    raise SourceError(
                        f"no record of the file {file.path} is a JSON object with a field",
                        hint="give a `schema` to have such records among the rejects"
                        + (
                            "; lines that are documents of their own need no `multi_line`"
                            * options.multi_line
                        ),
                    )


def _has_others(scan: FilesScan, options: JsonOptions, promised: Schema) -> bool:
    """Whether a record may have a field that is not promised."""
    names = set(promised.names)
    reader = JsonReader(Schema(), options)
    for file in scan.files:
        with reading(file.path):
            for chunk in reader.chunks(file):
                try:
                    found = pa_json.read_json(io.BytesIO(chunk)).column_names
                except (pa.ArrowException, UnicodeDecodeError):
                    return True
                if not names.issuperset(found):
                    return True
    return False


def _inferred(scan: FilesScan, options: JsonOptions) -> Schema:
    found: DataType = NULL
    chosen = random.Random(1)
    for file in scan.files:
        with reading(file.path):
            for value in _values(file, options):
                if options.sampling_ratio >= 1 or chosen.random() < options.sampling_ratio:
                    found = united(found, kind_of(value, options))
    shape = _settled(found)
    return shape if isinstance(shape, StructType) else Schema()


def _values(file: InputFile, options: JsonOptions) -> Iterator[Any]:
    reader = JsonReader(Schema(), options)
    for chunk in reader.chunks(file):
        for record in reader.records(chunk):
            try:
                value = read_json(text_of(record), options)
            except JsonFault:
                continue
            yield from (
                item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)
            )


def kind_of(value: Any, options: JsonOptions) -> DataType:
    """The type of one JSON value."""
    match value:
        case None | "":
            return NULL
        case dict():
            fields = (Field(name, kind_of(item, options)) for name, item in value.items())
            return StructType(tuple(sorted(fields, key=lambda field: field.name)))
        case list():
            element: DataType = NULL
            for item in value:
                element = united(element, kind_of(item, options))
            return ArrayType(element)
        case str():
            return STRING
    if options.primitives_as_string:
        return STRING
    return BOOLEAN if isinstance(value, bool) else _number(value, options)


def _number(value: Number, options: JsonOptions) -> DataType:
    if value.whole:
        if value.integer(64) is not None:
            return LONG
        digits = len(value.digits.lstrip("-"))
        return DecimalType(digits, 0) if digits <= 38 else DOUBLE
    if options.prefers_decimal and not any(sign in value.text for sign in "NI"):
        _, digits_, exponent = Decimal(value.text).as_tuple()
        scale = max(-int(exponent), 0)
        precision = max(len(digits_) + max(int(exponent), 0), scale)
        if precision <= 38:
            return DecimalType(precision, scale)
    return DOUBLE


def united(first: DataType, second: DataType) -> DataType:
    """The narrowest type that holds values of both."""
    if first == second or second == NULL:
        return first
    if first == NULL:
        return second
    match first, second:
        case StructType(), StructType():
            return _struct(first, second)
        case ArrayType(), ArrayType():
            return ArrayType(united(first.element, second.element))
    return _numbers(first, second)


def _struct(first: StructType, second: StructType) -> StructType:
    kinds: dict[str, DataType] = {field.name: field.type for field in first}
    for field in second:
        kinds[field.name] = united(kinds.get(field.name, NULL), field.type)
    return StructType(tuple(Field(name, kinds[name]) for name in sorted(kinds)))


def _numbers(first: DataType, second: DataType) -> DataType:
    kinds = (first, second)
    if not all(kind in (LONG, DOUBLE) or isinstance(kind, DecimalType) for kind in kinds):
        return STRING
    if DOUBLE in kinds:
        return DOUBLE
    decimals = [kind if isinstance(kind, DecimalType) else DecimalType(20, 0) for kind in kinds]
    scale = max(kind.scale for kind in decimals)
    whole = max(kind.precision - kind.scale for kind in decimals)
    return DecimalType(whole + scale, scale) if whole + scale <= 38 else DOUBLE


def _settled(kind: DataType) -> DataType:
    """The type with STRING for what was never seen with a value, and without empty structs."""
    match kind:
        case StructType(fields):
            kept = (Field(field.name, _settled(field.type)) for field in fields)
            return StructType(tuple(field for field in kept if field.type != StructType()))
        case ArrayType(element):
            return ArrayType(_settled(element))
        case MapType():
            return kind
    return STRING if kind == NULL else kind
