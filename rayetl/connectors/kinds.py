"""Types of columns that files or tables have no place for."""

from __future__ import annotations

from dataclasses import replace

from rayetl.sql.coerce import is_interval
from rayetl.sql.types import BINARY, NULL, STRING, DataType, MapType, is_nested, kinds_within, rebuilt


def untyped(kind: DataType) -> str | None:
    """What to do about a column of this type, if nothing can hold what is in it; `None` if something can."""
    inside = [*kinds_within(kind)]
    if any(map(is_interval, inside)):
        return "make it a number in a select step, as timestampdiff(SECOND, ...) gives one"
    return "cast it in a select step to the type that it is meant to have" if NULL in inside else None


def way_out(kind: DataType) -> str:
    """What to do about a column of this type, where a format or server has no place for it. Each engine runs
    what it says, or it names the one that does."""
    if hint := untyped(kind):
        return hint
    if is_nested(kind):
        return "unfold it in a flatten step, or with engine: spark make it a text with to_json"
    return "use hex or base64 in a select step" if kind == BINARY else "cast it in a select step"


def with_text_keys(kind: DataType) -> DataType:
    """The type with texts as the keys of all maps in it."""
    return rebuilt(kind, lambda each: replace(each, key=STRING) if isinstance(each, MapType) else each)
