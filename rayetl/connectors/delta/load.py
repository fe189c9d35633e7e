"""The load `delta`: rows into a Delta table, each epoch exactly once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rayetl.connectors.base import Epoch, Load, LoadSession
from rayetl.connectors.places import LocalPath
from rayetl.contracts import ContractConfig
from rayetl.errors import Problem
from rayetl.model import ColumnName, OneOrMany, Size
from rayetl.sql.types import (
    BINARY,
    CALENDAR_INTERVAL,
    DAY_TIME_INTERVAL,
    NULL,
    TIMESTAMP,
    YEAR_MONTH_INTERVAL,
    ArrayType,
    DataType,
    MapType,
    Schema,
    StructType,
)

MODES = Literal["append", "overwrite", "upsert", "insert_ignore", "error_if_exists", "ignore"]
KEYED = ("upsert", "insert_ignore")
"""The modes that tell rows apart by keys."""

_UNFIT = (NULL, DAY_TIME_INTERVAL, YEAR_MONTH_INTERVAL, CALENDAR_INTERVAL)
_FORBIDDEN = " ,;{}()\n\t="
"""Characters that no column of a table without column mapping may have in its name (Delta's protocol)."""


class DeltaLoad(Load):
    """Writes into a Delta table of this machine's file system. Rows and the record of their epoch become
    visible in one commit of the table's log."""

    type: Literal["delta"]
    path: LocalPath = Field(
        min_length=1,
        description="The directory of the table. It is made from the columns of the rows if there is none.",
        examples=["lake/daily"],
    )
    mode: MODES = Field(
        default="error_if_exists",
        description="What happens to rows that are there already: `append` keeps them, `overwrite` replaces "
        "them, `upsert` replaces those with the same `keys`, `insert_ignore` leaves rows out whose key is "
        "there, `error_if_exists` refuses to load into a table with rows, `ignore` leaves such a table as it "
        "is. The same epoch is never loaded twice, whatever the mode.",
    )
    keys: Annotated[tuple[ColumnName, ...], OneOrMany()] = Field(
        default=(),
        description="Columns that tell rows apart, for `upsert` and `insert_ignore`; never NULL.",
        examples=[["day", "carrier"]],
    )
    partition_by: Annotated[tuple[ColumnName, ...], OneOrMany()] = Field(
        default=(),
        description="Partition columns of a table that is made; a table that exists keeps its own.",
        examples=[["year", "month"]],
    )
    replace: Literal["table", "partitions"] = Field(
        default="table",
        description="What `overwrite` replaces: all rows, or those of the partitions that new rows come "
        "into, as Spark's dynamic partition overwrite.",
    )
    add_columns: bool = Field(
        default=False,
        description="Whether columns that the table does not have are added to it. By default such rows are "
        "refused before one is read.",
    )
    max_file_size: Size | None = Field(
        default=None,
        description="Begin a new file after about this much data, measured in memory.",
        examples=["128MiB"],
    )
    compression: Literal["zstd", "snappy", "gzip", "lz4", "brotli", "uncompressed"] = Field(
        default="zstd", description="Codec of the Parquet files."
    )
    contract: ContractConfig | None = Field(
        default=None,
        description="The Avro schema that loaded rows must satisfy.",
        examples=["schemas/daily.avsc"],
    )

    @model_validator(mode="after")
    def _settings_of_the_mode(self) -> Self:
        if self.mode in KEYED and not self.keys:
            raise ValueError(f"`{self.mode}` needs `keys`: the columns that tell rows apart")
        if self.keys and self.mode not in KEYED:
            raise ValueError(f"`keys` are for the modes {' and '.join(KEYED)}; the mode is {self.mode}")
        if self.replace == "partitions" and self.mode != "overwrite":
            raise ValueError(f"`replace` is for the mode overwrite; the mode is {self.mode}")
        for name in ("keys", "partition_by"):
            if len({key.lower() for key in getattr(self, name)}) < len(getattr(self, name)):
                raise ValueError(f"`{name}` name a column twice")
        return self

    def check(self, schema: Schema) -> Sequence[Problem]:
        return [
            *(problem for field in schema for problem in _unfit(field.name, field.type)),
            *self._unknown(schema, "keys"),
            *self._unknown(schema, "partition_by"),
            *self._unfit_partitions(schema),
        ]

    def _unknown(self, schema: Schema, setting: str) -> Iterator[Problem]:
        for index, name in enumerate(getattr(self, setting)):
            if schema.get(name) is None:
                near = difflib.get_close_matches(name, schema.names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"columns: {', '.join(schema.names)}"
                message = f"{setting} names the column {name!r}, which does not reach this load"
                yield Problem(f"load.{setting}", message, (setting, index), hint)

    def _unfit_partitions(self, schema: Schema) -> Iterator[Problem]:
        for index, name in enumerate(self.partition_by):
            field = schema.get(name)
            if field is not None and (_is_nested(field.type) or field.type in (BINARY, TIMESTAMP)):
                message = f"the column {name!r} of type {field.type} cannot partition a Delta table"
                yield Problem(
                    "load.partition", message, ("partition_by", index), "use a date, number or text"
                )
        if self.partition_by and {name.lower() for name in self.partition_by} >= {
            name.lower() for name in schema.names
        }:
            message = "partition_by names every column, so nothing is left to write into the files"
            yield Problem("load.partition", message, ("partition_by",))

    def open(self, epoch: Epoch, schema: Schema) -> LoadSession:
        from rayetl.connectors.delta.session import DeltaSession

        return DeltaSession(self, epoch, schema)


def _is_nested(kind: DataType) -> bool:
    return isinstance(kind, ArrayType | MapType | StructType)


def _unfit(name: str, kind: DataType) -> Iterator[Problem]:
    if kind in _UNFIT:
        message = f"a Delta table cannot hold the column {name!r} of type {kind}"
        yield Problem("load.type", message, (), "cast it to another type in a select step")
    if bad := next((sign for sign in name if sign in _FORBIDDEN), None):
        message = f"the name of the column {name!r} has the character {bad!r}, which Delta does not allow"
        yield Problem("load.name", message, (), "rename it in a select step")
