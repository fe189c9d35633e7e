"""rayetl against the driver used by hand, on PostgreSQL: `python benchmarks/stores/run.py [NAME ...]`.

A server of its own is started (see tests/services). Jobs run both ways in turn in one process, after one
warm-up; what counts is the median of the ratios of five pairs. `refused` is measured against rayetl's own
load of the same rows without bad ones.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from rayetl import Pipeline
from rayetl.connectors.base import BatchScan
from rayetl.connectors.postgres.source import PostgresSource

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from services.databases import SqlDatabase
from services.postgres import Database, Postgres

PAIRS = 5
ROWS = 1_000_000
GOALS = {"read": 1.15, "copy": 1.25, "upsert": 1.2, "refused": 5.0, "ranges": None}
BAD = (0, 777, 50_000, 50_001, 77_777, 99_998, 99_999)

COLUMNS = (
    "id bigint, k int, small smallint, price numeric(12,2), ratio float8, flag bool, name text, note text, "
    "day date, at timestamptz"
)
VALUES = """
SELECT i, i % 1000, (i % 100)::int2, (i % 99999) / 100.0, i * 0.1, i % 2 = 0, 'name ' || i % 5000,
       repeat('x', i % 40), DATE '2024-01-01' + i % 365, TIMESTAMPTZ '2024-01-01Z' + i * INTERVAL '1 second'
  FROM generate_series(1, {rows}) i
"""


class StoreJobs:
    """The jobs on one database, each as (ours, by hand); every call does the whole of it."""

    def __init__(self, database: SqlDatabase, directory: Path) -> None:
        self._database = database
        self._directory = directory

    def refused(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """100,000 rows with 7 that the server refuses, against the same rows with none."""
        self._database.execute("CREATE TABLE judged (id bigint PRIMARY KEY, v varchar(5))")

        def load(name: str, bad: tuple[int, ...]) -> Callable[[], object]:
            path = self._directory / f"{name}.parquet"
            long = pl.col("id").is_in(bad)
            values = pl.when(long).then(pl.lit("far too long")).otherwise(pl.lit("ok"))
            pl.DataFrame({"id": range(100_000)}).with_columns(v=values).write_parquet(path)
            config = self._config(name, {"type": "files", "path": str(path)}, self._load("judged", "append"))

            def run() -> None:
                self._database.execute("TRUNCATE judged")
                report = Pipeline.from_dict(config).run(force=True)
                assert (report.rows_loaded, report.rows_rejected) == (100_000 - len(bad), len(bad))

            return run

        return load("refused", BAD), load("clean", ())

    def _config(self, name: str, extract: dict[str, Any], load: dict[str, Any]) -> dict[str, Any]:
        rejects = {"dead_letter": {"type": "files", "path": str(self._directory / "rejects")}}
        state = str(self._directory / "state")
        return {"name": name, "extract": extract, "load": load, "state": state, "resilience": rejects}

    def _source(self) -> dict[str, Any]:
        return {"type": self._database.kind, "table": "source", **self._database.config}

    def _files(self, name: str) -> dict[str, Any]:
        place = str(self._directory / name)
        return {"type": "files", "path": place, "format": "parquet", "mode": "overwrite"}

    def _load(self, table: str, mode: str, **more: Any) -> dict[str, Any]:
        return {"type": self._database.kind, "table": table, "mode": mode, **self._database.config, **more}


class Jobs(StoreJobs):
    """Those of PostgreSQL."""

    def __init__(self, database: Database, directory: Path) -> None:
        super().__init__(database, directory)
        database.execute(
            f"CREATE TABLE source ({COLUMNS})",
            f"INSERT INTO source {VALUES.format(rows=ROWS)}",
            "ANALYZE source",
        )

    def read(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """PostgreSQL to Parquet; by hand the batches of the driver into a writer of Arrow."""
        config = self._config("read", self._source(), self._files("read"))

        def by_hand() -> None:
            with self._database.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT * FROM source")
                batches = cursor.fetch_record_batch()
                path = self._directory / "hand.parquet"
                with pq.ParquetWriter(path, batches.schema, compression="zstd") as writer:
                    for batch in batches:
                        writer.write_batch(batch)

        return lambda: Pipeline.from_dict(config).run(force=True), by_hand

    def ranges(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """All rows by two connections at once, each a range of the key, against one connection."""
        self._database.execute("CREATE INDEX ON source (id)", "ANALYZE source")
        split = {"column": "id", "parts": 2}
        source = PostgresSource.model_validate({**self._source(), "split": split})
        scan = source.describe(None)

        def rows(part: BatchScan) -> int:
            with closing(part.open()) as reading:
                return sum(frame.height for frame in reading.frames(scan.schema.names, None, None))

        def at_once() -> None:
            with scan.parts() as parts, ThreadPoolExecutor(2) as threads:
                assert sum(threads.map(rows, parts)) == ROWS

        return at_once, lambda: rows(scan)

    def copy(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """PostgreSQL to PostgreSQL; by hand the driver's stream into its COPY, in one transaction. The driver
        gives numerics as texts, which COPY does not take: by hand they go as floats."""
        floats = COLUMNS.replace("numeric(12,2)", "float8")
        self._database.execute(f"CREATE TABLE ours ({COLUMNS})", f"CREATE TABLE theirs ({floats})")
        names = [definition.split()[0] for definition in COLUMNS.replace("(12,2)", "").split(", ")]
        names[names.index("price")] = "price::float8 AS price"
        config = self._config("copy", self._source(), self._load("ours", "append"))

        def ours() -> None:
            self._database.execute("TRUNCATE ours")
            Pipeline.from_dict(config).run(force=True)

        def by_hand() -> None:
            self._database.execute("TRUNCATE theirs")
            with (
                self._database.connect() as reader,
                self._database.connect() as writer,
                reader.cursor() as source,
                writer.cursor() as target,
            ):
                source.execute(f"SELECT {', '.join(names)} FROM source")
                target.execute("BEGIN")
                target.adbc_ingest("theirs", source.fetch_record_batch(), mode="append")
                target.execute("COMMIT")

        return ours, by_hand

    def upsert(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """As many rows again into a table that has them; by hand a stage and INSERT ... ON CONFLICT."""
        names = ("k", "price", "name")
        for table in ("kept_ours", "kept_theirs"):
            self._database.execute(
                f"CREATE TABLE {table} (id bigint PRIMARY KEY, k int, price float8, name text)",
                f"INSERT INTO {table} SELECT id, k, price::float8, name FROM source",
            )
        path = self._directory / "upsert.parquet"
        pl.DataFrame({"id": range(1, ROWS + 1)}).with_columns(
            k=(pl.col("id") % 777).cast(pl.Int32), price=pl.col("id") * 0.5, name=pl.lit("new")
        ).write_parquet(path)
        extract = {"type": "files", "path": str(path)}
        config = self._config("upsert", extract, self._load("kept_ours", "upsert", keys="id"))
        sets = ", ".join(f"{name} = EXCLUDED.{name}" for name in names)

        def ours() -> None:
            self._database.execute("VACUUM kept_ours")
            Pipeline.from_dict(config).run(force=True)

        def by_hand() -> None:
            self._database.execute("VACUUM kept_theirs")
            with self._database.connect() as connection, connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute(
                    "CREATE TEMP TABLE stage (id bigint, k int, price float8, name text) ON COMMIT DROP"
                )
                cursor.adbc_ingest("stage", pq.read_table(path), mode="append", temporary=True)
                cursor.execute(
                    f"INSERT INTO kept_theirs SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {sets}"
                )
                cursor.execute("COMMIT")

        return ours, by_hand


def seconds(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def measure(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], goal: float | None
) -> dict[str, object]:
    seconds(ours), seconds(theirs)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(PAIRS)]
    return {
        "job": name,
        "seconds": [round(mine, 2) for mine, _ in pairs],
        "against": [round(other, 2) for _, other in pairs],
        "ratio": round(statistics.median(mine / other for mine, other in pairs), 3),
        "goal": goal,
    }


def run(server: Any, jobs: Callable[[Any, Path], object], goals: Mapping[str, float | None]) -> None:
    """Start the server, print what each job takes that the command line names (or all), and stop it."""
    directory = Path(tempfile.mkdtemp(prefix="rayetl-stores-"))
    server.start()
    try:
        made = jobs(server.create(), directory)
        for name in sys.argv[1:] or goals:
            print(json.dumps(measure(name, *getattr(made, name)(), goal=goals[name])), flush=True)
    finally:
        server.stop()
        shutil.rmtree(directory)


if __name__ == "__main__":
    run(Postgres(), Jobs, GOALS)
