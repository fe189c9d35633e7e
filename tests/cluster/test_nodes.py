"""Two nodes on one machine: splits run on both, and each process of the cluster is killed under way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from rayetl.cluster.session import lean

N, SPLITS = 4_000, 40


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head and one more node, of one processor each; a dead one is noticed in seconds, not in a quarter of a
    minute."""
    health = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500}
    settings = {"num_cpus": 1, "object_store_memory": 100_000_000}
    with lean():
        cluster = Cluster(initialize_head=True, head_node_args={**settings, "_system_config": health})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def config(here: Path) -> Path:
    table = pa.table({"id": list(range(N)), "v": [None if row % 97 == 0 else f"v{row}" for row in range(N)]})
    pq.write_table(table, "in.parquet", row_group_size=N // SPLITS)
    document = {
        "name": "split",
        "extract": {"rows": {"type": "files", "path": "in.parquet"}},
        "transform": [{"type": "validate", "rules": [{"name": "has_v", "not_null": ["v"]}]}],
        "load": {"id": "out", "type": "files", "path": "out", "format": "parquet", "mode": "append"},
        "resilience": {"dead_letter": {"type": "files", "path": "rejects"}},
    }
    Path("c.json").write_text(json.dumps(document))
    return here


def start(cluster: Cluster | None) -> subprocess.Popen[str]:
    """A run on that cluster, or on one of its own."""
    where = ["--address", cluster.address] if cluster else ["--runtime", "ray"]
    words = ["run", "c.json", *where, "--split-size", "1", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "rayetl", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def parked() -> int:
    return len(list(Path(".rayetl/parked").glob("*/*/*.json")))


def wait_for(splits: int, run: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 90
    while parked() < splits:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until, "no split was finished"
        time.sleep(0.01)


def whole_and_once() -> None:
    """By a reader that knows nothing of rayetl."""
    found = ds.dataset("out", format="parquet").to_table()["id"].to_pylist()
    assert sorted(found) == [row for row in range(N) if row % 97]
    refused = ds.dataset("rejects/split/rejects", format="parquet").to_table()["row"].to_pylist()
    assert sorted(refused) == list(range(0, N, 97))


def process(node: Any, kind: str) -> int:
    ((info, *_),) = [infos for name, infos in node.all_processes.items() if name == kind]
    return int(info.process.pid)


def at_work(node: Any) -> list[int]:
    """The processes of a node that work at a split at this moment."""
    found = []
    for child in psutil.Process(process(node, "raylet")).children():
        with suppress(psutil.Error):
            if child.cmdline()[0].startswith("ray::split split"):
                found.append(child.pid)
    return found


def eventually(found: Callable[[], list[int]]) -> list[int]:
    until = time.monotonic() + 60
    while not (seen := found()):
        assert time.monotonic() < until
        time.sleep(0.005)
    return seen


def ended(run: subprocess.Popen[str]) -> dict[str, Any]:
    """The report of a run that ends right."""
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


def test_splits_run_on_both_nodes_and_a_killed_one_costs_what_it_had_under_way(
    nodes: Cluster, config: Path
) -> None:
    run, (other,) = start(nodes), nodes.worker_nodes
    for node in (nodes.head_node, other):
        eventually(lambda node=node: at_work(node))  # type: ignore[misc]
    wait_for(5, run)
    os.kill(process(other, "raylet"), signal.SIGKILL)
    assert ended(run)["splits"]["total"] == SPLITS
    whole_and_once()


def test_the_node_of_the_command_that_is_gone_is_told_and_the_next_run_does_the_rest(
    nodes: Cluster, config: Path
) -> None:
    run = start(nodes)
    wait_for(5, run)
    os.kill(process(nodes.head_node, "raylet"), signal.SIGKILL)
    _, err = run.communicate(timeout=300)
    assert run.returncode == 1, err
    assert "the cluster has lost the node that this command runs on" in err
    nodes.shutdown()
    assert ended(start(None))["splits"]["total"] == SPLITS
    whole_and_once()


def test_a_head_that_is_gone_is_told_in_time_and_another_cluster_does_the_rest(
    nodes: Cluster, config: Path
) -> None:
    run = start(nodes)
    # However fast the others are, the run does not end without this one.
    stopped = eventually(lambda: at_work(nodes.head_node))[0]
    os.kill(stopped, signal.SIGSTOP)
    wait_for(5, run)
    os.kill(process(nodes.head_node, "gcs_server"), signal.SIGKILL)
    began = time.monotonic()
    _, err = run.communicate(timeout=300)
    with suppress(ProcessLookupError):
        os.kill(stopped, signal.SIGKILL)
    assert run.returncode == 1, err
    assert time.monotonic() - began < 30, "Ray itself takes a minute"
    assert f"the head of the Ray cluster at {nodes.address} is gone" in err
    assert "run again" in err
    assert not Path("out").exists() or not list(Path("out").glob("*.parquet"))
    before = parked()
    nodes.shutdown()
    report = ended(start(None))
    # A worker that lost its head ends the split that it has.
    assert before <= report["splits"]["kept"] < SPLITS
    whole_and_once()
