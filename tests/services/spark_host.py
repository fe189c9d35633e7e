"""A process of its own for Spark on Ray: it runs pipelines, one after the other, in one shared session.

Spark allows one session in a process, and the judge's is in that of the tests. It is also a process whose
JVMs a test may kill.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from canaries import Canary

ROOT = Path(__file__).parents[2]
CANARY = Canary("password", "canary-3f7d1c-p /'\\%")
LAKE = Canary("secret key", "canary-9b2e44-k+/=")
"""Secrets in the host's environment, the password of the credential `c` and the key of `lake`, which none of
its children may hold."""

PLANTED = Canary("planted", "planted-51c0aa7e")
"""No secret, and handed on where secrets must not be: whoever looks there has to see it."""

READY = 240.0
"""Seconds that a run may take, the start of Ray and Spark included."""


class SparkHost:
    """Starts with the first run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def run(self, config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """The report of a run as JSON, or its `error` and `hint`. `more`: see `_serve`."""
        with self._lock:
            return self._ask({"config": dict(config), "cwd": os.getcwd(), **more})

    def settings(self) -> dict[str, str]:
        """Every setting that Spark and Ray hold in the host, by what holds them; `session` is Ray's directory."""
        with self._lock:
            return self._ask({"settings": True})

    def start(self, config: Mapping[str, Any], **more: Any) -> Background:
        """A run that goes on meanwhile."""
        return Background(self, config, more)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the host died: {self.said()[-3000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=(self._folder / "stderr").open("ab"),
                text=True,
                env=os.environ
                | {
                    "PYTHONPATH": str(ROOT),
                    "RAYETL_CREDENTIAL_C__PASSWORD": CANARY.text,
                    "RAYETL_CREDENTIAL_LAKE__SECRET_ACCESS_KEY": LAKE.text,
                    "PLANTED": PLANTED.text,
                },
            )
        return self._process

    def said(self) -> str:
        """What the process wrote to stderr."""
        return (self._folder / "stderr").read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._running().pid

    def processes(self) -> list[psutil.Process]:
        """Every process below the host's."""
        return psutil.Process(self.pid).children(recursive=True)

    def find(self, what: str) -> psutil.Process:
        """The one process below the host's whose command line has `what` in it."""
        (found,) = self.all(what)
        return found

    def all(self, what: str) -> list[psutil.Process]:
        """The processes below the host's whose command line has `what` in it."""
        return [each for each in self.processes() if what in " ".join(_command(each))]

    def stop(self) -> list[psutil.Process]:
        """End the host as a program ends; what is left of its processes after that."""
        if self._process is None:
            return []
        below = self.processes()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process = None
        _, alive = psutil.wait_procs(below, timeout=15)
        return [each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


class Background:
    """A run under way in the host."""

    def __init__(self, host: SparkHost, config: Mapping[str, Any], more: dict[str, Any]) -> None:
        self._answer: dict[str, Any] = {}
        self._thread = threading.Thread(target=lambda: self._answer.update(host.run(config, **more)))
        self._thread.start()

    @property
    def under_way(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> dict[str, Any]:
        self._thread.join(READY)
        assert not self._thread.is_alive(), "the run did not end"
        return self._answer


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _serve() -> None:
    """Answer requests, one a line: run `config` in the directory `cwd`, or with `parity` compare engines."""
    from rayetl import Pipeline
    from rayetl.errors import RayetlError

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        os.chdir(request.get("cwd", "."))
        try:
            if request.get("settings"):
                answers.write(json.dumps(_settings()) + "\n")
                answers.flush()
                continue
            pipeline = Pipeline.from_dict(request["config"])
            done = (
                pipeline.parity()
                if request.get("parity")
                else pipeline.run(force=request.get("force", False))
            )
            answer = json.loads(done.to_json())
        except RayetlError as error:
            answer = {"error": error.message, "hint": error.hint, "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _settings() -> dict[str, str]:
    import ray
    from pyspark.sql import SparkSession

    spark: Any = SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()
    context, system = spark.sparkContext, spark._jvm.java.lang.System
    hadoop = context._jsc.hadoopConfiguration().iterator()
    entries = []
    while hadoop.hasNext():
        entries.append(str(hadoop.next()))
    job = ray.get_runtime_context()
    return {
        "Spark's conf": str(context.getConf().getAll()),
        "Spark's SQL conf": str(spark.sql("SET").collect()),
        "Hadoop's conf": "\n".join(entries),
        "the properties of the driver JVM": system.getProperties().toString(),
        "the environment of the driver JVM": system.getenv().toString(),
        "the runtime environment of the job": str(job.runtime_env),
        "session": ray._private.worker._global_node.get_session_dir_path(),
    }


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve()
