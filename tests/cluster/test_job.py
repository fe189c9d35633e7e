"""The same config as a job of a cluster that somebody started: `ray job submit`, with its token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from ruamel.yaml import YAML
from services.base import free_port

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    return {**os.environ, **settings, "PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def dashboard(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The dashboard of a head node that is started as `deploy/local.yaml` says, in front and on ports of the
    test's own; it is ended with everything that it started."""
    (command,) = YAML(typ="safe").load((ROOT / "deploy/local.yaml").read_text())["head_start_ray_commands"]
    head, web, agent, metrics = (free_port() for _ in range(4))
    words = [
        *("--block", "--num-cpus=2", "--object-store-memory=100000000", f"--port={head}"),
        *(f"--dashboard-port={web}", f"--dashboard-agent-listen-port={agent}"),
        f"--metrics-export-port={metrics}",
    ]
    with (tmp_path / "head.log").open("w") as log:
        started = subprocess.Popen(
            ["bash", "-c", f"{' '.join(['exec env', command, *words])}"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield f"http://127.0.0.1:{web}"
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


def submitted(dashboard: str, environment: dict[str, str], folder: Path, config: str) -> str:
    """What a job prints. Its cluster takes jobs some seconds after it has started."""
    deadline = time.monotonic() + 90
    words = ["job", "submit", "--address", dashboard, "--working-dir", str(folder), "--"]
    while True:
        done = subprocess.run(
            [RAY, *words, "rayetl", "run", config],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        not_yet = "No available agent" in said or "Failed to connect" in said or "Connection refused" in said
        if not not_yet or time.monotonic() > deadline:
            return said
        time.sleep(1)


def test_a_config_is_sent_to_a_cluster(dashboard: str, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n2\n")
    folder = tmp_path / "job"
    folder.mkdir()
    config = {
        "name": "job",
        "extract": {"type": "files", "path": str(tmp_path / "in.csv"), "schema": "a INT"},
        "load": {"type": "files", "path": str(tmp_path / "out"), "format": "parquet"},
        "resilience": {"dead_letter": {"path": str(tmp_path / "letters")}},
        "state": str(tmp_path / "state"),
    }
    config["extract"]["options"] = {"header": True}  # type: ignore[index]
    (folder / "job.json").write_text(json.dumps(config))
    said = submitted(dashboard, environment, folder, "job.json")
    assert "succeeded" in said, said
    assert sorted(ds.dataset(tmp_path / "out", format="parquet").to_table()["a"].to_pylist()) == [1, 2]
    (report,) = (tmp_path / "state" / "runs").glob("*/report.json")
    assert json.loads(report.read_text())["runtime"] == "ray"
