"""The engine `spark` against plain pyspark and `polars`: `python benchmarks/cluster/spark/run.py [JOB ...]`.

Each side is a process of its own, because Spark allows one session in a process. All are there from the
beginning and are asked in turn: job by job, twice to warm up and then `RUNS` times; what counts is the
median of the ratios. The jobs are those of `benchmarks/embedded` on TPC-H at scale 1. Plain pyspark runs the
very queries of the plan on `local[2]` and counts nothing.

`whole` before the jobs measures what a person waits for who types a command: each run has a process of its
own that starts Ray and Spark, if its side needs them, and nothing is warm but the files.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WARM, RUNS = 2, 5
JOBS = ("plain", "joined", "checked")
SPARK = {"type": "spark", "executors": 1, "cores": 2, "memory": "2g"}


def configs() -> dict[str, str]:
    """The YAML of the jobs of the embedded benchmark."""
    spec = importlib.util.spec_from_file_location("embedded", ROOT / "benchmarks/embedded/run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: module.CONFIGS[name] for name in JOBS}


Jobs = dict[str, Callable[[], object]]


def rayetl(engine: object) -> Jobs:
    from ruamel.yaml import YAML

    from rayetl import Pipeline

    def job(text: str) -> Callable[[], object]:
        pipeline = Pipeline.from_dict({**YAML(typ="safe").load(text), "engine": engine})
        return lambda: pipeline.run(force=True)

    return {name: job(text) for name, text in configs().items()}


def plain() -> Jobs:
    from pyspark.sql import SparkSession
    from ruamel.yaml import YAML

    from rayetl import Pipeline, sql
    from rayetl.quality.compile import quoted

    builder = SparkSession.builder.master("local[2]").config("spark.driver.memory", "2g")
    session = builder.config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")

    def job(text: str, out: str) -> Callable[[], object]:
        plan = Pipeline.from_dict(YAML(typ="safe").load(text)).plan()

        def run() -> None:
            for source in plan.sources:
                frame = session.read.parquet(*(file.path for file in source.scan.files))
                frame.createOrReplaceTempView(quoted(source.id))
            for step in plan.steps:
                frame = session.sql(sql.render(step.query))
                frame.createOrReplaceTempView(quoted(step.id))
            shutil.rmtree(out, ignore_errors=True)
            frame.write.option("compression", "zstd").parquet(out)

        return run

    out = f"{ROOT}/data/bench/by_spark"
    return {name: job(text, out) for name, text in configs().items() if name in JOBS[:-1]}


SIDES: dict[str, Callable[[], Jobs]] = {
    "polars": lambda: rayetl("polars"),
    "spark": lambda: rayetl(SPARK),
    "pyspark": plain,
}


def serve(side: str) -> None:
    """Do the jobs that are asked for by name, and answer with the seconds of each."""
    jobs = SIDES[side]()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        began = time.perf_counter()
        jobs[line.strip()]()
        print(time.perf_counter() - began, file=answers, flush=True)


class Side:
    """A process that does jobs."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, __file__, "--serve", name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def seconds(self, job: str) -> float:
        """What a job takes, begun with nothing left to write."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.sync()
        self._process.stdin.write(f"{job}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate(timeout=60)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
        return
    if sys.argv[1:2] == ["whole"]:
        for job in sys.argv[2:] or JOBS:
            tell(job, [{name: whole(name, job) for name in sides_of(job)} for _ in range(RUNS)])
        return
    sides = {name: Side(name) for name in SIDES}
    try:
        for job in sys.argv[1:] or JOBS:
            measure(job, {name: sides[name] for name in sides_of(job)})
    finally:
        for side in sides.values():
            side.end()


def sides_of(job: str) -> list[str]:
    """Plain pyspark knows no contracts and no rules."""
    return [name for name in SIDES if job != JOBS[-1] or name != "pyspark"]


def whole(name: str, job: str) -> float:
    """Seconds from the start of a side's process to the end of one job."""
    began = time.perf_counter()
    side = Side(name)
    try:
        side.seconds(job)
        return time.perf_counter() - began
    finally:
        side.end()


def measure(job: str, sides: dict[str, Side]) -> None:
    rounds = [{name: side.seconds(job) for name, side in sides.items()} for _ in range(WARM + RUNS)]
    print(f"{job}, first: " + ", ".join(f"{name} {each:.2f} s" for name, each in rounds[0].items()))
    tell(job, rounds[WARM:])


def tell(job: str, rounds: list[dict[str, float]]) -> None:
    """The median of each side, and of Spark's time over it."""
    print(job)
    for name in rounds[0]:
        ratios = [each["spark"] / each[name] for each in rounds]
        median = statistics.median(each[name] for each in rounds)
        print(f"  {name}: {median:.2f} s, spark / {name}: {statistics.median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    main()
