"""One attempt to load an epoch into a table of a lake, in a process that a test may kill."""

from __future__ import annotations

import importlib
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import polars as pl
from lake_bugs import SESSIONS as SESSIONS
from lake_bugs import plant

from rayetl import failpoints
from rayetl.connectors.base import Epoch, FilesTarget
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.delta.load import DeltaLoad
from rayetl.connectors.formats.writing import sink_files
from rayetl.connectors.iceberg.load import IcebergLoad
from rayetl.connectors.lake.load import LakeLoad
from rayetl.errors import CommitConflict, LoadError, Retryable
from rayetl.sql.types import LONG, STRING, Field, Schema

# Loaded once, before the processes of the tests are forked.
for module in (
    "deltalake",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "pyiceberg.avro.decoder_fast",
    "pyiceberg_core",
    "requests",
    "sqlalchemy.dialects.sqlite",
    "sqlite3",
):
    importlib.import_module(module)

for _model in (DeltaLoad, IcebergLoad):
    _model.model_rebuild()  # once, and not in each process

COMMITTED, SKIPPED, CONFLICT, REFUSED, BROKEN = 0, 10, 11, 12, 13


@dataclass(frozen=True)
class LakeWork:
    """What a worker is to do: load rows (key, part, row), `rows` of them for each of `parts`, into a table of
    Delta (`delta`) or of Iceberg, in a catalog of SQL (`iceberg`) or of directories (`hadoop`). `arm` and `log` are the failpoint variables; `bug` names a planted fault; `settings` are the load's own."""

    kind: str
    root: str
    key: str
    load: str = "out"
    mode: str = "append"
    parts: tuple[str, ...] = ("a", "b")
    rows: int = 3
    settings: tuple[tuple[str, Any], ...] = ()
    wide: bool = False
    lock: bool = True
    arm: str = ""
    log: str = ""
    socket: str = ""
    bug: str = ""
    environment: tuple[tuple[str, str], ...] = ()


def rows_of(work: LakeWork) -> list[tuple[str, str, int]]:
    return [(work.key, part, row) for part in work.parts for row in range(work.rows)]


def run(work: LakeWork, start_at: float = 0.0) -> None:
    """Load the epoch and leave with a code that says how it went."""
    if work.bug:
        plant(work.kind, work.bug)
    if not work.lock:
        Lock.acquire = classmethod(lambda cls, path, run, target=None: cls(path, -1))  # type: ignore[assignment, method-assign]
    time.sleep(max(0.0, start_at - time.time()))
    sys.exit(attempt(work))


def attempt(work: LakeWork) -> int:
    """Load the epoch, and say by a code how it went."""
    os.environ["RAYETL_FAILPOINT"], os.environ["RAYETL_FAILPOINT_LOG"] = work.arm, work.log
    os.environ["RAYETL_FAILPOINT_SOCKET"] = work.socket
    os.environ.update(work.environment)
    failpoints.rearm()
    try:
        return _loaded(work)
    finally:
        os.environ["RAYETL_FAILPOINT"] = os.environ["RAYETL_FAILPOINT_LOG"] = ""
        failpoints.rearm()


def _loaded(work: LakeWork) -> int:
    columns = [Field("key", STRING), Field("part", STRING), Field("row", LONG)]
    schema = Schema((*columns, Field("more", LONG)) if work.wide else tuple(columns))
    load = _load(work)
    loading = load.open(Epoch("flights", work.load, work.key, f"run-{os.getpid()}"), schema)
    try:
        if loading.committed():
            return SKIPPED
        target = loading.begin()
        if target is None:
            return SKIPPED
        try:
            assert isinstance(target, FilesTarget)
            sink_files(_rows(work), target).collect()
        except (FileNotFoundError, pl.exceptions.PolarsError):
            # Where nothing can be locked, a later attempt fences an earlier one by removing its directory.
            assert not work.lock
            return CONFLICT
        loading.commit(len(work.parts) * work.rows)
    except (CommitConflict, Retryable):
        return CONFLICT
    except LoadError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except (failpoints.FailpointError, OSError):
        loading.abort()
        return BROKEN
    return COMMITTED


def _load(work: LakeWork) -> LakeLoad:
    settings = {"mode": work.mode, **dict(work.settings)}
    if work.kind == "delta":
        return DeltaLoad.model_validate({"type": "delta", "path": work.root, **settings})
    catalog = {"type": "sql", "uri": f"sqlite:///{work.root}/catalog.db", "warehouse": work.root}
    if work.kind == "hadoop":
        catalog = {"type": "hadoop", "warehouse": work.root}
    return IcebergLoad.model_validate(
        {"type": "iceberg", "catalog": catalog, "table": "shop.daily", **settings}
    )


def _rows(work: LakeWork) -> pl.LazyFrame:
    rows = pl.LazyFrame(rows_of(work), ["key", "part", "row"], orient="row")
    return rows.with_columns(more=7) if work.wide else rows
