"""Spark's DDL spelling of types and schemas, read without a SQL parser so that it is cheap and exact."""

from __future__ import annotations

import re
from difflib import get_close_matches

from rayetl.errors import Problem, SqlError
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    BYTE,
    CALENDAR_INTERVAL,
    DATE,
    DAY_TIME_INTERVAL,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    MAX_PRECISION,
    NULL,
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    YEAR_MONTH_INTERVAL,
    ArrayType,
    DataType,
    DecimalType,
    Field,
    MapType,
    StructType,
)

ATOMS: dict[str, DataType] = {
    "boolean": BOOLEAN,
    "tinyint": BYTE,
    "byte": BYTE,
    "smallint": SHORT,
    "short": SHORT,
    "int": INT,
    "integer": INT,
    "bigint": LONG,
    "long": LONG,
    "float": FLOAT,
    "real": FLOAT,
    "double": DOUBLE,
    "string": STRING,
    "binary": BINARY,
    "date": DATE,
    "timestamp": TIMESTAMP,
    "timestamp_ltz": TIMESTAMP,
    "timestamp_ntz": TIMESTAMP_NTZ,
    "void": NULL,
}
_TOKEN = re.compile(r"\s*(?:`((?:[^`]|``)+)`|(\w+)|('(?:[^'\\]|\\.)*')|([<>(),:]))")
_DAY_TIME = ("day", "hour", "minute", "second")


def parse_schema(text: str) -> StructType:
    """`a INT, b STRING NOT NULL`, or the same inside `struct<...>`. Raises SqlError."""
    reader = _Reader(text)
    if reader.peek().lower() == "struct" and reader.peek(1) == "<":
        found = reader.type()
        reader.end()
        assert isinstance(found, StructType)
        return found
    fields = reader.fields(end="")
    reader.end()
    return StructType(fields)


def nearest_type(word: str) -> str | None:
    """The hint that names the type which a word looks like."""
    near = get_close_matches(word.lower(), [*ATOMS, "decimal", "array", "map", "struct"], 1)
    return f"did you mean {near[0]}?" if near else None


def parse_data_type(text: str) -> DataType:
    """One type, such as `array<decimal(10,2)>`. Raises SqlError."""
    reader = _Reader(text)
    found = reader.type()
    reader.end()
    return found


class _Reader:
    """A recursive-descent reader over the tokens of one DDL text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, int, bool]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._fault(f"unexpected character {text[position:].strip()[0]!r}", position)
            quoted = match.group(1) is not None
            word = match.group(1).replace("``", "`") if quoted else match.group(match.lastindex or 0)
            self._tokens.append((word, match.start(match.lastindex or 0), quoted))
            position = match.end()
        self._at = 0

    def _fault(self, message: str, offset: int, hint: str | None = None) -> SqlError:
        return SqlError(
            [Problem("sql.ddl", f"{message} in the type {self._text!r}", offset=offset, hint=hint)]
        )

    def peek(self, ahead: int = 0) -> str:
        index = self._at + ahead
        return self._tokens[index][0] if index < len(self._tokens) else ""

    def _offset(self) -> int:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else len(self._text)

    def _next(self) -> str:
        word = self.peek()
        if not word:
            raise self._fault("something is missing at the end", len(self._text))
        self._at += 1
        return word

    def _accept(self, *words: str) -> bool:
        if [self.peek(i).lower() for i in range(len(words))] != list(words):
            return False
        self._at += len(words)
        return True

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._fault(f"expected {word!r}, found {self.peek() or 'the end'!r}", self._offset())

    def end(self) -> None:
        if self.peek():
            raise self._fault(f"unexpected {self.peek()!r}", self._offset())

    def fields(self, end: str) -> tuple[Field, ...]:
        found: list[Field] = []
        while self.peek() != end:
            found.append(self._field())
            if not self._accept(","):
                break
        return tuple(found)

    def _field(self) -> Field:
        name = self._next()
        self._accept(":")
        kind = self.type()
        nullable = not self._accept("not", "null")
        if self._accept("comment"):
            self._next()
        return Field(name, kind, nullable)

    def type(self) -> DataType:
        offset = self._offset()
        word = self._next().lower()
        nested = {"array": self._array, "map": self._map, "struct": self._struct}.get(word)
        if nested is not None and self._accept("<"):
            found = nested()
            self._expect(">")
            return found
        if word in ("decimal", "dec", "numeric"):
            return self._decimal(offset)
        if word in ("char", "character", "varchar"):
            self._sizes(offset)
            return STRING
        if word == "interval":
            return self._interval()
        if word in ATOMS:
            return ATOMS[word]
        if not word.isidentifier():
            raise self._fault(f"expected a type, found {word or 'the end'!r}", offset)
        raise self._fault(f"unknown type {word}", offset, nearest_type(word))

    def _array(self) -> DataType:
        return ArrayType(self.type())

    def _map(self) -> DataType:
        key = self.type()
        self._expect(",")
        return MapType(key, self.type())

    def _struct(self) -> DataType:
        return StructType(self.fields(end=">"))

    def _sizes(self, offset: int) -> list[int]:
        sizes: list[int] = []
        if self._accept("("):
            while not self._accept(")"):
                word = self._next()
                if not word.isdigit():
                    raise self._fault(f"expected a number, found {word!r}", offset)
                sizes.append(int(word))
                self._accept(",")
        return sizes

    def _decimal(self, offset: int) -> DataType:
        sizes = self._sizes(offset)
        precision = sizes[0] if sizes else 10
        scale = sizes[1] if len(sizes) > 1 else 0
        if not (1 <= precision <= MAX_PRECISION and scale <= precision):
            raise self._fault(
                f"decimal({precision},{scale}) is out of range: at most {MAX_PRECISION} digits", offset
            )
        return DecimalType(precision, scale)

    def _interval(self) -> DataType:
        if self._accept("year", "to", "month") or self._accept("year") or self._accept("month"):
            return YEAR_MONTH_INTERVAL
        for start in _DAY_TIME:
            if self._accept(start):
                if self._accept("to"):
                    self._next()
                return DAY_TIME_INTERVAL
        return CALENDAR_INTERVAL
