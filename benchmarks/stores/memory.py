"""How much memory does a run of ten times the rows take? `python benchmarks/stores/memory.py [NAME ...]`.

Whole processes of `rayetl run`, with a million rows and with ten million; the server is not counted. The
names are `postgres-read`, `mysql-upsert` and so on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mysql
import run as postgres
from services.databases import DatabaseServer, SqlDatabase
from services.mariadb import Mariadb
from services.postgres import Postgres

SERVERS: dict[str, type[DatabaseServer]] = {"postgres": Postgres, "mysql": Mariadb}
VALUES = {"postgres": (postgres.COLUMNS, postgres.VALUES), "mysql": (mysql.COLUMNS, mysql.VALUES)}
JOBS = ("read", "copy", "upsert")
ROWS, TIMES, GOAL = 1_000_000, 10, 1.2


def config(store: SqlDatabase, job: str, directory: Path) -> dict[str, Any]:
    """A job that reads the table `source`: into Parquet, into a table of its own, or into one that has all
    of its keys."""
    connection = {"type": store.kind, **store.config}
    loads = {
        "read": {"type": "files", "path": str(directory / "read"), "format": "parquet", "mode": "overwrite"},
        "copy": {**connection, "table": "copied", "mode": "append"},
        "upsert": {**connection, "table": "kept", "mode": "upsert", "keys": "id"},
    }
    return {
        "name": job,
        "extract": {**connection, "table": "source"},
        "load": loads[job],
        "state": str(directory / "state"),
        "resilience": {"dead_letter": {"type": "files", "path": str(directory / "rejects")}},
    }


def prepare(store: SqlDatabase, job: str, rows: int) -> None:
    columns, values = VALUES[store.kind]
    store.execute(f"CREATE TABLE source ({columns})", f"INSERT INTO source {values.format(rows=rows)}")
    if job == "upsert":
        keyed = columns.replace("id bigint", "id bigint PRIMARY KEY")
        store.execute(f"CREATE TABLE kept ({keyed})", "INSERT INTO kept SELECT * FROM source")


def peak(server: DatabaseServer, job: str, rows: int, directory: Path) -> int:
    """Bytes."""
    store = server.create()
    try:
        prepare(store, job, rows)
        path = directory / "config.json"
        path.write_text(json.dumps(config(store, job, directory)))
        rayetl = str(Path(sys.executable).with_name("rayetl"))
        child = subprocess.Popen([rayetl, "run", str(path), "--force"], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        assert status == 0, f"the run failed with {status}"
        return used.ru_maxrss * 1024
    finally:
        server.drop(store)


def main() -> None:
    """Print a line for each job that the command line names, or for all."""
    names = sys.argv[1:] or [f"{kind}-{job}" for kind in SERVERS for job in JOBS]
    for kind, make in SERVERS.items():
        jobs = [name.removeprefix(f"{kind}-") for name in names if name.startswith(kind)]
        if not jobs:
            continue
        server, directory = make(), Path(tempfile.mkdtemp(prefix="rayetl-memory-"))
        server.start()
        try:
            for job in jobs:
                once, ten = (peak(server, job, rows, directory) for rows in (ROWS, TIMES * ROWS))
                told = {"job": f"{kind}-{job}", "megabytes": [once // 10**6, ten // 10**6]}
                print(json.dumps({**told, "ratio": round(ten / once, 3), "goal": GOAL}), flush=True)
        finally:
            server.stop()
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
