"""Spark types to and from Arrow and Polars.

Physical convention of the embedded engine: TIMESTAMP is an instant in microseconds UTC, STRING is
`String`, MAP is `pl.Map` (Polars 2 carries it through Arrow and Parquet and has key lookups for it),
day-time intervals are `Duration("us")`, year-month intervals `Int32` months. Types that Spark does not
have are widened to the next that holds them (uint32 -> bigint, time -> refused, float16 -> float).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from rayetl.errors import Problem, SqlError, UnsupportedSqlError
from rayetl.sql.coerce import is_day_time, is_year_month
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    BYTE,
    DATE,
    DAY_TIME_INTERVAL,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    NULL,
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    YEAR_MONTH_INTERVAL,
    ArrayType,
    DataType,
    DecimalType,
    Field,
    MapType,
    Schema,
    StructType,
)

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
else:
    pl = LazyModule("polars")
    pa = LazyModule("pyarrow")


def to_polars(schema: Schema) -> dict[str, pl.DataType]:
    """Column names to Polars dtypes, in order."""
    return {field.name: polars_type(field.type) for field in schema}


def from_polars(schema: pl.Schema | dict[str, Any]) -> Schema:
    """The Spark schema of Polars columns. Raises SqlError for a type that Spark has no like of."""
    return StructType(tuple(Field(name, from_polars_type(dtype, name)) for name, dtype in schema.items()))


def polars_type(type: DataType) -> Any:  # noqa: A002
    """The Polars dtype that carries a Spark type."""
    match type:
        case DecimalType(precision, scale):
            return pl.Decimal(precision, scale)
        case ArrayType(element):
            return pl.List(polars_type(element))
        case MapType(key, value):
            return pl.Map(polars_type(key), polars_type(value))
        case StructType(fields):
            return pl.Struct([pl.Field(field.name, polars_type(field.type)) for field in fields])
    found = _polars_atoms().get(_plain_interval(type))
    if found is None:
        raise _unsupported(f"type {type} has no column form in the embedded engine")
    return found


def _plain_interval(type: DataType) -> DataType:  # noqa: A002
    """All day-time intervals are carried alike, whatever fields they name."""
    if is_day_time(type):
        return DAY_TIME_INTERVAL
    return YEAR_MONTH_INTERVAL if is_year_month(type) else type


@cache
def _polars_atoms() -> dict[DataType, Any]:
    return {
        NULL: pl.Null(),
        BOOLEAN: pl.Boolean(),
        BYTE: pl.Int8(),
        SHORT: pl.Int16(),
        INT: pl.Int32(),
        LONG: pl.Int64(),
        FLOAT: pl.Float32(),
        DOUBLE: pl.Float64(),
        STRING: pl.String(),
        BINARY: pl.Binary(),
        DATE: pl.Date(),
        TIMESTAMP: pl.Datetime("us", "UTC"),
        TIMESTAMP_NTZ: pl.Datetime("us"),
        DAY_TIME_INTERVAL: pl.Duration("us"),
        YEAR_MONTH_INTERVAL: pl.Int32(),
    }


def from_polars_type(dtype: Any, name: str = "") -> DataType:
    """The Spark type that a Polars column is read as. `name` is for the error message."""
    if dtype == pl.Decimal:
        return DecimalType(dtype.precision or 38, dtype.scale)
    if dtype == pl.Map:
        return MapType(from_polars_type(dtype.key, name), from_polars_type(dtype.value, name))
    if dtype == pl.List or dtype == pl.Array:
        return ArrayType(from_polars_type(dtype.inner, name))
    if dtype == pl.Struct:
        return StructType(tuple(Field(f.name, from_polars_type(f.dtype, name)) for f in dtype.fields))
    if dtype == pl.Datetime:
        return TIMESTAMP_NTZ if dtype.time_zone is None else TIMESTAMP
    if dtype == pl.Duration:
        return DAY_TIME_INTERVAL
    if dtype == pl.Enum or dtype == pl.Categorical:
        return STRING
    widened = {pl.UInt8: SHORT, pl.UInt16: INT, pl.UInt32: LONG, pl.UInt64: DecimalType(20, 0), pl.Int32: INT}
    found = next((spark for known, spark in widened.items() if dtype == known), None)
    found = found or next((spark for spark, known in _polars_atoms().items() if dtype == known), None)
    if found is None:
        raise _unsupported(f"column {name} has the type {dtype}, which Spark SQL does not know")
    return found


def to_arrow(schema: Schema) -> pa.Schema:
    """The Arrow schema of a Spark schema, nullability kept."""
    return pa.schema([_arrow_field(field) for field in schema])


def to_castable_arrow(schema: Schema) -> pa.Schema:
    """The same for columns that are cast to it: where a struct may be NULL its fields may be too. What
    stands in them below a NULL struct is nothing to Spark, but Arrow's casts take it for a NULL."""
    return to_arrow(StructType(tuple(_loosened(field, False) for field in schema)))


def _loosened(field: Field, below_null: bool) -> Field:
    nullable = field.nullable or below_null
    return Field(field.name, _loosened_type(field.type, nullable), nullable)


def _loosened_type(type: DataType, nullable: bool) -> DataType:  # noqa: A002
    match type:
        case ArrayType(element, contains_null):
            return ArrayType(_loosened_type(element, contains_null), contains_null)
        case MapType(key, value, contains_null):
            return MapType(_loosened_type(key, False), _loosened_type(value, contains_null), contains_null)
        case StructType(fields):
            return StructType(tuple(_loosened(field, nullable) for field in fields))
    return type


def _arrow_field(field: Field) -> Any:
    return pa.field(field.name, arrow_type(field.type), field.nullable)


def arrow_type(type: DataType) -> Any:  # noqa: A002
    """The Arrow type of a Spark type, as Spark's own `toArrow` chooses it."""
    match type:
        case DecimalType(precision, scale):
            return pa.decimal128(precision, scale)
        case ArrayType(element, contains_null):
            # Arrow has no items of the type null that are not nullable, not even in an empty array.
            return pa.list_(pa.field("element", arrow_type(element), contains_null or element == NULL))
        case MapType(key, value, contains_null):
            return pa.map_(arrow_type(key), pa.field("value", arrow_type(value), contains_null))
        case StructType(fields):
            return pa.struct([_arrow_field(field) for field in fields])
    atoms: dict[DataType, Any] = {
        NULL: pa.null(),
        BOOLEAN: pa.bool_(),
        BYTE: pa.int8(),
        SHORT: pa.int16(),
        INT: pa.int32(),
        LONG: pa.int64(),
        FLOAT: pa.float32(),
        DOUBLE: pa.float64(),
        STRING: pa.string(),
        BINARY: pa.binary(),
        DATE: pa.date32(),
        TIMESTAMP: pa.timestamp("us", "UTC"),
        TIMESTAMP_NTZ: pa.timestamp("us"),
        DAY_TIME_INTERVAL: pa.duration("us"),
        YEAR_MONTH_INTERVAL: pa.int32(),
    }
    found = atoms.get(_plain_interval(type))
    if found is None:
        raise _unsupported(f"type {type} has no Arrow form")
    return found


def from_arrow(schema: pa.Schema) -> Schema:
    """The Spark schema of Arrow columns. Raises SqlError for a type that Spark has no like of."""
    return StructType(tuple(_field_from_arrow(field) for field in schema))


def _field_from_arrow(field: Any) -> Field:
    return Field(field.name, from_arrow_type(field.type, field.name), field.nullable)


def from_arrow_type(type: Any, name: str = "") -> DataType:  # noqa: A002
    """The Spark type that an Arrow column is read as. `name` is for the error message."""
    types = pa.types
    if isinstance(type, pa.BaseExtensionType):
        return from_arrow_type(type.storage_type, name)
    if types.is_decimal(type) and type.precision <= 38 and type.scale >= 0:
        return DecimalType(type.precision, type.scale)
    if types.is_map(type):
        key, item = from_arrow_type(type.key_type, name), from_arrow_type(type.item_type, name)
        return MapType(key, item, type.item_field.nullable)
    if types.is_list(type) or types.is_large_list(type) or types.is_fixed_size_list(type):
        return ArrayType(from_arrow_type(type.value_type, name), type.value_field.nullable)
    if types.is_struct(type):
        return StructType(tuple(_field_from_arrow(type.field(i)) for i in range(type.num_fields)))
    if types.is_dictionary(type):
        return from_arrow_type(type.value_type, name)
    found = next((spark for test, spark in _arrow_atoms() if test(type)), None)
    if found is None:
        raise _unsupported(f"column {name} has the type {type}, which Spark SQL does not know")
    return found


def _arrow_atoms() -> list[tuple[Any, DataType]]:
    types = pa.types
    return [
        (types.is_null, NULL),
        (types.is_boolean, BOOLEAN),
        (types.is_int8, BYTE),
        (lambda t: types.is_int16(t) or types.is_uint8(t), SHORT),
        (lambda t: types.is_int32(t) or types.is_uint16(t), INT),
        (lambda t: types.is_int64(t) or types.is_uint32(t), LONG),
        (types.is_uint64, DecimalType(20, 0)),
        (lambda t: types.is_float32(t) or types.is_float16(t), FLOAT),
        (types.is_float64, DOUBLE),
        (lambda t: types.is_string(t) or types.is_large_string(t) or t == pa.string_view(), STRING),
        (
            lambda t: (
                types.is_binary(t)
                or types.is_large_binary(t)
                or types.is_fixed_size_binary(t)
                or t == pa.binary_view()
            ),
            BINARY,
        ),
        (types.is_date, DATE),
        (lambda t: types.is_timestamp(t) and t.tz is not None, TIMESTAMP),
        (types.is_timestamp, TIMESTAMP_NTZ),
        (types.is_duration, DAY_TIME_INTERVAL),
    ]


def parse_ddl(text: str) -> Schema:
    """A schema from Spark's DDL spelling: `a INT, b DECIMAL(10,2) NOT NULL, s STRUCT<x: INT>`.

    Raises SqlError with the place of the fault.
    """
    from rayetl.sql.ddl import parse_schema

    return parse_schema(text)


def _unsupported(message: str) -> SqlError:
    return UnsupportedSqlError([Problem("sql.type", message)])
