"""JSON values to the types of a schema, record by record, as Spark's JSON reader converts them."""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import polars as pl

from rayetl.connectors.formats.json_text import (
    BLANK,
    JsonFault,
    Number,
    read_json,
    whole_characters,
    write_json,
)
from rayetl.connectors.formats.options import JsonOptions
from rayetl.connectors.formats.values import parse
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    BYTE,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    NULL,
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    Schema,
    StructType,
)

_BITS: dict[DataType, int] = {BYTE: 8, SHORT: 16, INT: 32, LONG: 64}
_WORDS = {"NaN": math.nan, "+INF": math.inf, "INF": math.inf, "Infinity": math.inf, "+Infinity": math.inf,
          "-INF": -math.inf, "-Infinity": -math.inf}  # fmt: skip
_EXACT = Context(prec=100)
_DAYS = re.compile(r"[+-]?\d{1,6}", re.ASCII)
_ENDED = "[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}=="
_FOURS = re.compile(f"[\\x00- ]*((?:[A-Za-z0-9+/]{{4}})+(?:{_ENDED})?|{_ENDED})")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")

Row = tuple[Any, ...]


class Mismatch(ValueError):
    """A value that cannot be of its column's type."""


class JsonConverter:
    """Turns the texts of records into rows of one schema."""

    def __init__(self, schema: Schema, options: JsonOptions) -> None:
        self._schema = schema
        self._options = options
        self._atoms: dict[DataType, Callable[[Any], Any]] = {
            STRING: _string,
            BOOLEAN: _boolean,
            BINARY: _binary,
            DATE: self._moment(DATE),
            TIMESTAMP: self._moment(TIMESTAMP),
            TIMESTAMP_NTZ: self._moment(TIMESTAMP_NTZ),
            FLOAT: lambda value: _single(_double(value)),
            DOUBLE: _double,
            NULL: lambda _: None,
        }
        self._known: dict[tuple[DataType, str], Any] = {}

    def rows(self, record: str) -> Iterator[tuple[Row, str | None]]:
        """The rows of one record, each with why it is malformed or None; an array gives a row an element."""
        try:
            value = read_json(record, self._options)
        except JsonFault as fault:
            yield self._nothing(), str(fault)
            return
        if isinstance(value, list):
            yield from map(self._row, value)
        elif value is None:
            yield self._nothing(), None
        else:
            yield self._row(value)

    def _nothing(self) -> Row:
        return (None,) * len(self._schema)

    def _row(self, value: Any) -> tuple[Row, str | None]:
        if not isinstance(value, dict):
            return self._nothing(), "the record is not a JSON object"
        row: list[Any] = []
        reasons: list[str] = []
        for column in self._schema:
            try:
                row.append(self.convert(value.get(column.name), column.type))
            except Mismatch as fault:
                row.append(None)
                reasons.append(f"column {column.name}: {fault}")
        return tuple(row), "; ".join(reasons) or None

    def convert(self, value: Any, kind: DataType) -> Any:
        """One value as `kind`. Raises Mismatch."""
        if value is None:
            return None
        match kind:
            case StructType():
                return self._struct(value, kind)
            case ArrayType():
                return self._array(value, kind)
            case MapType():
                return self._map(value, kind)
            case DecimalType():
                return _decimal(value, kind)
        if kind in _BITS:
            return _integer(value, kind)
        try:
            return self._atoms[kind](value)
        except Mismatch:
            raise _mismatch(value, kind) from None

    def _map(self, value: Any, kind: MapType) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, kind)
        return [(self._key(key, kind.key), self.convert(item, kind.value)) for key, item in value.items()]

    def _key(self, text: str, kind: DataType) -> Any:
        """A key of a map, which JSON has texts for only: one that is none is named by its JSON text."""
        if kind == STRING:
            return text
        try:
            return self.convert(read_json(text, self._options), kind)
        except (JsonFault, Mismatch):
            return self.convert(text, kind)

    def _struct(self, value: Any, kind: StructType) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, kind)
        return {field.name: self.convert(value.get(field.name), field.type) for field in kind}

    def _array(self, value: Any, kind: ArrayType) -> Any:
        if not isinstance(value, list):
            raise _mismatch(value, kind)
        return [self.convert(item, kind.element) for item in value]

    def _read_moment(self, text: str, kind: DataType) -> int | None:
        """Days or microseconds since 1970: Python's own dates end with the year 9999."""
        found: int | None = parse(pl.Series("v", [text]), kind, self._options).to_physical().item()
        days = kind == DATE and self._options.date_format is None and _DAYS.fullmatch(text)
        return int(text) if found is None and days else found

    def _moment(self, kind: DataType) -> Callable[[Any], Any]:
        def convert(value: Any) -> Any:
            if isinstance(value, Number) and kind == TIMESTAMP:
                return _seconds(value)
            if not isinstance(value, str):
                raise Mismatch
            value = whole_characters(value)
            key = (kind, value)
            if key not in self._known:
                if len(self._known) > 10_000:
                    self._known.clear()
                self._known[key] = self._read_moment(value, kind)
            if self._known[key] is None:
                raise Mismatch
            return self._known[key]

        return convert


def _seconds(value: Number) -> int:
    """Seconds since 1970 as microseconds; a product of too many digits wraps, as it does in Java."""
    found = value.integer(64)
    if found is None:
        raise Mismatch
    return (found * 1_000_000 + 2**63) % 2**64 - 2**63


def _mismatch(value: Any, kind: DataType) -> Mismatch:
    return Mismatch(f"{_class(value)} is not a valid {str(kind).upper()}")


def _class(value: Any) -> str:
    if isinstance(value, Number):
        return "the number" if value.whole else "the number with a fraction"
    names = {bool: "the boolean", str: "the text", dict: "the object", list: "the array"}
    return names[type(value)]


def _string(value: Any) -> str:
    if isinstance(value, str):
        return whole_characters(value)
    return write_json(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Mismatch


def _binary(value: Any) -> bytes:
    """Base64, in which blanks and line ends may stand between groups of four."""
    if not isinstance(value, str):
        raise Mismatch
    found = _FOURS.findall(value)
    if _FOURS.sub("", value).strip(BLANK):
        raise Mismatch
    return b"".join(map(base64.b64decode, found))


def _integer(value: Any, kind: DataType) -> int:
    found = value.integer(_BITS[kind]) if isinstance(value, Number) else None
    if found is None:
        raise _mismatch(value, kind)
    return found


def _double(value: Any) -> float:
    if isinstance(value, Number):
        if value.text in _WORDS:
            return _WORDS[value.text]
        # A whole number has no negative zero.
        return float(value.text) + 0.0 if value.whole else float(value.text)
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    raise Mismatch


def _single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _decimal(value: Any, kind: DecimalType) -> Decimal:
    if not isinstance(value, Number | str) or (isinstance(value, Number) and value.text in _WORDS):
        raise _mismatch(value, kind)
    text = (value if isinstance(value, str) else value.text).replace(",", "")
    # Python also reads forms such as ` 1` and `1_000` that Java's parser refuses.
    if _DECIMAL.fullmatch(text) is None:
        raise _mismatch(value, kind)
    try:
        found = Decimal(text).quantize(Decimal(1).scaleb(-kind.scale), ROUND_HALF_UP, _EXACT)
    except InvalidOperation:
        raise _mismatch(value, kind) from None
    if not found.is_finite() or len(found.as_tuple().digits) > max(kind.precision, kind.scale):
        raise _mismatch(value, kind)
    return found
