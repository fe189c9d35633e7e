"""The sink side of a database: rows into a table, each epoch exactly once."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from rayetl.connectors.base import Load
from rayetl.connectors.databases.connection import DatabaseConnection
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.connectors.kinds import way_out
from rayetl.contracts import ContractConfig
from rayetl.errors import Problem
from rayetl.model import ColumnName, OneOrMany
from rayetl.sql.types import DataType, Schema

MODES = Literal["append", "overwrite", "upsert", "insert_ignore", "error_if_exists", "ignore"]
KEYED = ("upsert", "insert_ignore")
"""The modes that tell rows apart by keys."""


class DatabaseLoad(DatabaseConnection, Load):
    """Writes into a table of a database. Rows and the record of their epoch are committed in one transaction;
    a row that the server refuses goes to the rejects with the server's reason."""

    takes_batches: ClassVar[bool] = True
    naming: ClassVar[type[QualifiedName]]
    most_columns: ClassVar[int]

    table: str = Field(
        description="The table, as SQL names it: `daily`, `sales.daily`; what is no plain name stands "
        "between the server's marks. It is made from the columns of the rows if it does not exist.",
        examples=["sales.daily"],
    )
    mode: MODES = Field(
        default="error_if_exists",
        description="What happens to rows that are there already: `append` keeps them, `overwrite` deletes "
        "them in the same transaction, `upsert` replaces those with the same `keys`, `insert_ignore` leaves "
        "rows out whose key is there, `error_if_exists` refuses to load into a table with rows, `ignore` "
        "leaves such a table as it is. The same epoch is never loaded twice, whatever the mode.",
    )
    keys: Annotated[tuple[ColumnName, ...], OneOrMany()] = Field(
        default=(),
        description="Columns that tell rows apart, for `upsert` and `insert_ignore`: the primary key or a "
        "unique constraint of the table, and the primary key of a table that is made.",
        examples=[["day", "carrier"]],
    )
    add_columns: bool = Field(
        default=False,
        description="Whether columns that the table does not have are added to it, as columns that may be "
        "NULL. By default such rows are refused before one is read.",
    )
    contract: ContractConfig | None = Field(
        default=None,
        description="The Avro schema that loaded rows must satisfy.",
        examples=["schemas/daily.avsc"],
    )

    @field_validator("table")
    @classmethod
    def _readable_name(cls, value: str) -> str:
        cls.naming.parse(value)
        return value

    @model_validator(mode="after")
    def _keys_of_the_mode(self) -> Self:
        if self.mode == "upsert" and not self.keys:
            raise ValueError("`upsert` needs `keys`: the columns that tell which row is replaced")
        if self.keys and self.mode not in KEYED:
            raise ValueError(f"`keys` are for the modes {' and '.join(KEYED)}; the mode is {self.mode}")
        if len({key.lower() for key in self.keys}) < len(self.keys):
            raise ValueError("`keys` name a column twice")
        return self

    @abstractmethod
    def made_type(self, kind: DataType) -> str | None:
        """The server type of a new column for values of `kind`; `None` if there is none."""

    def check(self, schema: Schema) -> Sequence[Problem]:
        server = self.naming.spelling.server
        problems = [problem for name in schema.names for problem in self._unfit_names(name)]
        for field in schema:
            if self.made_type(field.type) is None:
                message = f"{server} has no column for {field.name!r} of type {field.type}"
                problems.append(Problem("load.type", message, (), way_out(field.type)))
        if len(schema) > self.most_columns:
            message = f"{len(schema)} columns are more than the {self.most_columns} that a table may have"
            problems.append(Problem("load.columns", message))
        return [*problems, *self._unknown_keys(schema)]

    def _unknown_keys(self, schema: Schema) -> Iterator[Problem]:
        for index, key in enumerate(self.keys):
            if schema.get(key) is None:
                near = difflib.get_close_matches(key, schema.names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"columns: {', '.join(schema.names)}"
                message = f"keys names the column {key!r}, which does not reach this load"
                yield Problem("load.keys", message, ("keys", index), hint)

    def _unfit_names(self, name: str) -> Iterator[Problem]:
        if unfit := self.naming.spelling.unfit(name):
            yield Problem("load.name", f"the name of the column {name!r} has {unfit}", (), "rename it")

    def location(self) -> str:
        return f"{self.place()} {self.naming.parse(self.table)}"
