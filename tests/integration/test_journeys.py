"""Rows on their way through several stores, each of them real: what arrives is what set out, once."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.mariadb import MariaDatabase
from services.postgres import Database
from services.proxy import Proxy
from services.s3 import Bucket, S3Server

from rayetl import Pipeline
from rayetl.errors import LoadError, QualityAbort
from rayetl.observability.report import RunReport

RETRY = {"retry": {"max_attempts": 5, "initial_delay": "10ms"}}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(name: str, extract: dict[str, Any], load: dict[str, Any], *steps: dict[str, Any]) -> RunReport:
    config = {"name": name, "extract": extract, "transform": list(steps), "load": load, "resilience": RETRY}
    return Pipeline.from_dict(config).run()


def trips(count: int) -> pl.DataFrame:
    """Rows with what stores are apt to change: scales, fractions of seconds, empty texts, signs, NULLs."""
    numbers = pl.int_range(count, eager=True)
    every = pl.DataFrame({"id": numbers.cast(pl.Int64)})
    return every.with_columns(
        fare=pl.when(pl.col("id") % 7 != 0).then((pl.col("id") * 13 - 500).cast(pl.Decimal(12, 2)) / 100),
        km=pl.when(pl.col("id") % 5 != 0).then(pl.col("id") / 3 - 1e6),
        day=pl.date(2013, 1, 1) + pl.duration(days=pl.col("id") % 365),
        at=(pl.datetime(2013, 1, 1, time_zone="UTC") + pl.duration(microseconds=pl.col("id") * 1_000_001)),
        note=pl.when(pl.col("id") % 3 == 0)
        .then(pl.lit(""))
        .when(pl.col("id") % 3 == 1)
        .then(pl.format("é {} '\"\\\t\n{}", pl.col("id"), pl.lit("\N{AIRPLANE}"))),
        seats=(pl.col("id") % 200).cast(pl.Int32),
    ).with_columns(pl.col("fare").cast(pl.Decimal(12, 2)))


def test_mysql_to_delta_to_iceberg_to_postgresql(maria: MariaDatabase, database: Database) -> None:
    sent = trips(5_000)
    sent.write_parquet("trips.parquet")
    catalog = {"type": "sql", "uri": f"sqlite:///{Path.cwd()}/catalog.db", "warehouse": f"{Path.cwd()}/lake"}
    mysql = {"type": "mysql", "table": "trips", **maria.config}
    delta = {"type": "delta", "path": "delta/trips"}
    iceberg = {"type": "iceberg", "table": "travel.trips", "catalog": catalog}
    postgres = {"type": "postgres", "table": "trips", **database.config}
    legs = [
        ({"type": "files", "path": "trips.parquet"}, mysql),
        (mysql, delta),
        (delta, iceberg),
        (iceberg, postgres),
        (postgres, {"type": "files", "path": "back", "format": "parquet"}),
    ]
    for number, (source, load) in enumerate(legs):
        assert run(f"leg_{number}", source, {"mode": "append", **load}).rows_loaded == 5_000
    back = pl.read_parquet("back/*.parquet").sort("id")
    assert back.schema == sent.schema
    assert back.equals(sent)
    assert database.value("SELECT count(*) FROM trips") == 5_000
    assert database.rows("SELECT fare::text, day, at FROM trips WHERE id = 1") == [
        ("-4.87", dt.date(2013, 1, 2), dt.datetime(2013, 1, 1, 0, 0, 1, 1, dt.UTC))
    ]


@pytest.mark.parametrize("after", [False, True])
def test_s3_to_postgresql_through_connections_that_break(
    bucket: Bucket, s3_server: S3Server, database: Database, after: bool
) -> None:
    for day in range(4):
        trips(2_000).with_columns(pl.col("id") + day * 2_000).write_parquet(f"{day}.parquet")
        bucket.put(f"in/{day}.parquet", Path(f"{day}.parquet").read_bytes())
    source = {
        "type": "files",
        "path": f"{bucket.url}/in/*.parquet",
        "credential": "lake",
        "s3": {"endpoint": s3_server.endpoint},
    }
    rule = {"name": "seats", "range": {"column": "seats", "min": 0, "max": 149}}
    steps = [{"type": "filter", "where": "day < DATE'2013-12-01'"}, {"type": "validate", "rules": [rule]}]
    broken = s3_server.break_down("GET", "2.parquet", status=0, times=2)
    with Proxy(database.port, after=after) as proxy:
        into = {"type": "postgres", "table": "trips", "mode": "append", **database.through(proxy.port).config}
        proxy.arm()
        report = run("s3_to_postgres", source, into, *steps)
        assert (proxy.cuts, broken.struck) == (1, 2)
        again = run("s3_to_postgres", source, into, *steps)
    every = pl.concat([trips(2_000).with_columns(pl.col("id") + day * 2_000) for day in range(4)])
    kept = every.filter(pl.col("day") < dt.date(2013, 12, 1))
    good = kept.filter(pl.col("seats") <= 149)
    assert (report.rows_read, report.rows_loaded) == (8_000, good.height)
    assert report.rows_rejected == kept.height - good.height
    assert again.status == "skipped"
    assert database.rows("SELECT id FROM trips ORDER BY id") == good.select("id").sort("id").rows()


def test_a_critical_rule_stops_and_the_stores_are_as_before(database: Database) -> None:
    trips(100).write_parquet("trips.parquet")
    priced = {"name": "priced", "not_null": ["fare"], "on_failure": "warn"}
    seated = {"name": "seated", "range": {"column": "seats", "min": 0, "max": 49}}
    far = {"name": "far", "check": "km > 0", "on_failure": "abort"}
    near = {"name": "near", "check": "km < 0", "on_failure": "abort"}
    source = {"type": "files", "path": "trips.parquet"}
    load = {"type": "postgres", "table": "trips", "mode": "append", **database.config}
    with pytest.raises(QualityAbort, match="far"):
        run("strict", source, load, {"type": "validate", "rules": [priced, seated, far]})
    assert database.value("SELECT count(*) FROM information_schema.tables WHERE table_name = 'trips'") == 0
    report = run("strict", source, load, {"type": "validate", "rules": [priced, seated, near]})
    assert (report.rows_loaded, report.rows_rejected) == (50, 50)
    assert database.value("SELECT count(*) FROM trips WHERE fare IS NULL") > 0


def test_a_schema_that_does_not_match_stops_before_a_row_is_read(database: Database) -> None:
    trips(10).write_parquet("trips.parquet")
    source = {"type": "files", "path": "trips.parquet"}
    load = {"type": "postgres", "table": "trips", "mode": "append", **database.config}
    database.execute("CREATE TABLE trips (id bigint, fare numeric(12, 2), km text)")
    with pytest.raises(LoadError, match=r"(?s)km.*no row was read"):
        run("mismatch", source, load)
    assert database.value("SELECT count(*) FROM trips") == 0
    database.execute("DROP TABLE trips")
    assert run("mismatch", source, load).rows_loaded == 10
