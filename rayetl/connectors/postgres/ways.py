"""How values of each type get into a column of the server: as they are, or as text that the server casts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.postgres.naming import identifier
from rayetl.lazy import lazily
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
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    DataType,
    DecimalType,
)

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
else:
    pl, pa = lazily("polars"), lazily("pyarrow")

_MADE: dict[DataType, str] = {
    BOOLEAN: "bool",
    BYTE: "int2",
    SHORT: "int2",
    INT: "int4",
    LONG: "int8",
    FLOAT: "float4",
    DOUBLE: "float8",
    STRING: "text",
    BINARY: "bytea",
    DATE: "date",
    TIMESTAMP: "timestamptz",
    TIMESTAMP_NTZ: "timestamp",
}
"""The type of a column that a load makes itself."""

_WIDER: dict[DataType, frozenset[str]] = {
    BYTE: frozenset(("int4", "int8")),
    SHORT: frozenset(("int4", "int8")),
    INT: frozenset(("int8",)),
    FLOAT: frozenset(("float8",)),
    STRING: frozenset(("varchar", "bpchar")),
}
"""Types beside that which hold every value, or are refused row by row (a text that is too long)."""

_DIGITS: dict[DataType, int] = {BYTE: 3, SHORT: 5, INT: 10, LONG: 19}


@dataclass(frozen=True, slots=True)
class ServerType:
    """A type of the server: `base` without its length or digits, `cast` its full name, `shown` as people
    write it; `scale` of a numeric that has one; `is_array` and then `element` is the base of its elements."""

    base: str
    cast: str
    shown: str
    scale: int | None = None
    element: str | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """From the column `name` of the rows to the column `target` on the server.

    `sent` is the server type of the values as they are sent; with `cast` they go through a stage, from which
    the server casts them to that type.
    """

    name: str
    target: str
    kind: DataType
    sent: str
    cast: str | None = None

    @property
    def selected(self) -> str:
        """The column of a stage as it goes into the target."""
        quoted = identifier(self.target)
        return quoted if self.cast is None else f"{quoted}::{self.cast}"


def made_type(kind: DataType) -> str | None:
    """The server type of a new column for values of `kind`; `None` if there is none."""
    if isinstance(kind, DecimalType):
        return f"numeric({kind.precision},{kind.scale})"
    if isinstance(kind, ArrayType):
        element = None if isinstance(kind.element, ArrayType) else made_type(kind.element)
        return f"{element}[]" if element else None
    return _MADE.get(kind)


def way(name: str, kind: DataType, target: str, server: ServerType) -> Way | None:
    """How values of `kind` get into a column of the type `server`; `None` if some would be changed."""
    if isinstance(kind, ArrayType):
        return _array_way(name, kind, target, server)
    sent = _sent(kind, server.base, server.scale)
    if sent is not None:
        return Way(name, target, kind, sent)
    if kind == STRING and server.element is None and server.base not in _PLAIN_TARGETS:
        return Way(name, target, kind, "text", server.cast)
    return None


_PLAIN_TARGETS = frozenset((*_MADE.values(), "numeric", "oid", "money", "name", "xid"))
"""Types that a text is not cast to: the text would have to be a number, a time or the like already."""


def _array_way(name: str, kind: ArrayType, target: str, server: ServerType) -> Way | None:
    if server.element is None:
        return None
    element = kind.element
    sent = _sent(element, server.element, None)
    if sent is not None and sent != "json":
        return Way(name, target, kind, f"{sent}[]")
    if element == STRING and server.element not in _PLAIN_TARGETS:
        return Way(name, target, kind, "text[]", server.cast)
    return None


def _sent(kind: DataType, base: str, scale: int | None) -> str | None:
    """The server type in which values of `kind` may be sent to a column of type `base` as they are."""
    if isinstance(kind, DecimalType):
        return "numeric" if base == "numeric" and (scale is None or scale >= kind.scale) else None
    if kind in _DIGITS and base == "numeric":
        return "numeric" if scale is None or scale >= 0 else None
    if base == _MADE.get(kind) or base in _WIDER.get(kind, ()):
        return base
    return base if kind == STRING and base in ("json", "jsonb") else None


def stage_type(way: Way) -> str:
    """The type of a stage's column: a text is cut to no length there, and judged in the target only."""
    if way.sent == "numeric":
        return made_type(way.kind) or way.sent
    return "text" if way.sent in ("varchar", "bpchar") else way.sent


def encode(rows: pl.DataFrame, ways: Sequence[Way]) -> pa.Table:
    """The columns of `rows` as the driver sends them, named as on the server."""
    table = rows.select(way.name for way in ways).to_arrow()
    columns = [_encoded(table.column(at), way.sent) for at, way in enumerate(ways)]
    return pa.table(columns, names=[way.target for way in ways])


def _encoded(column: Any, sent: str) -> Any:
    if sent in ("json", "jsonb"):
        texts = column.cast(pa.string()).combine_chunks()
        return pa.ExtensionArray.from_storage(pa.json_(), texts)
    wanted = pa.list_(_arrow(sent[:-2], column.type.value_type)) if sent.endswith("[]") else None
    wanted = wanted or _arrow(sent, column.type)
    return column if column.type == wanted else column.cast(wanted)


def _arrow(sent: str, given: Any) -> Any:
    if sent == "numeric":
        return given if pa.types.is_decimal(given) else pa.decimal128(19, 0)
    kinds: dict[str, Any] = {
        "bool": pa.bool_(),
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
        "bytea": pa.binary(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", "UTC"),
    }
    return kinds.get(sent, pa.string())
