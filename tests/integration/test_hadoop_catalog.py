"""What is peculiar to Iceberg tables of hadoop catalogs: their versions are files, and other writers are Spark's.
Modes and types are asked of them beside all other tables in `test_lakes.py`."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from lakes import HadoopLake, HadoopOnS3, IcebergLake, numbers
from services.s3 import Account, Bucket, S3Server
from services.spark_sql import SparkSql

from rayetl.cli import main
from rayetl.errors import ConfigError, LoadError

LAKE = HadoopLake()
load, read, seen = LAKE.load, LAKE.read, LAKE.seen
METADATA = Path("lake/shop/daily/metadata")


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Spark


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSql]:
    directory = tmp_path_factory.mktemp("spark")
    spark = SparkSql(directory / "lake", directory / "spark.log")
    yield spark
    spark.stop()


@pytest.fixture
def spark(started: SparkSql, monkeypatch: pytest.MonkeyPatch) -> SparkSql:
    """A Spark that has its own hadoop catalog in the directory `lake`."""
    monkeypatch.chdir(started.log.parent)
    return started


def test_spark_and_we_write_in_turn_and_read_the_same(spark: SparkSql) -> None:
    def theirs() -> list[tuple[Any, ...]]:
        return sorted(map(tuple, spark.ask("SELECT * FROM lake.shop.daily")))

    def same(*rows: tuple[Any, ...]) -> bool:
        return theirs() == sorted(read().rows()) == list(rows)

    spark.ask(
        "CREATE TABLE lake.shop.daily USING iceberg PARTITIONED BY (bucket(2, id)) AS "
        "SELECT * FROM VALUES (1L, 'v1'), (2L, 'v2') AS t (id, v)"
    )
    assert read(snapshot=spark.ask("SELECT snapshot_id FROM lake.shop.daily.snapshots")[0][0]).height == 2
    load(numbers(3), mode="append", key="a")
    assert same((1, "v1"), (2, "v2"), (3, "v3"))
    wide = pl.DataFrame({"id": [2, 4], "v": ["new", "new"], "w": [7, 7]})
    load(wide, mode="upsert", keys="id", add_columns=True, key="b")
    spark.ask("INSERT INTO lake.shop.daily VALUES (5, 'v5', 8)")
    assert load(numbers(3), mode="append", key="a").loads[0].status == "skipped"
    assert same((1, "v1", None), (2, "new", 7), (3, "v3", None), (4, "new", 7), (5, "v5", 8))
    load(wide, mode="overwrite", key="c")
    spark.ask("ALTER TABLE lake.shop.daily SET TBLPROPERTIES ('write.metadata.compression-codec'='gzip')")
    spark.ask("UPDATE lake.shop.daily SET v = 'theirs' WHERE id = 4")
    load(wide.head(1).with_columns(id=pl.lit(9, pl.Int64)), mode="append", key="d")
    assert same((2, "new", 7), (4, "theirs", 7), (9, "new", 7))
    assert [path.name for path in sorted(METADATA.glob("v*"))][-2:] == [
        "v8.gz.metadata.json",
        "version-hint.text",
    ]
    assert "version hint" not in Path("spark.log").read_text()


def test_spark_goes_on_with_a_table_that_we_made(spark: SparkSql) -> None:
    LAKE.load(numbers(1, 2), mode="append", table="a.b.made", partition_by="truncate(1, v)")
    spark.ask("INSERT INTO lake.a.b.made VALUES (3, 'v3')")
    spark.ask(
        "CALL lake.system.rewrite_data_files(table => 'a.b.made', options => map('rewrite-all', 'true'))"
    )
    LAKE.load(numbers(4), mode="append", table="a.b.made")
    assert sorted(spark.ask("SELECT id FROM lake.a.b.made")) == [[1], [2], [3], [4]]
    assert spark.ask("SHOW TABLES IN lake.a.b") == [["a.b", "made", False]]
    spark.ask("DROP TABLE lake.a.b.made")
    with pytest.raises(ConfigError, match=r"there is no Iceberg table a\.b\.made in the catalog lake"):
        LAKE.read(table="a.b.made")


def test_days_of_long_ago_are_read_as_spark_wrote_them(spark: SparkSql) -> None:
    """Iceberg's writer does not say in which calendar it counts, because there is one only."""
    spark.ask("CREATE TABLE lake.shop.old USING iceberg AS SELECT DATE'0001-01-01' AS day")
    assert read(table="shop.old")["day"].to_list() == [dt.date(1, 1, 1)]


def test_spark_and_we_write_in_turn_into_a_bucket(
    bucket: Bucket, s3_server: S3Server, s3_account: Account, tmp_path: Path
) -> None:
    lake = HadoopOnS3(bucket, s3_server)
    reached = {
        "endpoint": s3_server.endpoint,
        "path.style.access": "true",
        "access.key": s3_account.access_key_id,
        "secret.key": s3_account.secret_access_key,
    }
    spark = SparkSql(lake.warehouse.replace("s3://", "s3a://"), tmp_path / "spark.log", reached)
    try:
        lake.load(numbers(1, 2), mode="append")
        spark.ask("INSERT INTO lake.shop.daily VALUES (3, 'v3')")
        spark.ask("DELETE FROM lake.shop.daily WHERE id = 1")
        lake.load(pl.DataFrame({"id": [2, 4], "v": ["new", "new"]}), mode="upsert", keys="id")
        assert spark.ask("SELECT * FROM lake.shop.daily ORDER BY id") == [[2, "new"], [3, "v3"], [4, "new"]]
        assert sorted(lake.read()["id"]) == [2, 3, 4]
        spark.ask("CREATE TABLE lake.shop.theirs USING iceberg AS SELECT 1L AS id, 'v1' AS v")
        lake.load(numbers(2), mode="append", table="shop.theirs")
        assert sorted(lake.read(table="shop.theirs").rows()) == [(1, "v1"), (2, "v2")]
        assert spark.ask("SELECT * FROM lake.shop.theirs ORDER BY id") == [[1, "v1"], [2, "v2"]]
    finally:
        spark.stop()


# Versions


def newest() -> Path:
    return max(METADATA.glob("v*.metadata.json"), key=lambda path: int(path.name[1:].partition(".")[0]))


@pytest.mark.parametrize("ending", [".gz.metadata.json", ".metadata.json.gz"])
def test_versions_that_are_compressed_are_read_under_both_names(ending: str) -> None:
    load(numbers(1), mode="append")
    load(numbers(2), mode="append")
    METADATA.joinpath(f"v2{ending}").write_bytes(gzip.compress(newest().read_bytes()))
    newest().unlink()
    assert sorted(read()["id"]) == [1, 2]
    load(numbers(3), mode="append")
    assert (newest().name, sorted(read()["id"])) == ("v3.metadata.json", [1, 2, 3])


def test_a_version_of_a_table_that_compresses_them_is_compressed() -> None:
    load(numbers(1), mode="append")
    changed({"write.metadata.compression-codec": "GZIP"})
    load(numbers(2), mode="append")
    found = METADATA / "v2.gz.metadata.json"
    assert json.loads(gzip.decompress(found.read_bytes()))["last-sequence-number"] == 2
    assert sorted(read()["id"]) == [1, 2]
    found.write_bytes(found.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"shop\.daily cannot be read: v2\.gz\.metadata\.json is damaged"):
        read()


def changed(properties: dict[str, str]) -> None:
    """Set properties of the newest version in place."""
    metadata = json.loads(newest().read_text())
    metadata["properties"] |= properties
    newest().write_text(json.dumps(metadata))


def test_old_versions_go_where_the_table_says_so() -> None:
    load(numbers(1), mode="append")
    keeps = {
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.previous-versions-max": "1",
    }
    changed(keeps)
    for number in (2, 3, 4):
        load(numbers(number), mode="append")
    assert sorted(path.name for path in METADATA.glob("v*.json")) == ["v3.metadata.json", "v4.metadata.json"]
    for hint in ("1", "4", ""):
        (METADATA / "version-hint.text").write_text(hint)
        assert sorted(read()["id"]) == [1, 2, 3, 4]


# What cannot be


def refused(rows: pl.DataFrame, said: str, **settings: Any) -> None:
    """A load is refused before it leaves anything."""
    before = sorted(Path().rglob("*.parquet"))
    with pytest.raises(LoadError, match=said):
        load(rows, mode="append", **settings)
    assert sorted(Path().rglob("*.parquet")) == before


def test_a_table_that_was_moved_is_not_written_to() -> None:
    load(numbers(1), mode="append")
    shutil.copytree("lake", "copy")
    moved = {"catalog": {"type": "hadoop", "warehouse": "copy"}}
    refused(
        numbers(2), r"was made at file://.*/lake/shop/daily and cannot be moved to file://.*/copy/", **moved
    )
    assert read(**moved)["id"].to_list() == [1]
    Path("link").symlink_to("lake")
    load(numbers(2), mode="append", catalog={"type": "hadoop", "warehouse": "link"})
    assert sorted(seen()["id"]) == [1, 2]


def test_metadata_elsewhere_and_unknown_codecs_are_refused() -> None:
    load(numbers(1), mode="append")
    changed({"write.metadata.path": "/elsewhere"})
    refused(numbers(2), r"keeps its metadata elsewhere \(`write\.metadata\.path`\)")
    metadata = json.loads(newest().read_text())
    metadata["properties"] = {"write.metadata.compression-codec": "zstd"}
    newest().write_text(json.dumps(metadata))
    refused(numbers(2), r"wants its metadata compressed by zstd \(`write\.metadata\.compression-codec`\)")
    assert seen()["id"].to_list() == [1]


def test_no_second_table_is_made_beside_that_of_another_catalog() -> None:
    IcebergLake().load(numbers(1), mode="append")
    refused(numbers(2), "lake/shop/daily holds a table of another catalog")
    with pytest.raises(ConfigError, match=r"there is no Iceberg table shop\.daily in the catalog lake"):
        read()


def test_its_history_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    made = {"name": "p", "extract": {"type": "files", "path": "in.parquet"}}
    Path("p.json").write_text(json.dumps({**made, "load": {"id": "lake", **LAKE.settings, "mode": "append"}}))
    numbers(1).write_parquet("in.parquet")
    assert main(["table", "history", "p.json"]) == 1
    assert "there is no Iceberg table shop.daily in the catalog lake" in capsys.readouterr().err
    load(numbers(1), mode="append")
    load(numbers(2, 3), mode="overwrite")
    capsys.readouterr()
    assert main(["table", "history", "p.json", "--json"]) == 0
    changes = json.loads(capsys.readouterr().out)
    assert [change["rows"] for change in changes if change["load"] == "lake"] == [2, 1]


# On S3


@pytest.fixture
def there(bucket: Bucket, s3_server: S3Server) -> HadoopOnS3:
    return HadoopOnS3(bucket, s3_server)


def test_tables_in_a_bucket(there: HadoopOnS3) -> None:
    with pytest.raises(ConfigError, match=r"there is no Iceberg table shop\.daily in the catalog s3://"):
        there.read()
    there.settings["s3"] |= {"encryption": "aws:kms", "kms_key": "alias/lake"}
    there.load(numbers(1, 2), mode="append", key="a", partition_by="bucket(2, id)")
    there.load(numbers(2, 3), mode="upsert", keys="id", key="b")
    assert there.load(numbers(1, 2), mode="append", key="a").loads[0].status == "skipped"
    for key in there.bucket.keys("tables/", hidden=True):
        head = there.bucket.client.head_object(Bucket=there.bucket.name, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/lake"), key
    for hint in ("1", "0", "9", "?"):
        there.bucket.put("tables/shop/daily/metadata/version-hint.text", hint)
        assert sorted(there.seen()["id"]) == [1, 2, 3]
        assert there.load(numbers(1, 2), mode="append", key="a").loads[0].status == "skipped"


def test_a_service_that_ignores_conditions_is_refused(there: HadoopOnS3, s3_server: S3Server) -> None:
    refused = pytest.raises(LoadError, match="ignores the condition If-None-Match")
    with s3_server.ignoring_conditions(), refused:
        there.load(numbers(1), mode="append")
    assert not there.bucket.keys("tables/")


def test_a_hint_that_cannot_be_written_stops_nothing(there: HadoopOnS3, s3_server: S3Server) -> None:
    s3_server.break_down("PUT", "version-hint", status=403, code="AccessDenied", times=99)
    there.load(numbers(1), mode="append")
    there.load(numbers(2), mode="append")
    s3_server.mend()
    assert sorted(there.read()["id"]) == [1, 2]
