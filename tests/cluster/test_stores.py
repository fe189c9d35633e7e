"""Loads into a database on the cluster: the supervisor holds the transaction, tasks set rows down for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.dataset as ds
import pytest
import ray
from services.base import free_port
from services.kafka import Kafka
from services.postgres import Database
from services.proxy import Proxy

from rayetl import Pipeline
from rayetl.cluster.names import NAMESPACE, RUN, breaker_name
from rayetl.cluster.supervisor import status
from rayetl.connectors.postgres import tracker
from rayetl.errors import CircuitOpen, Retryable, RunError, Terminal
from tests.cluster.test_ways_in import comparable

N = 6_000
BAD = (0, 17, 2_999, 3_000, N - 1)
MAKE = "CREATE TABLE t (id bigint, v text CHECK (v <> 'bad'))"


def source() -> None:
    ids = pl.int_range(N, eager=True).alias("id")
    texts = ["bad" if row in BAD else f"v{row}" for row in range(N)]
    pl.DataFrame([ids, pl.Series("v", texts)]).write_parquet("in.parquet", row_group_size=N // 12)


def config(name: str = "p", *steps: dict[str, Any], **load: Any) -> dict[str, Any]:
    return {
        "name": name,
        "extract": {"rows": {"type": "files", "path": "in.parquet"}},
        "transform": list(steps) or [{"type": "filter", "where": "id % 10 <> 5"}],
        "load": {
            "id": "into",
            "type": "postgres",
            "table": "t",
            "mode": "append",
            "credential": "here",
            **load,
        },
        "resilience": {"dead_letter": {"path": f"rejects-{name}"}, "retry": {"initial_delay": "20ms"}},
        "state": f"state-{name}",
    }


KEPT = [row for row in range(N) if row % 10 != 5 and row not in BAD]


def ids(database: Database, table: str = "t") -> list[int]:
    return [row for (row,) in database.rows(f"SELECT id FROM {table} ORDER BY id")]


def letters(name: str) -> list[tuple[Any, ...]]:
    found = ds.dataset(f"rejects-{name}/{name}/rejects", format="parquet").to_table().to_pylist()
    return sorted((row["row"], row["step"], row["reasons"][0]["rule"]) for row in found)


@pytest.mark.parametrize(("split_size", "splits"), [(1, 12), (1 << 30, None)])
def test_it_is_the_run_of_this_process(
    cluster: str, here: Path, served: Database, split_size: int, splits: int | None
) -> None:
    source()
    served.execute(MAKE, MAKE.replace(" t ", " local "))
    local = Pipeline.from_dict(config("local", table="local")).run()
    report = Pipeline.from_dict(config("p")).run(runtime="ray", split_size=split_size)
    assert (report.splits.total if report.splits else None) == splits
    assert ids(served) == KEPT == ids(served, "local")
    assert letters("p") == letters("local")
    assert len(letters("p")) == len(BAD)
    alike = [replace(comparable(each), splits=None, pipeline="", rejects=()) for each in (report, local)]
    assert alike[0] == alike[1]
    assert report.balanced
    assert not list(Path("state-p/parked").glob("*"))
    assert Pipeline.from_dict(config("p")).run().status == "skipped", "one epoch, whatever the runtime"


@pytest.mark.parametrize(("split_size", "splits"), [(1, 12), (1 << 30, None)])
def test_dead_letters_go_into_the_database_too(
    cluster: str, here: Path, served: Database, split_size: int, splits: int | None
) -> None:
    source()
    served.execute(MAKE)
    store = {"dead_letter": {"type": "postgres", "credential": "here", "table": "rejects"}}
    pipeline = Pipeline.from_dict(config("p") | {"resilience": store})
    report = pipeline.run(runtime="ray", split_size=split_size)
    assert (report.splits.total if report.splits else None) == splits
    assert ids(served) == KEPT
    assert served.rows("SELECT rejects.row FROM rejects ORDER BY 1") == [(row,) for row in BAD]
    assert pipeline.run(runtime="ray", split_size=split_size).status == "skipped"
    assert pipeline.dead_letters.count()["letters"].sum() == len(BAD)


def test_dead_letters_go_into_kafka_too(cluster: str, here: Path, served: Database, kafka: Kafka) -> None:
    source()
    served.execute(MAKE)
    topic = kafka.topic()
    store = {"dead_letter": {"type": "kafka", "brokers": kafka.brokers, "topic": topic}}
    pipeline = Pipeline.from_dict(config("p") | {"resilience": store})
    assert pipeline.run(runtime="ray", split_size=1).rows_rejected == len(BAD)
    assert ids(served) == KEPT
    assert sorted(json.loads(value)["row"] for _, value in kafka.messages(topic)) == sorted(BAD)
    assert pipeline.run(runtime="ray", split_size=1).status == "skipped"
    assert pipeline.dead_letters.count()["letters"].sum() == len(BAD)


def test_explain_says_who_holds_the_transaction(here: Path) -> None:
    source()
    for size, head in ((1, "runtime ray: 12 splits of rows"), (1 << 30, "runtime ray: one task, because")):
        told = Pipeline.from_dict(config("p")).explain(runtime="ray", split_size=size)
        assert head in told
        assert "  in the supervisor, which holds the transaction: into\n" in told


def test_rows_with_the_same_key_come_in_the_order_of_the_source(
    cluster: str, here: Path, served: Database
) -> None:
    source()
    served.execute("CREATE TABLE t (k bigint PRIMARY KEY, id bigint)")
    step = {"type": "select", "columns": ["id % 4 AS k", "id"]}
    load = {"mode": "insert_ignore", "keys": ["k"]}
    Pipeline.from_dict(config("p", step, **load)).run(runtime="ray", split_size=1)
    assert served.rows("SELECT k, id FROM t ORDER BY k") == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_rows_of_a_database_are_loaded_into_it_and_into_files(
    cluster: str, here: Path, served: Database
) -> None:
    served.execute("CREATE TABLE s AS SELECT g AS id, 'v' || g AS v FROM generate_series(1, 1000) AS g")
    document = config("p") | {"extract": {"rows": {"type": "postgres", "table": "s", "credential": "here"}}}
    files = {"id": "out", "type": "files", "path": "out", "format": "parquet"}
    document["load"] = [document["load"], files]
    report = Pipeline.from_dict(document).run(runtime="ray")
    assert ids(served) == sorted(ds.dataset("out").to_table()["id"].to_pylist())
    assert report.balanced
    assert report.rows_loaded == 1800


def test_a_credential_of_the_command_reaches_no_other_place(here: Path, served: Database) -> None:
    """With a cluster of its own: nothing of the environment is handed down, yet the run can connect."""
    source()
    Path("c.json").write_text(json.dumps(config("p")))
    # Short, because the names of Ray's sockets are long already.
    with tempfile.TemporaryDirectory(prefix="ray-") as sessions:
        done = subprocess.run(
            [sys.executable, "-m", "rayetl", "run", "c.json", "--runtime", "ray", "--json"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "RAY_TMPDIR": sessions},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert ids(served) == [row for row in range(N) if row % 10 != 5]
        left = {path: path.read_text(errors="replace") for path in _files(sessions)}
    assert not [path for path, text in left.items() if served.password in text]
    names = {path.name for path in left}
    assert "raylet.out" in names
    assert not names & {"dashboard.log", "log_monitor.log", "monitor.log"}, "nobody looks at this cluster"


def _files(directory: str) -> list[Path]:
    return [path for path in Path(directory).rglob("*") if path.is_file() and not path.is_symlink()]


def test_a_password_in_the_config_is_not_sent(cluster: str, here: Path, served: Database) -> None:
    source()
    document = config("p", **served.config)
    del document["load"]["credential"]
    with pytest.raises(Terminal, match="cannot be sent to the cluster") as refused:
        Pipeline.from_dict(document).run(runtime="ray")
    assert served.password not in str(refused.value)


# Killed and cut off


def start(cluster: str, failpoint: str = "") -> subprocess.Popen[str]:
    Path("c.json").write_text(json.dumps(config("p")))
    words = ["run", "c.json", "--address", cluster, "--split-size", "1", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "rayetl", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "RAYETL_FAILPOINT": failpoint},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def supervisor(done: int) -> int:
    """The process of the one supervisor, once so many splits are done."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for named in ray.util.list_named_actors(all_namespaces=True):
            if named["name"].startswith(RUN):
                try:
                    if status(named["name"].removeprefix(RUN)).done >= done:
                        actor = ray.get_actor(named["name"], NAMESPACE)
                        return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())))
                except (RunError, ValueError, ray.exceptions.RayError):
                    continue
        time.sleep(0.02)
    raise AssertionError("no supervisor was seen at work")


def once(database: Database) -> None:
    assert ids(database) == KEPT
    assert [row for row, _, _ in letters("p")] == sorted(BAD)
    assert database.value("SELECT count(*) FROM rayetl_epochs") == 1


def test_a_killed_supervisor_goes_on_and_nothing_is_loaded_twice(
    cluster: str, here: Path, served: Database
) -> None:
    source()
    served.execute(MAKE)
    run = start(cluster)
    killed = supervisor(done=3)
    os.kill(killed, signal.SIGKILL)
    out, err = run.communicate()
    assert run.returncode == 0, err
    assert json.loads(out)["splits"]["kept"] >= 2
    once(served)


def test_a_killed_driver_is_followed_by_the_rest_only(cluster: str, here: Path, served: Database) -> None:
    source()
    served.execute(MAKE)
    run = start(cluster)
    supervisor(done=3)
    run.kill()
    run.wait()
    report = Pipeline.from_dict(config("p")).run(runtime="ray", split_size=1)
    assert report.splits is not None
    assert report.splits.kept >= 2
    once(served)


def test_an_answer_to_a_commit_that_is_lost_is_looked_up(
    cluster: str, here: Path, served: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    source()
    served.execute(MAKE)
    with Proxy(served.port, after=True) as proxy:
        monkeypatch.setenv("RAYETL_CREDENTIAL_HERE__PORT", str(proxy.port))
        proxy.arm()
        report = Pipeline.from_dict(config("p")).run(runtime="ray", split_size=1)
        assert proxy.cuts == 1
    assert report.loads[0].status == "committed"
    once(served)


def test_a_connection_that_is_lost_costs_no_split(cluster: str, here: Path, served: Database) -> None:
    """The second attempt pours what the first one's tasks have set down."""
    source()
    # The tracker is there, so that the one COMMIT of the run is that of its rows.
    served.execute(MAKE, tracker._CREATE.format(table=tracker.TRACKER))
    with Proxy(served.port, after=False) as proxy:
        document = config("p", port=proxy.port)
        document["load"]["host"] = "127.0.0.1"
        proxy.arm()
        report = Pipeline.from_dict(document).run(runtime="ray", split_size=1)
        assert proxy.cuts == 1
    assert report.retries == 1
    assert report.splits is not None
    assert report.splits.kept == 12
    once(served)


# A service that is down


def test_runs_share_the_circuit_of_a_service(cluster: str, here: Path, served: Database) -> None:
    """The first run finds that the service is down, the second does not even ask, a third finds it up."""
    source()
    port, resilience = free_port(), {"retry": {"max_attempts": 1}}

    def run(name: str) -> Any:
        policy = {"failure_threshold": 2, "reset_timeout": "4s"}
        document = config(name, host="127.0.0.1", port=port)
        document["resilience"] |= {**resilience, "circuit_breaker": policy}
        return Pipeline.from_dict(document).run(runtime="ray")

    resilience["retry"] = {"max_attempts": 2, "initial_delay": "10ms"}
    with pytest.raises(Retryable, match="refused"):
        run("a")
    resilience["retry"] = {"max_attempts": 1}
    breaker = ray.get_actor(breaker_name(f"postgres 127.0.0.1:{port}"), NAMESPACE)
    os.kill(ray.get(breaker.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
    with pytest.raises(CircuitOpen, match="failed too often"):
        run("b")
    resilience["retry"] = {"max_attempts": 5}
    with Proxy(served.port, after=True, listen=port):
        assert run("c").status == "done"
    assert ray.get(breaker.status.remote()).state == "closed"
    assert ids(served) == [row for row in range(N) if row % 10 != 5]


def test_a_run_goes_on_whose_breaker_is_killed_meanwhile(cluster: str, here: Path, served: Database) -> None:
    source()
    served.execute(MAKE)
    run = start(cluster)
    supervisor(done=2)
    breaker = ray.get_actor(breaker_name("postgres of here"), NAMESPACE)
    os.kill(ray.get(breaker.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
    _, err = run.communicate()
    assert run.returncode == 0, err
    once(served)
    found = ray.get(breaker.status.remote())
    assert (found.state, found.failures) == ("closed", 0)
