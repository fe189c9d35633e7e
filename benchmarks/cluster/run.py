"""The runtime `ray` against the runtime `local`: `python benchmarks/cluster/run.py [speed] [restart]`.

`speed` runs the job `plain` of `benchmarks/embedded` (6 M rows, Parquet to Parquet) both ways in turn, five
pairs after one warm-up, on a cluster that is there already; what counts is the median of the ratios.
`restart` kills the driver when half of 64 splits are finished, starts the run again and counts what is
done again.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import polars as pl
import ray

from rayetl import Pipeline
from rayetl.cluster.session import connect
from rayetl.observability.report import RunReport

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data" / "tpch"
OUT = ROOT / "data" / "bench" / "cluster"
PAIRS = 5
SPLITS = 64


def embedded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("embedded", ROOT / "benchmarks/embedded/run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timed(pipeline: Pipeline, runtime: str) -> tuple[float, RunReport]:
    began = time.perf_counter()
    report = pipeline.run(force=True, runtime="ray" if runtime == "ray" else "local")
    return time.perf_counter() - began, report


def speed() -> None:
    module = embedded()
    module.prepare()
    pipelines = {}
    for runtime in ("local", "ray"):
        config = OUT / f"{runtime}.yaml"
        config.write_text(module.PLAIN.replace(str(module.OUT), str(OUT / runtime)))
        pipelines[runtime] = Pipeline.load(config)
        timed(pipelines[runtime], runtime)
    whole, work, starts = [], [], []
    for _ in range(PAIRS):
        here, local = timed(pipelines["local"], "local")
        there, report = timed(pipelines["ray"], "ray")
        staged = sum(stage.seconds for stage in report.stages)
        whole.append((there / here, there, here))
        work.append(staged / sum(stage.seconds for stage in local.stages))
        starts.append(there - staged)
        assert report.rows_loaded == local.rows_loaded
    ratio, there, here = (statistics.median(each) for each in zip(*whole, strict=True))
    splits = report.splits.total if report.splits is not None else 1
    print(f"speed: ray {there:.2f} s, local {here:.2f} s, ratio {ratio:.2f}, {splits} splits")
    after = statistics.median(work)
    print(f"speed: after start, first task to end of commit: ratio {after:.2f} (goal <= 1.25)")
    print(f"speed: start of the supervisor and its end: {statistics.median(starts):.2f} s")


def restart() -> None:
    source = OUT / "in64.parquet"
    lineitem = pl.read_parquet(DATA / "lineitem.parquet")
    lineitem.write_parquet(source, row_group_size=-(-lineitem.height // SPLITS))
    config = OUT / "restart.yaml"
    config.write_text(
        f"name: restart\nextract: {{type: files, path: {source}}}\n"
        "transform: [{type: filter, where: l_quantity > 5}]\n"
        f"load: {{type: files, path: {OUT}/restarted, format: parquet, mode: append}}\nstate: {OUT}/state\n"
    )
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "rayetl", "run", config, "--address", address, "--split-size", "1"]
    driver = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    while finished() < SPLITS // 2:
        assert driver.poll() is None, "the run ended before half of it was done"
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    killed = time.perf_counter()
    before = finished()
    report = Pipeline.load(config).run(runtime="ray", split_size=1)
    waited = time.perf_counter() - killed
    assert report.splits is not None
    rows = pl.scan_parquet(OUT / "restarted" / "*.parquet").select(pl.len()).collect().item()
    assert rows == lineitem.filter(pl.col("l_quantity") > 5).height, "rows are lost or doubled"
    redone = before - report.splits.kept
    print(
        f"restart: driver killed at half of {report.splits.total} splits; {before} were finished when the "
        f"next run began, {report.splits.kept} were kept, {redone} done again, "
        f"{report.splits.total - report.splits.kept} done for the first time; {rows} rows, each once"
    )
    print(f"restart: kill to the end of the next run {waited:.2f} s")


def finished() -> int:
    return len(list((OUT / "state" / "parked").glob("*/*/*.json")))


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    connect()
    jobs = {"speed": speed, "restart": restart}
    for name in sys.argv[1:] or jobs:
        jobs[name]()
    ray.shutdown()


if __name__ == "__main__":
    main()
