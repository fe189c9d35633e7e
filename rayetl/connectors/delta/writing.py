"""The commits of a Delta table: added files, replaced files, or a merge by keys."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from rayetl.connectors.delta.load import DeltaLoad
from rayetl.connectors.delta.source import spelled
from rayetl.connectors.delta.table import DeltaVersion
from rayetl.connectors.formats.values import partition_value
from rayetl.connectors.lake.fitting import missing
from rayetl.connectors.lake.load import KEYED
from rayetl.connectors.lake.staging import StagedFile
from rayetl.connectors.lake.stats import FileStats
from rayetl.errors import LoadError
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.sql.interop import to_arrow
from rayetl.sql.types import DOUBLE, FLOAT, DataType, Schema

if TYPE_CHECKING:
    import deltalake
    import polars as pl
    import pyarrow as pa
    import pyarrow.dataset as ds
else:
    pl, pa, ds = lazily("polars"), lazily("pyarrow"), lazily("pyarrow.dataset")


def write(
    load: DeltaLoad,
    found: DeltaVersion | None,
    schema: Schema,
    files: Sequence[StagedFile],
    properties: deltalake.CommitProperties,
) -> None:
    """Commit the files on top of the version `found`, making the table where there is none."""
    if found is None:
        _create(load, schema, files, properties)
        return
    found = _widened(load, found, schema)
    if load.mode in KEYED:
        _merge(load, found, files, properties)
    elif load.mode == "overwrite" and load.replace == "table":
        _transact(found, _added(files), "overwrite", properties)
    elif load.mode == "overwrite":
        _transact(found, [*_added(files), *_removed(found, files)], "append", properties)
    else:
        _transact(found, _added(files), "append", properties)


def _create(
    load: DeltaLoad, schema: Schema, files: Sequence[StagedFile], properties: deltalake.CommitProperties
) -> None:
    from deltalake import Schema as DeltaSchema
    from deltalake.transaction import create_table_with_add_actions

    partition_by = [column.name for name in load.partition_by if (column := schema.get(name))]
    columns = pa.schema([field.with_nullable(True) for field in to_arrow(schema)])
    made = DeltaSchema.from_arrow(columns)
    create_table_with_add_actions(
        load.place.address,
        made,
        _added(files),
        partition_by=partition_by,
        storage_options=load.place.options(),
        commit_properties=properties,
    )


def _widened(load: DeltaLoad, found: DeltaVersion, schema: Schema) -> DeltaVersion:
    """The table with the columns that it lacks, which are added in a commit of their own before: until the
    rows are committed they are NULL everywhere."""
    from deltalake import Field as DeltaField
    from deltalake import Schema as DeltaSchema
    from deltalake.exceptions import CommitFailedError

    lacking = Schema(tuple(missing(found, schema)))
    if not len(lacking):
        return found
    fields = DeltaSchema.from_arrow(to_arrow(lacking)).fields
    found.table.alter.add_columns([DeltaField(field.name, field.type, nullable=True) for field in fields])
    failpoint("delta.widened")
    reopened = DeltaVersion.open(load.place, LoadError)
    if reopened is None or reopened.version != found.version + 1:
        raise CommitFailedError("another writer came in between")
    return reopened


def _transact(
    found: DeltaVersion, actions: list[Any], mode: str, properties: deltalake.CommitProperties
) -> None:
    table = found.table
    table.create_write_transaction(
        actions, mode, table.schema(), list(found.partition_by), commit_properties=properties
    )


def _added(files: Sequence[StagedFile]) -> list[Any]:
    from deltalake.transaction import AddAction

    now = int(time.time() * 1000)
    return [
        AddAction(file.place.as_posix(), file.size, file.partition, now, True, figures(file.stats))
        for file in files
    ]


def _removed(found: DeltaVersion, files: Sequence[StagedFile]) -> list[Any]:
    """What takes the files of the same partitions out of the table."""
    from deltalake.transaction import RemoveAction

    now = int(time.time() * 1000)
    kinds = {name: field.type for name in found.partition_by if (field := found.schema.get(name))}
    touched = {_same(file.partition, kinds) for file in files}
    removed = []
    for file in found.files():
        values = {name: spelled(value) for name, value in file.partition}
        if _same(values, kinds) in touched:
            removed.append(RemoveAction(file.named, True, now, file.size, values))
    return removed


def _same(values: Mapping[str, str | None], kinds: Mapping[str, DataType]) -> tuple[str, ...]:
    """What two spellings of a partition have in common: `0.10` and `.1`, if that is a number."""
    return tuple(_value(values[name], kind) for name, kind in kinds.items())


@lru_cache(maxsize=4096)
def _value(text: str | None, kind: DataType) -> str:
    return repr(pl.select(partition_value(text, kind)).item())


def _merge(
    load: DeltaLoad, found: DeltaVersion, files: Sequence[StagedFile], properties: deltalake.CommitProperties
) -> None:
    if not files:
        _transact(found, [], "append", properties)
        return
    kinds = {name: field.type for name in load.keys if (field := found.schema.get(name))}
    matched = " AND ".join(
        f"{_compared('new', key, kind)} = {_compared('old', key, kind)}" for key, kind in kinds.items()
    )
    merger = found.table.merge(
        ds.dataset([file.source for file in files]).scanner().to_reader(),
        matched,
        source_alias="new",
        target_alias="old",
        commit_properties=properties,
    )
    if load.mode == "upsert":
        merger = merger.when_matched_update_all()
    merger.when_not_matched_insert_all().execute()


def _compared(table: str, key: str, kind: DataType) -> str:
    """A key as it is compared with that of another row. The library tells NaN from NaN by their bits."""
    column = f"{table}.{_quoted(key)}"
    return f"nanvl({column}, CAST('NaN' AS DOUBLE))" if kind in (FLOAT, DOUBLE) else column


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def figures(stats: FileStats) -> str:
    """What an add action says about the rows of a file."""
    found = {
        "numRecords": stats.rows,
        "minValues": stats.least,
        "maxValues": stats.greatest,
        "nullCount": stats.nulls,
    }
    return orjson.dumps(found).decode()
