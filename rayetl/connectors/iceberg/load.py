"""The load `iceberg`: rows into an Iceberg table, each epoch exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from rayetl.connectors.base import Epoch, LoadSession
from rayetl.connectors.iceberg.connection import IcebergConnection, TableS3Settings
from rayetl.connectors.iceberg.cutting import Cut
from rayetl.connectors.lake.load import LakeLoad
from rayetl.connectors.lake.staging import DERIVED
from rayetl.connectors.lake.upkeep import Upkeep
from rayetl.connectors.s3.settings import S3LoadSettings
from rayetl.errors import Problem
from rayetl.model import OneOrMany
from rayetl.sql.types import BYTE, INT, SHORT, ArrayType, DataType, MapType, Schema, StructType
from rayetl.sql.types import Field as Column


class TableS3LoadSettings(TableS3Settings, S3LoadSettings):
    """The service that keeps the files of a table, whose keys open it, and how files are kept there."""


class IcebergLoad(IcebergConnection, LakeLoad):
    """Writes into an Iceberg table of this machine or of S3. Rows and the record of their epoch become
    visible in one snapshot."""

    kind: ClassVar[str] = "Iceberg"

    type: Literal["iceberg"]
    partition_by: Annotated[tuple[str, ...], OneOrMany()] = Field(
        default=(),
        description="How a table that is made is partitioned: columns, or `year`, `month`, `day`, `hour` of "
        "one, `bucket(16, column)`, `truncate(4, column)`. A table that exists keeps its own partitioning.",
        examples=[["month(time_hour)", "carrier"]],
    )
    s3: TableS3LoadSettings | None = Field(
        default=None,
        description="The service that keeps the files of a table on S3, by default AWS, how they are "
        "protected there, and the `credential` of its keys, by default those that AWS's own tools find on "
        "this machine. Keys that a catalog service hands out come first. The `credential` beside `catalog` "
        "is the catalog's.",
        examples=[{"credential": "lake", "encryption": "aws:kms", "kms_key": "alias/lake"}],
    )

    @field_validator("partition_by")
    @classmethod
    def _known_transforms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(Cut.parse(text)) for text in value)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """How a table that is made is partitioned."""
        return tuple(Cut.parse(text) for text in self.partition_by)

    @property
    def name(self) -> str:
        return self.table

    @property
    def settings(self) -> S3LoadSettings:
        """How files are kept at the service."""
        return self.s3 or S3LoadSettings()

    @property
    def protection(self) -> tuple[tuple[str, str], ...]:
        return self.settings.protection

    def directory(self) -> str | None:
        return self.settings.staging if self.catalog.is_in_bucket else None

    def stored(self, kind: DataType) -> DataType:
        match kind:
            case StructType(fields):
                return StructType(tuple(Column(each.name, self.stored(each.type)) for each in fields))
            case ArrayType(element):
                return ArrayType(self.stored(element))
            case MapType(key, value):
                return MapType(self.stored(key), self.stored(value))
        return INT if kind in (BYTE, SHORT) else kind

    def check(self, schema: Schema) -> Sequence[Problem]:
        return [
            *self.unfit_types(schema),
            *_unfit_names(schema),
            *self.unknown_keys(schema),
            *self._unfit_cuts(schema),
        ]

    def _unfit_cuts(self, schema: Schema) -> Iterator[Problem]:
        for index, cut in enumerate(self.cuts):
            yield from self.unknown(schema, "partition_by", cut.column, index)
            field = schema.get(cut.column)
            if field is not None and (reason := cut.unfit(self.stored(field.type))):
                yield Problem("load.partition", f"the table {reason}", ("partition_by", index))

    def upkeep(self) -> Upkeep:
        from rayetl.connectors.iceberg.upkeep import IcebergUpkeep

        return IcebergUpkeep(self)

    def open(self, epoch: Epoch, schema: Schema) -> LoadSession:
        from rayetl.connectors.iceberg.session import IcebergSession

        return IcebergSession(self, epoch, schema)


def _unfit_names(schema: Schema) -> Iterator[Problem]:
    for name in schema.names:
        if name.startswith(DERIVED):
            message = f"the column name {name!r} begins with {DERIVED!r}, which rayetl keeps for itself"
            yield Problem("load.name", message, (), "rename it in a select step")
