"""Spark's description of a query's columns, as a schema of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayetl.errors import Problem, SqlError
from rayetl.sql.ddl import parse_data_type
from rayetl.sql.types import ArrayType, DataType, Field, MapType, Schema, StructType


def schema_of(described: Mapping[str, Any]) -> Schema:
    """The columns of a `StructType` as its `jsonValue` describes them. Raises `SqlError` for a type that no
    value can be handed over in."""
    return Schema(_fields(described))


def _fields(described: Mapping[str, Any]) -> tuple[Field, ...]:
    return tuple(Field(each["name"], _type(each["type"]), each["nullable"]) for each in described["fields"])


def _type(described: str | Mapping[str, Any]) -> DataType:
    if isinstance(described, str):
        return parse_data_type(described)
    match described["type"]:
        case "struct":
            return StructType(_fields(described))
        case "array":
            return ArrayType(_type(described["elementType"]), described["containsNull"])
        case "map":
            key, value = _type(described["keyType"]), _type(described["valueType"])
            return MapType(key, value, described["valueContainsNull"])
    message = f"Spark gives a column of the type {described['type']}, which rayetl does not know"
    raise SqlError([Problem("sql.type", message)])
