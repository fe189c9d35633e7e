"""An Iceberg table as it is at one moment: opened, judged, and described in our words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from rayetl.connectors.formats.schemas import nullable
from rayetl.connectors.iceberg.connection import Opened
from rayetl.connectors.iceberg.cutting import Cut, cuts_of, unfit_cuts
from rayetl.connectors.iceberg.places import assert_place
from rayetl.connectors.lake.load import LakeLoad
from rayetl.connectors.lake.version import LakeVersion
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.interop import from_arrow
from rayetl.sql.types import Field, Schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.table.snapshots import Snapshot
else:
    pa = lazily("pyarrow")

_RETRIES = "commit.retry.num-retries"
_DIALECTS = (1, 2)
"""The versions of Iceberg's format that are written."""


@dataclass(frozen=True)
class IcebergVersion(LakeVersion):
    """A table as a catalog has it. The library's own retries of commits are off."""

    table: Table
    forbidden: str | None = None
    """Why its catalog lets nobody write into it, in words."""

    @classmethod
    def open(cls, opened: Opened) -> IcebergVersion | None:
        """The newest state of the table, `None` where there is none.

        Raises what `Opened.told` raises, also for a table that lies neither on this machine nor on S3.
        """
        from pyiceberg.catalog.sql import SqlCatalog
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
        from sqlalchemy import inspect

        catalog = opened.catalog
        with opened.told():
            if isinstance(catalog, SqlCatalog) and not inspect(catalog.engine).has_table("iceberg_tables"):
                return None
            try:
                table = catalog.load_table(opened.connection.table)
            except (NoSuchTableError, NoSuchNamespaceError):
                return None
            assert_place(table.location())
            properties = {**table.metadata.properties, _RETRIES: "0"}
            table.metadata = table.metadata.model_copy(update={"properties": properties})
            return cls(table, catalog.unwritable(table))

    @cached_property
    def iceberg(self) -> IcebergSchema:
        """The current columns, in Iceberg's types."""
        return self.table.schema()

    @cached_property
    def schema(self) -> Schema:
        return schema_of(self.iceberg)

    @property
    def arrow(self) -> pa.Schema:
        return pa.schema(self.iceberg.as_arrow())

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """By what the table is partitioned now."""
        return cuts_of(self.table.spec(), self.iceberg)

    @property
    def partition_by(self) -> tuple[str, ...]:
        return tuple(str(cut) for cut in self.cuts)

    def has_rows(self) -> bool:
        snapshot = self.table.current_snapshot()
        manifests = snapshot.manifests(self.table.io) if snapshot else []
        return any(found.has_added_files() or found.has_existing_files() for found in manifests)

    def tasks(self) -> list[FileScanTask]:
        """The data files of this state, each with the deletes of its rows."""
        return list(self.table.scan().plan_files())

    def unwritable(self) -> str | None:
        version = self.table.metadata.format_version
        if version not in _DIALECTS:
            return f"has version {version} of Iceberg's format"
        kinds = {field.name: field.type for field in self.schema}
        return self.forbidden or next(unfit_cuts(self.cuts, kinds), None)

    def objections(self, load: LakeLoad, rows: Schema) -> Iterator[str]:
        for cut in self.cuts:
            if rows.get(cut.column) is None:
                yield f"the rows have no column {cut.column!r}, by which it is partitioned"
        if load.replace == "partitions" and len(self.table.specs()) > 1 and self._was_cut_otherwise():
            yield "some of its files are cut by an older partitioning, so its partitions cannot be replaced"

    def _was_cut_otherwise(self) -> bool:
        return any(task.file.spec_id != self.table.spec().spec_id for task in self.tasks())


def schema_of(columns: IcebergSchema) -> Schema:
    """Columns in our types, NULL allowed everywhere. Raises `SqlError` for a type that Spark has no like
    of."""
    found = from_arrow(pa.schema(columns.as_arrow()))
    return Schema(tuple(Field(field.name, nullable(field.type)) for field in found))


def ancestors(table: Table) -> Sequence[Snapshot]:
    """The current snapshot and those that it came from, newest first."""
    found, snapshot = [], table.current_snapshot()
    while snapshot is not None:
        found.append(snapshot)
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
    return found
