"""rayetl against deltalake alone: `python benchmarks/lake/run.py [append | memory]`.

`append`: 8 M rows from Parquet into a Delta table, both ways in turn in one process, five pairs after one
warm-up; what counts is the median of the ratios. `memory`: the peaks of whole processes with 2 M and 20 M
rows.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.dataset as ds
from deltalake import write_deltalake

from rayetl import Pipeline

PAIRS = 5
ROWS = 8_000_000

PEAK = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(used.ru_maxrss * 1024)
sys.exit(status != 0)
"""


def made(path: Path, rows: int) -> Path:
    """A Parquet file of eight columns."""
    row = pl.col("id")
    pl.LazyFrame({"id": pl.int_range(rows, eager=True)}).with_columns(
        k=(row % 1000).cast(pl.Int32),
        price=row * 0.01,
        flag=row % 2 == 0,
        name=pl.format("name {}", row % 5000),
        note=pl.format("{} of {}", row % 97, row % 89),
        day=pl.date(2024, 1, 1) + pl.duration(days=row % 365),
        at=pl.datetime(2024, 1, 1, time_zone="UTC") + pl.duration(seconds=row),
    ).sink_parquet(path, row_group_size=250_000)
    return path


def config(directory: Path, source: Path, mode: str = "append") -> dict[str, object]:
    return {
        "name": "lake",
        "extract": {"type": "files", "path": str(source)},
        "load": {"type": "delta", "path": str(directory / "ours"), "mode": mode, "compression": "snappy"},
        "state": str(directory / "state"),
    }


def seconds(job: Callable[[], object], target: Path) -> float:
    shutil.rmtree(target, ignore_errors=True)
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def append(directory: Path) -> dict[str, object]:
    source = made(directory / "in.parquet", ROWS)
    pipeline, mine, other = (
        Pipeline.from_dict(config(directory, source)),
        directory / "ours",
        directory / "hand",
    )

    def by_hand() -> None:
        write_deltalake(other, ds.dataset(source).scanner().to_reader(), mode="append")

    def ours() -> None:
        pipeline.run(force=True)

    seconds(ours, mine), seconds(by_hand, other)
    pairs = [(seconds(ours, mine), seconds(by_hand, other)) for _ in range(PAIRS)]
    return {
        "job": "append",
        "seconds": [round(first, 2) for first, _ in pairs],
        "against": [round(second, 2) for _, second in pairs],
        "ratio": round(statistics.median(first / second for first, second in pairs), 3),
        "goal": 1.15,
    }


def memory(directory: Path) -> dict[str, object]:
    peaks = []
    for rows in (2_000_000, 20_000_000):
        source = made(directory / f"{rows}.parquet", rows)
        path = directory / f"{rows}.json"
        path.write_text(json.dumps(config(directory, source, "overwrite")))
        command = [str(Path(sys.executable).with_name("rayetl")), "run", str(path), "--force"]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *command], check=True, capture_output=True, text=True
        )
        peaks.append(int(done.stdout))
    return {
        "job": "memory",
        "megabytes": [peak // 10**6 for peak in peaks],
        "ratio": round(peaks[1] / peaks[0], 3),
        "goal": 1.2,
    }


JOBS = {"append": append, "memory": memory}

if __name__ == "__main__":
    for name in sys.argv[1:] or JOBS:
        with tempfile.TemporaryDirectory(prefix="rayetl-lake-") as place:
            print(json.dumps(JOBS[name](Path(place))), flush=True)
