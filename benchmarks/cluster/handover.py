"""Rows of Spark on Ray for Polars: `python benchmarks/cluster/handover.py [speed] [executor]`.

`speed` hands 1 GB of lineitem over in three ways, in turn, `RUNS` times after one to warm up, and prints
GB/s of what arrives (as Arrow):
  nothing   Spark reads and makes the rows, and throws them away: what every way pays for;
  parquet   as the engine does it: written to a local disk by the executors, read by Polars;
  objects   RayDP's recoverable dataset: Arrow kept by the executors, fetched into the object store by tasks.
`executor` kills the executor with SIGKILL when half of the parts have been fetched, and tells what becomes
of the rest within `PATIENCE` seconds. Parquet needs no such test: what is written is there.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import ray

from rayetl.cluster.spark_session import SparkOnRay
from rayetl.config.engines import SparkSettings
from rayetl.engines.spark.exchange import hand_back
from rayetl.sql.interop import from_polars

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "data" / "tpch" / "lineitem.parquet"
OUT = ROOT / "data" / "bench" / "handover"
RUNS = 3
PATIENCE = 90
BYTES = 1_000_000_000


def chosen(spark: Any) -> tuple[Any, int]:
    """The columns of lineitem that make about 1 GB of Arrow, and how many bytes they are."""
    frame = pl.read_parquet(SOURCE)
    rows = min(frame.height, BYTES * frame.height // frame.estimated_size())
    size = frame.head(rows).estimated_size()
    place = OUT / "in.parquet"
    frame.head(rows).write_parquet(place, row_group_size=rows // 16 + 1)
    return spark.read.parquet(f"file://{place}"), int(size)


def nothing(frame: Any) -> int:
    frame.write.format("noop").mode("overwrite").save()
    return 0


def parquet(frame: Any) -> int:
    place = OUT / "parquet"
    shutil.rmtree(place, ignore_errors=True)
    schema = from_polars(pl.scan_parquet(OUT / "in.parquet").collect_schema())
    return hand_back(frame, schema, place).collect().height


def objects(frame: Any) -> int:
    from raydp.spark.dataset import release_spark_recoverable

    found = pl.concat([arrived(reference) for reference in fetched(frame)])
    release_spark_recoverable(frame)
    return found.height


def fetched(frame: Any) -> list[Any]:
    """The parts of a dataset, being fetched; without Ray Data, which waits for all to describe them, by tasks
    that find no processor where the executors have them all."""
    from raydp.spark import dataset

    plain: Any = dataset
    plain.from_arrow_refs = lambda references: references
    references: list[Any] = plain.from_spark_recoverable(frame)
    return references


def arrived(reference: Any) -> pl.DataFrame:
    rows = pl.from_arrow(ray.get(reference))
    assert isinstance(rows, pl.DataFrame)
    return rows


WAYS: dict[str, Callable[[Any], int]] = {"nothing": nothing, "parquet": parquet, "objects": objects}


def speed(spark: Any) -> None:
    frame, size = chosen(spark)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for attempt in range(RUNS + 1):
        for name, way in WAYS.items():
            began = time.perf_counter()
            rows = way(frame)
            print(f"{name}, attempt {attempt}: {time.perf_counter() - began:.2f} s", file=sys.stderr)
            if attempt:
                seconds[name].append(time.perf_counter() - began)
    median = {name: statistics.median(each) for name, each in seconds.items()}
    print(f"{size / 1e9:.2f} GB of Arrow, {rows} rows")
    for name, found in median.items():
        rate = ""
        if name != "nothing":
            net = found - median["nothing"]
            rate = f", {size / 1e9 / found:.2f} GB/s, without making the rows {size / 1e9 / net:.2f} GB/s"
        print(f"{name}: {found:.2f} s{rate}")


def executor(spark: Any) -> None:
    frame, _ = chosen(spark)
    references = fetched(frame)
    half = len(references) // 2
    ray.wait(references, num_returns=half, timeout=PATIENCE)
    below = [each for each in psutil.Process().children(recursive=True) if each.name() == "java"]
    workers = [each for each in below if "DefaultWorker" in " ".join(each.cmdline())]
    # The other one is the app master's.
    max(workers, key=lambda each: each.create_time()).kill()
    began = time.perf_counter()
    done, lost = ray.wait(references, num_returns=len(references), timeout=PATIENCE)
    waited = time.perf_counter() - began
    came, faults = 0, Counter[str]()
    for reference in done:
        try:
            came += arrived(reference).height > 0
        except ray.exceptions.RayError as error:
            faults[type(error).__name__] += 1
    failed = ", ".join(f"{count} failed ({name})" for name, count in faults.items()) or "none failed"
    print(
        f"executor killed at {half} of {len(references)} parts: {came} came, {failed}, "
        f"{len(lost)} did not end, after {waited:.0f} s"
    )


JOBS: dict[str, Callable[[Any], None]] = {"speed": speed, "executor": executor}


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    # With 3 GiB the way by objects ends in an OutOfMemoryError: it holds a part several times.
    conf: dict[str, str | int | float | bool] = {"spark.sql.files.maxPartitionBytes": 16 << 20}
    settings = SparkSettings(type="spark", executors=1, cores=2, memory=6 << 30, conf=conf)
    for name in sys.argv[1:] or JOBS:
        with SparkOnRay(settings).working() as spark:
            JOBS[name](spark)


if __name__ == "__main__":
    main()
