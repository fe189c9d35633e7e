"""How values of each type get into a column of the server: as they are, or as text that the server casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.databases.changes import refuse_changes, shall_be
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

_SIZED = frozenset(("varchar", "bpchar"))
"""Texts of which the server cuts off blanks that are too many, and refuses all other letters."""

_ROUNDED = frozenset(("interval", "time", "timetz"))
"""Types of which the server keeps so many digits of a second, or some fields of an interval only."""

_LENGTH_BESIDE = 4
"""What the server adds to the length of a text where it notes it."""

_DIGITS: dict[DataType, int] = {BYTE: 3, SHORT: 5, INT: 10, LONG: 19}


@dataclass(frozen=True, slots=True)
class ServerType:
    """A type of the server: `base` without its length or digits, `cast` its full name, `shown` as people
    write it; `scale` of a numeric that has one; `element` is the base of an array's elements. `limit` is what
    the server notes of a length or of digits, also those of elements, and `collation` the one of a text."""

    base: str
    cast: str
    shown: str
    scale: int | None = None
    element: str | None = None
    limit: int | None = None
    collation: str | None = None


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
    server: ServerType | None = None

    @property
    def shown(self) -> str:
        """The type of the target, as people write it."""
        return self.sent if self.server is None else self.server.shown

    @property
    def selected(self) -> str:
        """The column of a stage as it goes into the target."""
        quoted = identifier(self.target)
        return quoted if self.cast is None else f"{quoted}::{self.cast}"

    @property
    def compared(self) -> str:
        """The column of a stage, such that values are equal where they are to the target: blanks at the end
        of a text may count there or not, and so may letter case."""
        made = f"{self.selected}::{self.shown}" if self.sent in _SIZED else self.selected
        collation = None if self.server is None else self.server.collation
        return f"{made} COLLATE {collation}" if collation and self.kind == STRING else made

    @property
    def cut(self) -> str | None:
        """What holds for a text of a stage of which the target keeps a part only; `None` where it keeps all
        or refuses the text."""
        if self.cast is None or self.server is None:
            return None
        column, base = identifier(self.target), self.server.element or self.server.base
        if base == "char":
            each = f"unnest({column})" if self.server.element else f"(SELECT {column})"
            return f"EXISTS (SELECT FROM {each} AS t(letter) WHERE octet_length(letter) > 1)"
        if base in _ROUNDED and self.server.limit is not None:
            return f"{self.selected} <> {column}::{self.shown}"
        return None


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
        return Way(name, target, kind, sent, server=server)
    if kind == STRING and server.element is None and server.base not in _PLAIN_TARGETS:
        return Way(name, target, kind, "text", server.cast, server)
    return None


_PLAIN_TARGETS = frozenset((*_MADE.values(), "numeric", "oid", "money", "name", "xid"))
"""Types that a text is not cast to: the text would have to be a number, a time or the like already."""


def _array_way(name: str, kind: ArrayType, target: str, server: ServerType) -> Way | None:
    if server.element is None:
        return None
    element = kind.element
    sent = _sent(element, server.element, server.scale)
    # The driver has no way to send documents in an array.
    if sent is not None and sent not in ("json", "jsonb"):
        return Way(name, target, kind, f"{sent}[]", server=server)
    if element == STRING and server.element not in _PLAIN_TARGETS:
        return Way(name, target, kind, "text[]", server.cast, server)
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
    return "text" if way.sent in _SIZED else way.sent


def encode(rows: pl.DataFrame, ways: Sequence[Way]) -> pa.Table:
    """The columns of `rows` as the driver sends them, named as on the server. Raises `LoadError` for a value
    that the server would change without a word."""
    for way in ways:
        _refuse_changes(rows, way)
    table = rows.select(way.name for way in ways).to_arrow()
    columns = [_encoded(table.column(at), way.sent) for at, way in enumerate(ways)]
    return pa.table(columns, names=[way.target for way in ways])


def _refuse_changes(rows: pl.DataFrame, way: Way) -> None:
    server = way.server
    if server is None or server.limit is None:
        return
    base = server.element or server.base
    if base in ("timestamp", "timestamptz") and server.limit < 6:
        unit = 10 ** (6 - server.limit)
        whole = "date_trunc('second', {0})"
        # Of a TIMESTAMP_NTZ it is a TIMESTAMP.
        whole = whole if base == "timestamptz" else f"CAST({whole} AS TIMESTAMP_NTZ)"
        _refuse(rows, way, lambda value: value.dt.microsecond() % unit != 0, whole)
    elif base == "varchar":
        longest = server.limit - _LENGTH_BESIDE
        _refuse(
            rows,
            way,
            lambda text: (
                (text.str.len_chars() > longest) & (text.str.strip_chars_end(" ").str.len_chars() <= longest)
            ),
            "rtrim({0})",
        )


def _refuse(rows: pl.DataFrame, way: Way, changed: Callable[[pl.Expr], pl.Expr], instead: str) -> None:
    column, is_list = pl.col(way.name), isinstance(way.kind, ArrayType)
    found = column.list.eval(changed(pl.element())).list.any() if is_list else changed(column)
    each = f"transform({{0}}, each -> {instead.format('each')})" if is_list else instead
    refuse_changes(rows, way.name, way.shown, found, shall_be(each))


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
