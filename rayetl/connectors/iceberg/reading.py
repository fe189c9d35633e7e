"""Rows of data files through the library, which honours deletes and columns that were renamed; and whether a
file can be read without it, by the names of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.base import InputFile
from rayetl.connectors.iceberg.table import schema_of
from rayetl.connectors.lake.int96 import far, has_times, int96_columns
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.interop import polars_type
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table import FileScanTask, Table
else:
    pl, pa, pq = lazily("polars"), lazily("pyarrow"), lazily("pyarrow.parquet")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads files of a table as rows of `columns`."""

    table: Table
    columns: IcebergSchema
    schema: Schema

    @classmethod
    def of(cls, table: Table, columns: IcebergSchema) -> Reader:
        """A reader of these columns of a table. Raises `SqlError` for a type that Spark has no like of."""
        return cls(table, columns, schema_of(columns))

    def rows(self, task: FileScanTask, names: Sequence[str]) -> pl.DataFrame:
        """The rows of a file that are not deleted."""
        from pyiceberg.expressions import AlwaysTrue

        from rayetl.connectors.iceberg.projection import ArrowScan

        self._assert_times(task)
        chosen = self.columns.select(*names)
        scan = ArrowScan(self.table.metadata, self.table.io, chosen, AlwaysTrue())
        batches = list(scan.to_record_batches([task]))
        frame = pl.DataFrame(pa.Table.from_batches(batches, None if batches else chosen.as_arrow()))
        kinds = {name: field.type for name in names if (field := self.schema.get(name))}
        return frame.select(pl.col(name).cast(polars_type(kind)) for name, kind in kinds.items())

    def _assert_times(self, task: FileScanTask) -> None:
        """Files that others have written and that were added to the table may have times as INT96."""
        if task.file.file_format != "PARQUET" or not any(map(has_times, self.columns.as_arrow().types)):
            return
        with self.table.io.new_input(task.file.file_path).open() as stream:
            opened = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us")
            if name := far(opened):
                raise ValueError(
                    f"the file {task.file.file_path} holds times before 1678 or after 2261 as INT96 in the "
                    f"column {name!r}, which pyiceberg gets wrong; let Spark rewrite it (rewrite_data_files)"
                )

    def is_plain(self, task: FileScanTask, file: InputFile) -> bool:
        """Whether the file of a task means the same when its columns are taken by their names: nothing of it
        is deleted, and each column of that name is that very field, of the same type."""
        from pyiceberg.io.pyarrow import UnsupportedPyArrowTypeException, pyarrow_to_schema

        if task.delete_files or task.file.file_format != "PARQUET":
            return False
        with file.open() as opened:
            footer = _footer(opened)
        version = self.table.metadata.format_version
        try:
            found = pyarrow_to_schema(footer, self.table.name_mapping(), False, version)
        except (ValueError, TypeError, UnsupportedPyArrowTypeException):
            return False
        there = {field.field_id: field for field in found.fields}
        names = {name.lower() for name in footer.names}
        partitions = {field.source_id for field in self.table.specs()[task.file.spec_id].fields}
        for field in self.columns.fields:
            own = there.get(field.field_id)
            if own is None:
                # What a file does not have is NULL, except where its partition or a default says more.
                if (
                    field.name.lower() in names
                    or field.field_id in partitions
                    or field.initial_default is not None
                ):
                    return False
            elif own.name != field.name or _shape(own.field_type) != _shape(field.field_type):
                return False
        return True


def _footer(opened: Any) -> pa.Schema:
    """The columns of a file. Those with INT96 are instants, as Spark has them."""
    file = pq.ParquetFile(opened, coerce_int96_timestamp_unit="us")
    instants = set(int96_columns(file))
    return pa.schema(
        [
            field.with_type(pa.timestamp("us", "UTC"))
            if field.name in instants and pa.types.is_timestamp(field.type)
            else field
            for field in file.schema_arrow
        ]
    )


def _shape(kind: object) -> str:
    """A type with the ids of its members, whether they may be NULL or not."""
    return str(kind).replace("required", "optional")
