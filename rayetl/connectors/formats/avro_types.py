"""Avro schemas as Spark's Avro source reads them, and decoded values in that shape."""

from __future__ import annotations

from typing import Any

from rayetl.errors import SourceError
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    NULL,
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

_ATOMS: dict[str, DataType] = {
    "null": NULL,
    "boolean": BOOLEAN,
    "int": INT,
    "long": LONG,
    "float": FLOAT,
    "double": DOUBLE,
    "bytes": BINARY,
    "string": STRING,
    "enum": STRING,
    "fixed": BINARY,
}
_LOGICAL: dict[tuple[str, str], DataType] = {
    ("int", "date"): DATE,
    ("long", "timestamp-millis"): TIMESTAMP,
    ("long", "timestamp-micros"): TIMESTAMP,
    ("long", "local-timestamp-millis"): TIMESTAMP_NTZ,
    ("long", "local-timestamp-micros"): TIMESTAMP_NTZ,
}


def spark_schema(shape: Any) -> Schema:
    """The columns of a parsed Avro schema; a schema that is no record has one column, `value`."""
    names: dict[str, Any] = {}
    found = spark_type(shape, names)
    return found if isinstance(found, StructType) else Schema((Field("value", found),))


def spark_type(shape: Any, names: dict[str, Any], outer: tuple[str, ...] = ()) -> DataType:
    """The Spark type of one Avro schema. `names` collects the named types on the way."""
    if isinstance(shape, list):
        return _union(shape, names, outer)
    if isinstance(shape, str):
        return _ATOMS[shape] if shape in _ATOMS else _named(shape, names, outer)
    kind = shape["type"]
    if kind in ("record", "error"):
        return _record(shape, names, outer)
    if kind in ("enum", "fixed"):
        names[shape["name"]] = shape
    if kind == "array":
        return ArrayType(spark_type(shape["items"], names, outer))
    if kind == "map":
        return MapType(STRING, spark_type(shape["values"], names, outer))
    logical = shape.get("logicalType")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        return DecimalType(int(shape["precision"]), int(shape.get("scale", 0)))
    if isinstance(kind, str) and (kind, logical) in _LOGICAL:
        return _LOGICAL[kind, str(logical)]
    return spark_type(kind, names, outer)


def _named(name: str, names: dict[str, Any], outer: tuple[str, ...]) -> DataType:
    if name in outer:
        raise SourceError(f"the Avro schema refers to {name} within itself, which no table can hold")
    if name not in names:
        raise SourceError(f"the Avro schema names the unknown type {name}")
    return spark_type(names[name], names, outer)


def _record(shape: Any, names: dict[str, Any], outer: tuple[str, ...]) -> DataType:
    names[shape["name"]] = shape
    inner = (*outer, shape["name"])
    return StructType(
        tuple(Field(field["name"], spark_type(field["type"], names, inner)) for field in shape["fields"])
    )


def _branches(shape: list[Any]) -> list[Any]:
    return [branch for branch in shape if branch != "null"]


def _union(shape: list[Any], names: dict[str, Any], outer: tuple[str, ...]) -> DataType:
    branches = [spark_type(branch, names, outer) for branch in _branches(shape)]
    if not branches:
        return NULL
    if len(branches) == 1:
        return branches[0]
    if set(branches) == {INT, LONG}:
        return LONG
    if set(branches) == {FLOAT, DOUBLE}:
        return DOUBLE
    return StructType(tuple(Field(f"member{place}", branch) for place, branch in enumerate(branches)))


def plain_value(value: Any, shape: Any, names: dict[str, Any] | None = None) -> Any:
    """A value that fastavro decoded, in the form of `spark_type`: unions as structs of members."""
    names = {} if names is None else names
    del shape, names
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
