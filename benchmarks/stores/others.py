"""rayetl against other tools on PostgreSQL: `python benchmarks/stores/others.py [whole] [read] [copy]`.

Needs `pip install 'rayetl[bench]'`, Maven for Spark's driver, and psql. Every side is a process of its own,
which does the job once to warm up and says how long the second time took, so that nobody's imports, and not
the start of Spark's session, are counted; of psql they are. With `whole` it does the job once, and what is
counted is the life of the process: what a person waits for who types a command. The sides come in turn,
`ROUNDS` times; what counts is the median.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS, ROWS = 3, 1_000_000
DRIVER = "org.postgresql:postgresql:42.7.7"
GOALS = {"read": {"spark": 3, "dlt": 10}, "copy": {"spark": 3, "dlt": 3}}
SIDES = {"read": ("rayetl", "spark", "dlt", "dlt-default"), "copy": ("rayetl", "spark", "dlt", "psql")}
COPIED = "copied"

Place = dict[str, Any]


def rayetl(job: str, place: Place, out: Path) -> Callable[[], object]:
    """The run as its users write it: exactly once, with its books."""
    from rayetl import Pipeline

    connection = {"type": "postgres", **place}
    files = {"type": "files", "path": str(out / "rayetl"), "format": "parquet", "mode": "overwrite"}
    table = {**connection, "table": COPIED, "mode": "append"}
    config = {
        "name": job,
        "extract": {**connection, "table": "source"},
        "load": files if job == "read" else table,
        "state": str(out / "state"),
        "resilience": {"dead_letter": {"type": "files", "path": str(out / "rejects")}},
    }
    return lambda: Pipeline.from_dict(config).run(force=True)


def spark(job: str, place: Place, out: Path) -> Callable[[], object]:
    """Spark on all processors: two ranges of the key, and batches that its driver makes few statements of."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[*]")
        .config("spark.driver.extraClassPath", str(out / "driver.jar"))
        .config("spark.driver.memory", "3g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    url = f"jdbc:postgresql://{place['host']}:{place['port']}/{place['database']}?reWriteBatchedInserts=true"
    named = {"url": url, "user": place["user"], "password": place["password"], "fetchsize": "10000"}
    named["driver"] = "org.postgresql.Driver"
    ranges = {"partitionColumn": "id", "lowerBound": "1", "upperBound": str(ROWS), "numPartitions": "2"}

    def run() -> None:
        found = session.read.format("jdbc").options(**named, **ranges, dbtable="source").load()
        if job == "read":
            found.write.mode("overwrite").option("compression", "zstd").parquet(str(out / "spark"))
        else:
            found.write.format("jdbc").options(**named, dbtable=COPIED, batchsize="10000").mode(
                "append"
            ).save()

    return run


def dlt(job: str, place: Place, out: Path, backend: str = "connectorx") -> Callable[[], object]:
    """The fastest way of dlt that was found: ConnectorX reads, and Parquet is the form on the way, which goes
    into PostgreSQL by ADBC. It reads in several statements, each of a moment of its own."""
    import dlt
    from dlt.sources.sql_database import sql_table

    there = f"{place['user']}:{place['password']}@{place['host']}:{place['port']}/{place['database']}"
    targets = {
        "read": lambda: dlt.destinations.filesystem(bucket_url=f"file://{out}/dlt"),
        "copy": lambda: dlt.destinations.postgres(credentials=f"postgresql://{there}"),
    }

    def run() -> None:
        shutil.rmtree(out / "dlt-work", ignore_errors=True)
        made = dlt.pipeline(
            "bench", destination=targets[job](), dataset_name="dlt", pipelines_dir=str(out / "dlt-work")
        )
        table = sql_table(
            f"postgresql+psycopg2://{there}", table="source", backend=backend, chunk_size=100_000
        )
        done = made.run(table, write_disposition="replace", loader_file_format="parquet")
        done.raise_on_failed_jobs()

    return run


def psql(job: str, place: Place, out: Path) -> Callable[[], object]:
    """PostgreSQL's own program, twice, with a pipe of COPY's binary form between."""
    del job, out
    names = {"host": "PGHOST", "port": "PGPORT", "database": "PGDATABASE", "user": "PGUSER"}
    names["password"] = "PGPASSWORD"
    environment = {**os.environ, **{names[field]: str(value) for field, value in place.items()}}
    pipe = (
        "psql -qc 'COPY source TO STDOUT (FORMAT binary)' | "
        f"psql -qc 'COPY {COPIED} FROM STDIN (FORMAT binary)'"
    )
    return lambda: subprocess.run(["bash", "-o", "pipefail", "-c", pipe], env=environment, check=True)


WAYS: dict[str, Callable[[str, Place, Path], Callable[[], object]]] = {
    "rayetl": rayetl,
    "spark": spark,
    "dlt": dlt,
    "dlt-default": lambda job, place, out: dlt(job, place, out, "sqlalchemy"),
    "psql": psql,
}


def do(side: str, job: str, place: Place, out: Path, times: int) -> None:
    """Do a job so many times, and print the seconds of the last."""
    from services.postgres import Database

    database, run = Database(**place), WAYS[side](job, place, out)
    for _ in range(times):
        if job == "copy":
            database.execute(f"TRUNCATE {COPIED}")
        started = time.perf_counter()
        run()
        seconds = time.perf_counter() - started
    if job == "copy":
        target = "dlt.source" if side == "dlt" else COPIED
        assert database.value(f"SELECT count(*) FROM {target}") == ROWS
    print(f"\n{seconds}")


def apart(side: str, job: str, place: Place, out: Path, whole: bool) -> float:
    log, began = out / f"{side}-{job}.log", time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "do", side, job, str(out), "1" if whole else "2"],
        input=json.dumps(place),
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
        env={**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"},
    )
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{log.read_text()[-3000:]}")
    return time.perf_counter() - began if whole else float(done.stdout.splitlines()[-1])


def driver(out: Path) -> None:
    """Spark's JDBC driver, from Maven."""
    plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
    settings = [f"-Dartifact={DRIVER}", f"-DoutputDirectory={out}", "-Dmdep.stripVersion=true"]
    subprocess.run(["mvn", "-q", "-B", plugin, *settings], check=True, stdout=subprocess.DEVNULL, cwd=out)
    (out / "postgresql.jar").rename(out / "driver.jar")


def main(jobs: list[str], whole: bool) -> None:
    """Print a line for each job."""
    from run import COLUMNS, VALUES
    from services.postgres import Postgres

    server, out = Postgres(), Path(tempfile.mkdtemp(prefix="rayetl-others-"))
    server.start()
    try:
        driver(out)
        database = server.create()
        database.execute(
            f"CREATE TABLE source ({COLUMNS.replace('id bigint', 'id bigint PRIMARY KEY')})",
            f"INSERT INTO source {VALUES.format(rows=ROWS)}",
            f"CREATE TABLE {COPIED} ({COLUMNS})",
            "ANALYZE source",
        )
        for job in jobs:
            rounds = [
                {side: apart(side, job, database.config, out, whole) for side in SIDES[job]}
                for _ in range(ROUNDS)
            ]
            middle = statistics.median
            told = {
                "job": job,
                "seconds": {side: round(middle(each[side] for each in rounds), 2) for side in SIDES[job]},
                "times rayetl": {
                    side: round(middle(each[side] / each["rayetl"] for each in rounds), 2)
                    for side in SIDES[job][1:]
                },
                "goals": GOALS[job],
            }
            print(json.dumps(told), flush=True)
    finally:
        server.stop()
        shutil.rmtree(out)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    if sys.argv[1:2] == ["do"]:
        _, _, side, job, out, times = sys.argv
        do(side, job, json.load(sys.stdin), Path(out), int(times))
    else:
        whole = sys.argv[1:2] == ["whole"]
        main(sys.argv[1 + whole :] or list(SIDES), whole)
