"""Which casts Spark allows, and which of them the embedded engine runs."""

from __future__ import annotations

from typing import Literal as OneOf

from rayetl.sql.coerce import is_interval, is_numeric
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    DATE,
    INTEGRAL,
    NULL,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    DataType,
    MapType,
    StructType,
    is_nested,
)

_TIMES = (DATE, TIMESTAMP, TIMESTAMP_NTZ)
Refusal = OneOf["impossible", "unsupported"] | None


def check_cast(source: DataType, target: DataType) -> Refusal:
    """None when the cast runs; else whether Spark refuses it too or only this engine does."""
    match source, target:
        case _ if source in (target, NULL):
            return None
        case ArrayType(), ArrayType():
            return check_cast(source.element, target.element)
        case MapType(), MapType():
            return check_cast(source.key, target.key) or check_cast(source.value, target.value)
        case StructType(), StructType() if len(source) == len(target):
            parts = [check_cast(a.type, b.type) for a, b in zip(source, target, strict=True)]
            return next((part for part in parts if part), None)
    if is_nested(source):
        return "unsupported" if target == STRING else "impossible"
    if is_nested(target):
        return "impossible"
    return _check_atoms(source, target)


def _check_atoms(source: DataType, target: DataType) -> Refusal:
    if is_interval(source) or is_interval(target):
        return "unsupported"
    if target == STRING or source == STRING:
        return None
    if source == BINARY or target == BINARY:
        return "unsupported" if source in INTEGRAL else "impossible"
    if source == target == BOOLEAN or (_plain(source) and _plain(target)):
        return None
    if source in _TIMES and target in _TIMES:
        return None
    if TIMESTAMP in (source, target) and (_plain(source) or _plain(target)):
        return None
    return None if source == DATE and _plain(target) else "impossible"


def _plain(kind: DataType) -> bool:
    return is_numeric(kind) or kind == BOOLEAN
