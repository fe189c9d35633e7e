"""The stores that the suites of sources and loads go through: what each promises, as facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.databases import SqlDatabase
from services.s3 import Account, Bucket, S3Server

from rayetl import Pipeline
from rayetl.observability.report import RunReport

LIKE_ICEBERG = ("hadoop",)
"""Stores that differ from `iceberg` in what keeps the versions of a table, and in nothing else."""

STORES = ("files", "s3", "postgres", "mysql", "delta", "delta on s3", "iceberg")
CATALOG = {"type": "sql", "uri": "sqlite:///t/c.db", "warehouse": "t"}


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

    middle: str = "lake.linked"
    """A failpoint in the middle of a load, when rows have gone out."""
    left: Callable[[], list[Any]] = list
    """What stands in the store of loads that are not under way any more: sessions, uploads, files."""
    require: Callable[[], None] | None = None
    """Makes the table (id, v, w), where w may not be NULL, as other programs do. None where there is no table."""
    has_constraints: bool = False
    """Whether the keys of an upsert need a constraint."""

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
        return Pipeline.from_dict(self.config(**settings))

    def config(self, **settings: Any) -> dict[str, Any]:
        """What that pipeline says."""
        return {
            "name": "in",
            "extract": {"type": "files", "path": "in.parquet"},
            "load": {"mode": "append", **self.load, **settings},
            "resilience": {"retry": {"max_attempts": 1}},
        }

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


def in_database(name: str, database: SqlDatabase) -> Store:
    """A table of a server."""
    both = {"type": name, "table": "t", **database.config}
    text = "text" if name == "postgres" else "varchar(20)"
    sessions = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        if name == "postgres"
        else "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    )
    shared: dict[str, Any] = {
        "middle": "database.sent",
        "left": lambda: database.rows(sessions),
        "require": lambda: database.execute(f"CREATE TABLE t (id bigint, v {text}, w bigint NOT NULL)"),
        "has_constraints": True,
    }
    if name == "postgres":
        refuses = frozenset(("nul",))
        return Store(
            name, both, both, 63, bytes_count=True, refuses=refuses, widens={"byte": pl.Int16}, **shared
        )
    refuses = frozenset(("infinity", "below infinity", "not a number"))
    return Store(
        name, both, both, 64, most_columns=500, plain=True, refuses=refuses, signed_zero=False, **shared
    )


def in_bucket(name: str, bucket: Bucket, server: S3Server, account: Account) -> Store:
    """Files or a table below a prefix."""
    where = {"path": f"{bucket.url}/t", "credential": "lake", "s3": {"endpoint": server.endpoint}}
    if name == "s3":
        both = {"type": "files", **where}
        return Store(name, both, {**both, "format": "parquet"}, middle="s3.part_sent", left=bucket.uploads)
    options = {
        "aws_access_key_id": account.access_key_id,
        "aws_secret_access_key": account.secret_access_key,
        "aws_endpoint_url": server.endpoint,
        "aws_allow_http": "true",
        "aws_region": "us-east-1",
    }

    def strangers() -> list[str]:
        return [key for key in bucket.keys("t/") if key.endswith(".parquet")][2:]

    both = {"type": "delta", **where}
    return Store(
        name, both, both, never=" ,;{}()\n\t=", require=lambda: _delta(where["path"], options), left=strangers
    )


def on_this_machine(name: str) -> Store:
    """Files or a table in the directory `t`."""
    if name == "files":
        both = {"type": "files", "path": "t"}
        return Store(name, both, {**both, "format": "parquet"}, middle="stage.written", left=_attempts)
    # One file of each of two loads.
    left = lambda: sorted(Path("t").rglob("part-*.parquet"))[2:] + _attempts()  # noqa: E731
    if name in ("iceberg", "hadoop"):
        catalog = CATALOG if name == "iceberg" else {"type": "hadoop", "warehouse": "t"}
        both = {"type": "iceberg", "catalog": catalog, "table": "shop.t"}
        widens = {"byte": pl.Int32, "short": pl.Int32}
        return Store(name, both, both, widens=widens, require=_iceberg, left=left)
    both = {"type": "delta", "path": "t"}
    return Store(name, both, both, never=" ,;{}()\n\t=", require=lambda: _delta("t", None), left=left)


def _attempts() -> list[Path]:
    """Directories of attempts that are left."""
    return [path for path in Path().rglob("*rayetl*") if path.is_dir() and any(path.rglob("*.parquet"))]


def _delta(path: str, options: dict[str, str] | None) -> None:
    from deltalake import DeltaTable, Field, Schema

    columns = [Field("id", "long"), Field("v", "string"), Field("w", "long", nullable=False)]
    DeltaTable.create(path, Schema(columns), storage_options=options)


def _iceberg() -> None:
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog

    Path("t").mkdir(exist_ok=True)
    here = Path("t").absolute()
    catalog = SqlCatalog("default", uri=f"sqlite:///{here}/c.db", warehouse=f"file://{here}")
    catalog.create_namespace_if_not_exists("shop")
    w = pa.field("w", pa.int64(), nullable=False)
    catalog.create_table("shop.t", pa.schema([("id", pa.int64()), ("v", pa.string()), w]))


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that the parameter names, empty."""
    monkeypatch.chdir(tmp_path)
    name: str = request.param
    if name in ("postgres", "mysql"):
        return in_database(name, request.getfixturevalue("database" if name == "postgres" else "maria"))
    if "s3" in name:
        bucket, server = request.getfixturevalue("bucket"), request.getfixturevalue("s3_server")
        return in_bucket(name, bucket, server, request.getfixturevalue("s3_account"))
    return on_this_machine(name)
