"""What the loads into tables of a lake are told by a config, and what of it can be judged at once."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rayetl.connectors.base import Load
from rayetl.connectors.kinds import untyped
from rayetl.connectors.lake.upkeep import Upkeep
from rayetl.contracts import ContractConfig
from rayetl.errors import Problem
from rayetl.model import ColumnName, OneOrMany, Size
from rayetl.sql.types import DataType, Schema

MODES = Literal["append", "overwrite", "upsert", "insert_ignore", "error_if_exists", "ignore"]
KEYED = ("upsert", "insert_ignore")
"""The modes that tell rows apart by keys."""


class LakeLoad(Load):
    """The part of a load that is the same for all tables of a lake."""

    kind: ClassVar[str]
    """What such tables are called."""

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
    partition_by: Annotated[tuple[str, ...], OneOrMany()] = Field(
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

    @property
    def name(self) -> str:
        """The table, as the config names it."""
        raise NotImplementedError

    @abstractmethod
    def upkeep(self) -> Upkeep:
        """The table itself."""

    def stored(self, kind: DataType) -> DataType:
        """The type that a table has for values of `kind`."""
        return kind

    def unfit_types(self, schema: Schema) -> Iterator[Problem]:
        """A problem for each column of a type that no such table can hold."""
        for field in schema:
            if hint := untyped(field.type):
                message = f"{self.kind} tables cannot hold the column {field.name!r} of type {field.type}"
                yield Problem("load.type", message, (), hint)

    def unknown(self, schema: Schema, setting: str, name: str, index: int) -> Iterator[Problem]:
        """A problem where the column `name`, item `index` of a setting, does not reach this load."""
        if schema.get(name) is None:
            near = difflib.get_close_matches(name, schema.names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"columns: {', '.join(schema.names)}"
            message = f"{setting} names the column {name!r}, which does not reach this load"
            yield Problem(f"load.{setting}", message, (setting, index), hint)

    def unknown_keys(self, schema: Schema) -> Iterator[Problem]:
        """A problem for each key that does not reach this load."""
        for index, name in enumerate(self.keys):
            yield from self.unknown(schema, "keys", name, index)
