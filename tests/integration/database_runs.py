"""Runs into and out of a database, as the tests of both sides of its connectors make them."""

from __future__ import annotations

from typing import Any

import polars as pl
from services.databases import SqlDatabase

from rayetl import Pipeline
from rayetl.connectors.databases.source import DatabaseSource
from rayetl.connectors.mysql.source import MysqlSource
from rayetl.connectors.postgres.source import PostgresSource
from rayetl.secrets.provider import Fields, Provider

ONCE = {"retry": {"max_attempts": 1}}
SOURCES: dict[str, type[DatabaseSource]] = {"postgres": PostgresSource, "mysql": MysqlSource}


class Kept(Provider):
    """A provider whose credential the test changes."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def find(self, name: str) -> Fields:
        return dict(self._fields)

    def place(self, name: str) -> str:
        return "the test"


def into(
    database: SqlDatabase,
    /,
    frame: pl.DataFrame,
    *steps: dict[str, Any],
    resilience: dict[str, Any] | None = None,
    **load: Any,
) -> Pipeline:
    """A run that loads `frame` into the table `t`, by default once and in the mode `append`."""
    frame.write_parquet("in.parquet")
    target = {"id": "into", "type": database.kind, "table": "t", "mode": "append", **database.config, **load}
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"rows": {"type": "files", "path": "in.parquet"}},
            "transform": list(steps),
            "load": target,
            "resilience": resilience or ONCE,
        }
    )


def ids(*values: int) -> pl.DataFrame:
    """Rows with these ids."""
    return pl.DataFrame({"id": values, "v": [f"v{value}" for value in values]})


def out_of(
    database: SqlDatabase,
    /,
    *steps: dict[str, Any],
    load: Any = None,
    resilience: dict[str, Any] | None = None,
    **fields: Any,
) -> Pipeline:
    """A run that reads a table or query into the directory `out`."""
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"rows": {"type": database.kind, **database.config, **fields}},
            "transform": list(steps),
            "load": load or {"type": "files", "path": "out", "format": "parquet", "mode": "append"},
            "resilience": resilience or ONCE,
        }
    )


def source(database: SqlDatabase, /, **fields: Any) -> Any:
    """The source of a table or query."""
    return SOURCES[database.kind].model_validate({"type": database.kind, **database.config, **fields})


def read(database: SqlDatabase, /, **fields: Any) -> pl.DataFrame:
    """What the source reads."""
    scan = source(database, **fields).describe(None)
    reading = scan.open()
    try:
        return pl.concat(reading.frames(scan.schema.names, None, None))
    finally:
        reading.close()
