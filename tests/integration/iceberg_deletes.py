"""Deletes by position, as Spark's merge-on-read writes them; the library reads such files and writes none."""

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
    path = f"{table.location()}/data/deletes.parquet"
    columns = {"file_path": [name for name, _ in pairs], "pos": [row for _, row in pairs]}
    with table.io.new_output(path).create() as stream:
        pq.write_table(pa.table(columns, schema=_COLUMNS), stream)
    input_file = table.io.new_input(path)
    file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(pairs),
        file_size_in_bytes=len(input_file),
        spec_id=table.spec().spec_id,
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
