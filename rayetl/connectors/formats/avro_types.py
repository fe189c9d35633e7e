"""Avro schemas as Spark's Avro source reads them, and decoded values in that shape."""

from __future__ import annotations

from datetime import time
from typing import Any
from uuid import UUID

from rayetl.errors import SourceError
from rayetl.lazy import lazily
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

validation = lazily("fastavro.validation")

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


_COLUMNAR = {None, "decimal", "date", "timestamp-millis", "timestamp-micros", "local-timestamp-millis",
             "local-timestamp-micros"}  # fmt: skip


def columnar(shape: Any) -> bool:
    """Whether the columnar reader gives a parsed schema's values as Spark does: no maps, no unions but of
    NULL and one type, no logical type that Spark reads as a plain number or text."""
    if isinstance(shape, str):
        return shape in _ATOMS and shape != "null"
    if isinstance(shape, list):
        return len(_branches(shape)) == 1 and columnar(_branches(shape)[0])
    if shape["type"] == "record":
        return len(shape["fields"]) > 0 and all(columnar(field["type"]) for field in shape["fields"])
    if shape["type"] == "array":
        return columnar(shape["items"])
    if shape["type"] == "map" or shape.get("logicalType") not in _COLUMNAR:
        return False
    return isinstance(shape["type"], str) or columnar(shape["type"])


def plain_row(value: Any, shape: Any) -> dict[str, Any]:
    """A record that fastavro decoded, in the form of `spark_schema`: unions as structs of members."""
    names: dict[str, Any] = {}
    spark_type(shape, names)
    found = _plain(value, shape, names)
    return found if isinstance(shape, dict) and shape["type"] == "record" else {"value": found}


def _plain(value: Any, shape: Any, names: dict[str, Any]) -> Any:
    if value is None:
        return None
    if isinstance(shape, str) and shape in names:
        shape = names[shape]
    if isinstance(shape, list):
        return _member(value, shape, names)
    kind = shape["type"] if isinstance(shape, dict) else shape
    if kind == "record":
        return {
            field["name"]: _plain(value[field["name"]], field["type"], names) for field in shape["fields"]
        }
    if kind == "array":
        return [_plain(item, shape["items"], names) for item in value]
    if kind == "map":
        return {key: _plain(item, shape["values"], names) for key, item in value.items()}
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, time):
        micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
        return micros // 1000 if kind == "int" else micros
    return value


def _member(value: Any, shape: list[Any], names: dict[str, Any]) -> Any:
    branches = _branches(shape)
    if not isinstance(_union(shape, names, ()), StructType) or len(branches) == 1:
        return _plain(value, branches[0], names) if len(branches) == 1 else value
    place = next(
        at for at, branch in enumerate(branches) if validation.validate(value, branch, raise_errors=False)
    )
    return {f"member{place}": _plain(value, branches[place], names)}
