"""Deletes as others write them: by position, as Spark's merge-on-read does, which the library reads, and by
equality, as Flink does, which it does not. It writes neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
)
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record

_COLUMNS = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": "2147483546"}),
        pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"}),
    ]
)


class _DeletesWriter(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def delete_rows(table: Any, positions: Mapping[int, Sequence[int]]) -> None:
    """Commit a snapshot that deletes rows by their positions in the file that holds so many rows more than
    another: keys are the places of files, the largest first being 1."""
    tasks = sorted(table.scan().plan_files(), key=lambda task: -task.file.record_count)
    pairs = [(tasks[place - 1].file.file_path, row) for place, rows in positions.items() for row in rows]
    columns = {"file_path": [name for name, _ in pairs], "pos": [row for _, row in pairs]}
    _commit(table, pa.table(columns, schema=_COLUMNS), content=DataFileContent.POSITION_DELETES)


def delete_equal(table: Any, column: str, value: int) -> None:
    """Commit a snapshot that deletes the rows that have a value in a column of whole numbers."""
    field = table.schema().find_field(column)
    fields = table.schema().as_arrow()
    bound = {field.field_id: value.to_bytes(8, "little", signed=True)}
    _commit(
        table,
        pa.table({column: [value]}, schema=pa.schema([fields.field(column)])),
        content=DataFileContent.EQUALITY_DELETES,
        equality_ids=[field.field_id],
        value_counts={field.field_id: 1},
        lower_bounds=bound,
        upper_bounds=bound,
    )


def _commit(table: Any, rows: pa.Table, **said: Any) -> None:
    """Commit a file of deletes, of which its manifest says so much."""
    path = f"{table.location()}/data/deletes.parquet"
    with table.io.new_output(path).create() as stream:
        pq.write_table(rows, stream)
    file = DataFile.from_args(
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=rows.num_rows,
        file_size_in_bytes=len(table.io.new_input(path)),
        spec_id=table.spec().spec_id,
        **said,
    )
    transaction = table.transaction()
    producer = transaction.update_snapshot().fast_append()
    plain = _FastAppendFiles._manifests

    def with_deletes(self: Any) -> list[Any]:
        output = self.new_manifest_output()
        with _DeletesWriter(table.spec(), table.schema(), output, self.snapshot_id, "gzip") as writer:
            entry = ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED,
                snapshot_id=self.snapshot_id,
                sequence_number=None,
                file_sequence_number=None,
                data_file=file,
            )
            writer.add(entry)
        return [*plain(self), writer.to_manifest_file()]

    producer._manifests = with_deletes.__get__(producer)
    producer.commit()
    transaction.commit_transaction()
