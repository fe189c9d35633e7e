"""One epoch of one load into an Iceberg table: what its catalog decides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from rayetl.connectors.base import FilesTarget, LoadResult
from rayetl.connectors.iceberg.catalogs import HadoopCatalog
from rayetl.connectors.iceberg.connection import Opened
from rayetl.connectors.iceberg.cutting import derived
from rayetl.connectors.iceberg.ledger import Ledger
from rayetl.connectors.iceberg.load import IcebergLoad
from rayetl.connectors.iceberg.merging import merged
from rayetl.connectors.iceberg.places import assert_place, in_bucket, local
from rayetl.connectors.iceberg.table import IcebergVersion
from rayetl.connectors.iceberg.writing import (
    Change,
    columns_of,
    creating,
    in_same_partitions,
    widening,
    write,
)
from rayetl.connectors.lake.bucket import staging
from rayetl.connectors.lake.load import KEYED
from rayetl.connectors.lake.session import LakeSession
from rayetl.connectors.lake.staging import Attempt, StagedFile, Staging
from rayetl.connectors.lake.version import Entry
from rayetl.connectors.places import split_key
from rayetl.errors import LoadError
from rayetl.lazy import lazily
from rayetl.records import dataclass

if TYPE_CHECKING:
    import polars as pl
    from pyiceberg.table import Transaction
else:
    pl = lazily("polars")


@dataclass()
class IcebergSession(LakeSession[IcebergVersion, Change]):
    """See `LakeSession`."""

    load: IcebergLoad
    _made_at: str | None = field(init=False, default=None)
    _files: FilesTarget | None = field(init=False, default=None)

    @cached_property
    def _opened(self) -> Opened:
        return self.load.connect(LoadError)

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.epoch)

    def _place(self) -> Staging:
        location = self._location()
        address = in_bucket(location)
        if address is None:
            return Staging.of(local(location), self.epoch, "data")
        from rayetl.connectors.s3.target import S3Target

        bucket, key = split_key(address)
        account = self._opened.shelves.account_of(address)
        target = S3Target(account, bucket, key.rstrip("/"), self.load.protection)
        if isinstance(self.load.catalog, HadoopCatalog):
            target.assert_conditional()
        return staging(target, self.load.settings.staging, self.epoch, "data")

    def _location(self) -> str:
        """Where the table lies, or will."""
        found = self._now()
        if found is not None:
            return found.table.location()
        self._made_at = self.load.catalog.place_of(self.load.table)
        if self._made_at is None:
            self._made_at = self._transaction(None).table_metadata.location
            assert_place(self._made_at)
        return self._made_at

    def _transaction(self, found: IcebergVersion | None) -> Transaction:
        if found is None:
            return creating(self._opened, self.load, self.schema, self._made_at)
        return widening(self.load, found, self.schema)

    def _told(self) -> AbstractContextManager[None]:
        told: AbstractContextManager[None] = self._opened.told()
        return told

    def _now(self) -> IcebergVersion | None:
        return IcebergVersion.open(self._opened)

    def _number(self, found: IcebergVersion | None) -> int:
        return self._ledger.number(found)

    def _entry(self, found: IcebergVersion | None) -> Entry | None:
        return self._ledger.find(found, standing=self.load.mode == "overwrite")

    def _holder(self, found: IcebergVersion | None, number: int) -> str | None:
        return self._ledger.holder(found, number)

    def _assert_ours(self) -> None:
        root = self._staging.root
        if root.exists() and not root.is_dir():
            raise LoadError(f"{root} is a file; an Iceberg table is a directory", hint="move the file away")

    def _cuts(self, found: IcebergVersion | None) -> tuple[str, ...]:
        metadata = self._transaction(found).table_metadata
        return (metadata.location, str(metadata.spec()), str(metadata.schema()))

    @property
    def _merges(self) -> bool:
        return self.load.mode in KEYED

    def _target(self, attempt: Attempt) -> FilesTarget:
        metadata = self._transaction(self._now()).table_metadata
        columns = columns_of(metadata, self.schema.names)
        stored = pl.DataFrame(columns.empty_table()).schema
        cut = derived(metadata.spec(), metadata.schema(), stored)
        self._files = replace(self._files_target(attempt), derived=tuple(cut), columns=columns)
        return self._files

    def _change(self, found: IcebergVersion | None, attempt: Attempt, files: Sequence[StagedFile]) -> Change:
        if found is not None and self._merges:
            assert self._files is not None
            self._is_put = True
            return merged(self.load, found, self.schema, self._files, attempt, files)
        self._put_once(attempt, files)
        rows = sum(file.stats.rows for file in files)
        if found is None or self.load.mode != "overwrite":
            return Change(files, (), rows)
        if self.load.replace == "partitions":
            return Change(files, in_same_partitions(found, files), rows)
        return Change(files, [task.file for task in found.tasks()], rows)

    def _write(self, found: IcebergVersion | None, change: Change, entry: Entry) -> None:
        entry = replace(entry, rows=change.rows)
        properties, summary = self._ledger.properties(found, entry), self._ledger.summary(entry)
        write(self._transaction(found), change, properties, summary)

    def _is_conflict(self, error: Exception) -> bool:
        from pyiceberg.exceptions import CommitFailedException

        return isinstance(error, CommitFailedException)

    def _take_back(self, attempt: Attempt, change: Change) -> None:
        if self._merges:
            attempt.take_back(change.added)

    def committed(self) -> LoadResult | None:
        try:
            return super().committed()
        finally:
            self._close()

    def abort(self) -> None:
        super().abort()
        self._close()

    def _close(self) -> None:
        opened = self.__dict__.pop("_opened", None)
        if opened is not None:
            opened.close()
