"""rayetl against hand-written Polars on TPC-H: `python benchmarks/embedded/run.py [NAME ...]`.

Jobs run both ways in turn in one process, after one warm-up; what counts is the median of the ratios of
five pairs. `start` and `memory` look at whole processes. Data of scale 1 are made with tpchgen-cli below
`data/tpch` when missing.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rayetl import Pipeline

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data" / "tpch"
OUT = ROOT / "data" / "bench"
PAIRS = 5

PLAIN = f"""
name: plain
extract: {{type: files, path: {DATA}/lineitem.parquet}}
transform:
  - {{type: filter, where: l_quantity > 5}}
  - type: select
    add:
      a: CAST(l_extendedprice AS DOUBLE) * 2
      b: upper(l_comment)
      c: year(l_shipdate)
      d: concat(l_returnflag, '-', l_linestatus)
      e: l_orderkey * 10 + l_linenumber
load: {{type: files, path: {OUT}/plain, format: parquet, mode: overwrite}}
state: {OUT}/state
"""

CHECKED = (
    PLAIN.replace("name: plain", "name: checked")
    .replace("/plain,", "/checked,")
    .replace(
        f"path: {DATA}/lineitem.parquet",
        f"path: {DATA}/lineitem.parquet, contract: {{schema: {ROOT}/benchmarks/embedded/lineitem.avsc, "
        "on_mismatch: quarantine}",
    )
    .replace(
        "  - type: select",
        """  - type: validate
    rules:
      - {name: r1, range: {column: l_discount, min: 0, max: 0.1}}
      - {name: r2, range: {column: l_tax, min: 0, max: 1}}
      - {name: r3, in_set: {column: l_returnflag, values: [A, N, R]}}
      - {name: r4, in_set: {column: l_linestatus, values: [O, F]}}
      - {name: r5, length: {column: l_comment, min: 1, max: 44}}
      - {name: r6, not_null: [l_orderkey, l_partkey]}
      - {name: r7, check: l_shipdate <= l_receiptdate}
      - {name: r8, range: {column: l_extendedprice, min: 1, max: 100000}}
      - {name: r9, pattern: {column: l_shipmode, regex: "^[A-Z ]+$"}, on_failure: warn}
      - {name: r10, check: l_commitdate > DATE'1990-01-01', on_failure: warn}
  - type: select""",
    )
    .replace("state:", f"resilience: {{dead_letter: {{type: files, path: {OUT}/rejects}}}}\nstate:")
)

PARTED = (
    PLAIN.replace("name: plain", "name: parted")
    .replace("/plain,", "/parted,")
    .replace("mode: overwrite}", "mode: overwrite, partition_by: l_shipdate}")
)

REFUSING = CHECKED.replace("name: checked", "name: refusing").replace("max: 0.1}", "max: 0.09}")

JOIN = f"""
name: joined
extract:
  lineitem: {{type: files, path: {DATA}/lineitem.parquet}}
  orders: {{type: files, path: {DATA}/orders.parquet}}
  customer: {{type: files, path: {DATA}/customer.parquet}}
transform:
  - id: q
    type: sql
    query: |
      SELECT l_orderkey, sum(CAST(l_extendedprice AS DOUBLE)) AS revenue, o_orderdate, o_shippriority
      FROM customer JOIN orders ON c_custkey = o_custkey JOIN lineitem ON l_orderkey = o_orderkey
      WHERE c_mktsegment = 'BUILDING' AND o_orderdate < DATE'1995-03-15' AND l_shipdate > DATE'1995-03-15'
      GROUP BY l_orderkey, o_orderdate, o_shippriority
      ORDER BY revenue DESC, o_orderdate
load: {{type: files, path: {OUT}/joined, format: parquet, mode: overwrite}}
state: {OUT}/state
"""

TEXT = f"""
name: text
extract:
  type: files
  path: {DATA}/million.csv
  schema: k BIGINT, p BIGINT, q DOUBLE, price DOUBLE, flag STRING, shipped DATE, mode STRING, note STRING
  options: {{header: true}}
  mode: permissive
load: {{type: files, path: {OUT}/text, format: json, mode: overwrite}}
state: {OUT}/state
"""

SEVERAL = (
    TEXT.replace("name: text", "name: several").split("load:")[0]
    + f"""
transform:
  - {{type: filter, where: q > 5}}
load:
  - id: packed
    type: files
    path: {OUT}/packed
    format: csv
    mode: overwrite
    options: {{compression: gzip}}
  - {{id: columns, type: files, path: {OUT}/columns, format: parquet, mode: overwrite}}
state: {OUT}/state
"""
)

POLARS = {
    "plain": f"""
import polars as pl
pl.scan_parquet("{DATA}/lineitem.parquet").filter(pl.col("l_quantity") > 5).with_columns(
    a=pl.col("l_extendedprice").cast(pl.Float64) * 2, b=pl.col("l_comment").str.to_uppercase(),
    c=pl.col("l_shipdate").dt.year(), d=pl.concat_str("l_returnflag", pl.lit("-"), "l_linestatus"),
    e=pl.col("l_orderkey") * 10 + pl.col("l_linenumber"),
).sink_parquet("{OUT}/by_hand.parquet")
""",
    "parted": f"""
import polars as pl
pl.scan_parquet("{DATA}/lineitem.parquet").filter(pl.col("l_quantity") > 5).with_columns(
    a=pl.col("l_extendedprice").cast(pl.Float64) * 2, b=pl.col("l_comment").str.to_uppercase(),
    c=pl.col("l_shipdate").dt.year(), d=pl.concat_str("l_returnflag", pl.lit("-"), "l_linestatus"),
    e=pl.col("l_orderkey") * 10 + pl.col("l_linenumber"),
).sink_parquet(pl.PartitionBy("{OUT}/by_hand", key="l_shipdate", include_key=False), mkdir=True)
""",
    "joined": f"""
import polars as pl
from datetime import date
c = pl.scan_parquet("{DATA}/customer.parquet").filter(pl.col("c_mktsegment") == "BUILDING")
o = pl.scan_parquet("{DATA}/orders.parquet").filter(pl.col("o_orderdate") < date(1995, 3, 15))
l = pl.scan_parquet("{DATA}/lineitem.parquet").filter(pl.col("l_shipdate") > date(1995, 3, 15))
(c.join(o, left_on="c_custkey", right_on="o_custkey").join(l, left_on="o_orderkey", right_on="l_orderkey")
 .group_by("o_orderkey", "o_orderdate", "o_shippriority")
 .agg(revenue=pl.col("l_extendedprice").cast(pl.Float64).sum())
 .sort("revenue", "o_orderdate", descending=[True, False]).sink_parquet("{OUT}/by_hand.parquet"))
""",
    "text": f"""
import polars as pl
schema = dict(k=pl.Int64, p=pl.Int64, q=pl.Float64, price=pl.Float64, flag=pl.String, shipped=pl.Date,
              mode=pl.String, note=pl.String)
pl.scan_csv("{DATA}/million.csv", schema=schema).sink_ndjson("{OUT}/by_hand.json")
""",
    "several": f"""
import polars as pl
schema = dict(k=pl.Int64, p=pl.Int64, q=pl.Float64, price=pl.Float64, flag=pl.String, shipped=pl.Date,
              mode=pl.String, note=pl.String)
rows = pl.scan_csv("{DATA}/million.csv", schema=schema).filter(pl.col("q") > 5)
pl.collect_all([
    rows.sink_csv("{OUT}/by_hand.csv.gz", compression="gzip", lazy=True),
    rows.sink_parquet("{OUT}/by_hand.parquet", lazy=True),
])
""",
}

CONFIGS = {
    "plain": PLAIN,
    "checked": CHECKED,
    "refusing": REFUSING,
    "joined": JOIN,
    "text": TEXT,
    "parted": PARTED,
    "several": SEVERAL,
}
GOALS = {"plain": 1.10} | dict.fromkeys(("checked", "refusing", "joined", "text", "parted", "several"), 1.15)
TEN = f"""
name: ten
extract: {{type: files, path: {OUT}/ten.csv, schema: "a INT, b STRING", options: {{header: true}}}}
transform:
  - {{type: filter, where: a > 2}}
load: {{type: files, path: {OUT}/ten, format: parquet, mode: overwrite}}
state: {OUT}/state
"""


def prepare() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    if not (DATA / "lineitem.parquet").exists():
        tool = Path(sys.executable).with_name("tpchgen-cli")
        tables = "--tables=lineitem,orders,customer"
        subprocess.run([tool, "parquet", "-s", "1", tables, f"--output-dir={DATA}"], check=True)
    if not (DATA / "million.csv").exists():
        import polars as pl

        columns = ["l_orderkey", "l_partkey", "l_quantity", "l_extendedprice", "l_returnflag", "l_shipdate"]
        million = pl.scan_parquet(DATA / "lineitem.parquet").head(1_000_000)
        chosen = million.select(*columns, "l_shipmode", "l_comment")
        names = ["k", "p", "q", "price", "flag", "shipped", "mode", "note"]
        chosen.rename(dict(zip(chosen.collect_schema().names(), names, strict=True))).sink_csv(
            DATA / "million.csv"
        )


def written(name: str, config: str) -> Path:
    path = OUT / f"{name}.yaml"
    path.write_text(config)
    return path


def rayetl(job: str) -> Callable[[], object]:
    config = written(job, CONFIGS[job])
    return lambda: Pipeline.load(config).run(force=True)


def by_hand(job: str) -> Callable[[], object]:
    if job in ("checked", "refusing"):
        return rayetl("plain")
    program = compile(POLARS[job], job, "exec")
    return lambda: exec(program, {})


def clear() -> None:
    for name in (*CONFIGS, "ten", "rejects", "by_hand"):
        shutil.rmtree(OUT / name, ignore_errors=True)


def seconds(job: Callable[[], object]) -> float:
    """What a job takes. Nothing waits to be written when it begins: what one job left unsynced would be
    written by the first sync of the next, and billed to it."""
    clear()
    os.sync()
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def measure(job: str) -> dict[str, object]:
    ours, theirs = rayetl(job), by_hand(job)
    seconds(ours), seconds(theirs)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(PAIRS)]
    ratios = [mine / other for mine, other in pairs]
    return {
        "job": job,
        "seconds": [round(mine, 2) for mine, _ in pairs],
        "against": [round(other, 2) for _, other in pairs],
        "ratio": round(statistics.median(ratios), 3),
        "goal": GOALS[job],
    }


WATCH = """
import os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(time.perf_counter() - started, used.ru_maxrss * 1024)
sys.exit(status != 0)
"""
"""Run apart from this process, whose own memory would count as the first of a child's."""


def process(command: list[str]) -> tuple[float, int]:
    """Seconds and peak bytes of a process."""
    clear()
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *command], check=True, cwd=ROOT, capture_output=True, text=True
    )
    taken, peak = done.stdout.split()
    return float(taken), int(peak)


def command(config: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("rayetl")), "run", str(config), "--force"]


def measure_start() -> dict[str, object]:
    """A whole `rayetl run` of ten rows, and how much longer it takes than `import polars`."""
    (OUT / "ten.csv").write_text("a,b\n" + "".join(f"{row},x{row}\n" for row in range(10)))
    ours, theirs = command(written("ten", TEN)), [sys.executable, "-c", "import polars"]
    process(ours), process(theirs)
    pairs = [(process(ours)[0], process(theirs)[0]) for _ in range(2 * PAIRS)]
    return {
        "job": "start",
        "seconds": [round(mine, 2) for mine, _ in pairs],
        "against": [round(other, 2) for _, other in pairs],
        "more": round(statistics.median(mine - other for mine, other in pairs), 3),
        "goal": 0.5,
    }


def measure_memory(job: str) -> dict[str, object]:
    """Peak memory of a whole process with the input once and ten times."""
    name = "million.csv" if job in ("text", "several") else "lineitem.parquet"
    often = DATA / f"ten_{job}"
    often.mkdir(exist_ok=True)
    for copy in range(10):
        if not (often / f"{copy}-{name}").exists():
            os.link(DATA / name, often / f"{copy}-{name}")
    once = process(command(written("once", CONFIGS[job])))[1]
    tenfold = CONFIGS[job].replace(f"path: {DATA}/{name}", f"path: {often}/*{name}")
    ten = process(command(written("tenfold", tenfold)))[1]
    return {
        "job": f"memory of {job}",
        "megabytes": [once // 10**6, ten // 10**6],
        "ratio": round(ten / once, 3),
        "goal": 1.2,
    }


MEMORY = ("plain", "checked", "text", "parted", "several")
MEASURES: dict[str, Callable[[], dict[str, object]]] = {
    **{job: lambda job=job: measure(job) for job in CONFIGS},  # type: ignore[misc]
    "start": measure_start,
    **{f"memory-{job}": lambda job=job: measure_memory(job) for job in MEMORY},  # type: ignore[misc]
}

if __name__ == "__main__":
    prepare()
    for name in sys.argv[1:] or MEASURES:
        print(json.dumps(MEASURES[name]()), flush=True)
