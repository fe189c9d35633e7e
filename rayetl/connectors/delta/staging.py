"""Where an attempt puts its files before they are committed, and what is left of attempts that died.

Below the table, `_rayetl` holds for each load a lock and the directories of its attempts; readers and
vacuum pass over names that begin with `_`. Finished files are linked to their names in the table just before
the commit; until the log names them, they are nobody's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from rayetl.connectors.base import Epoch
from rayetl.connectors.commit.durable import sync
from rayetl.connectors.commit.layout import data_files, hive_directory
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.commit.publish import remove_tree
from rayetl.connectors.delta.stats import FileStats
from rayetl.connectors.listing import NULL_PARTITION
from rayetl.failpoints import failpoint
from rayetl.records import dataclass

CONTROL = "_rayetl"
_DEAD = "dead-"
FORGOTTEN = 7 * 24 * 3600.0
"""Seconds after which finished splits of an epoch are no longer waited for."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of an attempt. `place` is where it lies in the table once it is linked there; `partition` its
    partition values as the log has them."""

    source: Path
    place: Path
    partition: dict[str, str | None]
    size: int
    stats: FileStats


@dataclass(frozen=True, slots=True)
class Staging:
    """The attempts of one load below the directory `root` of its table."""

    root: Path
    scope: str

    @classmethod
    def of(cls, root: str, epoch: Epoch) -> Staging:
        """The staging of a load, whether its directories are there or not."""
        named = "\x1f".join((epoch.pipeline, epoch.load)).encode("utf-8", "surrogateescape")
        return cls(Path(root), hashlib.sha256(named).hexdigest()[:16])

    @property
    def _attempts(self) -> Path:
        return self.root / CONTROL / self.scope

    def lock(self, run: str) -> Lock:
        """Take the load's lock; its directories are made. Raises `CommitConflict`."""
        self._attempts.mkdir(parents=True, exist_ok=True)
        return Lock.acquire(self.root / CONTROL / f"{self.scope}.lock", run)

    def parking(self, key: str) -> Path:
        """The directory for finished splits of an epoch."""
        return self._attempts / f"parked-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def attempt(self, number: int) -> Attempt:
        """A new attempt at the epoch after number `number` of the load."""
        made = Attempt(self.root, self._attempts / f"{number:08d}-{secrets.token_hex(4)}")
        made.data.mkdir(parents=True)
        return made

    def has_attempts(self) -> bool:
        """Whether an attempt died here and may have linked files."""
        return any(self._attempts.glob("[0-9]*-*")) or any(self._attempts.glob(f"{_DEAD}*"))

    def recover(self, number: int) -> None:
        """Clear what dead attempts left. The load's lock is held and `number` its newest committed epoch: an
        attempt that began at it has not committed, so the files that it linked are nobody's. Where nothing
        can be locked an attempt may still be alive: the renaming is its fence, it finds nothing any more."""
        for directory in self._attempts.glob("[0-9]*-*"):
            directory.rename(directory.with_name(f"{_DEAD}{directory.name}"))
        failpoint("delta.fenced")
        for directory in sorted(self._attempts.glob(f"{_DEAD}*")):
            dead = Attempt(self.root, directory)
            if dead.number == number:
                dead.unlink()
            remove_tree(directory)
            failpoint("delta.cleared")
        for parking in self._attempts.glob("parked-*"):
            if time.time() - parking.stat().st_mtime > FORGOTTEN:
                remove_tree(parking)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to load an epoch: its directory, named after the epoch before and a token."""

    root: Path
    directory: Path

    @property
    def data(self) -> Path:
        """The directory that the engine writes into."""
        return self.directory / "data"

    @property
    def token(self) -> str:
        """What no other attempt is called."""
        return self.directory.name.rpartition("-")[2]

    @property
    def number(self) -> int:
        """The newest epoch of the load when the attempt began."""
        return int(self.directory.name.removeprefix(_DEAD).partition("-")[0])

    @property
    def is_fenced(self) -> bool:
        """Whether a later attempt has taken over."""
        return not self.data.is_dir()

    def _places(self) -> Iterator[tuple[Path, Path]]:
        for index, name in enumerate(data_files(self.data)):
            below = hive_directory(name.parent)
            yield name, below / f"part-{index:05d}-{self.token}.parquet"

    def staged(self) -> list[StagedFile]:
        """The files that hold rows."""
        found = []
        for name, place in self._places():
            source = self.data / name
            stats = FileStats.of(source)
            if stats.rows:
                found.append(StagedFile(source, place, _partition(name), source.stat().st_size, stats))
        return found

    def link(self, files: Sequence[StagedFile]) -> None:
        """Give the files their names in the table, so that they are there after a power cut."""
        made = {self.root}
        for file in files:
            sync(file.source)
            target = self.root / file.place
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file.source, target)
            failpoint("delta.linked")
            made.update(parent for parent in target.parents if self.root in parent.parents)
        for directory in sorted(made, reverse=True):
            sync(directory)

    def unlink(self) -> None:
        """Take back the names that `link` gave, as far as it came."""
        for _, place in self._places():
            (self.root / place).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                if place.parent.parts:
                    os.removedirs(self.root / place.parent)

    def remove(self) -> None:
        """Remove the attempt's own directory; linked files stay."""
        remove_tree(self.directory)


def _partition(staged: Path) -> dict[str, str | None]:
    """Partition values from the directories that an engine made."""
    parts = (part.partition("=") for part in staged.parent.parts)
    return {unquote(name): None if value == NULL_PARTITION else unquote(value) for name, _, value in parts}
