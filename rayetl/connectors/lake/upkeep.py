"""What is done to a table of a lake beside reading and loading: looked back at, compacted, cleared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import unquote

from rayetl.connectors.lake.version import Entry
from rayetl.records import dataclass

SHORTEST = timedelta(hours=1)
"""No file that is younger is ever removed: a load puts files into the table before it commits them."""


@dataclass(frozen=True, slots=True)
class Change:
    """One version of a table. `version` is its number, or the id of its snapshot; the last four are of the
    epoch that made it, where a load of rayetl did."""

    version: int
    time: datetime
    operation: str
    pipeline: str | None = None
    load: str | None = None
    run: str | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Compaction:
    """Small files that were put together. `version` is that of the table afterwards; sizes in bytes."""

    table: str
    version: int
    removed_files: int
    removed_bytes: int
    added_files: int
    added_bytes: int


@dataclass(frozen=True, slots=True)
class Clearing:
    """Files that no version within the retention needs; `deleted` says whether they are gone now. `retention`
    in seconds, sizes in bytes."""

    table: str
    retention: float
    files: int
    bytes: int
    deleted: bool


class Upkeep(ABC):
    """A table that exists. All of its methods raise what loads into it raise."""

    @abstractmethod
    def history(self, limit: int) -> Sequence[Change]:
        """The newest changes, newest first."""

    @abstractmethod
    def optimize(self, target_size: int | None) -> Compaction:
        """Put small files together, up to about `target_size` bytes; rows stay what they are. Raises
        `CommitConflict` where another writer changed the same files."""

    @abstractmethod
    def vacuum(self, retention: timedelta | None, *, shorten: bool, delete: bool) -> Clearing:
        """Find, and with `delete` remove, files that only versions older than `retention` need; by default as
        the table says. Raises `LoadError` for one that is shorter than the table says without `shorten`, or
        than `SHORTEST`."""


def told(version: int, time: datetime, operation: str, entry: Entry | None) -> Change:
    """A change with what is known of the epoch that made it."""
    if entry is None:
        return Change(version, time, operation)
    # The epoch's token: rayetl:<pipeline>:<load>:<key>.
    _, pipeline, load, _ = entry.epoch.split(":", 3)
    return Change(version, time, operation, unquote(pipeline), unquote(load), entry.run, entry.rows)
