"""The upkeep of Delta tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson

from rayetl.connectors.base import InputFile
from rayetl.connectors.delta.compacting import OPERATION, compact
from rayetl.connectors.delta.ledger import Ledger
from rayetl.connectors.delta.place import DeltaPlace
from rayetl.connectors.delta.table import VECTORS, DeltaVersion
from rayetl.connectors.lake.upkeep import SHORTEST, Change, Clearing, Compaction, Upkeep, told
from rayetl.errors import LoadError
from rayetl.model import format_duration
from rayetl.records import dataclass

_RETENTION = "delta.deletedFileRetentionDuration"
_WEEK = timedelta(days=7)
"""Delta's own default of the retention."""

_UNITS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}

_PART = re.compile(rf"(\d+) +({'|'.join(_UNITS)})s?(?: +|$)")


@dataclass(frozen=True, slots=True)
class DeltaUpkeep(Upkeep):
    """See `Upkeep`."""

    place: DeltaPlace

    def _now(self) -> DeltaVersion:
        found = DeltaVersion.open(self.place, LoadError)
        if found is None:
            raise LoadError(f"there is no Delta table at {self.place.path}", hint=self.place.searched)
        return found

    def history(self, limit: int) -> Sequence[Change]:
        with self.place.told(LoadError):
            found = self._now()
            return [change for change, _ in zip(_changes(found), range(limit), strict=False)]

    def optimize(self, target_size: int | None) -> Compaction:
        with self.place.told(LoadError):
            found = self._now()
            if reason := found.unwritable():
                raise LoadError(
                    f"the Delta table {self.place.path} {reason}, so rayetl does not rewrite its files",
                    hint="let a program that knows this do it, as Spark: OPTIMIZE",
                )
            return compact(found, target_size)

    def vacuum(self, retention: timedelta | None, *, shorten: bool, delete: bool) -> Clearing:
        with self.place.told(LoadError):
            found = self._now()
            if VECTORS in (found.table.protocol().reader_features or ()):
                raise LoadError(
                    f"the Delta table {self.place.path} may have deletion vectors, whose files the library "
                    "would take for nobody's",
                    hint="let a program that knows them do it, as Spark: VACUUM",
                )
            own = _retention(found)
            wanted = own if retention is None else retention
            if wanted < SHORTEST:
                raise LoadError(
                    f"a retention of {format_duration(wanted)} could remove files that a load has just put "
                    "and not committed yet",
                    hint=f"give at least {format_duration(SHORTEST)}",
                )
            if wanted < own and not shorten:
                raise LoadError(
                    f"the Delta table {self.place.path} keeps files for {format_duration(own)}; with "
                    f"{format_duration(wanted)} older versions, and queries that read them now, lose theirs",
                    hint=f"add --shorten if that is meant, or set {_RETENTION} of the table",
                )
            hours = -(-int(wanted.total_seconds()) // 3600)
            vacuum = partial(found.table.vacuum, hours, enforce_retention_duration=False, full=True)
            paths = [self.place.resolve(name) for name in vacuum(dry_run=True)]
            # The library also names files that an earlier vacuum has removed.
            there = [each.size for each in self.place.inputs(paths) if isinstance(each, InputFile)]
            if delete and there:
                vacuum(dry_run=False)
            return Clearing(self.place.path, hours * 3600.0, len(there), sum(there), delete)


def _changes(found: DeltaVersion) -> Iterator[Change]:
    """All that the log still tells, newest first."""
    for version in range(found.version, -1, -1):
        commit = found.place.commit(version)
        if commit is None:
            return
        actions = [orjson.loads(line) for line in commit.splitlines()]
        information: dict[str, Any] = next(
            (each["commitInfo"] for each in actions if "commitInfo" in each), {}
        )
        time = datetime.fromtimestamp(information.get("timestamp", 0) / 1000, UTC)
        operation = str(information.get(OPERATION) or information.get("operation", "unknown"))
        yield told(version, time, operation, Ledger.entry(information))


def _retention(found: DeltaVersion) -> timedelta:
    """As the table says it: `interval 2 weeks 1 day`. Raises `LoadError` for what is not understood: a
    shorter one would remove files that are needed."""
    said = found.table.metadata().configuration.get(_RETENTION)
    if said is None:
        return _WEEK
    parts = said.strip().lower().removeprefix("interval").lstrip()
    if not parts or _PART.sub("", parts):
        raise LoadError(
            f"the Delta table {found.place.path} keeps files for {said!r}, which rayetl does not understand",
            hint=f"set {_RETENTION} of the table to a form such as `interval 7 days`",
        )
    return timedelta(seconds=sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(parts)))
