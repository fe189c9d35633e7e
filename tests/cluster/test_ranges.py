"""A table that tasks read in ranges: every row once and of one moment, whatever is killed and whoever writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.dataset as ds
import pytest
import ray
from services.postgres import Database, Postgres

from rayetl import Pipeline
from rayetl.cluster import supervisor as supervising
from tests.cluster.test_splits import running

N, PARTS = 20_000, 40


@pytest.fixture
def table(served: Database) -> Database:
    """Every row knows how often all rows were changed (`g`); some have no key."""
    served.execute(
        "CREATE TABLE s (id int PRIMARY KEY, k bigint, g int NOT NULL)",
        f"INSERT INTO s SELECT i, nullif(i * 7919 % {N}, 17), 0 FROM generate_series(1, {N}) AS i",
    )
    return served


def config(*steps: dict[str, Any], **load: Any) -> dict[str, Any]:
    split = {"column": "k", "parts": PARTS}
    return {
        "name": "ranges",
        "extract": {"rows": {"type": "postgres", "table": "s", "credential": "here", "split": split}},
        "transform": list(steps) or [{"type": "filter", "where": "id % 10 <> 0"}],
        "load": load or {"type": "files", "path": "out", "format": "parquet", "mode": "overwrite"},
        "resilience": {"retry": {"max_attempts": 3, "initial_delay": "20ms"}},
    }


KEPT = [row for row in range(1, N + 1) if row % 10]


def found() -> pl.DataFrame:
    """By a reader that knows nothing of rayetl."""
    frame: Any = pl.from_arrow(ds.dataset("out", format="parquet").to_table())
    return frame


def whole_and_once() -> int:
    """Every row once; gives how often they had all been changed."""
    frame = found()
    assert frame["id"].sort().to_list() == KEPT
    (generation,) = frame["g"].unique().to_list()
    return int(generation)


def start(address: str, *options: str) -> subprocess.Popen[str]:
    Path("c.json").write_text(json.dumps(config()))
    return subprocess.Popen(
        [sys.executable, "-m", "rayetl", "run", "c.json", "--address", address, "--json", *options],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    assert process.returncode == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


def test_all_ranges_are_of_one_moment_while_others_move_rows_between_them(
    cluster: str, here: Path, table: Database
) -> None:
    ended = threading.Event()

    def move() -> None:
        while not ended.is_set():
            table.execute(f"UPDATE s SET k = (k + {N // 3}) % {N}, g = g + 1")

    writer = threading.Thread(target=move)
    writer.start()
    try:
        report = Pipeline.from_dict(config()).run(runtime="ray")
    finally:
        ended.set()
        writer.join()
    assert report.splits is not None
    assert (report.splits.total, report.splits.kept) == (PARTS, 0)
    assert (report.rows_read, report.rows_loaded, report.balanced) == (N, len(KEPT), True)
    assert whole_and_once() < table.value("SELECT max(g) FROM s")


def test_ranges_go_into_a_table_as_the_rows_of_one_process_do(
    cluster: str, here: Path, table: Database
) -> None:
    for name, runtime in (("t", "ray"), ("local", "local")):
        load = {"id": "into", "type": "postgres", "table": name, "mode": "append", "credential": "here"}
        document = config(**load)
        report = Pipeline.from_dict(document).run(runtime=runtime)
        assert report.rows_loaded == len(KEPT)
    assert table.value("SELECT count(*) FROM (TABLE t EXCEPT ALL TABLE local) AS d") == 0
    assert table.value("SELECT count(*) FROM t WHERE k IS NULL") == table.value(
        "SELECT count(*) FROM s WHERE k IS NULL AND id % 10 <> 0"
    )


def kill_worker(table: Database) -> None:
    _, status = running()
    os.kill(status.work[0].pid, signal.SIGKILL)


def kill_supervisor(table: Database) -> None:
    name, _ = running()
    ray.kill(ray.get_actor(name, supervising.NAMESPACE), no_restart=False)


@contextmanager
def waiting(table: Database) -> Iterator[None]:
    """Ranges beyond the first five wait inside of the server until the block ends, so that whoever looks for a
    run at work finds it there, however late."""
    table.execute(
        f"CREATE POLICY wait ON s USING ((k >= {5 * N // PARTS}) IS NOT TRUE "
        "OR current_query() LIKE '%AS ends%' OR pg_advisory_xact_lock_shared(1) IS NOT NULL)",
        "ALTER TABLE s ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE s FORCE ROW LEVEL SECURITY",
    )
    with table.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1)::text")
        cursor.fetchall()
        yield


HOLDER = "state = 'idle in transaction' AND query LIKE '%AS ends%'"
"""The session whose snapshot all ranges share: the last it asked for were the ends of the keys."""


def end_the_moment(table: Database) -> None:
    running()
    ended = table.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {HOLDER}")
    assert ended == [(True,)]


@pytest.mark.parametrize(
    ("strike", "retries"),
    [(kill_worker, 0), (kill_supervisor, 0), (end_the_moment, 1)],
    ids=["worker", "supervisor", "session"],
)
def test_whatever_is_killed_the_rows_are_those_of_one_moment(
    cluster: str, here: Path, table: Database, strike: Callable[[Database], None], retries: int
) -> None:
    with waiting(table):
        process = start(cluster)
        strike(table)
    table.execute("UPDATE s SET g = g + 1")
    report = report_of(process)
    assert report["retries"] == retries
    assert report["splits"] == {"total": PARTS, "kept": 0}, "a part of another moment is not taken"
    assert whole_and_once() in (0, 1)


def test_a_run_that_is_started_again_takes_nothing_of_the_moment_before(
    cluster: str, here: Path, table: Database
) -> None:
    process = start(cluster, "--run-key", "k")
    until = time.monotonic() + 30
    while len(list(Path(".rayetl/parked").glob("*/*/*.json"))) < 3:
        assert time.monotonic() < until, "no split was finished"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    table.execute(f"UPDATE s SET k = (k + {N // 3}) % {N}, g = g + 1")
    report = Pipeline.load("c.json").run(runtime="ray", run_key="k")
    assert report.splits is not None
    assert (report.splits.total, report.splits.kept) == (PARTS, 0)
    assert whole_and_once() == 1
    assert not list(Path(".rayetl/parked").glob("*"))


def test_no_session_is_left_behind(
    cluster: str, here: Path, table: Database, postgres_server: Postgres
) -> None:
    Pipeline.from_dict(config()).run(runtime="ray")
    until = time.monotonic() + 10
    mine = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{table.user}'"
    while left := postgres_server.superuser.value(mine):
        assert time.monotonic() < until, f"{left} sessions"
        time.sleep(0.05)


def test_explain_says_how_a_table_is_cut_and_what_keeps_it_whole(here: Path, table: Database) -> None:
    told = Pipeline.from_dict(config()).explain(runtime="ray")
    assert "runtime ray: rows by ranges of k, cut when the run begins, one commit" in told
    assert "  split by split: filter_1\n" in told
    grouped = {"type": "aggregate", "metrics": {"n": "count(*)"}}
    told = Pipeline.from_dict(config(grouped)).explain(runtime="ray")
    assert "runtime ray: one task, because aggregate_1 (aggregate) needs all rows at once" in told
    document = config({"type": "union", "with": "other"})
    document["extract"]["other"] = document["extract"]["rows"]
    document["transform"][0]["from"] = "rows"
    told = Pipeline.from_dict(document).explain(runtime="ray")
    assert "runtime ray: one task, because other is read at one moment, which splits would not share" in told
