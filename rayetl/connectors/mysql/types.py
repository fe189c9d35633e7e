"""The types of the server, one by one: what they are read as, and what the server casts on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayetl.connectors.mysql.naming import identifier
from rayetl.errors import SourceError
from rayetl.records import dataclass
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    BYTE,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    MAX_PRECISION,
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    DataType,
    DecimalType,
)

_UNSIGNED, _NOT_NULL = 32, 1
"""Flags of a column in the protocol."""

_BINARY_SET = 63
"""The character set of bytes that are no text."""

_TINY, _FLOAT, _DOUBLE, _TIMESTAMP, _DATE, _TIME, _DATETIME, _YEAR, _BIT, _JSON = (
    1,
    4,
    5,
    7,
    10,
    11,
    12,
    13,
    16,
    245,
)
_DECIMALS, _TEXTS = (0, 246), (15, 247, 248, 249, 250, 251, 252, 253, 254)

BIG_UNSIGNED = DecimalType(20, 0)
"""What BIGINT UNSIGNED is read as."""

_INTEGERS: dict[int, tuple[str, DataType, str, DataType]] = {
    _TINY: ("i1", BYTE, "u1", SHORT),
    2: ("i2", SHORT, "u2", INT),
    3: ("i4", INT, "u4", LONG),
    8: ("i8", LONG, "u8", BIG_UNSIGNED),
    9: ("i4", INT, "u4", INT),
}
"""By the protocol's number: how signed values are sent and what they are read as, then the unsigned ones."""

_NAMES = {6: "null", 255: "geometry", 242: "vector"}


@dataclass(frozen=True, slots=True)
class ServerColumn:
    """A column as it is asked for: `cast` is what the server makes of it first, with a place for its name.
    `sent` is how the protocol sends it: a number of NumPy's (`i4`), `moment` or `text`."""

    name: str
    type: DataType
    sent: str
    cast: str | None = None
    exact: bool = True
    comparable: bool = False
    nullable: bool = True

    @property
    def sql(self) -> str:
        """The expression behind the column in a query."""
        quoted = identifier(self.name)
        return quoted if self.cast is None else f"{self.cast.format(quoted)} AS {quoted}"


def server_columns(fields: Sequence[Any]) -> list[ServerColumn]:
    """The columns of a query, by what the protocol says about them.

    Raises `SourceError` with every column whose type has no way into Spark SQL.
    """
    found, refused = [], []
    for field in fields:
        column = _column(field)
        if column is None:
            kind = _NAMES.get(field.type_code, f"number {field.type_code} of the protocol")
            refused.append(f"{field.name!r} of type {kind}")
        else:
            found.append(column)
    if refused:
        raise SourceError(
            f"these columns have types that cannot be read: {', '.join(refused)}",
            hint="leave them out, or cast them in a `query`, for instance to text: SELECT ST_AsText(c) AS c",
        )
    return found


def _column(field: Any) -> ServerColumn | None:
    code, name = field.type_code, field.name
    nullable = not field.flags & _NOT_NULL
    if code in _INTEGERS:
        return _integer(field, nullable)
    if code in _DECIMALS:
        return _decimal(field, nullable)
    if code in _TEXTS or code == _JSON:
        if field.charsetnr == _BINARY_SET and code != _JSON:
            return ServerColumn(name, BINARY, "text", nullable=nullable)
        # JSON is compared as a value, not as a text.
        return ServerColumn(name, STRING, "text", comparable=code != _JSON, nullable=nullable)
    plain: dict[int, tuple[DataType, str]] = {
        _DATE: (DATE, "moment"),
        _DATETIME: (TIMESTAMP_NTZ, "moment"),
        _TIMESTAMP: (TIMESTAMP, "moment"),
    }
    if code in plain:
        return ServerColumn(name, *plain[code], comparable=True, nullable=nullable)
    others: dict[int, tuple[DataType, str, str | None]] = {
        _FLOAT: (FLOAT, "f4", None),
        _DOUBLE: (DOUBLE, "f8", None),
        # Years of two digits mean others in a comparison.
        _YEAR: (SHORT, "u2", None),
        _TIME: (STRING, "text", "CAST({} AS CHAR)"),
        # As a number it would be sent in a size that depends on its values.
        _BIT: (_bits(field.length), "text", "CAST({} + 0 AS CHAR)"),
    }
    found = others.get(code)
    return ServerColumn(name, *found, nullable=nullable) if found else None


def _bits(length: int) -> DataType:
    if length == 1:
        return BOOLEAN
    return LONG if length < 64 else BIG_UNSIGNED


def _integer(field: Any, nullable: bool) -> ServerColumn:
    if field.type_code == _TINY and field.length == 1:
        return ServerColumn(field.name, BOOLEAN, "i1", nullable=nullable)
    signed, kind, unsigned, wider = _INTEGERS[field.type_code]
    sent, kind = (unsigned, wider) if field.flags & _UNSIGNED else (signed, kind)
    return ServerColumn(field.name, kind, sent, comparable=True, nullable=nullable)


def _decimal(field: Any, nullable: bool) -> ServerColumn:
    scale = field.scale
    digits = field.length - (0 if field.flags & _UNSIGNED else 1) - (1 if scale else 0)
    if digits <= MAX_PRECISION:
        kind = DecimalType(digits, scale)
        return ServerColumn(field.name, kind, "text", comparable=True, nullable=nullable)
    kind = DecimalType(MAX_PRECISION, min(scale, MAX_PRECISION))
    return ServerColumn(field.name, kind, "text", exact=False, nullable=nullable)
