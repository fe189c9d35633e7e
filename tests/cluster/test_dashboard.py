"""What Ray's dashboard and a Prometheus see of a run: metrics with its numbers, lines with its id."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import ray

from rayetl.cluster.circuits import SharedCircuits
from rayetl.resilience.breaker import BreakerPolicy

Samples = dict[str, dict[tuple[str, ...], float]]


def scraped(*tags: str, **only: str) -> Samples:
    """The metrics of this machine's node whose labels have the values `only`, by name and the labels `tags`."""
    (node,) = ray.nodes()
    place = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    text = urllib.request.urlopen(place, timeout=10).read().decode()
    found: Samples = defaultdict(dict)
    for name, labels, value in re.findall(r"^ray_(rayetl_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        values = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if all(values.get(label) == wanted for label, wanted in only.items()):
            key = tuple(values[tag] for tag in tags if tag in values)
            found[name][key] = found[name].get(key, 0) + float(value)
    return found


def until(wanted: str, *tags: str, **only: str) -> Samples:
    """What is scraped once `wanted` is there: processes tell their node now and then, and at their end."""
    deadline = time.monotonic() + 40
    while wanted not in (found := scraped(*tags, **only)):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_a_run_is_seen_in_metrics_and_logs(cluster: str, here: Path) -> None:
    rows = pl.DataFrame({"id": range(1000), "v": [None if row % 100 == 0 else "x" for row in range(1000)]})
    rows.write_parquet("in.parquet", row_group_size=250)
    config: dict[str, Any] = {
        "name": "watched",
        "extract": {"rows": {"type": "files", "path": "in.parquet"}},
        "transform": [{"id": "checked", "type": "validate", "rules": [{"name": "has_v", "not_null": ["v"]}]}],
        "load": {"id": "out", "type": "files", "path": "out", "format": "parquet"},
        "resilience": {"dead_letter": {"path": "letters"}},
    }
    Path("c.json").write_text(json.dumps(config))
    words = ["run", "c.json", "--address", cluster, "--split-size", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "rayetl", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    mine = {"pipeline": "watched", "run": run}
    until("rayetl_dead_letters_total", **mine)
    deadline = time.monotonic() + 40
    while (found := scraped("source", "step", "load", **mine))["rayetl_rows_read_total"] != {("rows",): 1000}:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert found["rayetl_rows_rejected_total"] == {("checked",): 10}
    assert found["rayetl_rows_loaded_total"] == {("out",): 990}
    assert found["rayetl_dead_letters_total"] == {(): 10}
    assert found["rayetl_batches_total"][("out",)] >= 4
    size = sum(path.stat().st_size for path in Path("out").glob("*.parquet"))
    assert found["rayetl_bytes_loaded_total"] == {("out",): size}
    read, whole = found["rayetl_bytes_read_total"][()], Path("in.parquet").stat().st_size
    assert 0.9 * whole < read <= whole
    assert found["rayetl_splits_done"] == found["rayetl_splits_total"] == {(): 4}
    assert {("open",), ("run",), ("rejects",), ("commit",)} == set(
        scraped("stage", **mine)["rayetl_stage_seconds_total"]
    )
    lines = [line for line in logged() if run in line and "split done" in line]
    assert len(lines) == 4
    assert {json.loads(line)["pipeline"] for line in lines} == {"watched"}


def logged() -> list[str]:
    """The lines of rayetl in the logs of the node, which the dashboard shows by actor."""
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    return [line for path in logs.glob("worker-*.err") for line in path.read_text().splitlines()]


def test_the_state_of_a_breaker_is_seen(cluster: str) -> None:
    circuits, policy = SharedCircuits(), BreakerPolicy(failure_threshold=1)
    circuits.allow("watched service", policy, "lease")
    circuits.report("watched service", "lease", ok=False)
    found = until("rayetl_breaker_state", "endpoint", endpoint="watched service")
    assert found["rayetl_breaker_state"] == {("watched service",): 2}
