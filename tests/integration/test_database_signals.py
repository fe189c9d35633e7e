"""A signal while a server is busy with a statement of a run's main thread."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from services.databases import DatabaseServer, SqlDatabase
from services.mariadb import MariaDatabase

from tests.integration.database_runs import ids

SLOW = {
    "postgres": (
        "CREATE FUNCTION wait() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN true; END'",
        "CREATE TABLE t (id bigint, v text CHECK (wait()))",
    ),
    "mysql": (
        "CREATE TABLE t (id bigint, v text)",
        "CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW DO SLEEP(60)",
    ),
}
"""A table that takes a minute for a row."""

BUSY = {
    "postgres": "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep' "
    "AND datname = current_database()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE state = 'User sleep' AND db = database()",
}
"""The server's processes or threads that are busy with it."""

every_signal = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@pytest.fixture
def store(
    store_server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqlDatabase]:
    """A fresh database with such a table."""
    monkeypatch.chdir(tmp_path)
    made = store_server.create()
    made.execute(*SLOW[made.kind])
    yield made
    store_server.drop(made)


Started = Callable[..., subprocess.Popen[str]]

COMMAND = ("-m", "rayetl", "run", "p.json")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Starts a run that loads a row into what it is given, by the command or another program."""
    ids(1).write_parquet(tmp_path / "in.parquet")
    with ExitStack() as stack:

        def start(load: dict[str, object], program: tuple[str, ...] = COMMAND) -> subprocess.Popen[str]:
            config = {"name": "p", "extract": {"type": "files", "path": "in.parquet"}, "load": load}
            (tmp_path / "p.json").write_text(json.dumps(config))
            command = [sys.executable, *program]
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def loading(store: SqlDatabase, started: Started) -> subprocess.Popen[str]:
    """A run that loads a row into it."""
    return started(load_into(store))


def load_into(store: SqlDatabase) -> dict[str, object]:
    """A load of rows into that table."""
    return {"type": store.kind, "table": "t", "mode": "append", **store.config}


def busy(store: SqlDatabase) -> int:
    """Which process or thread of the server is busy, once one is."""
    deadline = time.monotonic() + 30
    while not (found := store.rows(BUSY[store.kind])):
        assert time.monotonic() < deadline, "nothing came to the server"
        time.sleep(0.05)
    return int(found[0][0])


@every_signal
def test_a_signal_ends_the_run(
    store: SqlDatabase, loading: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    at_work = busy(store)
    loading.send_signal(number)
    _, said = loading.communicate(timeout=30)
    assert loading.returncode == code, said
    if isinstance(store, MariaDatabase):
        # Nobody has told the server that its client is gone.
        store.execute(f"KILL {at_work}")
    else:
        assert not store.rows(BUSY[store.kind]), "the statement has ended too"


@pytest.mark.parametrize("waiting", ["run()", "Thread(target=run, daemon=True)"], ids=["main", "thread"])
def test_in_a_program_ctrl_c_is_what_python_says(store: SqlDatabase, started: Started, waiting: str) -> None:
    """Whether the run is in its main thread or in one that it waits for."""
    join = "" if waiting == "run()" else "; waiting.start(); waiting.join()"
    program = f"""
from threading import Thread
from rayetl.pipeline import Pipeline

def run():
    Pipeline.load("p.json").run()

try:
    waiting = {waiting}{join}
except KeyboardInterrupt:
    raise SystemExit("heard") from None
"""
    process = started(load_into(store), ("-c", program))
    at_work = busy(store)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert said.endswith("heard\n")
    if isinstance(store, MariaDatabase):
        store.execute(f"KILL {at_work}")


@pytest.mark.parametrize("store_server", ["postgres_server"], indirect=True, ids=["postgres"])
def test_the_statement_of_a_run_that_was_killed_ends(
    store: SqlDatabase, loading: subprocess.Popen[str]
) -> None:
    busy(store)
    loading.kill()
    deadline = time.monotonic() + 30
    while store.rows(BUSY[store.kind]):
        assert time.monotonic() < deadline, "the server works on for nobody"
        time.sleep(0.2)


@every_signal
@pytest.mark.parametrize("store_server", ["postgres_server"], indirect=True, ids=["postgres"])
def test_a_server_that_answers_nothing_holds_up_no_signal(
    store: SqlDatabase, loading: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    backend = busy(store)
    os.kill(backend, signal.SIGSTOP)
    try:
        loading.send_signal(number)
        _, said = loading.communicate(timeout=30)
    finally:
        os.kill(backend, signal.SIGCONT)
    assert loading.returncode == code, said


@every_signal
def test_a_library_that_takes_no_notice_of_signals_holds_up_none(
    started: Started, number: signal.Signals, code: int
) -> None:
    """As libpq's own, while it waits for a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        address = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/lake"
        catalog = {"type": "sql", "uri": address, "warehouse": "lake"}
        loading = started({"type": "iceberg", "catalog": catalog, "table": "a.b", "mode": "append"})
        connection, _ = silent.accept()
        with connection:
            loading.send_signal(number)
            _, said = loading.communicate(timeout=10)
    assert loading.returncode == code
    assert said.count(f"error: stopped by {number.name}") == 1
    assert "Traceback" not in said
