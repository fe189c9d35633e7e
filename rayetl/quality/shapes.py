"""What a contract promises of a value: its Spark type and the bounds that the type does not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayetl.records import dataclass
from rayetl.sql import types as t


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a value and its bounds. `symbols` of an enum, `size` in bytes of a fixed, `uuid` for
    text in that form, `ticks` of a timestamp per second; `element` of an array, `value` of a map,
    `fields` of a record."""

    type: t.DataType
    nullable: bool = False
    symbols: tuple[str, ...] = ()
    size: int | None = None
    uuid: bool = False
    ticks: int | None = None
    element: Shape | None = None
    value: Shape | None = None
    fields: tuple[Promise, ...] = ()


@dataclass(frozen=True, slots=True)
class Promise:
    """One field of a record: its name, the names it may also bear, its default if it has one."""

    name: str
    shape: Shape
    aliases: tuple[str, ...] = ()
    has_default: bool = False
    default: Any = None


def schema_of(fields: Sequence[Promise]) -> t.Schema:
    """The fields as columns."""
    return t.Schema(tuple(t.Field(each.name, each.shape.type, each.shape.nullable) for each in fields))
