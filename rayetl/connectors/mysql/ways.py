"""How values of each type get into a column of the server, written as LOAD DATA reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from io import BytesIO
from typing import TYPE_CHECKING

from rayetl.connectors.databases.changes import refuse_changes, shall_be
from rayetl.connectors.mysql.naming import identifier
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
    DataType,
    DecimalType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

_MADE: dict[DataType, str] = {
    BOOLEAN: "TINYINT(1)",
    BYTE: "TINYINT",
    SHORT: "SMALLINT",
    INT: "INT",
    LONG: "BIGINT",
    FLOAT: "FLOAT",
    DOUBLE: "DOUBLE",
    STRING: "LONGTEXT",
    BINARY: "LONGBLOB",
    DATE: "DATE",
    TIMESTAMP: "TIMESTAMP(6)",
    TIMESTAMP_NTZ: "DATETIME(6)",
}
"""The type of a column that a load makes itself."""

_MADE_KEYS: dict[DataType, str] = {STRING: "VARCHAR(255)", BINARY: "VARBINARY(255)"}
"""The same for a key: the server wants a length."""

_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
_NEEDED: dict[DataType, int] = {BOOLEAN: 1, BYTE: 1, SHORT: 2, INT: 4, LONG: 8}
_TEXTS = frozenset(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"))
_AS_TEXT = frozenset(("json", "uuid", "inet4", "inet6", "time"))
"""Types that the server makes of a text, or refuses row by row."""

_BLOBS = frozenset(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"))
_LENGTH = re.compile(r"(?:var)?char\((\d+)\)")
_VARYING = re.compile(r"varchar\((\d+)\)")
_FIXED = re.compile(r"binary\((\d+)\)")
_ROUNDING = re.compile(r"(?:float|double)\(\d+,(\d+)\)")
_FIELD = "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY X'0A'"


@dataclass(frozen=True, slots=True)
class ServerType:
    """A type of the server: `base` without its length or digits, `shown` as people write it. `scale` of a
    decimal, `digits` of a second's fraction, `members` of an enum or set, `charset` and `collation` of a
    text."""

    base: str
    shown: str
    scale: int = 0
    digits: int = 0
    members: tuple[str, ...] = ()
    charset: str | None = None
    collation: str | None = None

    @property
    def unsigned(self) -> bool:
        return "unsigned" in self.shown


@dataclass(frozen=True, slots=True)
class Way:
    """From the column `name` of the rows to the column `target` on the server."""

    name: str
    target: str
    kind: DataType
    server: ServerType = field(default_factory=lambda: ServerType("bigint", "bigint"))

    @property
    def staged_type(self) -> str:
        """The type of a stage's column. It holds every value as it is sent; the target alone judges it."""
        if isinstance(self.kind, DecimalType):
            return f"DECIMAL({self.kind.precision},{self.kind.scale})"
        if self.kind in _NEEDED:
            return "BIGINT"
        return "LONGBLOB" if self.kind == BINARY else "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

    @property
    def compared(self) -> str:
        """The column of a stage, such that values are equal where they are to the target."""
        column = identifier(self.target)
        if self.kind == STRING and self.server.collation:
            return f"{self._recoded(column)} COLLATE {self.server.collation}"
        if self.kind == STRING and self.server.base in ("uuid", "inet4", "inet6"):
            return f"CAST({column} AS {self.server.base})"
        if self.kind == STRING and self.server.base == "time":
            return f"CAST({column} AS TIME(6))"
        if self.kind in (DATE, TIMESTAMP, TIMESTAMP_NTZ):
            return f"CAST({column} AS {'DATE' if self.kind == DATE else 'DATETIME(6)'})"
        return f"{column} + 0e0" if self.kind in (FLOAT, DOUBLE) else column

    def _recoded(self, column: str) -> str:
        """A text of a stage in the letters of the target. Where the target says how long it is at the most,
        the server keeps it for short, which it sorts many times faster."""
        charset, length = self.server.charset, _LENGTH.match(self.server.shown)
        if length is None:
            return f"CONVERT({column} USING {charset})"
        return f"CAST({column} AS CHAR({length[1]}) CHARACTER SET {charset})"

    def received(self, variable: str) -> str | None:
        """What the server makes of a field in LOAD DATA; `None` if it is the value."""
        if self.kind == BINARY:
            return f"UNHEX({variable})"
        return f"CAST({variable} AS UNSIGNED)" if self.server.base == "bit" else None


def made_type(kind: DataType, *, key: bool = False) -> str | None:
    """The server type of a new column for values of `kind`; `None` if there is none."""
    if isinstance(kind, DecimalType):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return (_MADE_KEYS.get(kind) if key else None) or _MADE.get(kind)


def way(name: str, kind: DataType, target: str, server: ServerType) -> Way | None:
    """How values of `kind` get into a column of the type `server`; `None` if some would be changed."""
    return Way(name, target, kind, server) if _fits(kind, server) else None


def _fits(kind: DataType, server: ServerType) -> bool:
    base = server.base
    if isinstance(kind, DecimalType):
        whole = base == "bigint" and server.unsigned and kind == DecimalType(20, 0)
        return whole or (base == "decimal" and server.scale >= kind.scale)
    if kind in _NEEDED:
        # What is read from an unsigned column has the next wider type, and goes back.
        needed = {2: 1, 4: 2, 8: 4}.get(_NEEDED[kind], 1) if server.unsigned else _NEEDED[kind]
        return _BYTES.get(base, 0) >= needed or base in ("decimal", "bit")
    if kind == STRING:
        return base in _TEXTS or base in _AS_TEXT
    plain: dict[DataType, frozenset[str]] = {
        FLOAT: frozenset(("float", "double")),
        DOUBLE: frozenset(("double",)),
        BINARY: _BLOBS,
        DATE: frozenset(("date",)),
        TIMESTAMP: frozenset(("timestamp",)),
        TIMESTAMP_NTZ: frozenset(("datetime",)),
    }
    return base in plain.get(kind, frozenset())


def load_statement(table: str, ways: Sequence[Way], names: Sequence[str] = ()) -> str:
    """The LOAD DATA for rows that `encode` wrote; the columns `names` stand behind those of `ways`."""
    fields, sets = [], []
    for place, each in enumerate(ways):
        made = each.received(f"@rayetl_{place}")
        fields.append(f"@rayetl_{place}" if made else identifier(each.target))
        sets += [f"{identifier(each.target)} = {made}"] if made else []
    fields += map(identifier, names)
    given = f" SET {', '.join(sets)}" if sets else ""
    return (
        f"LOAD DATA LOCAL INFILE 'rayetl' INTO TABLE {table} CHARACTER SET utf8mb4 {_FIELD} "
        f"({', '.join(fields)}){given}"
    )


def encode(rows: pl.DataFrame, ways: Sequence[Way], names: Sequence[str] = ()) -> memoryview:
    """The columns of `rows` as LOAD DATA reads them: NULL is the bare word, a text stands in quotes. Raises
    `LoadError` for a value that the server would change without a word."""
    for each in ways:
        _refuse_changes(rows, each)
    columns = [_written(each) for each in ways]
    text = BytesIO()
    rows.select(*columns, *names).write_csv(
        text,
        include_header=False,
        null_value="NULL",
        quote_style="non_numeric",
        datetime_format="%Y-%m-%d %H:%M:%S%.6f",
    )
    return text.getbuffer()


def _written(each: Way) -> pl.Expr:
    column = pl.col(each.name)
    if each.kind == BOOLEAN:
        return column.cast(pl.Int8)
    if each.kind == BINARY:
        return column.bin.encode("hex")
    if each.kind == FLOAT:
        # The shortest text of the largest FLOAT lies above it, and the server calls that out of range.
        return column.cast(pl.Float64)
    return column.dt.replace_time_zone(None) if each.kind == TIMESTAMP else column


def _refuse_changes(rows: pl.DataFrame, each: Way) -> None:
    kind, server, column = each.kind, each.server, pl.col(each.name)
    if kind in (TIMESTAMP, TIMESTAMP_NTZ) and server.digits < 6:
        cut = column.dt.microsecond() % 10 ** (6 - server.digits) != 0
        whole = "date_trunc('second', {0})"
        # Of a TIMESTAMP_NTZ it is a TIMESTAMP.
        whole = whole if kind == TIMESTAMP else f"CAST({whole} AS TIMESTAMP_NTZ)"
        refuse_changes(rows, each.name, server.shown, cut, shall_be(whole))
    elif kind == STRING and server.base == "time":
        # The server rounds a fraction, and takes a bare number for hours, minutes and seconds side by side.
        cut = column.str.contains(rf"\.\d{{{server.digits}}}\d*[1-9]")
        refuse_changes(rows, each.name, server.shown, cut, shall_be("substring_index({0}, '.', 1)"))
        number = column.str.contains(r"^\s*-?\d+\s*$")
        parts = "regexp_replace(lpad({0}, 6, '0'), '(..)(..)(..)', '$1:$2:$3')"
        refuse_changes(rows, each.name, server.shown, number, shall_be(parts))
    elif kind == STRING and server.members:
        # A number that is no member counts as the place of one.
        number = column.str.contains(r"^\s*\d+\s*$") & ~column.is_in(server.members)
        refuse_changes(rows, each.name, server.shown, number, shall_be("nullif({0}, {1})"))
        other = _spelled_otherwise(column, server)
        as_there = "CASE {0} WHEN {1} THEN '...' ELSE {0} END"
        refuse_changes(rows, each.name, server.shown, other, shall_be(as_there))
    elif kind == STRING and (length := _VARYING.match(server.shown)):
        # The server cuts off blanks that are too many, and refuses all other letters.
        longest, short = int(length[1]), column.str.strip_chars_end(" ").str.len_chars()
        cut = (column.str.len_chars() > longest) & (short <= longest)
        refuse_changes(rows, each.name, server.shown, cut, shall_be("rtrim({0})"))
    elif kind in (FLOAT, DOUBLE) and (scale := _ROUNDING.match(server.shown)):
        number = column.cast(pl.Float32 if server.base == "float" else pl.Float64)
        changed = number.round(int(scale[1])) != number
        refuse_changes(rows, each.name, server.shown, changed, shall_be(f"round({{0}}, {scale[1]})"))
    elif kind == BINARY and (size := _FIXED.match(server.shown)):
        short = column.bin.size() < int(size[1])
        refuse_changes(rows, each.name, server.shown, short, f"make it varbinary({size[1]}) in the table")
    elif kind in _NEEDED and kind != BOOLEAN and server.base == "bit":
        # As bits it would be a number beyond those of its type.
        refuse_changes(rows, each.name, server.shown, column < 0, shall_be("greatest({0}, 0)"))


def _spelled_otherwise(column: pl.Expr, server: ServerType) -> pl.Expr:
    """Whether a text is no member of an enum or set, but one to the server, which keeps its own spelling."""

    def same(text: pl.Expr) -> pl.Expr:
        bare = text.str.strip_chars_end(" ")
        return bare if (server.collation or "").endswith("_bin") else bare.str.to_lowercase()

    def otherwise(text: pl.Expr) -> pl.Expr:
        members = pl.Series(server.members, dtype=pl.String)
        return ~text.is_in(server.members) & same(text).is_in(
            pl.select(same(pl.lit(members))).to_series().to_list()
        )

    if server.base == "enum":
        return otherwise(column)
    return column.str.split(",").list.eval(otherwise(pl.element())).list.any()
