"""Whether rows fit into a table that exists: all that does not is said at once, before a row is read."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter, methodcaller
from typing import TYPE_CHECKING

from rayetl.connectors.formats.schemas import nullable
from rayetl.connectors.lake.load import LakeLoad
from rayetl.connectors.lake.staging import StagedFile
from rayetl.connectors.lake.version import LakeVersion
from rayetl.errors import LoadError
from rayetl.lazy import lazily
from rayetl.sql.types import Field, Schema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa, pq = lazily("pyarrow"), lazily("pyarrow.parquet")

_LEAVE_OUT = "leave such rows out in a filter step; nothing was committed"


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
    """Raises `LoadError` where a column, or a field inside of one, that the table does not allow to be NULL
    has NULLs."""
    for name in sorted(found.required):
        for file in files:
            nulls = 0 if file.partition.get(name) else file.stats.nulls.get(name)
            if nulls != 0:
                raise LoadError(
                    f"the column {name!r} of the {load.kind} table {load.name} may not be NULL, and "
                    + (f"{nulls} rows have no value there" if nulls else "its values cannot be proved"),
                    hint=_LEAVE_OUT,
                )
    _assert_complete_inside(load, found, files)


def _assert_complete_inside(load: LakeLoad, found: LakeVersion, files: Sequence[StagedFile]) -> None:
    """Footers count the NULLs of a field together with those of what it is inside of: they prove little."""
    columns = [field for field in found.arrow if _has_required(field.type)]
    for file, column in itertools.product(files, columns):
        with pq.ParquetFile(file.source) as opened:
            if column.name not in opened.schema_arrow.names:
                continue
            for batch in opened.iter_batches(columns=[column.name]):
                for name in _gaps(column.name, column.type, batch.column(0)):
                    raise LoadError(
                        f"the field {name!r} of the {load.kind} table {load.name} may not be NULL, and rows "
                        "have no value there",
                        hint=_LEAVE_OUT,
                    )


def _has_required(kind: pa.DataType) -> bool:
    return any(not field.nullable or _has_required(field.type) for field, _ in inside(kind))


def _gaps(name: str, kind: pa.DataType, values: pa.Array) -> Iterator[str]:
    """The fields inside of a column that may not be NULL and are."""
    there = values.drop_null()
    for field, members in inside(kind):
        held = members(there)
        own = f"{name}.{field.name}"
        if not field.nullable and held.null_count:
            yield own
        yield from _gaps(own, field.type, held)


def inside(kind: pa.DataType) -> Iterator[tuple[pa.Field, Callable[[pa.Array], pa.Array]]]:
    """The fields of a nested type, each with what gives its values; keys of maps are never NULL."""
    if pa.types.is_struct(kind):
        yield from ((field, methodcaller("field", place)) for place, field in enumerate(kind))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield kind.value_field, methodcaller("flatten")
    elif pa.types.is_map(kind):
        yield kind.item_field, attrgetter("items")
