"""One epoch of one load into a Delta table: what its log decides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from rayetl.connectors.base import FilesTarget
from rayetl.connectors.delta.ledger import Ledger
from rayetl.connectors.delta.load import DeltaLoad
from rayetl.connectors.delta.table import DeltaVersion
from rayetl.connectors.delta.writing import write
from rayetl.connectors.lake.bucket import staging
from rayetl.connectors.lake.load import KEYED
from rayetl.connectors.lake.session import LakeSession
from rayetl.connectors.lake.staging import Attempt, StagedFile, Staging
from rayetl.connectors.lake.version import Entry
from rayetl.connectors.places import is_on_s3
from rayetl.errors import LoadError
from rayetl.records import dataclass


@dataclass()
class DeltaSession(LakeSession[DeltaVersion, Sequence[StagedFile]]):
    """See `LakeSession`."""

    load: DeltaLoad

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.epoch)

    def _place(self) -> Staging:
        if is_on_s3(self.load.path):
            return staging(self.load.bucket, self.load.settings.staging, self.epoch)
        return Staging.of(self.load.path, self.epoch)

    def _told(self) -> AbstractContextManager[None]:
        return self.load.place.told(LoadError)

    def _now(self) -> DeltaVersion | None:
        return DeltaVersion.open(self.load.place, LoadError)

    def _number(self, found: DeltaVersion | None) -> int:
        return self._ledger.number(found)

    def _entry(self, found: DeltaVersion | None) -> Entry | None:
        return self._ledger.find(found, standing=self.load.mode == "overwrite")

    def _holder(self, found: DeltaVersion | None, number: int) -> str | None:
        return self._ledger.holder(found, number)

    def _assert_ours(self) -> None:
        if not self._staging.has_attempts() and (other := self.load.place.stranger()) is not None:
            raise LoadError(
                f"{self.load.path} holds files that belong to no Delta table, as {other}",
                hint="choose an empty directory or one that does not exist",
            )

    def _cuts(self, found: DeltaVersion | None) -> tuple[str, ...]:
        """A merge cuts the files itself."""
        if self._merges(found):
            return ()
        names = self.load.partition_by if found is None else found.partition_by
        return tuple(column.name for name in names if (column := self.schema.get(name)))

    def _merges(self, found: DeltaVersion | None) -> bool:
        return found is not None and self.load.mode in KEYED

    def _blank(self) -> Sequence[str]:
        # Delta's protocol: in the log, an empty partition value is NULL.
        found = self._now()
        return self.load.partition_by if found is None else found.partition_by

    def _target(self, attempt: Attempt) -> FilesTarget:
        if is_on_s3(self.load.path) and attempt.number == 0:
            self.load.bucket.assert_conditional()
        return replace(self._files_target(attempt), partition_by=self._cut)

    def _change(
        self, found: DeltaVersion | None, attempt: Attempt, files: Sequence[StagedFile]
    ) -> Sequence[StagedFile]:
        if not self._merges(found):
            self._put_once(attempt, files)
        return files

    def _write(self, found: DeltaVersion | None, change: Sequence[StagedFile], entry: Entry) -> None:
        from deltalake.exceptions import CommitFailedError, DeltaError

        used = self.load.place.options() if found is None else found.options
        try:
            write(self.load, found, self.schema, change, self._ledger.entered(entry))
        except (DeltaError, OSError) as error:
            if isinstance(error, CommitFailedError) or not self.load.place.has_other_keys_than(used):
                raise
            # The library keeps to the keys that it opened the table with, before files were sent.
            raise CommitFailedError(f"keys were changed meanwhile: {error}") from error

    def _is_conflict(self, error: Exception) -> bool:
        from deltalake.exceptions import CommitFailedError

        return isinstance(error, CommitFailedError)

    def _take_back(self, attempt: Attempt, change: Sequence[StagedFile]) -> None:
        """Nothing: linked files are good for the next try, and a merge leaves its own to a vacuum."""
