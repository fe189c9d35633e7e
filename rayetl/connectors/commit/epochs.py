"""What a commit does whose epochs are manifests in a ledger, wherever that lies."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from rayetl.connectors.base import Epoch, FilesTarget, LoadSession
from rayetl.connectors.commit.layout import Attempt, data_files, hive_directory
from rayetl.connectors.commit.ledger import DataFile, Ledger, Manifest
from rayetl.errors import BooksError, CommitConflict, LoadError
from rayetl.records import dataclass


class SaveMode(StrEnum):
    """What a load does with rows that are in the target already, as in Spark."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    ERROR_IF_EXISTS = "error_if_exists"
    IGNORE = "ignore"


CountRows = Callable[[Sequence[Path]], Sequence[int] | None]
"""Counts the rows of staged files from the files themselves; `None` where the format cannot tell."""


@dataclass(slots=True)
class LedgerSession(LoadSession):
    """A `LoadSession` that stages files on this machine. `target.directory` is filled in by `begin`.

    `count` reads the rows of the staged files back, to be compared with what the engine counted;
    `suffix` ends the names of published files.
    """

    epoch: Epoch
    mode: SaveMode
    target: FilesTarget
    count: CountRows
    suffix: str
    _attempt: Attempt | None = field(init=False, default=None)
    _ledger: Ledger = field(init=False, default=Ledger())
    _started: float = field(init=False, default=0.0)

    @property
    @abstractmethod
    def where(self) -> str:
        """The target, as errors and reports name it."""

    @abstractmethod
    def _has_data(self) -> bool:
        """Whether there is anything in the target that readers see."""

    def _may_stage(self) -> bool:
        """`False` where the mode says that there is nothing to do. Raises `CommitConflict` where the epoch is
        committed by now, and `LoadError` where the mode forbids it."""
        if self._ledger.find(self.epoch):
            raise CommitConflict(
                f"another run has just committed this epoch into {self.where}",
                hint="run again: the epoch is recognised and skipped",
            )
        if self.mode not in (SaveMode.IGNORE, SaveMode.ERROR_IF_EXISTS) or not self._has_data():
            return True
        if self.mode is SaveMode.IGNORE:
            return False
        raise LoadError(
            f"{self.where} holds data already and the mode is error_if_exists",
            hint="choose the mode append, overwrite or ignore, or another path",
        )

    def _staged(self, attempt: Attempt, rows: int) -> tuple[list[Path], Sequence[int | None]]:
        """The staged files below the attempt's data, and the rows of each. Raises `BooksError`."""
        staged = list(data_files(attempt.data))
        counted = self.count([attempt.data / name for name in staged])
        if counted is None and (staged or not rows):
            return staged, [None] * len(staged)
        if counted is None or sum(counted) != rows:
            raise BooksError(
                f"{rows} rows went to {self.where}, but its staged files hold {sum(counted or ())}",
                hint="this is a fault of rayetl; nothing was committed",
            )
        return staged, counted

    def _published_name(self, attempt: Attempt, index: int, staged: Path) -> str:
        """The name in the target of the staged file number `index`."""
        directory = hive_directory(staged.parent) if self.target.partition_by else staged.parent
        return (directory / f"part-{attempt.token}-{index:05d}{self.suffix}").as_posix()

    def _manifest(
        self, attempt: Attempt, rows: int, files: tuple[DataFile, ...], removes: tuple[str, ...] = ()
    ) -> Manifest:
        replaces = self.mode is SaveMode.OVERWRITE
        return Manifest(
            number=self._ledger.head + 1,
            pipeline=self.epoch.pipeline,
            load=self.epoch.load,
            key=self.epoch.key,
            run=self.epoch.run,
            attempt=attempt.token,
            mode=self.mode,
            rows=rows,
            files=files,
            replaces=replaces,
            removes=removes,
            committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._started, 6),
            previous=self._ledger.seal,
            known=None if replaces else self._ledger.known,
        )
