"""Frozen dataclasses to JSON and back, exactly, guided by their annotations.

Fields a reader does not know are passed over and fields that are absent take their default, so that
a report of a neighbouring version can still be read.
"""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: object) -> bytes:
    """JSON text in ASCII: names that are no valid Unicode (odd file names) survive as escapes."""
    return json.dumps(_plain(value), indent=2, allow_nan=False).encode("ascii")


def from_json(cls: type[T], data: bytes | str) -> T:
    """Raises `ValueError` naming the place that is not what `cls` says."""
    try:
        document = json.loads(data)
    except (UnicodeDecodeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"not JSON: {error}") from error
    return _read(cls, document, cls.__name__)  # type: ignore[no-any-return]


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(kind: Any, value: Any, place: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_optional(kind, value, place)
    if origin is tuple:
        return _read_tuple(get_args(kind)[0], value, place)
    if origin is Literal:
        return _expect(value in get_args(kind), value, place, " | ".join(map(str, get_args(kind))))
    if is_dataclass(kind):
        return _read_dataclass(kind, value, place)
    if kind is datetime:
        return _read_datetime(value, place)
    if kind is float and type(value) is int:
        return float(value)
    return _expect(type(value) is kind, value, place, kind.__name__)


def _expect(holds: bool, value: Any, place: str, allowed: str) -> Any:
    if not holds:
        raise ValueError(f"{place}: expected {allowed}, found {value!r}")
    return value


def _read_optional(kind: Any, value: Any, place: str) -> Any:
    if value is None:
        return None
    (inner,) = (arg for arg in get_args(kind) if arg is not types.NoneType)
    return _read(inner, value, place)


def _read_tuple(item: Any, value: Any, place: str) -> tuple[Any, ...]:
    _expect(isinstance(value, list), value, place, "a list")
    return tuple(_read(item, entry, f"{place}[{index}]") for index, entry in enumerate(value))


def _read_datetime(value: Any, place: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: expected a time in ISO 8601, found {value!r}") from error


def _read_dataclass(kind: Any, value: Any, place: str) -> Any:
    _expect(isinstance(value, dict), value, place, "an object")
    hints = _hints(kind)
    known = {}
    for field in fields(kind):
        if field.name in value:
            known[field.name] = _read(hints[field.name], value[field.name], f"{place}.{field.name}")
        elif field.default is MISSING:
            raise ValueError(f"{place}: `{field.name}` is missing")
    return kind(**known)
