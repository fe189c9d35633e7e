"""rayetl against the best ways of the driver by hand, on MariaDB: `python benchmarks/stores/mysql.py [NAME]`.

As `run.py` beside it. `read` is measured against rows fetched by the driver in batches and put into Arrow's
writer, `write` against one LOAD DATA LOCAL of a file that was written before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pymysql
import pymysql.cursors
from run import ROWS, StoreJobs, run
from services.mariadb import MariaDatabase, Mariadb

from rayetl import Pipeline

GOALS = {"read": 1.2, "write": 1.2, "upsert": 1.2, "refused": 5.0}
COLUMNS = (
    "id bigint, k int, small smallint, price decimal(12,2), ratio double, flag bool, name varchar(40), "
    "note varchar(60), day date, at datetime(6)"
)
VALUES = """
SELECT seq, seq % 1000, seq % 100, (seq % 99999) / 100, seq * 0.1e0, seq % 2, concat('name ', seq % 5000),
       repeat('x', seq % 40), '2024-01-01' + INTERVAL (seq % 365) DAY, '2024-01-01' + INTERVAL seq SECOND
  FROM seq_1_to_{rows}
"""
CSV = "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY ''"


class Jobs(StoreJobs):
    """Those of MariaDB."""

    def __init__(self, database: MariaDatabase, directory: Path) -> None:
        super().__init__(database, directory)
        database.execute(f"CREATE TABLE source ({COLUMNS})", f"INSERT INTO source {VALUES.format(rows=ROWS)}")

    def read(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """MariaDB to Parquet; by hand an unbuffered cursor, 100,000 rows at a time into a file."""
        config = self._config("read", self._source(), self._files("read"))

        def by_hand() -> None:
            cursors = pymysql.cursors.SSCursor
            with (
                pymysql.connect(**self._database.config, cursorclass=cursors) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("SELECT * FROM source")
                names = [column[0] for column in cursor.description]
                number = 0
                while rows := cursor.fetchmany(100_000):
                    frame = pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=1)
                    frame.write_parquet(self._directory / f"hand_{number}.parquet")
                    number += 1

        return lambda: Pipeline.from_dict(config).run(force=True), by_hand

    def write(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """Parquet to MariaDB; by hand the rows as CSV by Polars, and one LOAD DATA LOCAL."""
        self._database.execute(f"CREATE TABLE ours ({COLUMNS})", f"CREATE TABLE theirs ({COLUMNS})")
        path, text = self._parquet("write"), self._directory / "write.csv"
        config = self._config("write", {"type": "files", "path": str(path)}, self._load("ours", "append"))

        def ours() -> None:
            self._database.execute("TRUNCATE ours")
            Pipeline.from_dict(config).run(force=True)

        def by_hand() -> None:
            self._database.execute("TRUNCATE theirs")
            rows = pl.read_parquet(path).with_columns(pl.col("flag").cast(pl.Int8))
            rows.write_csv(
                text,
                include_header=False,
                null_value="NULL",
                quote_style="non_numeric",
                datetime_format="%Y-%m-%d %H:%M:%S%.6f",
            )
            self._loaded(text, "theirs")

        return ours, by_hand

    def upsert(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """As many rows again into a table that has them; by hand a stage and ON DUPLICATE KEY UPDATE."""
        keyed = COLUMNS.replace("id bigint", "id bigint PRIMARY KEY")
        for table in ("kept_ours", "kept_theirs"):
            self._database.execute(
                f"CREATE TABLE {table} ({keyed})", f"INSERT INTO {table} SELECT * FROM source"
            )
        path, text = self._parquet("upsert"), self._directory / "upsert.csv"
        extract = {"type": "files", "path": str(path)}
        config = self._config("upsert", extract, self._load("kept_ours", "upsert", keys="id"))
        names = [definition.split()[0] for definition in COLUMNS.split(", ")][1:]
        sets = ", ".join(f"{name} = VALUES({name})" for name in names)

        def by_hand() -> None:
            rows = pl.read_parquet(path).with_columns(pl.col("flag").cast(pl.Int8))
            rows.write_csv(
                text, include_header=False, null_value="NULL", datetime_format="%Y-%m-%d %H:%M:%S%.6f"
            )
            stage = f"CREATE TEMPORARY TABLE stage ({COLUMNS})"
            moved = f"INSERT INTO kept_theirs SELECT * FROM stage ON DUPLICATE KEY UPDATE {sets}"
            self._loaded(text, "stage", stage, moved)

        return lambda: Pipeline.from_dict(config).run(force=True), by_hand

    def _loaded(self, text: Path, table: str, *around: str) -> None:
        with pymysql.connect(**self._database.config, local_infile=True) as connection:
            with connection.cursor() as cursor:
                for statement in around[:1]:
                    cursor.execute(statement)
                cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{text}' INTO TABLE {table} CHARACTER SET utf8mb4 {CSV}"
                )
                for statement in around[1:]:
                    cursor.execute(statement)
            connection.commit()

    def _parquet(self, name: str) -> Path:
        path = self._directory / f"{name}.parquet"
        if not path.exists():
            rows = f"{name}_rows"
            Pipeline.from_dict(self._config(rows, self._source(), self._files(rows))).run(force=True)
            pl.read_parquet(self._directory / rows / "*.parquet").write_parquet(path)
        return path


if __name__ == "__main__":
    run(Mariadb(), Jobs, GOALS)
