"""Which epochs a table holds, written in the commit of their rows.

Each snapshot of a load says in its summary which epoch it is. Snapshots expire, so the same commit also notes
the newest epochs of the load, by number and in short, in a property of the table. An epoch whose snapshot was
rolled back is not in the table any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson

from rayetl.connectors.base import Epoch
from rayetl.connectors.iceberg.table import IcebergVersion, ancestors
from rayetl.connectors.lake.staging import scope_of
from rayetl.connectors.lake.version import Entry
from rayetl.records import dataclass

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

SUMMARY = "rayetl"
"""The key of a snapshot's summary that is ours."""

REMEMBERED = 1_000
"""So many epochs of a load are known after their snapshots have expired."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The epochs of one load in a table."""

    epoch: Epoch

    @property
    def _load(self) -> str:
        return f"rayetl:{quote(self.epoch.pipeline, safe='')}:{quote(self.epoch.load, safe='')}:"

    @property
    def _token(self) -> str:
        return f"{self._load}{self.epoch.key}"

    @property
    def _property(self) -> str:
        return f"rayetl.{scope_of(self.epoch)}"

    def number(self, found: IcebergVersion | None) -> int:
        """How many epochs of the load were committed up to this state, those that were rolled back too."""
        if found is None:
            return 0
        return max([0, *self._noted(found.table), *self._entries(found.table)])

    def find(self, found: IcebergVersion | None, *, standing: bool) -> Entry | None:
        """This epoch, if it is committed; with `standing`, only if no later epoch of the load replaced it."""
        if found is None:
            return None
        entries, noted = self._entries(found.table), self._noted(found.table)
        numbers = {number for number, short in noted.items() if short == _short(self._token)}
        numbers |= {number for number, (entry, _) in entries.items() if entry.epoch == self._token}
        there = {snapshot.snapshot_id for snapshot in ancestors(found.table)}
        for number in sorted(numbers, reverse=True):
            if standing and number < self.number(found):
                return None
            entry, snapshot = entries.get(number, (None, 0))
            if entry is None:
                return Entry(number, self._token)
            if snapshot in there:
                return entry
        return None

    def holder(self, found: IcebergVersion | None, number: int) -> str | None:
        """The token of the attempt that committed epoch `number` of the load, `None` if that is unknown."""
        entries = {} if found is None else self._entries(found.table)
        return entries[number][0].attempt if number in entries else None

    def summary(self, entry: Entry) -> dict[str, str]:
        """What the snapshot of this epoch says."""
        return {SUMMARY: orjson.dumps(asdict(replace(entry, epoch=self._token))).decode()}

    def properties(self, found: IcebergVersion | None, entry: Entry) -> dict[str, str]:
        """What the table notes with this epoch."""
        noted = {} if found is None else dict(self._noted(found.table))
        if found is not None:
            there = {snapshot.snapshot_id for snapshot in ancestors(found.table)}
            for number, (_, snapshot) in self._entries(found.table).items():
                if snapshot not in there:
                    noted.pop(number, None)
        noted[entry.number] = _short(self._token)
        newest = sorted(noted.items(), reverse=True)[:REMEMBERED]
        return {self._property: " ".join(f"{number}:{short}" for number, short in newest)}

    def _noted(self, table: Table) -> Mapping[int, str]:
        pairs = (pair.partition(":") for pair in table.properties.get(self._property, "").split())
        return {int(number): short for number, _, short in pairs}

    def _entries(self, table: Table) -> Mapping[int, tuple[Entry, int]]:
        """What the snapshots say that have not expired, by the number of the epoch."""
        return {entry.number: (entry, snapshot) for entry, snapshot in self._told(table)}

    def _told(self, table: Table) -> Iterator[tuple[Entry, int]]:
        for snapshot in table.snapshots():
            entry = entry_of(snapshot)
            if entry is not None and entry.epoch.startswith(self._load):
                yield entry, snapshot.snapshot_id


def entry_of(snapshot: Snapshot) -> Entry | None:
    """What a snapshot says of an epoch, if a load of rayetl made it."""
    said = snapshot.summary.additional_properties.get(SUMMARY) if snapshot.summary else None
    return None if said is None else Entry(**orjson.loads(said))


def _short(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:16]
