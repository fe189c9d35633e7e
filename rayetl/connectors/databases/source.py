"""The extract side of a database: a table or query, read as it is at one moment."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from rayetl.connectors.base import Scan, Source
from rayetl.connectors.databases.connection import DatabaseConnection
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.contracts import ContractConfig


class DatabaseSource(DatabaseConnection, Source):
    """Reads a table or query of a database. All of it is read as it is at one moment."""

    naming: ClassVar[type[QualifiedName]]

    table: str | None = Field(
        default=None,
        description="The table or view, as SQL names it: `daily`, `sales.daily`; what is no plain name "
        "stands between the server's marks.",
        examples=["sales.daily"],
    )
    query: str | None = Field(
        default=None,
        min_length=1,
        description="A SELECT in the server's own SQL, in place of `table`; it runs read-only.",
        examples=["SELECT id, total FROM sales.daily WHERE region = 'north'"],
    )
    contract: ContractConfig | None = Field(
        default=None,
        description="The Avro schema that the rows must satisfy.",
        examples=["schemas/flight.avsc"],
    )

    @field_validator("table")
    @classmethod
    def _readable_name(cls, value: str | None) -> str | None:
        if value is not None:
            cls.naming.parse(value)
        return value

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`, and one of them only")
        return self

    def identity(self, scan: Scan) -> str | None:
        """None: rows of a database may change at any time, so each run without a run key is an epoch."""
        del scan
        return None

    @property
    def relation(self) -> str:
        """What stands behind FROM."""
        if self.table is not None:
            return self.naming.parse(self.table).sql
        # The line break ends a comment that the query may end with.
        return f"({(self.query or '').strip().rstrip(';')}\n) AS rayetl"

    @property
    def what(self) -> str:
        """What is read, as reports show it."""
        name = str(self.naming.parse(self.table)) if self.table is not None else "query"
        return f"{self.place()} {name}"

    @property
    def doing(self) -> str:
        """What a connection of this source is for, as errors say it."""
        return f"reading {self.what}"
