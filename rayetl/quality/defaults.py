"""Defaults of a contract's fields, which Avro writes as JSON, as Spark SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from rayetl.quality.compile import ddl, text
from rayetl.quality.shapes import Shape
from rayetl.sql import types as t

UUID = r"\A[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\z"
_UUID = re.compile(UUID.replace(r"\z", r"\Z"))


def default_sql(shape: Shape, value: Any) -> str:
    """The default `value` of a field of that shape.

    Raises `ValueError` whose text goes on after "the default of x".
    """
    if value is None:
        if not shape.nullable:
            raise ValueError("is null, which its type does not allow")
        return f"CAST(NULL AS {ddl(shape.type)})"
    kind = shape.type
    if isinstance(kind, t.DecimalType):
        return _decimal(value, kind)
    if isinstance(kind, t.StructType):
        return _record(shape, value)
    if shape.element is not None:
        return _array(shape, shape.element, value)
    if shape.value is not None:
        return _map(shape, shape.value, value)
    return _ATOMIC.get(kind, _never)(shape, value)


def _wrong(value: Any, wanted: str) -> ValueError:
    shown = json.dumps(value, default=repr)
    return ValueError(f"is {shown[:60]}, but {wanted} is needed")


def _boolean(_shape: Shape, value: Any) -> str:
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")
    return "true" if value else "false"


def _integer(shape: Shape, value: Any) -> str:
    bits = 31 if shape.type == t.INT else 63
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**bits) <= value < 2**bits:
        raise _wrong(value, f"a whole number that fits {shape.type}")
    return f"CAST('{value}' AS {shape.type})"


def _float(shape: Shape, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(value, "a number")
    return f"CAST('{value!r}' AS {shape.type})"


def _string(shape: Shape, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a text")
    if shape.symbols and value not in shape.symbols:
        raise _wrong(value, f"one of {', '.join(shape.symbols)}")
    if shape.uuid and not _UUID.fullmatch(value):
        raise _wrong(value, "a UUID")
    return text(value)


def _bytes(value: Any) -> bytes:
    """Avro writes bytes as a text of the code points 0 to 255."""
    if not isinstance(value, str) or any(ord(char) > 255 for char in value):
        raise _wrong(value, "a text of the code points 0 to 255, one for each byte,")
    return value.encode("latin-1")


def _binary(shape: Shape, value: Any) -> str:
    found = _bytes(value)
    if shape.size is not None and len(found) != shape.size:
        raise _wrong(value, f"a text of {shape.size} bytes")
    return f"X'{found.hex()}'"


def _decimal(value: Any, kind: t.DecimalType) -> str:
    unscaled = int.from_bytes(_bytes(value), "big", signed=True)
    if abs(unscaled) >= 10**kind.precision:
        raise ValueError(f"has more digits than {kind} holds")
    number = Decimal(unscaled).scaleb(-kind.scale, Context(prec=t.MAX_PRECISION))
    return f"CAST('{number:f}' AS {kind})"


def _date(_shape: Shape, value: Any) -> str:
    try:
        return f"DATE '{(date(1970, 1, 1) + timedelta(days=_count(value))).isoformat()}'"
    except OverflowError:
        raise _wrong(value, "a number of days since 1970-01-01 in the years 1 to 9999") from None


def _timestamp(shape: Shape, value: Any) -> str:
    assert shape.ticks is not None
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            microseconds=_count(value) * (1_000_000 // shape.ticks)
        )
    except OverflowError:
        raise _wrong(value, "a time since 1970-01-01 in the years 1 to 9999") from None
    shown = moment.replace(tzinfo=None).isoformat(sep=" ")
    if shape.type == t.TIMESTAMP_NTZ:
        return f"TIMESTAMP_NTZ '{shown}'"
    return f"TIMESTAMP '{shown}Z'"


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, "a whole number")
    return value


def _record(shape: Shape, value: Any) -> str:
    if not isinstance(value, dict):
        raise _wrong(value, "a record")
    parts = []
    for field in shape.fields:
        if field.name not in value and not field.has_default:
            raise ValueError(f"has no {field.name!r}")
        given = value.get(field.name, field.default)
        parts.append(f"{text(field.name)}, {default_sql(field.shape, given)}")
    return f"CAST(named_struct({', '.join(parts)}) AS {ddl(shape.type)})"


def _array(shape: Shape, element: Shape, value: Any) -> str:
    if not isinstance(value, list):
        raise _wrong(value, "a list")
    items = ", ".join(default_sql(element, item) for item in value)
    return f"CAST(array({items}) AS {ddl(shape.type)})"


def _map(shape: Shape, inner: Shape, value: Any) -> str:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _wrong(value, "an object of texts to values")
    pairs = ", ".join(f"{text(key)}, {default_sql(inner, item)}" for key, item in value.items())
    return f"CAST(map({pairs}) AS {ddl(shape.type)})"


def _never(_shape: Shape, value: Any) -> str:
    raise _wrong(value, "null")


_ATOMIC: dict[t.DataType, Callable[[Shape, Any], str]] = {
    t.BOOLEAN: _boolean,
    t.INT: _integer,
    t.LONG: _integer,
    t.FLOAT: _float,
    t.DOUBLE: _float,
    t.STRING: _string,
    t.BINARY: _binary,
    t.DATE: _date,
    t.TIMESTAMP: _timestamp,
    t.TIMESTAMP_NTZ: _timestamp,
}
