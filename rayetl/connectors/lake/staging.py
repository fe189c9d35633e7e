"""Where an attempt puts its files before they are committed, and what is left of attempts that died.

Below the table, or below a directory of this machine where the table is elsewhere, `_rayetl` holds for each
load a lock and the directories of its attempts; readers and clean-ups of tables pass over names that begin
with `_`. Finished files get their names in the table just before the commit; until a commit names them, they
are nobody's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rayetl.connectors.base import Epoch
from rayetl.connectors.commit.durable import sync
from rayetl.connectors.commit.layout import data_files, hive_directory
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.commit.publish import remove_tree
from rayetl.connectors.lake.stats import FileStats
from rayetl.connectors.listing import NULL_PARTITION
from rayetl.errors import CommitConflict
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.records import dataclass

if TYPE_CHECKING:
    import pyarrow.parquet as pq
else:
    pq = lazily("pyarrow.parquet")

CONTROL = "_rayetl"
DERIVED = "part."
"""What the names of columns begin with that only cut the rows into files: they stand in no file, and what
they are made from does."""

_DEAD = "dead-"
FORGOTTEN = 7 * 24 * 3600.0
"""Seconds after which finished splits of an epoch are no longer waited for."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of an attempt. `place` is where it lies in the table once it is linked there; `partition` the
    values of partition columns that stand in the name of its directory only."""

    source: Path
    place: Path
    partition: dict[str, str | None]
    size: int
    stats: FileStats


class Shelf(ABC):
    """Where the data files of a table lie. Attempts are known here by number and token, as
    `00000002-9f3c01ab`."""

    @abstractmethod
    def put(self, attempt: str, files: Sequence[StagedFile]) -> None:
        """Give files their names in the table, so that they are there after a power cut."""

    @abstractmethod
    def take_back(self, attempt: str, places: Iterable[Path]) -> None:
        """Remove files that an attempt put, as far as it came."""

    @abstractmethod
    def left(self) -> dict[str, list[Path]]:
        """What attempts have put of which nothing else is known on this machine, by their names."""

    @abstractmethod
    def forget(self, attempt: str) -> None:
        """Nothing of an attempt will be taken back any more."""


@dataclass(frozen=True, slots=True)
class Directory(Shelf):
    """A table in a directory of this machine: its files are linked."""

    root: Path

    def put(self, attempt: str, files: Sequence[StagedFile]) -> None:
        del attempt
        made = {self.root}
        for file in files:
            sync(file.source)
            target = self.root / file.place
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file.source, target)
            failpoint("lake.linked")
            made.update(parent for parent in target.parents if self.root in parent.parents)
        for directory in sorted(made, reverse=True):
            sync(directory)

    def take_back(self, attempt: str, places: Iterable[Path]) -> None:
        del attempt
        for place in places:
            (self.root / place).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                if place.parent.parts:
                    os.removedirs(self.root / place.parent)

    def left(self) -> dict[str, list[Path]]:
        """Nothing: the directories of the attempts are below the table, and say all."""
        return {}

    def forget(self, attempt: str) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True, slots=True)
class Staging:
    """The attempts of one load below the directory `root`; the table's files get their names on the `shelf`,
    in its directory `data` ("" for the root itself). `table` is what errors call it."""

    root: Path
    scope: str
    shelf: Shelf
    table: str
    data: str = ""

    @classmethod
    def of(cls, root: str, epoch: Epoch, data: str = "") -> Staging:
        """The staging of a load into a table of this machine, whether its directories are there or not."""
        return cls(Path(root), scope_of(epoch), Directory(Path(root)), root, data)

    @property
    def _attempts(self) -> Path:
        return self.root / CONTROL / self.scope

    def lock(self, run: str) -> Lock:
        """Take the load's lock; its directories are made. Raises `CommitConflict`."""
        self._attempts.mkdir(parents=True, exist_ok=True)
        return Lock.acquire(self.root / CONTROL / f"{self.scope}.lock", run, self.table)

    def parking(self, key: str) -> Path:
        """The directory for finished splits of an epoch."""
        return self._attempts / f"parked-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def attempt(self, number: int) -> Attempt:
        """A new attempt at the epoch after number `number` of the load.

        Raises `CommitConflict` where nothing can be locked and another run fences it while it is made.
        """
        directory = self._attempts / f"{number:08d}-{secrets.token_hex(4)}"
        made = Attempt(self.shelf, directory, self.data)
        try:
            made.staging.mkdir(parents=True)
            made.mark.touch()
        except FileNotFoundError:
            raise CommitConflict(
                f"another run has just taken over the load into {self.table}",
                hint="run again: an epoch that is committed is recognised and skipped",
            ) from None
        return made

    def has_attempts(self) -> bool:
        """Whether an attempt died here and may have linked files."""
        known = (*self._attempts.glob("[0-9]*-*"), *self._attempts.glob(f"{_DEAD}*"))
        return bool(known or self.shelf.left())

    def fence(self) -> None:
        """Take the right to commit from attempts before. The load's lock is held; where nothing can be locked
        one of them may still be alive: the renaming is its fence, it finds nothing any more."""
        for directory in self._attempts.glob("[0-9]*-*"):
            # An engine that is still at work makes its directory again, so an attempt may die twice.
            dead = directory.with_name(f"{_DEAD}{secrets.token_hex(4)}-{directory.name}")
            with contextlib.suppress(FileNotFoundError):
                directory.rename(dead)
        failpoint("lake.fenced")

    def clear(self, number: int, holder: Callable[[int], str | None]) -> None:
        """Clear what fenced attempts left. `number` is the load's newest committed epoch, and `holder` says
        which attempt committed one, as far as that is known.

        The files that an attempt linked are nobody's once another one has committed the epoch that it was
        for. Until then they stay, because a commit that was sent may still arrive at a catalog.
        """
        for directory in sorted(self._attempts.glob(f"{_DEAD}*")):
            dead = Attempt(self.shelf, directory, self.data)
            if dead.number >= number:
                continue
            # Where nothing can be locked, another run may clear it at the same time.
            with contextlib.suppress(FileNotFoundError):
                if holder(dead.number + 1) not in (None, dead.token):
                    dead.take_back()
                remove_tree(directory)
            failpoint("lake.cleared")
        for name, places in self.shelf.left().items():
            begun, _, token = name.partition("-")
            if int(begun) < number:
                if holder(int(begun) + 1) not in (None, token):
                    self.shelf.take_back(name, places)
                self.shelf.forget(name)
                failpoint("lake.cleared")
        for parking in self._attempts.glob("parked-*"):
            if time.time() - parking.stat().st_mtime > FORGOTTEN:
                remove_tree(parking)


def scope_of(epoch: Epoch) -> str:
    """A short name for the load of an epoch."""
    named = "\x1f".join((epoch.pipeline, epoch.load)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(named).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to load an epoch: its directory, named after the epoch before and a token."""

    shelf: Shelf
    directory: Path
    data: str = ""

    @property
    def staging(self) -> Path:
        """The directory that the engine writes into."""
        return self.directory / "data"

    @property
    def token(self) -> str:
        """What no other attempt is called."""
        return self.directory.name.split("-")[-1]

    @property
    def number(self) -> int:
        """The newest epoch of the load when the attempt began."""
        return int(self.directory.name.split("-")[-2])

    @property
    def mark(self) -> Path:
        """A file that is there as long as the attempt may commit."""
        return self.directory / "alive"

    @property
    def is_fenced(self) -> bool:
        """Whether a later attempt has taken over. An engine may have made the directory again."""
        return not self.mark.exists()

    def aside(self) -> Path:
        """A fresh directory for files that the commit itself writes."""
        made = self.directory / f"aside-{secrets.token_hex(4)}"
        made.mkdir()
        return made

    def staged(self, inside: Path | None = None) -> list[StagedFile]:
        """The files that hold rows: those of the engine, or those below a directory of `aside`."""
        found = []
        for source, place, partition in self._places(inside or self.staging):
            stats = FileStats.of(pq.read_metadata(source))
            if stats.rows:
                found.append(StagedFile(source, place, partition, source.stat().st_size, stats))
        return found

    def _places(self, inside: Path) -> Iterator[tuple[Path, Path, dict[str, str | None]]]:
        """The files below a directory, where each will lie in the table, and its partition values."""
        mark = inside.name.removeprefix("data").removeprefix("aside")
        for index, name in enumerate(data_files(inside)):
            below = hive_directory(name.parent)
            parts = (part.removeprefix(DERIVED) for part in below.parts)
            place = Path(self.data, *parts, f"part-{index:05d}{mark}-{self.token}.parquet")
            yield inside / name, place, _partition(name)

    def put(self, files: Sequence[StagedFile]) -> None:
        """Give the files their names in the table."""
        self.shelf.put(self._name, files)

    def take_back(self, files: Sequence[StagedFile] | None = None) -> None:
        """Take back what `put` did, as far as it came; of these files, or of all."""
        places = self._all_places() if files is None else [file.place for file in files]
        self.shelf.take_back(self._name, places)

    @property
    def _name(self) -> str:
        return f"{self.number:08d}-{self.token}"

    def _all_places(self) -> Iterator[Path]:
        for inside in (self.staging, *self.directory.glob("aside-*")):
            yield from (place for _, place, _ in self._places(inside))

    def remove(self) -> None:
        """Remove the attempt's own directory; files in the table stay."""
        remove_tree(self.directory)

    def settle(self) -> None:
        """Remove all that is only of use until the attempt is committed, as it is now."""
        self.remove()
        self.shelf.forget(self._name)


def _partition(staged: Path) -> dict[str, str | None]:
    """Partition values from the directories that an engine made."""
    parts = (part.partition("=") for part in staged.parent.parts if not part.startswith(DERIVED))
    return {unquote(name): None if value == NULL_PARTITION else unquote(value) for name, _, value in parts}
