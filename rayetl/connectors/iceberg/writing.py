"""The commits into an Iceberg table: one snapshot that adds files, and removes those that they replace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.iceberg.connection import Opened
from rayetl.connectors.iceberg.cutting import partition_values, source_columns
from rayetl.connectors.iceberg.load import IcebergLoad
from rayetl.connectors.iceberg.table import IcebergVersion
from rayetl.connectors.lake.fitting import missing
from rayetl.connectors.lake.staging import StagedFile
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.interop import to_arrow
from rayetl.sql.types import Field, Schema

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table import Transaction
    from pyiceberg.table.metadata import TableMetadata
else:
    pl, pa, pq = lazily("polars"), lazily("pyarrow"), lazily("pyarrow.parquet")


_TURNS = 5


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does: files that it adds, data files that it takes out, and how many rows it brings
    in."""

    added: Sequence[StagedFile]
    removed: Sequence[DataFile]
    rows: int


def creating(opened: Opened, load: IcebergLoad, schema: Schema, place: str | None) -> Transaction:
    """A transaction that makes the table; nothing of it is there before it is committed. The namespace is
    made if there is none."""
    _ensure_namespace(opened)
    made = opened.catalog.create_table_transaction(load.table, _stored(load, schema), location=place)
    if load.cuts:
        names = {field.name.lower(): field.name for field in schema}
        with made.update_spec() as spec:
            for cut in load.cuts:
                spec.add_field(names[cut.column.lower()], cut.as_iceberg)
    return made


def _stored(load: IcebergLoad, schema: Schema) -> pa.Schema:
    return to_arrow(Schema(tuple(Field(field.name, load.stored(field.type)) for field in schema)))


def _ensure_namespace(opened: Opened) -> None:
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy.exc import SQLAlchemyError

    namespace = opened.connection.table.rpartition(".")[0]
    if not isinstance(opened.catalog, SqlCatalog):
        opened.catalog.create_namespace_if_not_exists(namespace)
        return
    for turn in range(_TURNS):
        try:
            opened.catalog.create_tables()
            opened.catalog.create_namespace_if_not_exists(namespace)
            return
        except SQLAlchemyError:
            # Another run has just made them, or they cannot be made.
            if turn == _TURNS - 1:
                raise


def widening(load: IcebergLoad, found: IcebergVersion, schema: Schema) -> Transaction:
    """A transaction that gives the table the columns that it lacks; nothing is there before it is
    committed."""
    made = found.table.transaction()
    if lacking := missing(found, schema):
        with made.update_schema() as change:
            change.union_by_name(_stored(load, Schema(tuple(lacking))))
    return made


def columns_of(metadata: TableMetadata, names: Sequence[str]) -> pa.Schema:
    """Columns of a table as its files have them, with their field ids. Whether one may be NULL, or a field
    inside of one, is looked at before the commit."""
    fields = metadata.schema().as_arrow()
    return pa.schema([_optional(fields.field(name)) for name in names])


def _optional(field: pa.Field) -> pa.Field:
    kind = field.type
    if pa.types.is_struct(kind):
        kind = pa.struct([_optional(each) for each in kind])
    elif pa.types.is_large_list(kind):
        kind = pa.large_list(_optional(kind.value_field))
    elif pa.types.is_map(kind):
        kind = pa.map_(kind.key_field, _optional(kind.item_field))
    return field.with_type(kind).with_nullable(True)


def write(made: Transaction, change: Change, properties: dict[str, str], summary: dict[str, str]) -> None:
    """Commit a change through a transaction that makes or widens the table; once."""
    metadata = made.table_metadata
    made.set_properties(properties)
    update = made.update_snapshot(snapshot_properties=summary)
    producer = update.overwrite() if change.removed else update.fast_append()
    for file in change.removed:
        producer.delete_data_file(file)
    for staged in change.added:
        producer.append_data_file(_data_file(staged, metadata))
    producer.commit()
    failpoint("iceberg.manifests_written")
    made.commit_transaction()


def _data_file(file: StagedFile, metadata: TableMetadata) -> DataFile:
    """What a manifest says about a file: its figures, and the partition that all of its rows are in."""
    from pyiceberg.io.pyarrow import (
        compute_statistics_plan,
        data_file_statistics_from_parquet_metadata,
        parquet_path_to_id_mapping,
    )
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    schema = metadata.schema()
    figures = data_file_statistics_from_parquet_metadata(
        pq.read_metadata(file.source),
        compute_statistics_plan(schema, metadata.properties),
        parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"{metadata.location}/{file.place.as_posix()}",
        file_format=FileFormat.PARQUET,
        partition=Record(*partition_of(file, metadata.spec(), schema)),
        file_size_in_bytes=file.size,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **figures.to_serialized_dict(),
    )


def partition_of(file: StagedFile, spec: PartitionSpec, schema: IcebergSchema) -> list[Any]:
    """The partition of a file that was cut so that all of its rows are in one."""
    columns = source_columns(spec, schema)
    row: dict[str, Any] = {}
    if columns:
        rows = pl.scan_parquet(file.source, glob=False, hive_partitioning=False)
        row = rows.select(columns).head(1).collect().row(0, named=True)
    return partition_values(spec, schema, row)


def in_same_partitions(found: IcebergVersion, files: Sequence[StagedFile]) -> list[DataFile]:
    """The files of the table that lie in the partitions of these."""
    spec = found.table.spec()
    touched = {tuple(partition_of(file, spec, found.iceberg)) for file in files}
    data = (task.file for task in found.tasks())
    return [
        file for file in data if tuple(file.partition[place] for place in range(len(spec.fields))) in touched
    ]
