"""Whether rows fit into a table that exists: all that does not is said at once, before a row is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from rayetl.connectors.delta.load import DeltaLoad
from rayetl.connectors.delta.table import DeltaVersion
from rayetl.connectors.formats.schemas import nullable
from rayetl.errors import LoadError
from rayetl.sql.types import Field, Schema


def missing(found: DeltaVersion, rows: Schema) -> list[Field]:
    """The columns of the rows that the table does not have."""
    return [Field(field.name, nullable(field.type)) for field in rows if found.schema.get(field.name) is None]


def assert_fits(load: DeltaLoad, found: DeltaVersion, rows: Schema) -> None:
    """Raises `LoadError` with everything about a table that keeps the rows out."""
    if reason := found.unwritable():
        raise LoadError(
            f"the Delta table {load.path} {reason}; rayetl does not load into such tables",
            hint="load into another table, or change this one",
        )
    if faults := [*_faults(load, found, rows)]:
        raise LoadError(
            f"the rows do not fit into the Delta table {load.path}: {'; '.join(faults)}",
            hint="cast, rename or leave out columns in a select step, or change the table; no row was read",
        )


def _faults(load: DeltaLoad, found: DeltaVersion, rows: Schema) -> Iterator[str]:
    table = found.schema
    for field in rows:
        own = table.get(field.name)
        if own is None:
            if not load.add_columns:
                near = difflib.get_close_matches(field.name, table.names, n=1)
                yield f"it has no column {field.name!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
        elif own.name != field.name:
            yield f"{field.name!r} is spelled {own.name!r} there"
        elif own.type != nullable(field.type):
            yield f"{field.name!r} is {nullable(field.type)}, there {own.type}"
    for name in sorted(found.required):
        if rows.get(name) is None:
            yield f"the rows have no column {name!r}, which may not be NULL"
    wanted, own_partitions = load.partition_by, found.partition_by
    if wanted and tuple(name.lower() for name in wanted) != tuple(name.lower() for name in own_partitions):
        shown = ", ".join(own_partitions) or "no column"
        yield f"it is partitioned by {shown}, not by {', '.join(wanted)}"
    if load.replace == "partitions" and not own_partitions:
        yield "it has no partitions that could be replaced"
    if load.mode == "overwrite" and found.table.metadata().configuration.get("delta.appendOnly") == "true":
        yield "it is append-only (delta.appendOnly)"
