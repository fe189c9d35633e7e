"""rayetl against deltalake and pyiceberg alone: `python benchmarks/lake/run.py [JOB ...] [--rows N]`.

`append`: 8 M rows from Parquet into a Delta table, both ways in turn in one process, five pairs after one
warm-up; what counts is the median of the ratios. `iceberg`: the same into an Iceberg table, `partitioned`:
into one by day. `memory`: the peaks of whole processes with 8 M and 80 M rows.
"""

from __future__ import annotations

import argparse
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
from pyiceberg.catalog.sql import SqlCatalog

from rayetl import Pipeline

PAIRS = 5
Result = dict[str, object]

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


def config(directory: Path, source: Path, load: dict[str, object], mode: str = "append") -> dict[str, object]:
    return {
        "name": "lake",
        "extract": {"type": "files", "path": str(source)},
        "load": {**load, "mode": mode, "compression": "snappy"},
        "state": str(directory / "state"),
    }


def delta(directory: Path) -> dict[str, object]:
    return {"type": "delta", "path": str(directory / "ours")}


def seconds(job: Callable[[], object], target: Path) -> float:
    shutil.rmtree(target, ignore_errors=True)
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def compared(name: str, ours: Callable[[], object], by_hand: Callable[[], object], directory: Path) -> Result:
    mine, other = directory / "ours", directory / "hand"
    seconds(ours, mine), seconds(by_hand, other)
    pairs = [(seconds(ours, mine), seconds(by_hand, other)) for _ in range(PAIRS)]
    return {
        "job": name,
        "seconds": [round(first, 2) for first, _ in pairs],
        "against": [round(second, 2) for _, second in pairs],
        "ratio": round(statistics.median(first / second for first, second in pairs), 3),
        "goal": 1.15,
    }


def append(directory: Path, rows: int) -> Result:
    source = made(directory / "in.parquet", rows)
    pipeline = Pipeline.from_dict(config(directory, source, delta(directory)))

    def by_hand() -> None:
        write_deltalake(directory / "hand", ds.dataset(source).scanner().to_reader(), mode="append")

    return compared("append", lambda: pipeline.run(force=True), by_hand, directory)


def iceberg(directory: Path, rows: int, *cuts: str) -> Result:
    """By hand: the whole as one Arrow table where the table is partitioned, since pyiceberg takes no stream
    there, else batch by batch; both tables have the same codec."""
    source = made(directory / "in.parquet", rows)
    place = directory / "ours"
    catalog = {"type": "sql", "uri": f"sqlite:///{place}/catalog.db", "warehouse": str(place)}
    load = {"type": "iceberg", "catalog": catalog, "table": "bench.lake", "partition_by": list(cuts)}
    pipeline = Pipeline.from_dict(config(directory, source, load))

    def by_hand() -> None:
        other = directory / "hand"
        other.mkdir()
        catalog = SqlCatalog("default", uri=f"sqlite:///{other}/catalog.db", warehouse=f"file://{other}")
        catalog.create_namespace("bench")
        rows = ds.dataset(source)
        codec = {"write.parquet.compression-codec": "snappy"}
        table = catalog.create_table("bench.lake", rows.schema, properties=codec)
        if cuts:
            with table.update_spec() as spec:
                spec.add_identity(cuts[0])
        table.append(rows.to_table() if cuts else rows.scanner().to_reader())
        catalog.close()

    return compared(
        "partitioned" if cuts else "iceberg", lambda: pipeline.run(force=True), by_hand, directory
    )


def partitioned(directory: Path, rows: int) -> Result:
    return iceberg(directory, rows, "day")


def memory(directory: Path, most: int) -> Result:
    peaks = []
    for rows in (most, 10 * most):
        source = made(directory / f"{rows}.parquet", rows)
        path = directory / f"{rows}.json"
        path.write_text(json.dumps(config(directory, source, delta(directory), "overwrite")))
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


JOBS = {"append": append, "iceberg": iceberg, "partitioned": partitioned, "memory": memory}

if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("jobs", nargs="*", default=list(JOBS), choices=list(JOBS))
    arguments.add_argument("--rows", type=int, default=8_000_000)
    chosen = arguments.parse_args()
    for name in chosen.jobs:
        with tempfile.TemporaryDirectory(prefix="rayetl-lake-") as place:
            print(json.dumps(JOBS[name](Path(place), chosen.rows)), flush=True)
