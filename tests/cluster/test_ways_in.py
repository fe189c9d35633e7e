"""The ways to a run on Ray, and what is said where there is none."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.dataset as ds
import pytest

from rayetl import Pipeline
from rayetl.cluster.session import connected
from rayetl.cluster.supervisor import assert_lasting, status
from rayetl.errors import QualityAbort, RunError, Terminal
from rayetl.observability.report import RunReport

ROWS = "id,v\n1,a\n2,b\n3,\n4,d\nx,e\n"


def config(**changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "extract": {
            "type": "files",
            "path": "in.csv",
            "schema": "id INT, v STRING",
            "options": {"header": True},
        },
        "transform": [{"type": "validate", "rules": [{"name": "has_v", "not_null": ["v"]}]}],
        "load": {"id": "out", "type": "files", "path": "out", "format": "parquet", "mode": "append"},
        "resilience": {"dead_letter": {"type": "files", "path": "rejects"}},
        **changes,
    }


def ids(path: str) -> list[int]:
    return sorted(ds.dataset(path, format="parquet").to_table()["id"].to_pylist())


def comparable(report: RunReport) -> RunReport:
    """What must be the same on both runtimes."""
    return replace(
        report,
        run="",
        runtime="",
        started=report.started.min,
        finished=report.started.min,
        stages=(),
        peak_memory_bytes=None,
        loads=tuple(replace(load, seconds=0.0, location="", epoch="", bytes=0) for load in report.loads),
        run_key="",
    )


def test_a_run_on_ray_is_the_run_of_this_process(cluster: str, here: Path) -> None:
    Path("in.csv").write_text(ROWS)
    local = Pipeline.from_dict(config(state="l", load=config()["load"] | {"path": "l_out"})).run()
    report = Pipeline.from_dict(config()).run(runtime="ray")
    assert report.runtime == "ray"
    assert ids("out") == [1, 2, 4] == ids("l_out")
    assert comparable(report) == comparable(local)
    assert report.rows_rejected == 2
    assert Path(".rayetl").is_dir()
    assert Pipeline.from_dict(config()).run().status == "skipped", "the ledger is the same on both runtimes"


def test_what_stops_a_run_on_ray_is_raised_with_its_report(cluster: str, here: Path) -> None:
    Path("in.csv").write_text(ROWS)
    rule = {"name": "has_v", "not_null": ["v"], "on_failure": "abort"}
    with pytest.raises(QualityAbort, match="has_v") as stopped:
        Pipeline.from_dict(config(transform=[{"type": "validate", "rules": [rule]}])).run(runtime="ray")
    assert stopped.value.report is not None
    assert stopped.value.report.runtime == "ray"
    assert not Path("out").exists()


def test_the_listener_hears_what_it_hears_locally(cluster: str, here: Path) -> None:
    from tests.cluster.test_board import Heard

    Path("in.csv").write_text(ROWS)
    heard = Heard()
    Pipeline.from_dict(config()).run(runtime="ray", progress=heard)
    stages = [call[:2] for call in heard.calls if call[0] in ("begins", "ends")]
    expected = [
        (what, stage) for stage in ("plan", "open", "run", "rejects", "commit") for what in ("begins", "ends")
    ]
    assert stages == expected
    assert ("out", 3) in heard.calls


def test_a_run_that_is_not_there_has_no_status(cluster: str) -> None:
    with pytest.raises(RunError, match="no run nobody is under way"):
        status("nobody")


@contextmanager
def listening() -> Iterator[str]:
    """Something that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:1", "there is no Ray cluster at"), ("ray://h:1", "Ray client"), ("h:no", "no Ray cluster")],
)
def test_without_a_cluster_it_is_said_at_once(address: str, said: str) -> None:
    done = command("run", "in.csv", "--address", address, environment={"RAY_ADDRESS": ""})
    assert done.returncode == 2, "the config is looked at first"
    began = time.monotonic()
    with pytest.raises(RunError, match=said) as fault, connected_from_nowhere(address):
        pass
    assert time.monotonic() - began < 5
    assert "--address and RAY_ADDRESS" in str(fault.value.hint) or "ray job submit" in str(fault.value.hint)


def test_spark_joins_the_cluster_that_is_named(here: Path) -> None:
    Path("in.csv").write_text(ROWS)
    Path("config.json").write_text(json.dumps(config(engine="spark")))
    done = command("run", "config.json", "--runtime", "ray", "--address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "there is no Ray cluster at 127.0.0.1:1" in done.stderr
    assert not Path("out").exists() or not list(Path("out").glob("*.parquet"))


def test_what_does_not_speak_is_no_cluster() -> None:
    with (
        listening() as address,
        pytest.raises(RunError, match="is no Ray cluster"),
        connected_from_nowhere(address),
    ):
        pass


@contextmanager
def connected_from_nowhere(address: str) -> Iterator[None]:
    """`connected` as in a process that has no connection yet."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "is_initialized", lambda: False)
        with connected(address):
            yield


def test_without_ray_the_message_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "name: p\nextract: {type: files, path: in.csv}\nload: {type: files, path: out, format: csv}\n"
    )
    (tmp_path / "in.csv").write_text("a\n1\n")
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')\n")
    done = command("run", "c.yaml", "--runtime", "ray", cwd=tmp_path, path=tmp_path)
    assert done.returncode == 1
    assert "pip install 'rayetl[ray]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_address_for_the_local_runtime_is_refused() -> None:
    done = command("run", "c.yaml", "--runtime", "local", "--address", "auto")
    assert done.returncode == 2
    assert "joins no cluster" in done.stderr


def command(
    *words: str, cwd: Path | None = None, path: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    settings = {**os.environ, "PYTHONPATH": f"{path}:{root}" if path else root, **(environment or {})}
    return subprocess.run(
        [sys.executable, "-m", "rayetl", *words],
        cwd=cwd,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_rolls_back_in_time(cluster: str, here: Path, number: int, code: int) -> None:
    Path("in.csv").write_text("id,v\n" + "".join(f"{row},text {row}\n" for row in range(1_500_000)))
    many = ", ".join(f"sha2(concat(v, '{n}'), 512) AS h{n}" for n in range(6))
    Path("c.yaml").write_text(
        "name: slow\n"
        "extract: {type: files, path: in.csv, schema: 'id INT, v STRING', options: {header: true}}\n"
        f'transform: [{{type: sql, query: "SELECT id, {many} FROM source"}}]\n'
        "load: {type: files, path: out, format: parquet, mode: append}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "rayetl", "run", "c.yaml", "--address", cluster],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(r"\brun \.\.\.", line):
            break
    threading.Event().wait(0.7)
    began = time.monotonic()
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait() == code, said
    assert time.monotonic() - began < 2.5
    assert "stopped by" in said
    assert "***" not in said, "Ray shows where the process was"
    assert not list(Path("out").glob("*.parquet")) if Path("out").exists() else True
    assert not list(Path().glob(".out.rayetl-*")), "nothing staged is left"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_cluster_of_its_own_starts_ends_the_run(here: Path, number: int, code: int) -> None:
    Path("in.csv").write_text(ROWS)
    Path("config.json").write_text(json.dumps(config()))
    process = subprocess.Popen(
        [sys.executable, "-m", "rayetl", "run", "config.json", "--runtime", "ray"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )
    started, under_way = list[psutil.Process](), False
    while not under_way:
        assert process.poll() is None
        with suppress(psutil.Error):
            started = psutil.Process(process.pid).children(recursive=True)
            under_way = any(each.name() == "raylet" for each in started)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert f"stopped by {signal.Signals(number).name}" in said
    assert not psutil.wait_procs(started, timeout=30)[1]


def test_outputs_in_a_copy_that_ray_removes_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = here / "working_dir_files" / "_ray_pkg_1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert_lasting({"the load out": str(here / "out")})
    with pytest.raises(Terminal, match=r"the load 1 \(out\), the reports \(.rayetl\) would lie"):
        assert_lasting({"the load 1": "out", "the reports": ".rayetl", "the load 2": str(here / "x")})
