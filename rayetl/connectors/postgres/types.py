"""The types of the server, one by one: what they are read as, and what the server casts on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.postgres.naming import identifier
from rayetl.errors import SourceError
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
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
    ArrayType,
    DataType,
    DecimalType,
)

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazily("pyarrow")

LOOSE = DecimalType(MAX_PRECISION, 18)
"""What `numeric` without a precision is read as, as in Spark; a value with more digits stops the run."""

PLAIN: dict[str, DataType] = {
    "bool": BOOLEAN,
    "int2": SHORT,
    "int4": INT,
    "int8": LONG,
    "float4": FLOAT,
    "float8": DOUBLE,
    "text": STRING,
    "varchar": STRING,
    "bpchar": STRING,
    "name": STRING,
    "bytea": BINARY,
    "date": DATE,
    "timestamp": TIMESTAMP_NTZ,
    "timestamptz": TIMESTAMP,
}
"""Types that arrive as what they are."""

AS_TEXT = frozenset(
    (
        *("json", "jsonb", "uuid", "xml", "citext", "ltree", "bit", "varbit", "char", "pg_lsn"),
        *("time", "timetz", "interval", "inet", "cidr", "macaddr", "macaddr8", "tsvector", "tsquery"),
        *("point", "line", "lseg", "box", "path", "polygon", "circle"),
        *("int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"),
        *("int4multirange", "int8multirange", "nummultirange"),
        *("tsmultirange", "tstzmultirange", "datemultirange"),
    )
)
"""Types that Spark SQL has no like of; the server writes them as text."""


@dataclass(frozen=True, slots=True)
class ServerColumn:
    """A column as it is asked for: `cast` is what the server makes of it first. `exact` is false where a
    number may have more digits than `type` holds."""

    name: str
    type: DataType
    cast: str | None = None
    exact: bool = True
    comparable: bool = False

    @property
    def sql(self) -> str:
        """The expression behind the column in a query."""
        quoted = identifier(self.name)
        return quoted if self.cast is None else f"{quoted}::{self.cast} AS {quoted}"

    @property
    def is_array(self) -> bool:
        return isinstance(self.type, ArrayType)


def server_columns(
    schema: pa.Schema, full_names: Callable[[Sequence[int]], Sequence[str]]
) -> list[ServerColumn]:
    """The columns of a query, by what the driver says about them. `full_names` looks up types by their oids.

    Raises `SourceError` with every column whose type has no way into Spark SQL.
    """
    kinds = [_typname(field) for field in schema]
    unnamed = [int(kind[len(_UNNAMED) : -1]) for kind in kinds if kind.startswith(_UNNAMED)]
    known = dict(zip(unnamed, full_names(unnamed) if unnamed else (), strict=True))
    found, refused = [], []
    for field, kind in zip(schema, kinds, strict=True):
        name = known[int(kind[len(_UNNAMED) : -1])] if kind.startswith(_UNNAMED) else kind
        column = _column(field, name)
        if column is None:
            refused.append(f"{field.name!r} of type {name}")
        else:
            found.append(column)
    if refused:
        raise SourceError(
            f"these columns have types that cannot be read: {', '.join(refused)}",
            hint="leave them out, or cast them in a `query`, for instance to text: SELECT c::text AS c",
        )
    return found


_UNNAMED = "unnamed<oid:"


def _typname(field: Any) -> str:
    found: bytes = (field.metadata or {}).get(b"POSTGRESQL:type", b"")
    return found.decode()


def _column(field: Any, kind: str) -> ServerColumn | None:
    name = field.name
    if kind in PLAIN:
        return ServerColumn(name, PLAIN[kind], comparable=True)
    if kind == "numeric":
        return _numeric(field)
    if kind == "oid":
        return ServerColumn(name, LONG, "int8")
    # The driver gives values of an enum as text, whatever the enum is called.
    if kind in AS_TEXT or (field.type == pa.string() and not kind.startswith("_")):
        return ServerColumn(name, STRING, "text")
    return _array(field, kind.removeprefix("_").removesuffix("[]"))


def _array(field: Any, element: str) -> ServerColumn | None:
    if not pa.types.is_list(field.type):
        return None
    if element in PLAIN:
        return ServerColumn(field.name, ArrayType(PLAIN[element]))
    if element == "numeric":
        return ServerColumn(field.name, ArrayType(LOOSE), "text[]", exact=False)
    if element in AS_TEXT or field.type.value_type == pa.string():
        return ServerColumn(field.name, ArrayType(STRING), "text[]")
    return None


def _numeric(field: Any) -> ServerColumn:
    modifier = int((field.metadata or {}).get(b"POSTGRESQL:typmod", b"-1"))
    if modifier < 0:
        return ServerColumn(field.name, LOOSE, exact=False)
    precision, scale = _digits(modifier)
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    if precision <= MAX_PRECISION:
        return ServerColumn(field.name, DecimalType(precision, scale), comparable=True)
    return ServerColumn(field.name, DecimalType(MAX_PRECISION, min(scale, MAX_PRECISION)), exact=False)


def _digits(modifier: int) -> tuple[int, int]:
    """Precision and scale of a numeric; the scale is a signed number of 11 bits."""
    digits = modifier - 4
    return digits >> 16 & 0xFFFF, ((digits & 0x7FF) ^ 1024) - 1024
