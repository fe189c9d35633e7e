"""The source `iceberg`: one snapshot of an Iceberg table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rayetl.connectors.base import BatchScan, FilesScan, InputFile, Reading, Scan
from rayetl.connectors.formats.options import ParquetOptions
from rayetl.connectors.iceberg.connection import IcebergConnection, Opened
from rayetl.connectors.iceberg.predicates import FileConditions
from rayetl.connectors.iceberg.reading import Reader
from rayetl.connectors.iceberg.table import IcebergVersion
from rayetl.connectors.lake.source import LakeSource
from rayetl.connectors.lake.upkeep import Upkeep
from rayetl.connectors.listing import fingerprint
from rayetl.errors import SourceError
from rayetl.records import dataclass

if TYPE_CHECKING:
    import polars as pl
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import FileScanTask, Table


class IcebergSource(IcebergConnection, LakeSource):
    """Reads a snapshot of an Iceberg table: the newest, or one of the past by its id or time."""

    numbered: ClassVar[str] = "snapshot"

    type: Literal["iceberg"]
    snapshot: int | None = Field(
        default=None,
        description="Read the snapshot with this id; by default the newest one.",
        examples=[8741236541235874123],
    )

    def describe(self, promised: object) -> Scan:
        """The files of the snapshot and its columns: plain files where the names of columns say all, else
        rows that the library reads. Raises `SourceError`, `CredentialError` and `Retryable`."""
        del promised
        opened = self.connect(SourceError)
        try:
            with opened.told():
                return self._described(opened)
        finally:
            opened.close()

    def upkeep(self) -> Upkeep:
        from rayetl.connectors.iceberg.upkeep import IcebergUpkeep

        return IcebergUpkeep(self)

    def _described(self, opened: Opened) -> Scan:
        found = self._found(opened)
        at = self._snapshot(found.table)
        moment = Moment.of(found.table, at)
        tasks = sorted(moment.tasks(), key=lambda task: str(task.file.file_path))
        if odd := next((task for task in tasks if task.file.file_format == "AVRO"), None):
            # The library says so too, but not before rows are read.
            raise ValueError(f"Unsupported file format: AVRO, of the file {odd.file.file_path}")
        with ThreadPoolExecutor(8) as threads:
            files = tuple(threads.map(lambda task: _input(opened, task), tasks))
            plain = all(threads.map(moment.reader.is_plain, tasks, files))
        if plain:
            return FilesScan("parquet", files, moment.reader.schema, ParquetOptions(), "fail")
        named = f"{found.table.metadata.table_uuid}:{at}"
        return IcebergScan("iceberg", f"iceberg {self.table}", moment.reader.schema, self, at, named)

    def _found(self, opened: Opened) -> IcebergVersion:
        found = IcebergVersion.open(opened)
        if found is None:
            raise SourceError(
                f"there is no Iceberg table {self.table} in the catalog {self.catalog.uri}",
                hint="look at the namespace, and at the catalog's `name` or `warehouse`",
            )
        return found

    def _snapshot(self, table: Table) -> int | None:
        """The id of the snapshot that is read, `None` for a table that has none yet."""
        if self.snapshot is not None:
            if table.snapshot_by_id(self.snapshot) is None:
                known = ", ".join(str(each.snapshot_id) for each in table.snapshots()[-5:]) or "none"
                raise SourceError(
                    f"the Iceberg table {self.table} has no snapshot {self.snapshot}",
                    hint=f"the newest are: {known}; older ones expire",
                )
            return self.snapshot
        if self.moment is None:
            newest = table.current_snapshot()
            return newest.snapshot_id if newest else None
        found = table.snapshot_as_of_timestamp(int(self.moment.timestamp() * 1000))
        if found is None:
            raise SourceError(
                f"the Iceberg table {self.table} had no snapshot yet at {self.moment.isoformat()}",
                hint="give a later `timestamp`; old snapshots expire",
            )
        return found.snapshot_id

    def identity(self, scan: Scan) -> str | None:
        """A fingerprint of the files, or the snapshot where files alone do not say what the rows are."""
        return fingerprint(scan.files) if isinstance(scan, FilesScan) else str(getattr(scan, "named", ""))


def _input(opened: Opened, task: FileScanTask) -> InputFile:
    try:
        return opened.shelves.look(task.file.file_path)
    except OSError as error:
        raise SourceError(
            f"the Iceberg table {opened.connection.table} names the file {error.filename}, which cannot be "
            f"read: {error.strerror}",
            hint="somebody removed it without the table's knowledge; restore it or read another snapshot",
        ) from error


@dataclass(frozen=True, slots=True)
class Moment:
    """A table at one snapshot."""

    table: Table
    snapshot: int | None
    reader: Reader

    @classmethod
    def of(cls, table: Table, snapshot: int | None) -> Moment:
        """With the columns of that time; those of now for the newest snapshot."""
        newest = table.current_snapshot()
        if snapshot is None or (newest is not None and newest.snapshot_id == snapshot):
            return cls(table, snapshot, Reader.of(table, table.schema()))
        return cls(table, snapshot, Reader.of(table, table.scan(snapshot_id=snapshot).projection()))

    def tasks(self, within: BooleanExpression | None = None) -> list[FileScanTask]:
        """The files of the snapshot that may hold rows for which `within` holds."""
        from pyiceberg.expressions import AlwaysTrue

        if self.snapshot is None:
            return []
        return list(self.table.scan(within or AlwaysTrue(), snapshot_id=self.snapshot).plan_files())


@dataclass(frozen=True, slots=True)
class IcebergScan(BatchScan):
    """A snapshot of the table of `source`; `named` tells it from every other."""

    source: IcebergSource
    snapshot: int | None
    named: str

    def open(self) -> IcebergReading:
        return IcebergReading(self)


class IcebergReading(Reading):
    """The rows of a snapshot, which nobody changes. One file at a time is in memory."""

    def __init__(self, scan: IcebergScan) -> None:
        self._scan = scan
        self._opened = scan.source.connect(SourceError)
        with self._opened.told():
            found = scan.source._found(self._opened)
            self._moment = Moment.of(found.table, scan.snapshot)

    def frames(
        self, columns: Sequence[str], predicate: pl.Expr | None, rows: int | None
    ) -> Iterator[pl.DataFrame]:
        left = rows if predicate is None else None
        with self._opened.told():
            kinds = {field.name: field.type for field in self._moment.reader.schema}
            within = None if predicate is None else FileConditions().condition(predicate, kinds)
            for task in self._moment.tasks(within):
                found = self._moment.reader.rows(task, columns)
                yield found
                if left is not None:
                    left -= found.height
                    if left <= 0:
                        return

    def count(self) -> int:
        with self._opened.told():
            return sum(self._height(task) for task in self._moment.tasks())

    def _height(self, task: FileScanTask) -> int:
        if not task.delete_files:
            return int(task.file.record_count)
        first = self._moment.reader.schema.names[:1]
        return self._moment.reader.rows(task, first).height

    def close(self) -> None:
        self._opened.close()
