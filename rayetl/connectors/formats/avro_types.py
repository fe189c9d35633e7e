"""Avro schemas as Spark's Avro source reads them, and decoded values in that shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

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

_MILLIS = ("timestamp-millis", "local-timestamp-millis")
_MEANT = "rayetl.logicalType"
_NUMBERS = ((["int", "long"], LONG), (["double", "float"], DOUBLE))
_MOST_DIGITS = 38


class UnreadableError(ValueError):
    """A schema is sound, but no table of Spark has the like."""


def spark_schema(shape: Any) -> Schema:
    """The columns of a parsed Avro schema; a schema that is no record has one column, `value`."""
    found = spark_type(shape, {})
    if is_record(shape):
        assert isinstance(found, StructType)
        return found
    return Schema((Field("value", found),))


def is_record(shape: Any) -> bool:
    """Whether a parsed schema is a record itself, and no union with one."""
    return isinstance(shape, dict) and shape["type"] in ("record", "error")


def spark_type(shape: Any, names: dict[str, Any], outer: tuple[str, ...] = ()) -> DataType:
    """The Spark type of one Avro schema. `names` collects the named types on the way."""
    if isinstance(shape, list):
        return _union(shape, names, outer)
    if isinstance(shape, str):
        return _ATOMS[shape] if shape in _ATOMS else _named(shape, names, outer)
    kind = shape["type"]
    if is_record(shape):
        return _record(shape, names, outer)
    if kind in ("enum", "fixed"):
        names[shape["name"]] = shape
    if kind == "array":
        return ArrayType(spark_type(shape["items"], names, outer))
    if kind == "map":
        return MapType(STRING, spark_type(shape["values"], names, outer))
    logical = shape.get("logicalType")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        precision = int(shape["precision"])
        if precision > _MOST_DIGITS:
            raise UnreadableError(f"it has a decimal of {precision} digits, and {_MOST_DIGITS} are the most")
        return DecimalType(precision, int(shape.get("scale", 0)))
    if isinstance(kind, str) and (kind, logical) in _LOGICAL:
        return _LOGICAL[kind, str(logical)]
    return spark_type(kind, names, outer)


def _named(name: str, names: dict[str, Any], outer: tuple[str, ...]) -> DataType:
    if name in outer:
        raise UnreadableError(f"its schema refers to {name} within itself, which no table can hold")
    if name not in names:
        raise UnreadableError(f"its schema names the unknown type {name}")
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
    if number := _one_number(_branches(shape)):
        return number
    return StructType(tuple(Field(f"member{place}", branch) for place, branch in enumerate(branches)))


def _one_number(branches: list[Any]) -> DataType | None:
    """The type of a union whose two branches Spark reads as one number, whatever they stand for."""
    bases = [_base(branch) for branch in branches]
    return next((found for pair, found in _NUMBERS if sorted(bases) == pair), None)


def _base(shape: Any) -> str:
    while isinstance(shape, dict):
        shape = shape["type"]
    return str(shape)


_COLUMNAR = {None, "decimal", "date", "timestamp-millis", "timestamp-micros", "local-timestamp-millis",
             "local-timestamp-micros"}  # fmt: skip


def columnar(shape: Any) -> bool:
    """Whether the columnar reader gives a parsed schema's values as Spark does: no maps, no unions but of
    NULL and one type, nothing of no bytes, no logical type that Spark reads as a plain number or text."""
    if isinstance(shape, str):
        return shape in _ATOMS and shape != "null"
    if isinstance(shape, list):
        return len(shape) == 2 and len(_branches(shape)) == 1 and columnar(_branches(shape)[0])
    if shape["type"] == "record":
        return len(shape["fields"]) > 0 and all(columnar(field["type"]) for field in shape["fields"])
    if shape["type"] == "array":
        return columnar(shape["items"])
    if (
        shape["type"] in ("map", "error")
        or shape.get("size") == 0
        or shape.get("logicalType") not in _COLUMNAR
    ):
        return False
    return isinstance(shape["type"], str) or columnar(shape["type"])


def branched(shape: Any) -> Any:
    """A parsed schema for the same bytes, after which a decoded value says which branch of a union it is of.

    A record of one field takes no more bytes than the field, so the branches of a union become such records,
    called like the members of the struct that Spark makes of it. Moments stay the numbers that they are
    stored as: Python's own end with the year 9999.
    """
    return _branched(shape, count())


def _branched(shape: Any, numbers: Iterator[int]) -> Any:
    if isinstance(shape, list):
        rest = iter(_told_branches(_branches(shape), numbers))
        return [branch if branch == "null" else next(rest) for branch in shape]
    if not isinstance(shape, dict):
        return shape
    told = dict(shape)
    for key in ("items", "values", "type"):
        if key in shape:
            told[key] = _branched(shape[key], numbers)
    if "fields" in shape:
        told["fields"] = [field | {"type": _branched(field["type"], numbers)} for field in shape["fields"]]
    if shape.get("logicalType", "decimal") != "decimal":
        told[_MEANT] = told.pop("logicalType")
    return told


def _told_branches(branches: list[Any], numbers: Iterator[int]) -> list[Any]:
    if _one_number(branches):
        return [_base(branch) for branch in branches]
    told = [_branched(branch, numbers) for branch in branches]
    if len(told) == 1:
        return told
    return [_member(place, branch, next(numbers)) for place, branch in enumerate(told)]


def _member(place: int, branch: Any, number: int) -> Any:
    fields = [{"name": f"member{place}", "type": branch}]
    return {"type": "record", "name": f"rayetl_branch_{number}", "fields": fields}


def plain_rows(records: Iterable[Any], shape: Any) -> Iterator[dict[str, Any]]:
    """Records that fastavro decoded by a `branched` schema, in the form of `spark_schema`."""
    names: dict[str, Any] = {}
    spark_type(shape, names)
    for record in records:
        found = _plain(record, shape, names)
        yield found if is_record(shape) else {"value": found}


def _plain(value: Any, shape: Any, names: dict[str, Any]) -> Any:
    if value is None:
        return None
    if isinstance(shape, str) and shape in names:
        shape = names[shape]
    if isinstance(shape, list):
        branches = _branches(shape)
        if len(branches) == 1:
            return _plain(value, branches[0], names)
        return _plain(value, _taken(value, branches), names) if isinstance(value, dict) else value
    if not isinstance(shape, dict):
        return value
    if is_record(shape):
        return {
            field["name"]: _plain(value[field["name"]], field["type"], names) for field in shape["fields"]
        }
    if shape["type"] == "array":
        return [_plain(item, shape["items"], names) for item in value]
    if shape["type"] == "map":
        return {key: _plain(item, shape["values"], names) for key, item in value.items()}
    return value * 1000 if shape.get(_MEANT) in _MILLIS else value


def _taken(value: dict[str, Any], branches: list[Any]) -> Any:
    (name,) = value
    return next(branch for branch in branches if branch["fields"][0]["name"] == name)
