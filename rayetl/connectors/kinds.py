"""Types of columns that neither files nor tables have a place for."""

from __future__ import annotations

from dataclasses import replace

from rayetl.sql.coerce import is_interval
from rayetl.sql.types import NULL, STRING, DataType, MapType, kinds_within, rebuilt


def untyped(kind: DataType) -> str | None:
    """What to do about a column of this type, if nothing can hold what is in it; `None` if something can."""
    inside = [*kinds_within(kind)]
    if any(map(is_interval, inside)):
        return "make it a number in a select step, as timestampdiff(SECOND, ...) gives one"
    return "cast it in a select step to the type that it is meant to have" if NULL in inside else None


def with_text_keys(kind: DataType) -> DataType:
    """The type with texts as the keys of all maps in it."""
    return rebuilt(kind, lambda each: replace(each, key=STRING) if isinstance(each, MapType) else each)
