"""Names that columns cannot have."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rayetl.errors import ConfigPath, Problem
from rayetl.names import PREFIX
from rayetl.sql.types import Schema, StructType, kinds_within, names_within


def column_problems(schema: Schema, path: ConfigPath, *, hidden: bool) -> Iterator[Problem]:
    """What is wrong with the names of a table; `hidden` says that it may have columns of rayetl's own."""
    for name in schema.names:
        if not hidden and name.lower().startswith(PREFIX):
            what = f"the column `{name}` begins with `{PREFIX}`, which rayetl keeps for itself"
            yield Problem("plan", what, path)
    for name in names_within(schema):
        if re.fullmatch(r"\^.*\$", name, re.DOTALL):
            what = f"the name `{name}` begins with ^ and ends with $, as a pattern of names does"
            yield Problem("plan", what, path, "give it another one")
    for each in kinds_within(schema):
        if isinstance(each, StructType) and (pair := _alike(each)):
            name, other = pair
            both = f"`{name}`" if other == name else f"`{other}` and `{name}`, which Spark takes for the same"
            if each is schema:
                yield Problem("plan", f"two columns are called {both}", path, "rename or drop one of them")
            else:
                hint = "leave one of them out; a `schema` of the source says which is read"
                yield Problem("plan", f"two fields of a struct are called {both}", path, hint)
            return


def _alike(struct: StructType) -> tuple[str, str] | None:
    """A name and one before it that differs from it by nothing but the case."""
    seen: dict[str, str] = {}
    for name in struct.names:
        if name.lower() in seen:
            return name, seen[name.lower()]
        seen[name.lower()] = name
    return None
