"""The schema of JSON files that have none given, by Spark's inference over all records."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayetl.connectors.base import FilesScan
from rayetl.connectors.formats.json import JsonReader
from rayetl.connectors.formats.json_text import JsonFault, Number, read_json
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

_PART = 64 << 10
"""Bytes whose types Arrow is asked for at a time."""
_DEEPEST = 400
"""Types inside one another of a column. Deeper ones exhaust the stack of whatever works with them."""


def json_schema(scan: FilesScan, options: JsonOptions, promised: Schema | None = None) -> Schema:
    """The columns of all records, sorted by name as Spark does; what is no JSON is passed over.

    With `promised`: its columns, then those that it does not name.
    """
    if promised is not None and not _has_others(scan, options, promised):
        return promised
    try:
        found = _inferred(scan, options)
    except RecursionError:
        raise _too_deep(scan) from None
    known = Schema() if promised is None else promised
    others = tuple(field for field in found if known.get(field.name) is None)
    if any(_is_too_deep(field.type) for field in others):
        raise _too_deep(scan)
    if promised is None and not others:
        _refuse_records(scan, options)
    return Schema((*known.fields, *others))


def _is_too_deep(kind: DataType) -> bool:
    within, level = [kind], 0
    while within and level <= _DEEPEST:
        within, level = [inner for each in within for inner in _inside(each)], level + 1
    return level > _DEEPEST


def _inside(kind: DataType) -> Sequence[DataType]:
    match kind:
        case ArrayType(element):
            return (element,)
        case StructType(fields):
            return [field.type for field in fields]
    return ()


def _too_deep(scan: FilesScan) -> SourceError:
    where = scan.files[0].path if len(scan.files) == 1 else f"{scan.files[0].path} and others"
    return SourceError(
        f"records of {where} have more than {_DEEPEST} arrays and objects inside one another",
        hint="give a `schema` in which the field around them is a STRING",
    )


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
                lines = reader.one_a_line(chunk)
                for part in [] if lines is None else _parts(lines):
                    found = reader.untyped(part)
                    if found is None or not names.issuperset(found.column_names):
                        return True
                if lines is None:
                    return True
    return False


def _inferred(scan: FilesScan, options: JsonOptions) -> Schema:
    found: DataType = NULL
    reader = JsonReader(Schema(), options)
    chosen = random.Random(1)
    for file in scan.files:
        with reading(file.path):
            for chunk in reader.chunks(file):
                if options.sampling_ratio >= 1:
                    kinds = _kinds(reader, chunk)
                else:
                    sample = (v for v in _values(reader, chunk) if chosen.random() < options.sampling_ratio)
                    kinds = (kind_of(value, options) for value in sample)
                for kind in kinds:
                    found = united(found, kind)
    shape = _settled(found)
    return shape if isinstance(shape, StructType) else Schema()


def _kinds(reader: JsonReader, chunk: bytes) -> Iterator[DataType]:
    """Types that together say what the records of a chunk are: columnar where Arrow can be trusted to see
    them as Spark does. A document is malformed as a whole, lines one by one."""
    if not reader.options.multi_line:
        for part in _parts(chunk):
            found = _columnar(reader, part)
            yield from _one_by_one(reader, part) if found is None else [found]
        return
    lines = reader.one_a_line(chunk)
    kinds = [] if lines is None else [_columnar(reader, part) for part in _parts(lines)]
    sure = [kind for kind in kinds if kind is not None]
    yield from sure if sure and len(sure) == len(kinds) else _one_by_one(reader, chunk)


def _parts(lines: bytes) -> Iterator[bytes]:
    """Some lines at a time, so that there is room for records that have no field in common: Arrow gives each
    record a place in each column."""
    at = 0
    while at < len(lines):
        end = lines.find(b"\n", at + _PART) + 1 or len(lines)
        yield lines[at:end]
        at = end


def _one_by_one(reader: JsonReader, chunk: bytes) -> Iterator[DataType]:
    return (kind_of(value, reader.options) for value in _values(reader, chunk))


def _values(reader: JsonReader, chunk: bytes) -> Iterator[Any]:
    for text in reader.texts(chunk):
        try:
            value = read_json(text, reader.options)
        except JsonFault:
            continue
        yield from (
            item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)
        )


def _columnar(reader: JsonReader, lines: bytes) -> DataType | None:
    table = reader.untyped(lines)
    if table is None:
        return None
    return _struct_kind(table.column_names, [column.combine_chunks() for column in table], reader.options)


def _struct_kind(names: Sequence[str], columns: Sequence[pa.Array], options: JsonOptions) -> DataType | None:
    kinds = [_column_kind(column, options) for column in columns]
    fields = tuple(Field(name, kind) for name, kind in zip(names, kinds, strict=True) if kind is not None)
    return StructType(tuple(sorted(fields, key=_name))) if len(fields) == len(kinds) else None


def _column_kind(column: pa.Array, options: JsonOptions) -> DataType | None:
    """The type of a column that Arrow found; `None` where its type does not tell which numbers there are."""
    kind = column.type
    if pa.types.is_null(kind):
        return NULL
    if pa.types.is_struct(kind):
        return _struct_kind([field.name for field in kind], column.flatten(), options)
    if pa.types.is_list(kind):
        element = _column_kind(column.flatten(), options)
        return None if element is None else ArrayType(element)
    if pa.types.is_string(kind):
        return STRING if pc.any(pc.not_equal(column, "")).as_py() else NULL
    if pa.types.is_timestamp(kind) or options.primitives_as_string:
        return STRING
    if pa.types.is_boolean(kind):
        return BOOLEAN
    if pa.types.is_integer(kind):
        return LONG
    is_long = pc.any(pc.greater_equal(pc.abs(column), 2.0**63)).as_py()
    return None if is_long or options.prefers_decimal else DOUBLE


def _name(field: Field) -> str:
    return field.name


def kind_of(value: Any, options: JsonOptions) -> DataType:
    """The type of one JSON value."""
    match value:
        case None | "":
            return NULL
        case dict():
            fields = (Field(name, kind_of(item, options)) for name, item in value.items())
            return StructType(tuple(sorted(fields, key=_name)))
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
