"""The engine `spark` against plain pyspark and against `polars`: `python benchmarks/cluster/spark/run.py`.

Each side is a process of its own, because Spark allows one session in a process. It starts, runs every job
twice to warm up and then `RUNS` times; what counts is the median. The jobs are those of `benchmarks/embedded`
on TPC-H at scale 1. Plain pyspark runs the very queries of the plan on `local[2]` and counts nothing.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RUNS = 3
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


def timed(jobs: dict[str, Callable[[], None]], warm: int) -> dict[str, float]:
    found = {}
    for name, job in jobs.items():
        seconds = []
        for attempt in range(warm + RUNS):
            began = time.perf_counter()
            job()
            if attempt >= warm:
                seconds.append(time.perf_counter() - began)
        found[name] = statistics.median(seconds)
    return found


def rayetl(engine: object) -> dict[str, float]:
    from ruamel.yaml import YAML

    from rayetl import Pipeline

    def job(text: str) -> Callable[[], None]:
        pipeline = Pipeline.from_dict({**YAML(typ="safe").load(text), "engine": engine})
        return lambda: print(pipeline.run(force=True).status, file=sys.stderr)

    began = time.perf_counter()
    jobs = {name: job(text) for name, text in configs().items()}
    if engine != "polars":
        jobs["plain"]()
    return {"start": time.perf_counter() - began, **timed(jobs, 2)}


def plain() -> dict[str, float]:
    from pyspark.sql import SparkSession
    from ruamel.yaml import YAML

    from rayetl import Pipeline, sql
    from rayetl.quality.compile import quoted

    builder = SparkSession.builder.master("local[2]").config("spark.driver.memory", "2g")
    session = builder.config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")

    def job(text: str, out: str) -> Callable[[], None]:
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

    chosen = {name: text for name, text in configs().items() if name != "checked"}
    return timed({name: job(text, f"{ROOT}/data/bench/by_spark") for name, text in chosen.items()}, 2)


SIDES: dict[str, Callable[[], dict[str, float]]] = {
    "polars": lambda: rayetl("polars"),
    "spark": lambda: rayetl(SPARK),
    "pyspark": plain,
}


def main() -> None:
    if len(sys.argv) > 1:
        print("RESULT " + json.dumps(SIDES[sys.argv[1]]()))
        return
    results = {}
    for side in SIDES:
        done = subprocess.run([sys.executable, __file__, side], capture_output=True, text=True, check=True)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        results[side] = json.loads(line.removeprefix("RESULT "))
    print(f"start of Ray, Spark and the first run: {results['spark']['start']:.1f} s")
    for job in JOBS:
        spark, polars = results["spark"][job], results["polars"][job]
        line = f"{job}: spark {spark:.2f} s, polars {polars:.2f} s ({spark / polars:.1f} times)"
        if job in results["pyspark"]:
            by_hand = results["pyspark"][job]
            line += f", plain pyspark {by_hand:.2f} s ({spark / by_hand:.2f})"
        print(line)


if __name__ == "__main__":
    main()
