"""The source `delta`: one version of a Delta table, or what changed from one version to another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rayetl.connectors.base import FilesScan, InputFile, Scan
from rayetl.connectors.delta.changes import Changes, Feed
from rayetl.connectors.delta.place import DeltaPlace
from rayetl.connectors.delta.table import DataFile, DeltaVersion
from rayetl.connectors.formats.options import ParquetOptions
from rayetl.connectors.lake.source import LakeSource
from rayetl.connectors.lake.upkeep import Upkeep
from rayetl.connectors.listing import fingerprint
from rayetl.connectors.places import FilePath, is_on_s3
from rayetl.connectors.s3.settings import UsesS3
from rayetl.errors import SourceError


class DeltaSource(UsesS3, LakeSource):
    """Reads a version of a Delta table: the newest, or one of the past by its number or time; or the changes
    of some versions."""

    numbered: ClassVar[str] = "version"

    type: Literal["delta"]
    path: FilePath = Field(
        min_length=1,
        description="The directory of the table, or `s3://bucket/prefix`.",
        examples=["lake/flights", "s3://lake/flights"],
    )
    version: int | None = Field(
        default=None, ge=0, description="Read this version; by default the newest one.", examples=[12]
    )

    changes: Changes | None = Field(
        default=None,
        description="Read the rows that these versions changed, from the table's change data feed, with the "
        "columns `_change_type` (insert, update_preimage, update_postimage, delete), `_commit_version` and "
        "`_commit_timestamp`.",
        examples=[{"from_version": 12}],
    )

    @model_validator(mode="after")
    def _one_kind_of_place(self) -> Self:
        self.assert_places([self.path])
        return self

    @model_validator(mode="after")
    def _one_kind_of_rows(self) -> Self:
        if self.changes is not None and (self.version, self.timestamp) != (None, None):
            raise ValueError("give `changes`, or `version` or `timestamp` to read the table as it was")
        return self

    @property
    def place(self) -> DeltaPlace:
        """Where the table lies."""
        return DeltaPlace.of(os.path.expanduser(self.path), self.account)

    def endpoint(self) -> str | None:
        return self.account.service if is_on_s3(self.path) else None

    def describe(self, promised: object) -> FilesScan:
        """The files of the version, or of the changes, and their columns. Raises `SourceError`."""
        del promised
        found = self._found()
        rows = found if self.changes is None else Feed.of(found, self.changes.from_version)
        files = rows.files() if isinstance(rows, DeltaVersion) else rows.files
        return FilesScan(
            "parquet", tuple(self._inputs(found.place, files)), rows.schema, ParquetOptions(), "fail"
        )

    def _found(self) -> DeltaVersion:
        place = self.place
        last = self.version if self.changes is None else self.changes.to_version
        found = DeltaVersion.open(place, SourceError, last if self.moment is None else self.moment)
        if found is None:
            raise SourceError(f"there is no Delta table at {self.path}", hint=place.searched)
        if reason := found.unreadable():
            raise SourceError(
                f"the Delta table {self.path} {reason}, which rayetl does not read",
                hint="let Spark write the table without it (ALTER TABLE ... DROP FEATURE; where rows are "
                "deleted on paper, REORG TABLE ... APPLY (PURGE)), or read it there",
            )
        return found

    def _inputs(self, place: DeltaPlace, files: Sequence[DataFile]) -> Iterator[InputFile]:
        for file, there in zip(files, place.inputs([file.path for file in files]), strict=True):
            if isinstance(there, OSError):
                raise SourceError(
                    f"the Delta table {self.path} names the file {file.named}, which cannot be read: "
                    f"{there.strerror}",
                    hint="a vacuum may have removed the files of an old version; "
                    f"{'read' if self.changes is None else 'begin with'} a newer one",
                ) from there
            yield replace(there, partition=tuple((name, spelled(value)) for name, value in file.partition))

    def identity(self, scan: Scan) -> str | None:
        """A fingerprint of the files of the version: other versions with the same files are the same. Of
        changes also of what happened to their rows, and when: a file is added, and removed later."""
        assert isinstance(scan, FilesScan)
        files = fingerprint(scan.files)
        if self.changes is None:
            return files
        return hashlib.sha256(repr((files, [file.partition for file in scan.files])).encode()).hexdigest()

    def upkeep(self) -> Upkeep:
        from rayetl.connectors.delta.upkeep import DeltaUpkeep

        return DeltaUpkeep(self.place)


def spelled(value: Any) -> str | None:
    """A partition value as text, as it stands in the names of partition directories."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ") if value.tzinfo else str(value)
        case float():
            return _JAVA.get(str(value), str(value))
        case date() | Decimal() | int() | str():
            return str(value)
    raise SourceError(
        f"a column of type {type(value).__name__} partitions the Delta table, which rayetl does not read"
    )


_JAVA = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
