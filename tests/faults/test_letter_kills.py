"""Whole runs whose dead letters are in a database: killed at each point of their commit, and the server's end.

The judge asks the server through its driver alone, and reads the load's files without rayetl.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from services.mariadb import Mariadb
from services.postgres import Postgres
from stores import Database, Store
from test_races import Controller

REFUSED, ROWS = 30, 200
"""Rows, and how many of them become letters: the last ones."""


@pytest.fixture(params=["postgres", "mysql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    server: Postgres | Mariadb = request.getfixturevalue(
        "postgres_server" if request.param == "postgres" else "mariadb_server"
    )
    made = server.create()
    yield Store(request.param, server, made, b"")
    server.drop(made)


@pytest.fixture
def here(store: Store, tmp_path: Path) -> Path:
    rule = {"name": "few", "check": f"id < {ROWS - REFUSED}", "on_failure": "quarantine"}
    document = {
        "name": "killed",
        "extract": {"type": "files", "path": "in.csv", "schema": "id INT, v STRING"},
        "transform": [{"id": "checked", "type": "validate", "rules": [rule]}],
        "load": {"type": "files", "path": "out", "format": "parquet", "mode": "append"},
        "resilience": {
            "retry": {"max_attempts": 1},
            "dead_letter": {"type": store.kind, "credential": "store", "table": "rejects"},
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(document))
    (tmp_path / "in.csv").write_text("".join(f"{i},v{i}\n" for i in range(ROWS)))
    return tmp_path


def start(here: Path, database: Database, *words: str, **variables: str) -> subprocess.Popen[bytes]:
    """A command of rayetl, with the database as the credential `store`."""
    fields = {f"RAYETL_CREDENTIAL_STORE__{name.upper()}": str(each) for name, each in database.config.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "rayetl", *words],
        cwd=here,
        env={**os.environ, **fields, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def call(here: Path, database: Database, *words: str, **variables: str) -> tuple[int, str]:
    """Its exit code and all that it said."""
    process = start(here, database, *words, **variables)
    out, err = process.communicate(timeout=120)
    return process.returncode, (out + err).decode()


def run(here: Path, database: Database, **variables: str) -> tuple[int, str]:
    return call(here, database, "run", "config.json", "--quiet", **variables)


def loaded(here: Path) -> list[int]:
    if not (here / "out").exists():
        return []
    table = ds.dataset(here / "out", format="parquet").to_table()
    return sorted(table["id"].to_pylist()) if table.num_columns else []


def stored(database: Database) -> list[tuple[Any, ...]]:
    """Row number and source record of each letter; nothing where there is no table."""
    if not database.rows("SELECT 1 FROM information_schema.tables WHERE table_name = 'rejects'"):
        return []
    found = database.rows("SELECT rejects.row, record FROM rejects")
    return sorted((int(row), bytes(record)) for row, record in found)


LETTERS = [(row, f"{row},v{row}".encode()) for row in range(ROWS - REFUSED, ROWS)]


def assert_whole(here: Path, database: Database) -> None:
    """Nothing or all of the letters, nothing or all of the rows, and no row without the letters."""
    letters, rows = stored(database), loaded(here)
    assert letters in ([], LETTERS)
    assert rows in ([], list(range(ROWS - REFUSED)))
    assert letters or not rows


def assert_done(here: Path, database: Database) -> None:
    """The next run completes the work, a further one finds it done."""
    for _ in range(2):
        code, said = run(here, database)
        assert code == 0, said
        assert stored(database) == LETTERS
        assert loaded(here) == list(range(ROWS - REFUSED))
    assert database.value("SELECT count(*) FROM rayetl_epochs") == 1


def undo(here: Path, database: Database) -> None:
    """As if nothing had been run."""
    database.execute("DROP TABLE rejects", "DROP TABLE rejects_replayed", "DROP TABLE rayetl_epochs")
    shutil.rmtree(here / "out")


def passages(here: Path, database: Database) -> Counter[str]:
    """How often a run passes each failpoint of the letters' commit."""
    log = here / "passed"
    assert run(here, database, RAYETL_FAILPOINT_LOG=str(log))[0] == 0
    return Counter(name for name in log.read_text().split() if name.startswith("database."))


def test_a_kill_at_any_point_of_the_letters_loses_nothing_and_doubles_nothing(
    here: Path, store: Store
) -> None:
    database = store.database
    points = passages(here, database)
    assert {"database.fenced", "database.sent", "database.tracked", "database.committed"} <= set(points)
    for point, times in points.items():
        for turn in range(1, times + 1):
            undo(here, database)
            code, said = run(here, database, RAYETL_FAILPOINT=f"{point}:kill9@{turn}")
            assert code == -signal.SIGKILL, f"{point}@{turn}: {said}"
            assert_whole(here, database)
            assert_done(here, database)


@pytest.mark.parametrize("point", ["database.sent", "database.tracked", "database.committed"])
def test_a_server_that_ends_at_a_point_of_the_letters_is_told_and_nothing_is_lost(
    here: Path, store: Store, tmp_path: Path, point: str
) -> None:
    controller = Controller(str(tmp_path / "socket"))
    armed = {"RAYETL_FAILPOINT": f"{point}:barrier", "RAYETL_FAILPOINT_SOCKET": controller.path}
    process = start(here, store.database, "run", "config.json", "--quiet", **armed)
    _, waiting = controller.wait()
    store.server.crash()
    waiting.close()
    said = b"".join(process.communicate(timeout=120)).decode()
    store.server.start()
    controller.server.close()
    if point == "database.committed":
        # The letters are there; the run needs nothing more of the server.
        assert process.returncode == 0, said
    else:
        assert process.returncode == 1, said
        assert "rejects: " in said
        assert "was lost" in said or "ended the connection" in said
    assert_whole(here, store.database)
    assert_done(here, store.database)
