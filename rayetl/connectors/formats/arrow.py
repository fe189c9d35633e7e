"""Arrow tables to frames with exactly the types of a schema, as Spark casts between file and table types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from rayetl.lazy import lazily
from rayetl.sql.interop import arrow_type, from_arrow_type, to_polars
from rayetl.sql.types import (
    BINARY,
    DOUBLE,
    FLOAT,
    INTEGRAL,
    LONG,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    DataType,
    DecimalType,
    Field,
    MapType,
    Schema,
    StructType,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa = lazily("pyarrow")
    pc = lazily("pyarrow.compute")


WIDER = "give the source a `schema` whose types take what is in all of its files"
"""What to do about a file whose values are none of the columns' types."""


class MisfitError(ValueError):
    """Values of a file are none of the type of their column."""


def conform(table: pa.Table, schema: Schema) -> pl.DataFrame:
    """`table` with the columns and types of `schema`; letter case of names ignored, missing columns NULL.
    Raises `MisfitError` naming the column whose values do not fit."""
    places = {name.lower(): place for place, name in reversed(list(enumerate(table.column_names)))}
    columns = []
    for column in schema:
        place = places.get(column.name.lower())
        if place is None:
            columns.append(pa.nulls(table.num_rows, arrow_type(column.type)))
        else:
            columns.append(_fitted(table.column(place).combine_chunks(), column))
    made = pa.Table.from_arrays(columns, names=[str(place) for place in range(len(columns))])
    frame = pl.DataFrame(made)
    dtypes = to_polars(schema)
    shaped = [
        pl.col(str(place)).cast(dtype).alias(name) for place, (name, dtype) in enumerate(dtypes.items())
    ]
    return frame.select(shaped) if shaped else frame


def _fitted(array: Any, column: Field) -> Any:
    try:
        made = cast(array, column.type)
        _assert_text(made)
        return made
    except pa.ArrowInvalid as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise MisfitError(f"the column {column.name} is read as {column.type}: {said}") from error


def _assert_text(array: Any) -> None:
    """Raises ArrowInvalid where a text is no UTF-8. Arrow reads it without a look, and what Polars does with
    it is anything from wrong letters to the end of the process."""
    kind = array.type
    if pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            _assert_text(array.field(place))
    elif pa.types.is_map(kind):
        _assert_text(array.keys)
        _assert_text(array.items)
    elif _is_list(kind):
        _assert_text(array.values)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array.validate(full=True)


def cast(array: Any, kind: DataType) -> Any:
    """An Arrow array as the Arrow form of `kind`. Raises ArrowInvalid where values do not fit."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks else pa.array([], type=array.type)
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    target = arrow_type(kind)
    if array.type == target:
        return array
    if isinstance(kind, StructType) and pa.types.is_struct(array.type):
        return _struct(array, kind)
    if isinstance(kind, ArrayType) and _is_list(array.type):
        return _list(array, kind)
    if isinstance(kind, MapType) and pa.types.is_map(array.type):
        return _map(array, kind)
    found = None if array.type == pa.null() else from_arrow_type(array.type)
    if found is not None and not _convertible(found, kind):
        raise pa.ArrowInvalid(f"the file has {found} there")
    return pc.cast(array, target, safe=_safe(array.type, target))


def _convertible(found: DataType, kind: DataType) -> bool:
    """Whether values of a file's type may be read as `kind`: the same kind of thing, in another width, or a
    DOUBLE that every one of them is."""
    if found == kind:
        return True
    if found in INTEGRAL or isinstance(found, DecimalType):
        return (
            kind in INTEGRAL or (found != LONG and kind == DOUBLE)
            if found in INTEGRAL
            else isinstance(kind, DecimalType)
        )
    pairs = (
        (FLOAT, DOUBLE),
        (TIMESTAMP_NTZ, TIMESTAMP),
        (TIMESTAMP, TIMESTAMP_NTZ),
        (BINARY, STRING),
        (STRING, BINARY),
    )
    return (found, kind) in pairs


def _safe(source: Any, target: Any) -> bool:
    """Finer timestamps are cut to microseconds, as Spark does; anything else must fit."""
    return not (pa.types.is_timestamp(source) and pa.types.is_timestamp(target))


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _struct(array: Any, kind: StructType) -> Any:
    places = {array.type.field(place).name.lower(): place for place in reversed(range(array.type.num_fields))}
    children = []
    for field in kind:
        place = places.get(field.name.lower())
        if place is None:
            children.append(pa.nulls(len(array), arrow_type(field.type)))
        else:
            children.append(cast(pc.struct_field(array, [place]), field.type))
    fields = [pa.field(field.name, child.type) for field, child in zip(kind, children, strict=True)]
    return pa.StructArray.from_arrays(children, fields=fields, mask=pc.is_null(array))


def _list(array: Any, kind: ArrayType) -> Any:
    if pa.types.is_fixed_size_list(array.type):
        array = pc.cast(array, pa.list_(array.type.value_type))
    if array.null_count == 0 and array.offset == 0:
        values = cast(array.values, kind.element)
        maker = pa.LargeListArray if pa.types.is_large_list(array.type) else pa.ListArray
        return maker.from_arrays(array.offsets, values)
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    ends = pc.cumulative_sum(pc.cast(lengths, pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    values = cast(array.flatten(), kind.element)
    return pa.LargeListArray.from_arrays(offsets, values, mask=pc.is_null(array))


def _map(array: Any, kind: MapType) -> Any:
    lengths = pc.fill_null(pc.list_value_length(pc.cast(array, pa.list_(_entry(array.type)))), 0)
    ends = pc.cumulative_sum(pc.cast(lengths, pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    entries = pc.cast(array, pa.list_(_entry(array.type))).flatten()
    keys = cast(pc.struct_field(entries, [0]), kind.key)
    values = cast(pc.struct_field(entries, [1]), kind.value)
    made = pa.MapArray.from_arrays(offsets, keys, values)
    if array.null_count == 0:
        return made
    return pc.if_else(pc.is_valid(array), made, pa.scalar(None, made.type))


def _entry(kind: Any) -> Any:
    return pa.struct([pa.field("key", kind.key_type, False), pa.field("value", kind.item_type)])
