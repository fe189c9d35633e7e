"""The source `delta`: one version of a Delta table."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rayetl.connectors.base import FilesScan, InputFile, Scan, Source
from rayetl.connectors.delta.table import DataFile, DeltaVersion
from rayetl.connectors.formats.options import ParquetOptions
from rayetl.connectors.listing import fingerprint
from rayetl.connectors.places import LocalPath
from rayetl.contracts import ContractConfig
from rayetl.errors import SourceError


class DeltaSource(Source):
    """Reads a version of a Delta table: the newest, or one of the past by its number or time."""

    type: Literal["delta"]
    path: LocalPath = Field(
        min_length=1, description="The directory of the table.", examples=["lake/flights"]
    )
    version: int | None = Field(
        default=None, ge=0, description="Read this version; by default the newest one.", examples=[12]
    )
    timestamp: datetime | None = Field(
        default=None,
        description="Read the table as it was at this moment; without a zone, in UTC.",
        examples=["2026-11-25T06:00:00Z"],
    )
    contract: ContractConfig | None = Field(
        default=None,
        description="The Avro schema that the rows must satisfy.",
        examples=["schemas/flight.avsc"],
    )

    @model_validator(mode="after")
    def _one_moment(self) -> Self:
        if self.version is not None and self.timestamp is not None:
            raise ValueError("give `version` or `timestamp`, not both")
        return self

    def describe(self, promised: object) -> FilesScan:
        """The files of the version and the table's columns. Raises `SourceError`."""
        del promised
        path = os.path.expanduser(self.path)
        found = DeltaVersion.open(path, SourceError, self._moment)
        if found is None:
            raise SourceError(
                f"there is no Delta table at {self.path}",
                hint=f"its directory would hold _delta_log; paths are relative to {os.getcwd()}",
            )
        if reason := found.unreadable():
            raise SourceError(
                f"the Delta table {self.path} {reason}, which rayetl does not read",
                hint="rewrite the table with Spark (REORG TABLE ... APPLY (PURGE)), or read it there",
            )
        files = tuple(_input(self.path, file) for file in found.files())
        return FilesScan("parquet", files, found.schema, ParquetOptions(), "fail")

    def identity(self, scan: Scan) -> str | None:
        """A fingerprint of the files of the version: other versions with the same files are the same."""
        assert isinstance(scan, FilesScan)
        return fingerprint(scan.files)

    @property
    def _moment(self) -> int | datetime | None:
        if self.timestamp is None:
            return self.version
        return self.timestamp if self.timestamp.tzinfo else self.timestamp.replace(tzinfo=UTC)


def _input(table: str, file: DataFile) -> InputFile:
    try:
        status = os.stat(file.path)
    except OSError as error:
        raise SourceError(
            f"the Delta table {table} names the file {file.named}, which cannot be read: {error.strerror}",
            hint="a vacuum may have removed the files of an old version; read a newer one",
        ) from error
    partition = tuple((name, spelled(value)) for name, value in file.partition)
    return InputFile(file.path, status.st_size, status.st_mtime_ns, partition)


def spelled(value: Any) -> str | None:
    """A partition value as text, as it stands in the names of partition directories."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ") if value.tzinfo else str(value)
        case date() | Decimal() | int() | float() | str():
            return str(value)
    raise SourceError(f"a partition column has a value of the type {type(value).__name__}")
