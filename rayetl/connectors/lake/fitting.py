"""Whether rows fit into a table that exists: all that does not is said at once, before a row is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from rayetl.connectors.formats.schemas import nullable
from rayetl.connectors.lake.load import LakeLoad
from rayetl.connectors.lake.staging import StagedFile
from rayetl.connectors.lake.version import LakeVersion
from rayetl.errors import LoadError
from rayetl.sql.types import Field, Schema


def missing(found: LakeVersion, rows: Schema) -> list[Field]:
    """The columns of the rows that the table does not have."""
    return [Field(field.name, nullable(field.type)) for field in rows if found.schema.get(field.name) is None]


def assert_fits(load: LakeLoad, found: LakeVersion, rows: Schema) -> None:
    """Raises `LoadError` with everything about a table that keeps the rows out."""
    if reason := found.unwritable():
        raise LoadError(
            f"the {load.kind} table {load.name} {reason}; rayetl does not load into such tables",
            hint="load into another table, or change this one",
        )
    if faults := [*_faults(load, found, rows)]:
        raise LoadError(
            f"the rows do not fit into the {load.kind} table {load.name}: {'; '.join(faults)}",
            hint="cast, rename or leave out columns in a select step, or change the table "
            "(`add_columns: true` adds columns that it lacks); no row was read",
        )


def _faults(load: LakeLoad, found: LakeVersion, rows: Schema) -> Iterator[str]:
    table = found.schema
    for field in rows:
        own, kind = table.get(field.name), load.stored(nullable(field.type))
        if own is None:
            if not load.add_columns:
                near = difflib.get_close_matches(field.name, table.names, n=1)
                yield f"it has no column {field.name!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
        elif own.name != field.name:
            yield f"{field.name!r} is spelled {own.name!r} there"
        elif own.type != kind:
            yield f"{field.name!r} is {kind}, there {own.type}"
    for name in sorted(found.required):
        if rows.get(name) is None:
            yield f"the rows have no column {name!r}, which may not be NULL"
    wanted, own_partitions = load.partition_by, found.partition_by
    if wanted and tuple(name.lower() for name in wanted) != tuple(name.lower() for name in own_partitions):
        shown = ", ".join(own_partitions) or "no column"
        yield f"it is partitioned by {shown}, not by {', '.join(wanted)}"
    if load.replace == "partitions" and not own_partitions:
        yield "it has no partitions that could be replaced"
    yield from found.objections(load, rows)


def assert_complete(load: LakeLoad, found: LakeVersion, files: Sequence[StagedFile]) -> None:
    """Raises `LoadError` where a column that the table does not allow to be NULL has NULLs."""
    for name in sorted(found.required):
        for file in files:
            nulls = 0 if file.partition.get(name) else file.stats.nulls.get(name)
            if nulls != 0:
                raise LoadError(
                    f"the column {name!r} of the {load.kind} table {load.name} may not be NULL, and "
                    + (f"{nulls} rows have no value there" if nulls else "its values cannot be proved"),
                    hint="leave such rows out in a filter step; nothing was committed",
                )
