"""Spark SQL's data types, as plain frozen values.

Names follow the "Data Types" page of Spark 3.5. `str(type)` gives the DDL spelling that `CAST` takes
and that `DESCRIBE` prints (`bigint`, `decimal(10,2)`, `array<string>`). Conversions to and from Arrow
and Polars are in `rayetl.sql.interop`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from rayetl.records import dataclass

MAX_PRECISION = 38


class DataType:
    """Base of all types. Types are values: equal when they mean the same."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class AtomicType(DataType):
    """A type without parameters; `name` is its DDL spelling."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class DecimalType(DataType):
    """`decimal(precision, scale)`: up to 38 digits, `scale` of them after the point."""

    precision: int = 10
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})"


@dataclass(frozen=True, slots=True)
class ArrayType(DataType):
    element: DataType
    contains_null: bool = True

    def __str__(self) -> str:
        return f"array<{self.element}>"


@dataclass(frozen=True, slots=True)
class MapType(DataType):
    key: DataType
    value: DataType
    value_contains_null: bool = True

    def __str__(self) -> str:
        return f"map<{self.key},{self.value}>"


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed member of a struct or column of a table."""

    name: str
    type: DataType
    nullable: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.type}" + ("" if self.nullable else " not null")


@dataclass(frozen=True, slots=True)
class StructType(DataType):
    """A struct, and the schema of every table."""

    fields: tuple[Field, ...] = ()

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    def get(self, name: str) -> Field | None:
        """The field of that name, letter case ignored as Spark does; `None` if absent."""
        folded = name.lower()
        return next((field for field in self.fields if field.name.lower() == folded), None)

    def __str__(self) -> str:
        return "struct<" + ",".join(f"{field.name}:{field.type}" for field in self.fields) + ">"


Schema = StructType


def is_nested(kind: DataType) -> bool:
    """Whether a type holds others."""
    return isinstance(kind, ArrayType | MapType | StructType)


def kinds_within(kind: DataType) -> Iterator[DataType]:
    """The type, and all those inside of it."""
    yield kind
    match kind:
        case StructType(fields):
            inner = tuple(field.type for field in fields)
        case ArrayType(element):
            inner = (element,)
        case MapType(key, value):
            inner = (key, value)
        case _:
            inner = ()
    for each in inner:
        yield from kinds_within(each)


def rebuilt(kind: DataType, change: Callable[[DataType], DataType]) -> DataType:
    """What `change` makes of a type after it was done to all those inside of it."""
    match kind:
        case StructType(fields):
            inner = tuple(replace(field, type=rebuilt(field.type, change)) for field in fields)
            return change(StructType(inner))
        case ArrayType(element):
            return change(replace(kind, element=rebuilt(element, change)))
        case MapType(key, value):
            return change(replace(kind, key=rebuilt(key, change), value=rebuilt(value, change)))
    return change(kind)


def names_within(kind: DataType) -> Iterator[str]:
    """The names of all fields, those inside others too."""
    for each in kinds_within(kind):
        if isinstance(each, StructType):
            yield from each.names


NULL = AtomicType("void")
BOOLEAN = AtomicType("boolean")
BYTE = AtomicType("tinyint")
SHORT = AtomicType("smallint")
INT = AtomicType("int")
LONG = AtomicType("bigint")
FLOAT = AtomicType("float")
DOUBLE = AtomicType("double")
STRING = AtomicType("string")
BINARY = AtomicType("binary")
DATE = AtomicType("date")
TIMESTAMP = AtomicType("timestamp")
TIMESTAMP_NTZ = AtomicType("timestamp_ntz")
DAY_TIME_INTERVAL = AtomicType("interval day to second")
YEAR_MONTH_INTERVAL = AtomicType("interval year to month")
CALENDAR_INTERVAL = AtomicType("interval")

INTEGRAL = (BYTE, SHORT, INT, LONG)
FRACTIONAL = (FLOAT, DOUBLE)
