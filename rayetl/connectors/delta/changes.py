"""The change data feed of a Delta table: which rows each version inserted, updated and deleted.

A version that rewrites files keeps the rows that it changed in files of their own (`cdc` in the log). What
any other version changed are all rows of the files that it added and removed. So the feed is a list of files,
and what a file does not say of its rows (kind of change, version, time) is told like a partition. The rules
are those of Delta's protocol, "Reader Requirements for AddCDCFile".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self
from urllib.parse import unquote

import orjson
from pydantic import Field, model_validator

from rayetl.connectors.delta.place import DeltaPlace
from rayetl.connectors.delta.table import MAPPING, DataFile, DeltaVersion, columns, time_of
from rayetl.errors import SourceError
from rayetl.model import Model
from rayetl.records import dataclass
from rayetl.sql.types import LONG, STRING, TIMESTAMP, Schema
from rayetl.sql.types import Field as Column

FEED = "delta.enableChangeDataFeed"

KIND, VERSION, TIME = "_change_type", "_commit_version", "_commit_timestamp"

_TOLD = (Column(KIND, STRING), Column(VERSION, LONG), Column(TIME, TIMESTAMP))


class Changes(Model):
    """Versions of a table, both ends among them."""

    from_version: int = Field(ge=0, description="The first version whose changes are read.", examples=[12])
    to_version: int | None = Field(
        default=None, ge=0, description="The last one; by default the newest version.", examples=[20]
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.to_version is not None and self.to_version < self.from_version:
            raise ValueError(f"`to_version` {self.to_version} is before `from_version` {self.from_version}")
        return self


@dataclass(frozen=True, slots=True)
class Feed:
    """The changes of some versions: the files that hold them, by version, and their columns."""

    files: Sequence[DataFile]
    schema: Schema

    @classmethod
    def of(cls, end: DeltaVersion, first: int) -> Self:
        """The changes from the version `first` to `end`. Raises `SourceError` where the table has no feed for
        all of them, or their rows do not have the same columns, and what the place raises."""
        path, last = end.place.path, end.version
        if first > last:
            raise SourceError(
                f"the Delta table {path} has no version {first}: the newest one is {last}",
                hint="there are no changes yet; run it again once there are",
            )
        commits = _commits(end, range(first, last + 1))
        states = [*_states(end.place, first, commits)]
        _assert_feed(path, states)
        _assert_same_columns(path, states, end)
        return cls(
            [file for commit in commits for file in commit.files],
            Schema((*end.schema, *_TOLD)),
        )


@dataclass(frozen=True, slots=True)
class _State:
    """What holds for the rows of a table from a version on."""

    version: int
    configuration: dict[str, str]
    schema: Schema


@dataclass(frozen=True, slots=True)
class _Commit:
    """What a commit says of the feed. `metadata` is what it changed of the table itself, if it did."""

    version: int
    files: tuple[DataFile, ...]
    metadata: dict[str, Any] | None

    @classmethod
    def read(cls, end: DeltaVersion, version: int) -> Self | None:
        """From the log; `None` if it does not have the commit any more."""
        if (lines := end.place.commit(version)) is None:
            return None
        found: dict[str, list[dict[str, Any]]] = {}
        for line in lines.splitlines():
            for name, action in orjson.loads(line).items():
                found.setdefault(name, []).append(action)
        time = time_of(next(iter(found.get("commitInfo", [])), {}))
        told = ((VERSION, version), (TIME, time))
        files = tuple(
            _file(end, action, told if kind is None else ((KIND, kind), *told))
            for kind, action in _changes(found)
        )
        return cls(version, files, next(iter(found.get("metaData", [])), None))


def _commits(end: DeltaVersion, versions: range) -> list[_Commit]:
    with end.place.told(), ThreadPoolExecutor(8) as threads:
        found = list(threads.map(partial(_Commit.read, end), versions))
    if None not in found:
        return [commit for commit in found if commit is not None]
    oldest = versions[-1] + 1
    while found[oldest - 1 - versions[0]] is not None:
        oldest -= 1
    there = f"`from_version: {oldest}`" if oldest in versions else "a version that is still to come"
    raise SourceError(
        f"the log of the Delta table {end.place.path} does not go back to version {versions[0]} any more",
        hint=f"begin with {there}, after reading the table itself as it was before",
    )


def _changes(actions: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """The actions that name files of changes, each with what happened to its rows: `None` where they say it
    themselves."""
    if "cdc" in actions:
        yield from ((None, action) for action in actions["cdc"])
        return
    for name, kind in (("remove", "delete"), ("add", "insert")):
        yield from ((kind, action) for action in actions.get(name, []) if action["dataChange"])


def _file(end: DeltaVersion, action: dict[str, Any], told: tuple[tuple[str, Any], ...]) -> DataFile:
    named = unquote(action["path"])
    # Old writers do not say of which partition a file is that they removed.
    values = action.get("partitionValues", None if end.partition_by else {})
    if action.get("deletionVector") or values is None:
        raise SourceError(
            f"the log of the Delta table {end.place.path} does not tell which rows of the file {named} were "
            f"changed in version {dict(told)[VERSION]}, or of which partition they are",
            hint="read these versions with Spark, and begin with a later one here",
        )
    # An empty text is NULL in the log.
    partition = ((name, value or None) for name, value in values.items())
    return DataFile(end.place.resolve(action["path"]), named, action.get("size") or 0, (*partition, *told))


# What must hold for all versions


def _states(place: DeltaPlace, first: int, commits: Sequence[_Commit]) -> Iterator[_State]:
    start = DeltaVersion.open(place, SourceError, first)
    assert start is not None
    yield _State(first, start.table.metadata().configuration, start.schema)
    for commit in commits[1:]:
        if (told := commit.metadata) is not None:
            yield _State(commit.version, told.get("configuration") or {}, columns(told["schemaString"]))


def _assert_feed(path: str, states: Sequence[_State]) -> None:
    without = [state.version for state in states if state.configuration.get(FEED) != "true"]
    if without:
        since = next((state.version for state in states if state.version > without[-1]), None)
        raise SourceError(
            f"the Delta table {path} keeps no change data feed in version {without[-1]} ({FEED})",
            hint=f"it does from version {since} on: give `from_version: {since}`"
            if since is not None
            else f"set {FEED} of the table to true for the versions to come, or read it without `changes`",
        )
    for state in states:
        if state.configuration.get(MAPPING, "none") != "none":
            raise SourceError(
                f"the Delta table {path} maps its columns to other names in version {state.version} "
                f"({MAPPING}); rayetl does not read such rows"
            )


def _assert_same_columns(path: str, states: Sequence[_State], end: DeltaVersion) -> None:
    """Columns may be added on the way: rows of before have NULL there."""
    now = end.schema
    faults = [f"it has a column {column.name!r} of its own" for column in _TOLD if now.get(column.name)]
    for state in states:
        for column in state.schema:
            found = now.get(column.name)
            if found is None or found.name != column.name:
                faults.append(f"{column.name!r} of version {state.version} is gone in version {end.version}")
            elif found.type != column.type:
                faults.append(
                    f"{column.name!r} is {column.type} in version {state.version}, "
                    f"{found.type} in version {end.version}"
                )
    if faults:
        raise SourceError(
            f"the changes of the Delta table {path} do not fit together: {'; '.join(dict.fromkeys(faults))}",
            hint="read the versions before and after that in two sources, each with its `from_version`",
        )
