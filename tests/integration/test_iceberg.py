"""Iceberg tables as source and load, beyond `test_lakes`: catalogs, partitioning, other writers, deletes, and
what is refused."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iceberg_deletes import delete_equal, delete_rows
from lakes import IcebergLake, numbers
from pyiceberg.manifest import DataFile, FileFormat
from services.iceberg_rest import IcebergRest
from services.postgres import Database

from rayetl import Pipeline
from rayetl.connectors.iceberg.reading import Reader
from rayetl.connectors.iceberg.session import IcebergSession
from rayetl.errors import ConfigError, CredentialError, LoadError, RayetlError, SourceError
from rayetl.secrets import Credentials
from tests.integration.database_runs import Kept

LAKE = IcebergLake()
load, read, seen, source = LAKE.load, LAKE.read, LAKE.seen, LAKE.source


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Partitions

DAYS = pl.DataFrame(
    {
        "id": pl.Series([1, 2, 3, 4], dtype=pl.Int32),
        "day": [dt.date(2020, 1, 31), dt.date(2020, 2, 1), dt.date(1969, 12, 31), None],
        "at": [dt.datetime(2020, 1, 1, 5, 59), dt.datetime(2020, 1, 1, 6), dt.datetime(1969, 1, 1), None],
        "text": ["a/b?c#d%", "", "häß", None],
        "price": pl.Series([Decimal("10.65"), Decimal("-0.05"), Decimal("1"), None], dtype=pl.Decimal(9, 2)),
        "bytes": [b"", b"\xff\x00\xfe", b"/", None],
    }
)
CUTS = ["id", "day", "at", "text", "price", "year(day)", "months(day)", "day(at)", "hour(at)", "bucket(3, id)",
        "bucket(3, text)", "bucket(3, price)", "bucket(3, day)", "truncate(2, text)", "truncate(10, id)",
        "truncate(50, price)", "truncate(2, bytes)", "bucket(3, bytes)"]  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
def test_rows_are_cut_as_the_library_itself_cuts_them(cut: str) -> None:
    """The manifests of both are compared partition by partition."""
    load(DAYS, mode="append", partition_by=[cut])
    ours = LAKE.table()
    theirs = LAKE.catalog().create_table("shop.other", ours.schema(), partition_spec=ours.spec())
    rows = DAYS.to_arrow().cast(ours.schema().as_arrow())
    # The library does not cut what it calls LargeBinary.
    place = rows.schema.get_field_index("bytes")
    theirs.append(rows.set_column(place, "bytes", rows["bytes"].cast(pa.binary())))

    def parts(table: Any) -> list[tuple[str, int]]:
        entries = table.inspect.partitions().to_pylist()
        return sorted((str(entry["partition"]), entry["record_count"]) for entry in entries)

    assert parts(ours) == parts(theirs)
    assert read().sort("id", nulls_last=True).equals(DAYS)
    assert seen().sort("id", nulls_last=True).equals(DAYS)


def test_a_text_that_reads_like_the_directory_of_null_is_another_partition() -> None:
    null = "__HIVE_DEFAULT_PARTITION__"
    rows = pl.DataFrame({"id": [1, 2, 3, 4, 5], "t": [None, "", null, f"{null}_", "null"]})
    load(rows, mode="append", partition_by="t")
    assert seen().sort("id").equals(rows)
    load(rows.with_columns(pl.col("id") * 10), mode="upsert", keys="id", key="b")
    assert seen()["id"].n_unique() == 10


def test_a_condition_leaves_out_files_by_our_figures() -> None:
    load(DAYS, mode="append", partition_by=["id"])
    table = LAKE.table()
    assert len(list(table.scan().plan_files())) == 4
    for condition in ("id = 2", "day = '2020-02-01'", "price < 0", "text = ''"):
        (task,) = table.scan(row_filter=condition).plan_files()
        assert pq.read_table(task.file.file_path.removeprefix("file://"))["id"].to_pylist() == [2]


def test_a_table_keeps_its_own_partitioning() -> None:
    load(DAYS, mode="append", partition_by=["month(day)", "bucket(2, id)"])
    load(DAYS, mode="append", force=True)
    with pytest.raises(LoadError, match=r"partitioned by month\(day\), bucket\(2, id\), not by day"):
        load(DAYS, mode="append", partition_by=["day"], force=True)
    with pytest.raises(LoadError, match=r"the rows have no column 'day', by which it is partitioned"):
        load(DAYS.drop("day"), mode="append")
    assert seen().height == 8


def test_upsert_moves_rows_between_partitions_and_through_a_new_partitioning() -> None:
    load(DAYS.drop_nulls(), mode="upsert", keys="id", partition_by="text")
    with LAKE.table().update_spec() as spec:
        spec.remove_field("text")
        spec.add_field("day", "month", "by_month")
    moved = DAYS.filter(pl.col("id") == 2).with_columns(day=pl.lit(dt.date(2021, 5, 5)))
    load(moved, mode="upsert", keys="id")
    assert (
        seen().sort("id").equals(pl.concat([DAYS.drop_nulls().filter(pl.col("id") != 2), moved]).sort("id"))
    )
    with pytest.raises(LoadError, match="cut by an older partitioning"):
        load(moved, mode="overwrite", replace="partitions")


@pytest.mark.parametrize("cut", ["year(day)", "month(day)", "day", "year(at)", "hour(at)"])
def test_the_first_and_the_last_moment_are_keys_too(cut: str) -> None:
    """The library looks at the day before the one and after the other, which there is not."""
    days, moments = [dt.date.min, dt.date.max], [dt.datetime.min, dt.datetime.max]
    rows = pl.DataFrame({"day": days, "at": moments, "v": [1, 2]})
    load(rows, mode="append", partition_by=cut)
    load(rows.with_columns(v=pl.lit(3, pl.Int64)), mode="upsert", keys=["day", "at"])
    assert seen()["v"].to_list() == [3, 3]


def test_a_value_for_which_a_transform_has_no_place_is_told_in_one_sentence() -> None:
    least = pl.DataFrame({"id": pl.Series([-(2**31)], dtype=pl.Int32)})
    with pytest.raises(LoadError, match=r"the Iceberg table shop\.daily cannot be loaded into"):
        load(least, mode="append", partition_by="truncate(10, id)")


def test_partitions_that_cannot_be_are_refused_when_the_config_is_checked() -> None:
    with pytest.raises(ConfigError) as told:
        load(numbers(1), partition_by=["month(id)", "bucket(4, vv)"])
    assert "cannot be cut by month(id), because id is bigint" in str(told.value)
    assert "did you mean v?" in str(told.value)
    with pytest.raises(ConfigError, match=r"'bucket\(id\)' is no partition"):
        load(numbers(1), partition_by="bucket(id)")


# Tables of others


def test_other_writers_and_readers_get_along() -> None:
    LAKE.made(numbers(1)).append(numbers(1).to_arrow())
    load(numbers(2), mode="append")
    LAKE.table().append(numbers(3).to_arrow())
    load(numbers(4), mode="append")
    assert sorted(read()["id"]) == [1, 2, 3, 4]
    assert sorted(seen()["id"]) == [1, 2, 3, 4]
    LAKE.table().delete("id = 3")
    assert sorted(read()["id"]) == [1, 2, 4]


def test_a_column_that_may_not_be_null() -> None:
    others = {f"c{number}": pl.lit(number) for number in range(40)}
    columns = [pa.field(name, pa.int32(), nullable=False) for name in others]
    LAKE.made(pa.schema([pa.field("v", pa.string()), *columns, pa.field("id", pa.int64(), nullable=False)]))
    load(numbers(1).with_columns(**others), mode="append")
    empty = pl.DataFrame({"id": [None], "v": ["x"]}, schema={"id": pl.Int64, "v": pl.String})
    with pytest.raises(
        LoadError, match=r"the column 'id' .* may not be NULL, and 1 rows have no value there"
    ):
        load(empty.with_columns(**others), mode="append")
    assert seen()["id"].to_list() == [1]


def test_fields_are_told_by_their_ids_not_by_their_names() -> None:
    LAKE.made(numbers(1)).append(numbers(1).to_arrow())
    load(numbers(2), mode="append")
    with LAKE.table().update_schema() as change:
        change.rename_column("v", "w")
    with LAKE.table().update_schema(allow_incompatible_changes=True) as change:
        change.add_column("v", LAKE.table().schema().find_field("id").field_type)
    expected = pl.DataFrame({"id": [1, 2], "w": ["v1", "v2"], "v": pl.Series([None, None], dtype=pl.Int64)})
    assert seen().sort("id").equals(expected)
    assert read().sort("id").equals(expected)
    load(pl.DataFrame({"id": [2, 3], "v": [20, 30]}), mode="upsert", keys="id")
    assert read().sort("id").rows() == [(1, "v1", None), (2, "v2", 20), (3, None, 30)]
    assert seen().sort("id").rows() == [(1, "v1", None), (2, "v2", 20), (3, None, 30)]


def test_a_column_that_was_widened() -> None:
    load(DAYS.select("id"), mode="append")
    with LAKE.table().update_schema() as change:
        from pyiceberg.types import LongType

        change.update_column("id", LongType())
    assert read()["id"].to_list() == [1, 2, 3, 4]
    assert read().schema == {"id": pl.Int64}
    load(pl.DataFrame({"id": [2**40]}), mode="append")
    assert sorted(read()["id"]) == [1, 2, 3, 4, 2**40]


def test_files_that_were_added_with_times_of_spark() -> None:
    """By their own reader they are what they are; pyiceberg takes the last day for one of 1816."""
    last = pa.array([dt.datetime(9999, 12, 31)], pa.timestamp("us", "UTC"))
    rows = pa.table({"id": [1], "at": last})
    table = LAKE.made(rows.schema)
    table.append(rows)
    file = LAKE.table().inspect.files()["file_path"][0].as_py().removeprefix("file://")
    table.transaction().set_properties(
        {"schema.name-mapping.default": table.schema().name_mapping.model_dump_json()}
    ).commit_transaction()
    pq.write_table(rows, file, use_deprecated_int96_timestamps=True)
    assert read().equals(pl.DataFrame(rows))
    with pytest.raises(LoadError, match="times before 1678 or after 2261 as INT96 in the column 'at'"):
        load(pl.DataFrame({"id": [1]}), mode="upsert", keys="id")
    with LAKE.table().update_schema() as change:
        change.rename_column("id", "number")
    with pytest.raises(SourceError, match="times before 1678 or after 2261 as INT96 in the column 'at'"):
        read()


def test_files_of_avro_are_refused_when_the_config_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library writes none, so its manifest is told what another writer's says."""
    load(numbers(1), mode="append")
    monkeypatch.setattr(DataFile, "file_format", FileFormat.AVRO)
    with pytest.raises(
        ConfigError, match=r"Unsupported file format: AVRO, .*\.parquet .*'rewrite-all', 'true'"
    ):
        read()


def test_lists_and_maps_of_structs_that_are_null_stay_null() -> None:
    """The library reads them as empty ones, and a merge would write them so."""
    item = pa.struct([("a", pa.int64())])
    kinds = pa.schema([("id", pa.int64()), ("l", pa.list_(item)), ("m", pa.map_(pa.string(), item))])
    there = [
        {"id": 1, "l": [{"a": 1}, None], "m": {"k": {"a": 2}, "n": None}},
        {"id": 2, "l": None, "m": None},
        {"id": 3, "l": [], "m": {}},
    ]
    rows = pl.DataFrame(pa.Table.from_pylist(there, kinds))
    load(rows, mode="append")
    with LAKE.table().update_schema() as change:
        change.rename_column("id", "number")
    assert read().equals(rows.rename({"id": "number"}))
    load(pl.DataFrame({"number": [3, 4]}), mode="upsert", keys="number")
    assert read().sort("number").rows()[:3] == rows.rows()


def test_a_field_that_was_renamed_deep_within_lists_and_maps_keeps_its_values() -> None:
    """The library reads it as NULL."""
    item = pa.struct([("a", pa.int32()), ("b", pa.int32())])
    kinds = {
        "ll": pa.list_(pa.list_(item)),
        "lm": pa.list_(pa.map_(pa.string(), item)),
        "ml": pa.map_(pa.string(), pa.list_(item)),
    }
    there = {"ll": [[{"a": 1, "b": 2}], None], "lm": [None, {"k": {"a": 3, "b": 4}}], "ml": {"k": [None]}}
    load(pl.DataFrame(pa.Table.from_pylist([there], pa.schema(kinds))), mode="append")
    with LAKE.table().update_schema() as change:
        for place in (("ll", "element", "element"), ("lm", "element", "value"), ("ml", "value", "element")):
            change.rename_column((*place, "a"), "c")
    expected = {"ll": [[{"c": 1, "b": 2}], None], "lm": [None, {"k": {"c": 3, "b": 4}}], "ml": {"k": [None]}}
    assert read().to_dicts() == [expected]


def test_rows_deleted_by_position_stay_deleted() -> None:
    load(numbers(1, 2, 3), mode="append", key="a")
    load(numbers(4, 5), mode="append", key="b")
    delete_rows(LAKE.table(), {1: [1]})
    assert sorted(read()["id"]) == [1, 3, 4, 5]
    config = source()
    config["transform"] = [{"type": "filter", "where": "id > 3"}, {"type": "select", "columns": ["v"]}]
    assert Pipeline.from_dict(config).run().rows_loaded == 2
    assert Pipeline.from_dict(config).run().status == "skipped"
    assert read(snapshot=LAKE.table().snapshots()[0].snapshot_id)["id"].to_list() == [1, 2, 3]
    load(numbers(3, 6).with_columns(v=pl.lit("new")), mode="upsert", keys="id")
    rows = [(1, "v1"), (3, "new"), (4, "v4"), (5, "v5"), (6, "new")]
    assert sorted(read().rows()) == rows
    assert sorted(seen().rows()) == rows
    load(numbers(7), mode="overwrite", key="c")
    assert read()["id"].to_list() == [7]


@pytest.mark.parametrize("mode", ["upsert", "insert_ignore"])
def test_rows_deleted_by_equality_do_not_come_back(mode: str) -> None:
    """The figures of the deletes say nothing of the keys that come, but the file is written anew."""
    load(numbers(1, 2, 3), mode="append")
    delete_equal(LAKE.table(), "id", 2)
    with pytest.raises(LoadError, match="equality deletes"):
        load(numbers(1), mode=mode, keys="id")
    assert load(numbers(2), mode="append").rows_loaded == 1
    with pytest.raises(ConfigError, match=r"equality deletes.* 'delete-file-threshold', '1'"):
        read()


CONDITIONS = {
    "id = 2": [2], "2 < id": [3, 4], "id <= 2 AND t <> 'x'": [1, 2], "id IN (1, 3)": [1, 3], "id IS NULL": [5],
    "id = 1 OR price > 20.5": [1, 3, 4], "price = 10.00": [1], "day >= DATE'2020-01-03' AND id IS NOT NULL": [3, 4],
    "t < 't3'": [1, 2], "at = TIMESTAMP_NTZ'2020-01-04 00:00:00'": [4], "id % 2 = 0 OR day IS NULL": [1, 2, 3, 4, 5],
}  # fmt: skip


@pytest.mark.parametrize("where", CONDITIONS)
def test_conditions_leave_out_files_that_the_library_would_read(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row is in a file of its own; a column that was renamed hands the reading to the library."""
    rows = pl.DataFrame(
        {
            "id": [1, 2, 3, 4, None],
            "day": [*(dt.date(2020, 1, number) for number in (1, 2, 3, 4)), None],
            "at": [*(dt.datetime(2020, 1, number) for number in (1, 2, 3, 4)), None],
            "text": ["t1", "t2", "t3", "t4", None],
            "price": pl.Series(["10", "20", "30", "40", None]).cast(pl.Decimal(9, 2)),
        }
    )
    load(rows, mode="append", partition_by="id")
    with LAKE.table().update_schema() as change:
        change.rename_column("text", "t")
    opened = []
    real = Reader.rows

    def counted(self: Reader, task: Any, names: Any) -> pl.DataFrame:
        found = real(self, task, [*names, "id"] if "id" not in names else names)
        opened.extend(found["id"].to_list())
        return found.select(names)

    monkeypatch.setattr(Reader, "rows", counted)
    config = source()
    config["transform"] = [{"type": "filter", "where": where}]
    Pipeline.from_dict(config).run()
    kept = pl.read_parquet("read/*.parquet")["id"].to_list()
    expected = rows.rename({"text": "t"}).filter(_as_polars(where))["id"].to_list()
    assert sorted(kept, key=str) == sorted(expected, key=str)
    assert sorted(number or 5 for number in opened) == CONDITIONS[where]


def test_a_condition_on_a_decimal_has_all_of_its_digits() -> None:
    number = Decimal("12345678901234567890.123456789012345678")
    load(pl.DataFrame({"d": [number], "v": [1]}, schema_overrides={"d": pl.Decimal(38, 18)}), mode="append")
    with LAKE.table().update_schema() as change:
        change.rename_column("v", "w")
    config = source()
    config["transform"] = [{"type": "filter", "where": f"d = {number:f}"}]
    Pipeline.from_dict(config).run()
    assert pl.read_parquet("read/*.parquet")["d"].to_list() == [number]


def _as_polars(where: str) -> pl.Expr:
    return {
        "id = 2": pl.col("id") == 2,
        "2 < id": pl.col("id") > 2,
        "id <= 2 AND t <> 'x'": pl.col("id") <= 2,
        "id IN (1, 3)": pl.col("id").is_in([1, 3]),
        "id IS NULL": pl.col("id").is_null(),
        "id = 1 OR price > 20.5": pl.col("id").is_in([1, 3, 4]),
        "price = 10.00": pl.col("id") == 1,
        "day >= DATE'2020-01-03' AND id IS NOT NULL": pl.col("id") >= 3,
        "t < 't3'": pl.col("id") < 3,
        "at = TIMESTAMP_NTZ'2020-01-04 00:00:00'": pl.col("id") == 4,
        "id % 2 = 0 OR day IS NULL": pl.col("id").is_in([2, 4]) | pl.col("id").is_null(),
    }[where]


# The past


def test_snapshots_and_moments_of_the_past() -> None:
    load(numbers(1), mode="append")
    between = dt.datetime.now(dt.UTC)
    while dt.datetime.now(dt.UTC) - between < dt.timedelta(milliseconds=2):
        pass
    load(numbers(2), mode="append")
    first, second = (snapshot.snapshot_id for snapshot in LAKE.table().snapshots())
    assert read(snapshot=first)["id"].to_list() == [1]
    assert sorted(read(snapshot=second)["id"]) == [1, 2]
    assert read(timestamp=between.isoformat())["id"].to_list() == [1]
    with pytest.raises(ConfigError, match=rf"has no snapshot 7 .*{second}"):
        read(snapshot=7)
    with pytest.raises(ConfigError, match="had no snapshot yet at 2020-01-01"):
        read(timestamp="2020-01-01T00:00:00")


def test_a_snapshot_has_the_columns_of_its_time() -> None:
    load(numbers(1), mode="append")
    load(numbers(2).with_columns(w=pl.lit(1.5)), mode="append", add_columns=True)
    assert read(snapshot=LAKE.table().snapshots()[0].snapshot_id).columns == ["id", "v"]


def test_an_epoch_is_known_when_its_snapshot_has_expired() -> None:
    load(numbers(1), mode="append", key="a")
    load(numbers(2), mode="append", key="b")
    LAKE.table().maintenance.expire_snapshots().by_id(LAKE.table().snapshots()[0].snapshot_id).commit()
    assert len(LAKE.table().snapshots()) == 1
    assert load(numbers(1), mode="append", key="a").loads[0].status == "skipped"
    assert sorted(seen()["id"]) == [1, 2]


def test_an_epoch_that_was_rolled_back_is_loaded_anew() -> None:
    load(numbers(1), mode="append", key="a")
    load(numbers(2), mode="append", key="b")
    table = LAKE.table()
    table.manage_snapshots().rollback_to_snapshot(table.snapshots()[0].snapshot_id).commit()
    assert seen()["id"].to_list() == [1]
    assert load(numbers(1), mode="append", key="a").loads[0].status == "skipped"
    assert load(numbers(2), mode="append", key="b").loads[0].status == "committed"
    assert load(numbers(2), mode="append", key="b").loads[0].status == "skipped"
    assert sorted(seen()["id"]) == [1, 2]


def test_one_load_makes_one_snapshot() -> None:
    load(numbers(1, 2), mode="append")
    for number, mode in enumerate(("overwrite", "upsert", "insert_ignore", "append"), start=2):
        keyed = {"keys": "id"} if mode in ("upsert", "insert_ignore") else {}
        wide = numbers(2, number).with_columns(**{f"c{number}": pl.lit(number)})
        load(wide.unique("id"), mode=mode, add_columns=True, **keyed)
        assert len(LAKE.table().snapshots()) == number


# Catalogs


@pytest.mark.parametrize(
    ("warehouse", "said"),
    [
        ("gs://bucket/lake", "gs://bucket/lake is neither a directory of this machine nor of S3"),
        ("s3a://bucket/lake", "write s3://bucket/lake: rayetl knows S3 by this name only"),
        ("s3://b/lake", "'b' in s3://b/lake is not the name of a bucket"),
        ("s3://bucket/la#ke", "has a `\\?` or `#`"),
    ],
)
def test_tables_elsewhere_are_refused(warehouse: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(numbers(1), catalog={**LAKE.settings["catalog"], "warehouse": warehouse})


def test_settings_of_s3_are_refused_for_tables_here() -> None:
    with pytest.raises(ConfigError, match="`s3` is for tables on S3"):
        load(numbers(1), s3={"region": "eu-central-1"})


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog.sql", None)
    with pytest.raises(LoadError) as told:
        load(numbers(1))
    assert told.value.hint == "pip install 'rayetl[iceberg]'"
    with pytest.raises(ConfigError, match=r"pip install 'rayetl\[iceberg\]'"):
        read()


def test_a_damaged_table_is_told_in_one_sentence() -> None:
    load(numbers(1))
    for path in Path("lake/shop/daily/metadata").glob("*.metadata.json"):
        path.write_text("{not json")
    with pytest.raises((ConfigError, SourceError), match=r"the Iceberg table shop\.daily cannot be read"):
        read()


@pytest.fixture
def postgres(database: Database, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A catalog in PostgreSQL, opened by a credential."""
    monkeypatch.setenv("RAYETL_CREDENTIAL_CATALOG__USER", database.user)
    monkeypatch.setenv("RAYETL_CREDENTIAL_CATALOG__PASSWORD", database.password)
    uri = f"postgresql://{database.host}:{database.port}/{database.database}"
    catalog = {"type": "sql", "uri": uri, "warehouse": "lake"}
    return {"catalog": catalog, "credential": "catalog"}


def test_a_catalog_in_postgresql(postgres: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"there is no Iceberg table shop\.daily in the catalog"):
        read(**postgres)
    load(numbers(1), mode="append", key="a", **postgres)
    load(numbers(2), mode="upsert", keys="id", key="b", **postgres)
    assert load(numbers(2), mode="append", key="b", **postgres).loads[0].status == "skipped"
    assert sorted(read(**postgres)["id"]) == [1, 2]


def test_a_refused_login_is_told_without_the_password(
    postgres: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYETL_CREDENTIAL_CATALOG__PASSWORD", "canary-7f3a")
    with pytest.raises(CredentialError, match="the catalog refuses the login") as told:
        load(numbers(1), **postgres)
    assert "canary" not in str(told.value)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    uri = "postgresql://me:canary-7f3a@db/lake"
    with pytest.raises(ConfigError, match="belong into `credential`") as told:
        load(numbers(1), catalog={"type": "sql", "uri": uri, "warehouse": "lake"})
    assert "canary" not in str(told.value)


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[IcebergRest]:
    """A catalog service that wants a token."""
    service = IcebergRest(tmp_path / "service", token="canary-7f3a")
    yield service
    service.stop()


def through(service: IcebergRest) -> dict[str, Any]:
    return {"catalog": {"type": "rest", "uri": service.uri}, "credential": "service"}


def test_a_catalog_service(rest: IcebergRest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYETL_CREDENTIAL_SERVICE__TOKEN", "canary-7f3a")
    with pytest.raises(ConfigError, match=r"there is no Iceberg table shop\.daily in the catalog"):
        read(**through(rest))
    load(numbers(1, 2), mode="append", key="a", partition_by="bucket(2, id)", **through(rest))
    load(numbers(2, 3).with_columns(w=pl.lit(1)), mode="upsert", keys="id", add_columns=True, **through(rest))
    assert load(numbers(1, 2), mode="append", key="a", **through(rest)).loads[0].status == "skipped"
    assert sorted(read(**through(rest)).rows()) == [(1, "v1", None), (2, "v2", 1), (3, "v3", 1)]
    assert rest.commits == 2


@pytest.mark.parametrize("first", [True, False])
def test_a_commit_whose_answer_a_service_loses_is_looked_up(
    rest: IcebergRest, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setenv("RAYETL_CREDENTIAL_SERVICE__TOKEN", "canary-7f3a")
    if not first:
        load(numbers(1), mode="append", **through(rest))
    rest.lost = 1
    assert load(numbers(2), mode="append", **through(rest)).loads[0].status == "committed"
    assert rest.commits == (1 if first else 2)
    assert sorted(read(**through(rest))["id"]) == ([2] if first else [1, 2])


@pytest.fixture
def rotation(rest: IcebergRest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """When the first load commits, the service takes no longer the token that it began with; the credential
    has by then the fields that are put in here."""
    fields, later = {"token": "canary-7f3a"}, {}
    monkeypatch.setattr(Credentials, "here", lambda: Credentials([Kept(fields)]))
    write = IcebergSession._write

    def after(self: IcebergSession, *change: Any) -> None:
        monkeypatch.setattr(IcebergSession, "_write", write)
        rest.token = "another"
        fields.update(later)
        write(self, *change)

    monkeypatch.setattr(IcebergSession, "_write", after)
    return later


def test_a_token_that_is_changed_while_a_run_is_under_way_costs_no_row(
    rest: IcebergRest, rotation: dict[str, str]
) -> None:
    rotation["token"] = "another"
    report = load(numbers(1, 2), mode="append", **through(rest))
    assert (report.retries, report.rows_loaded, rest.commits) == (1, 2, 1)
    assert sorted(read(**through(rest))["id"]) == [1, 2]


@pytest.mark.usefixtures("rotation")
def test_a_token_that_is_revoked_while_a_run_is_under_way_ends_it(rest: IcebergRest) -> None:
    with pytest.raises(CredentialError, match="the catalog refuses the login"):
        load(numbers(1, 2), mode="append", **through(rest))
    assert rest.commits == 0


def test_a_service_refuses_and_is_away(rest: IcebergRest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYETL_CREDENTIAL_SERVICE__TOKEN", "canary-0000")
    with pytest.raises(CredentialError, match="the catalog refuses the login") as told:
        load(numbers(1), **through(rest))
    assert "canary" not in str(told.value)
    gone = {**through(rest), "catalog": {"type": "rest", "uri": "http://127.0.0.1:1"}}
    with pytest.raises(RayetlError, match="cannot be loaded into") as away:
        load(numbers(1), **gone)
    assert "canary" not in str(away.value)
