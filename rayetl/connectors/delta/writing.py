"""The commits of a Delta table: added files, replaced files, or a merge by keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.delta.fitting import missing
from rayetl.connectors.delta.load import KEYED, DeltaLoad
from rayetl.connectors.delta.source import spelled
from rayetl.connectors.delta.staging import StagedFile
from rayetl.connectors.delta.table import DeltaVersion
from rayetl.errors import LoadError
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.sql.interop import to_arrow
from rayetl.sql.types import Schema

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
        load.path, made, _added(files), partition_by=partition_by, commit_properties=properties
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
    reopened = DeltaVersion.open(load.path, LoadError)
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
        AddAction(file.place.as_posix(), file.size, file.partition, now, True, file.stats.json())
        for file in files
    ]


def _removed(found: DeltaVersion, files: Sequence[StagedFile]) -> list[Any]:
    """What takes the files of the same partitions out of the table."""
    from deltalake.transaction import RemoveAction

    now = int(time.time() * 1000)
    touched = {tuple(sorted(file.partition.items(), key=lambda item: item[0])) for file in files}
    removed = []
    for file in found.files():
        values = {name: spelled(value) for name, value in file.partition}
        if tuple(sorted(values.items(), key=lambda item: item[0])) in touched:
            removed.append(RemoveAction(file.named, True, now, file.size, values))
    return removed


def _merge(
    load: DeltaLoad, found: DeltaVersion, files: Sequence[StagedFile], properties: deltalake.CommitProperties
) -> None:
    if not files:
        _transact(found, [], "append", properties)
        return
    matched = " AND ".join(f"new.{_quoted(key)} = old.{_quoted(key)}" for key in load.keys)
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


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def assert_keys(load: DeltaLoad, files: Sequence[StagedFile]) -> None:
    """Raises `LoadError` for staged rows whose keys are NULL or come twice."""
    if not files:
        return
    rows = pl.concat([_keys(load, file) for file in files])
    empty = rows.filter(pl.any_horizontal(pl.all().is_null())).select(pl.len()).collect().item()
    if empty:
        raise LoadError(
            f"{empty} rows have NULL in a key ({', '.join(load.keys)}); nothing was committed",
            hint="leave them out in a filter step, or give them a value with fill",
        )
    twice = rows.group_by(load.keys).len().filter(pl.col("len") > 1).head(1).collect()
    if twice.height:
        shown = ", ".join(f"{name} = {twice[name][0]}" for name in load.keys)
        raise LoadError(
            f"a key comes {twice['len'][0]} times among the rows: {shown}; nothing was committed",
            hint="keep one row of each before the load: {type: deduplicate, keys: [...], order_by: ...}",
        )


def _keys(load: DeltaLoad, file: StagedFile) -> pl.LazyFrame:
    """The key columns of a file; those that partition the table are in the name of its directory only."""
    spelled_out = [pl.lit(value, dtype=pl.String).alias(name) for name, value in file.partition.items()]
    rows = pl.scan_parquet(file.source, glob=False, hive_partitioning=False)
    return rows.with_columns(spelled_out).select(load.keys)


def assert_complete(load: DeltaLoad, found: DeltaVersion, files: Sequence[StagedFile]) -> None:
    """Raises `LoadError` where a column that the table does not allow to be NULL has NULLs."""
    for name in sorted(found.required):
        for file in files:
            nulls = 0 if file.partition.get(name) else file.stats.nulls.get(name)
            if nulls != 0:
                raise LoadError(
                    f"the column {name!r} of the Delta table {load.path} may not be NULL, and "
                    + (f"{nulls} rows have no value there" if nulls else "its values cannot be proved"),
                    hint="leave such rows out in a filter step; nothing was committed",
                )
