"""The load `delta`: rows into a Delta table, each epoch exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from rayetl.connectors.base import Epoch, LoadSession
from rayetl.connectors.commit.layout import hidden_partition
from rayetl.connectors.lake.load import LakeLoad
from rayetl.connectors.lake.upkeep import Upkeep
from rayetl.connectors.places import TargetPath
from rayetl.connectors.s3.settings import LoadsHereOrToS3
from rayetl.errors import Problem
from rayetl.model import ColumnName, OneOrMany
from rayetl.sql.types import BINARY, DOUBLE, FLOAT, TIMESTAMP, Schema, is_nested, kinds_within

if TYPE_CHECKING:
    from rayetl.connectors.delta.place import DeltaPlace

_FORBIDDEN = " ,;{}()\n\t="
"""Characters that no column of a table without column mapping may have in its name (Delta's protocol)."""


class DeltaLoad(LakeLoad, LoadsHereOrToS3):
    """Writes into a Delta table of this machine or of S3. Rows and the record of their epoch become visible
    in one commit of the table's log."""

    kind: ClassVar[str] = "Delta"

    type: Literal["delta"]
    path: TargetPath = Field(
        min_length=1,
        description="The directory of the table, or `s3://bucket/prefix`. The table is made from the columns "
        "of the rows if there is none.",
        examples=["lake/daily", "s3://lake/daily"],
    )
    partition_by: Annotated[tuple[ColumnName, ...], OneOrMany()] = Field(
        default=(),
        description="Partition columns of a table that is made; a table that exists keeps its own.",
        examples=[["year", "month"]],
    )

    @property
    def name(self) -> str:
        return self.path

    @property
    def place(self) -> DeltaPlace:
        """Where the table lies."""
        from rayetl.connectors.delta.place import DeltaPlace

        return DeltaPlace.of(self.path, self.account, self.settings.protection)

    def check(self, schema: Schema) -> Sequence[Problem]:
        return [
            *self.unfit_types(schema),
            *(problem for field in schema for problem in _unfit_name(field.name)),
            *self.unknown_keys(schema),
            *self._unfit_keys(schema),
            *self._unfit_partitions(schema),
        ]

    def _unfit_keys(self, schema: Schema) -> Iterator[Problem]:
        for index, name in enumerate(self.keys):
            field = schema.get(name)
            if field and is_nested(field.type) and {FLOAT, DOUBLE} & {*kinds_within(field.type)}:
                message = (
                    f"the key {name!r} of type {field.type} has floats inside, which the library that merges "
                    "Delta tables tells apart by their bits"
                )
                yield Problem("load.keys", message, ("keys", index), "make columns of what tells rows apart")

    def _unfit_partitions(self, schema: Schema) -> Iterator[Problem]:
        for index, name in enumerate(self.partition_by):
            yield from self.unknown(schema, "partition_by", name, index)
            field = schema.get(name)
            if field is not None and (is_nested(field.type) or field.type in (BINARY, TIMESTAMP)):
                message = f"the column {name!r} of type {field.type} cannot partition a Delta table"
                yield Problem(
                    "load.partition", message, ("partition_by", index), "use a date, number or text"
                )
            elif hidden := hidden_partition(name):
                hint = "rename it in a select step"
                yield Problem("load.partition", hidden, ("partition_by", index), hint)
        if self.partition_by and {name.lower() for name in self.partition_by} >= {
            name.lower() for name in schema.names
        }:
            message = "partition_by names every column, so nothing is left to write into the files"
            yield Problem("load.partition", message, ("partition_by",))

    def upkeep(self) -> Upkeep:
        from rayetl.connectors.delta.upkeep import DeltaUpkeep

        return DeltaUpkeep(self.place)

    def open(self, epoch: Epoch, schema: Schema) -> LoadSession:
        from rayetl.connectors.delta.session import DeltaSession

        return DeltaSession(self, epoch, schema)


def _unfit_name(name: str) -> Iterator[Problem]:
    if bad := next((sign for sign in name if sign in _FORBIDDEN), None):
        message = f"the name of the column {name!r} has the character {bad!r}, which Delta does not allow"
        yield Problem("load.name", message, (), "rename it in a select step")
