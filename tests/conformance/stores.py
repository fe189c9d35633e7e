"""The stores that the suites of sources and loads go through: what each promises, as facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from rayetl import Pipeline
from rayetl.observability.report import RunReport


@dataclass
class Store:
    """One place for rows: `load` and `extract` are the settings of both sides, without a mode."""

    name: str
    load: dict[str, Any]
    extract: dict[str, Any]
    longest_name: int | None = None
    """How many bytes (PostgreSQL) or letters (MySQL) the name of a column may have; `None`: as many as wanted."""
    bytes_count: bool = False
    """Whether `longest_name` counts bytes."""
    most_columns: int = 1000
    never: str = ""
    """Characters that no name of a column has."""
    refuses: frozenset[str] = frozenset()
    """Which of the odd values the server refuses, so that their rows become dead letters."""
    signed_zero: bool = True
    """Whether -0.0 is told apart from 0.0."""
    widens: dict[str, Any] = field(default_factory=dict)
    """The types of columns that come back with another type than they went in with."""
    plain: bool = False
    """Whether names neither hold characters beyond U+FFFF nor end with a space."""

    def may_be_called(self, name: str) -> bool:
        """Whether the store promises to keep a column of this name."""
        length = len(name.encode()) if self.bytes_count else len(name)
        if self.plain and (max(name) > "\uffff" or name.endswith(" ")):
            return False
        return not set(name) & set(self.never) and length <= (self.longest_name or length)

    def fill(self, rows: pl.DataFrame, **settings: Any) -> RunReport:
        """Load rows into the store."""
        rows.write_parquet("in.parquet")
        return self.filling(**settings).run(force=True)

    def filling(self, **settings: Any) -> Pipeline:
        """The pipeline that loads what is in `in.parquet`."""
        return Pipeline.from_dict(
            {
                "name": "in",
                "extract": {"type": "files", "path": "in.parquet"},
                "load": {"mode": "append", **self.load, **settings},
                "resilience": {"retry": {"max_attempts": 1}},
            }
        )

    def drain(self) -> pl.DataFrame:
        """All rows of the store, as its source reads them, in the order of `id`."""
        config = {
            "name": "out",
            "extract": self.extract,
            "load": {"type": "files", "path": "read", "format": "parquet", "mode": "overwrite"},
        }
        report = Pipeline.from_dict(config).run(force=True)
        found = pl.read_parquet("read/*.parquet")
        assert report.rows_read == report.rows_loaded == found.height
        return found.sort("id")
