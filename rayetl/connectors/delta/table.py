"""A Delta table as it is at one version: opened, judged, and described in our words."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from rayetl.connectors.delta.place import DeltaPlace, library
from rayetl.connectors.delta.rewriting import spoiled
from rayetl.connectors.formats.schemas import nullable
from rayetl.connectors.lake.load import KEYED, LakeLoad
from rayetl.connectors.lake.version import LakeVersion
from rayetl.errors import Terminal
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.interop import from_arrow
from rayetl.sql.types import Field, Schema

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa
else:
    pa = lazily("pyarrow")

VECTORS = "deletionVectors"

_VACUUMS = "vacuumProtocolCheck"

READABLE = frozenset(("timestampNtz", VECTORS, "v2Checkpoint", _VACUUMS))
"""The reader features of Delta's protocol that change nothing, or whose use is looked for file by file."""

WRITABLE = (READABLE - {_VACUUMS}) | {
    "appendOnly",
    "invariants",
    "checkConstraints",
    "generatedColumns",
    "changeDataFeed",
}
"""The writer features under which files can be added; constraints and generated columns in use are refused
where the columns say so. What a vacuum has to look at is nothing to a reader, but the library commits to no
such table."""

MAPPING = "delta.columnMapping.mode"

FORGETTING = "delta.setTransactionRetentionDuration"
"""The setting by which Spark's checkpoints leave out transaction identifiers, and so the tokens of epochs."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIMED, _TIMED_SINCE = "delta.enableInCommitTimestamps", "delta.inCommitTimestampEnablementVersion"

_RULES = ("delta.invariants", "delta.generationExpression", "delta.identity.start")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file of a version: its path, its name in the table, and its partition."""

    path: str
    named: str
    size: int
    partition: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class DeltaVersion(LakeVersion):
    """One version of the table at a place."""

    place: DeltaPlace
    table: deltalake.DeltaTable
    options: dict[str, str] | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def open(
        cls, place: DeltaPlace, fault: type[Terminal], at: int | datetime | None = None
    ) -> DeltaVersion | None:
        """The version `at` (by default the newest) of the table, `None` where there is no table.

        Raises `fault` for a table that is damaged, or has no such version, and what the place raises.
        """
        lake = library(fault)
        if not place.may_hold(fault):
            return None
        with place.told(fault):
            options = place.options()
            try:
                table = lake.DeltaTable(place.address, storage_options=options)
            except lake.exceptions.TableNotFoundError:
                return None
            if isinstance(at, datetime) and table.metadata().configuration.get(_TIMED) == "true":
                at = _version_at(place, table, at)
            if isinstance(at, int) and at > table.version():
                raise fault(
                    f"the Delta table {place.path} has no version {at}: the newest one is {table.version()}",
                    hint="`rayetl table history CONFIG` shows the versions that there are",
                )
            if at is not None:
                table.load_as_version(at)
            if isinstance(at, datetime) and _named_time(place, table.version()) > at:
                # For a moment before all others the library has the oldest version that there is.
                raise fault(
                    f"the Delta table {place.path} had no version yet at {at.isoformat()}",
                    hint="give a later `timestamp`; old versions leave the log",
                )
            return cls(place, table, options)

    @property
    def version(self) -> int:
        """The number of this version, from 0."""
        return int(self.table.version())

    @property
    def schema(self) -> Schema:
        """The columns in the table's order, NULL allowed everywhere: files do not keep promises."""
        return _columns(self.table.schema())

    @property
    def arrow(self) -> pa.Schema:
        return pa.schema(self.table.schema().to_arrow())

    @property
    def partition_by(self) -> tuple[str, ...]:
        """The partition columns, in order."""
        return tuple(self.table.metadata().partition_columns)

    def files(self) -> list[DataFile]:
        """The data files of this version, in an order that depends on their names alone."""
        actions = pa.table(self.table.get_add_actions(flatten=False))
        partitions = actions["partition"].to_pylist() if "partition" in actions.column_names else None
        return sorted(
            (
                DataFile(
                    self.place.resolve(name),
                    unquote(name),
                    size,
                    _values(self.partition_by, partitions, place),
                )
                for place, (name, size) in enumerate(
                    zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True)
                )
            ),
            key=lambda file: file.path,
        )

    def has_rows(self) -> bool:
        return bool(self.files())

    def objections(self, load: LakeLoad, rows: Schema) -> Iterator[str]:
        del rows
        settings = self.table.metadata().configuration
        if load.mode == "overwrite" and settings.get("delta.appendOnly") == "true":
            yield "it is append-only (delta.appendOnly)"
        if load.mode in KEYED and (reason := spoiled(self)):
            yield f"it {reason}"
        if FORGETTING in settings:
            yield f"it forgets which epochs it holds after {settings[FORGETTING]} ({FORGETTING})"

    def unreadable(self) -> str | None:
        """What of this table rayetl cannot read, in words; `None` if it can."""
        protocol, settings = self.table.protocol(), self.table.metadata().configuration
        if settings.get(MAPPING, "none") != "none":
            return f"maps its columns to other names ({MAPPING})"
        features = set(protocol.reader_features or ())
        if unknown := sorted(features - READABLE - {"columnMapping"}):
            return f"uses the feature {unknown[0]}"
        if VECTORS in features and self._has_vectors():
            return "has deletion vectors (rows that are deleted only on paper)"
        return None

    def _has_vectors(self) -> bool:
        # The library looks for none in a table with a feature that it does not know.
        with self.place.told():
            return bool(pa.RecordBatchReader.from_stream(self.table.deletion_vectors()).read_all().num_rows)

    def unwritable(self) -> str | None:
        """Why no files can be added to this table, in words; `None` if they can."""
        protocol, settings = self.table.protocol(), self.table.metadata().configuration
        known = WRITABLE | {"columnMapping"}
        if unknown := sorted(set(protocol.writer_features or ()) - known):
            return f"uses the feature {unknown[0]}"
        if constraint := next((name for name in settings if name.startswith("delta.constraints.")), None):
            return f"has the constraint {constraint.removeprefix('delta.constraints.')}, to be checked by SQL"
        for field in self.table.schema().fields:
            if any(rule in field.metadata for rule in _RULES):
                return f"makes or checks the values of its column {field.name!r} itself"
        return self.unreadable()


def _version_at(place: DeltaPlace, table: deltalake.DeltaTable, at: datetime) -> int | datetime:
    """The version of a moment, by the times that the commits name. The library goes by when their files were
    written, which a copy of the table changes; so it is before commits named any."""
    since = int(table.metadata().configuration.get(_TIMED_SINCE, 0))
    versions = range(since, table.version() + 1)
    later = bisect_right(versions, at, key=partial(_named_time, place))
    return versions[later - 1] if later else at


def _named_time(place: DeltaPlace, version: int) -> datetime:
    """When a commit says that it was made; long ago for one that says nothing or that the log has lost."""
    actions = map(orjson.loads, (place.commit(version) or b"").splitlines())
    information: dict[str, Any] = next((each["commitInfo"] for each in actions if "commitInfo" in each), {})
    return time_of(information) or datetime.min.replace(tzinfo=UTC)


def time_of(information: dict[str, Any]) -> datetime | None:
    """The time that the information of a commit names; not all writers do."""
    milliseconds = information.get("inCommitTimestamp", information.get("timestamp"))
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def columns(text: str) -> Schema:
    """The columns as the log spells them, in JSON; NULL allowed everywhere."""
    from deltalake import Schema as Spelled

    return _columns(Spelled.from_json(text))


def _columns(schema: deltalake.Schema) -> Schema:
    found = from_arrow(pa.schema(schema.to_arrow()))
    return Schema(tuple(Field(field.name, nullable(field.type)) for field in found))


def _values(
    names: tuple[str, ...], partitions: list[dict[str, Any]] | None, place: int
) -> tuple[tuple[str, Any], ...]:
    return tuple((name, partitions[place][name]) for name in names) if partitions is not None else ()
