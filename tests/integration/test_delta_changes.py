"""The change data feed of Delta tables as a source. Two judges: the library's own reader of the feed, and the
table itself, which the feed must rebuild version by version."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from lakes import DeltaOnS3, Lake, numbers

from rayetl import Pipeline
from rayetl.connectors.base import FilesScan
from rayetl.connectors.delta.source import DeltaSource
from rayetl.engines.spark.native import reads_alike
from rayetl.errors import ConfigError
from rayetl.plan.splits import Splits, cut

FEED = {"delta.enableChangeDataFeed": "true"}
LAKE = Lake()


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["here", "on S3"])
def read(request: pytest.FixtureRequest) -> Callable[..., pl.DataFrame]:
    """The changes of the table `lake` as the source reads them, from here or from a bucket."""

    def here(first: int, last: int | None = None) -> pl.DataFrame:
        return LAKE.read(changes=spelled(first, last))

    if request.param == "here":
        return here
    there = DeltaOnS3(request.getfixturevalue("bucket"), request.getfixturevalue("s3_server"))

    def on_s3(first: int, last: int | None = None) -> pl.DataFrame:
        for path in Path("lake").rglob("*"):
            if path.is_file():
                there.bucket.put(path.as_posix(), path.read_bytes())
        return there.read(changes=spelled(first, last))

    return on_s3


def spelled(first: int, last: int | None = None) -> dict[str, int]:
    return {"from_version": first} if last is None else {"from_version": first, "to_version": last}


def table() -> DeltaTable:
    return DeltaTable("lake")


def busy(partition: str = "y") -> None:
    """A table that every kind of commit has changed, with partitions `x`, NULL and one more."""
    rows = pl.DataFrame({"id": [1, 2, 3, 4], "v": ["a", "b", "c", "d"], "p": ["x", partition, None, "x"]})
    write_deltalake("lake", rows, partition_by=["p"], configuration=FEED)
    write_deltalake("lake", rows.with_columns(pl.col("id") + 10), mode="append")
    table().delete("id = 2")
    table().update({"v": "'new'"}, predicate="id >= 3 AND id < 12")
    merged = pl.DataFrame({"id": [1, 99], "v": ["merged", "merged"], "p": ["x", None]})
    merge = table().merge(merged, "s.id = t.id", source_alias="s", target_alias="t")
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    table().optimize.compact()
    table().delete("p = 'x'")
    write_deltalake("lake", rows.head(1), mode="overwrite")
    LAKE.load(rows.tail(2), mode="append")
    LAKE.load(rows.with_columns(v=pl.lit("again")), mode="upsert", keys="id")
    LAKE.load(rows.tail(3).with_columns(id=pl.col("id") + 2), mode="insert_ignore", keys="id")
    LAKE.load(rows.head(1), mode="overwrite", replace="partitions")
    LAKE.load(rows.tail(1), mode="overwrite")


def by_library(first: int, last: int | None = None) -> pl.DataFrame:
    found = pl.DataFrame(pa.table(table().load_cdf(first, last)))
    return found.with_columns(
        pl.col("_commit_version").cast(pl.Int64),
        pl.col("_commit_timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    )


def at(version: int) -> Counter[tuple[Any, ...]]:
    found = pl.DataFrame(pa.table(DeltaTable("lake", version).to_pyarrow_table()))
    return Counter(found.select("id", "v", "p").rows())


def test_the_feed_is_what_the_library_makes_of_it(read: Callable[..., pl.DataFrame]) -> None:
    busy()
    for first, last in ((0, None), (2, 4), (5, 5), (6, None)):
        found, wanted = read(first, last), by_library(first, last)
        assert found.columns == ["id", "v", "p", "_change_type", "_commit_version", "_commit_timestamp"]
        assert Counter(found.rows()) == Counter(wanted.select(found.columns).rows()), (first, last)


def test_the_feed_rebuilds_every_version() -> None:
    # The library's own reader of the feed does not find files of a partition that is spelled with escapes.
    busy("a b/ü=%")
    rows, kinds = LAKE.read(changes=spelled(0)), set()
    held: Counter[tuple[Any, ...]] = Counter()
    for version in range(table().version() + 1):
        changed = rows.filter(pl.col("_commit_version") == version)
        for row in changed.iter_rows(named=True):
            kinds.add(row["_change_type"])
            gone = row["_change_type"] in ("delete", "update_preimage")
            held[row["id"], row["v"], row["p"]] += -1 if gone else 1
        assert +held == at(version), version
        assert min(held.values()) >= 0
    assert kinds == {"insert", "delete", "update_preimage", "update_postimage"}


def test_columns_and_conditions_are_pushed_into_the_feed() -> None:
    busy()
    config = LAKE.source(changes=spelled(0))
    wanted = by_library(0).filter(
        (pl.col("_commit_version") > 2) & (pl.col("_change_type") == "update_postimage")
    )
    where = "_commit_version > 2 AND _change_type = 'update_postimage'"
    config["transform"] = [
        {"type": "filter", "where": where},
        {"type": "select", "columns": ["id", "_commit_timestamp AS moment"]},
    ]
    Pipeline.from_dict(config).run()
    found = pl.read_parquet("read/*.parquet")
    assert wanted.height > 0
    assert Counter(found.rows()) == Counter(wanted.select("id", "_commit_timestamp").rows())


def test_a_column_that_came_on_the_way_is_null_before() -> None:
    write_deltalake("lake", numbers(1), configuration=FEED)
    LAKE.load(numbers(2).with_columns(w=pl.lit(1.5)), mode="append", add_columns=True)
    found = LAKE.read(changes=spelled(0)).sort("id")
    assert found.select("id", "w", "_change_type").rows() == [(1, None, "insert"), (2, 1.5, "insert")]


def test_a_commit_that_names_no_time_has_none_and_the_one_of_the_commit_goes_first() -> None:
    for number in range(3):
        write_deltalake("lake", numbers(number), mode="append", configuration=None if number else FEED)
    edit(1, lambda action: action.get("commitInfo", {}).pop("timestamp", None))
    edit(2, lambda action: action.get("commitInfo", {}).update(inCommitTimestamp=86_400_001))
    found = LAKE.read(changes=spelled(1)).sort("id")
    assert found["_commit_timestamp"].to_list() == [None, datetime(1970, 1, 2, 0, 0, 0, 1_000, UTC)]


def edit(version: int, change: Callable[[dict[str, Any]], object]) -> None:
    """Another writer's commit: the log as it could be as well."""
    log = Path(f"lake/_delta_log/{version:020d}.json")
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        change(action)
    log.write_text("\n".join(map(json.dumps, actions)) + "\n")


# What it is to the engines


def scan(**changes: int) -> FilesScan:
    source = DeltaSource.model_validate({"type": "delta", "path": "lake", "changes": changes})
    return source.describe(None)


def test_the_feed_is_cut_into_splits_and_never_read_by_spark_itself() -> None:
    busy()
    pipeline = Pipeline.from_dict(LAKE.source(changes=spelled(0)))
    splits = cut(pipeline.plan(), 1)
    assert isinstance(splits, Splits)
    assert sum(len(part.scan.files) for part in splits.parts) == len(scan(from_version=0).files)
    assert not reads_alike(scan(from_version=0)), "no directory spells the kind of a change"


def test_spark_reads_a_table_itself_only_if_its_directories_spell_the_partitions() -> None:
    write_deltalake("lake", numbers(1, 2), partition_by=["v"])
    source = DeltaSource.model_validate({"type": "delta", "path": "lake"})
    assert reads_alike(source.describe(None))
    for path in Path("lake").glob("v=*"):
        path.rename(path.with_name(f"{path.name[2:]}=odd"))
    edit(0, lambda action: move(action.get("add", {})))
    assert not reads_alike(source.describe(None))
    assert LAKE.read().sort("id").rows() == numbers(1, 2).rows()


def move(add: dict[str, Any]) -> None:
    if add:
        folder, name = add["path"].split("/")
        add["path"] = f"{folder[2:]}=odd/{name}"


def test_a_refused_row_keeps_its_change() -> None:
    busy()
    config = {
        "name": "q",
        "extract": {**LAKE.settings, "changes": spelled(0)},
        "transform": [
            {"type": "validate", "rules": [{"name": "small", "check": "v <> 'merged' OR id < 99"}]}
        ],
        "load": {"type": "files", "path": "good"},
    }
    pipeline = Pipeline.from_dict(config)
    pipeline.run()
    letters = pipeline.dead_letters.read().collect()
    records = [json.loads(record) for record in letters["record"]]
    assert [record["id"] for record in records] == [99] * by_library(0).filter(
        pl.col("id") == 99, pl.col("v") == "merged"
    ).height
    assert "insert" in {record["_change_type"] for record in records}
    assert any("_change_data" in file for file in letters["file"])


# The same input


def statuses(**changes: int) -> str:
    return Pipeline.from_dict(LAKE.source(changes=changes)).run().loads[0].status


def test_the_same_changes_are_the_same_input() -> None:
    write_deltalake("lake", numbers(1), configuration=FEED)
    write_deltalake("lake", numbers(2), mode="append")
    assert statuses(from_version=0) == "committed"
    assert statuses(from_version=0) == "skipped"
    table().optimize.compact()
    assert statuses(from_version=0) == "skipped", "a compaction changes no row"
    table().delete("id = 2")
    assert statuses(from_version=0) == "committed"


def test_a_file_that_was_added_and_removed_is_two_inputs() -> None:
    write_deltalake("lake", numbers(1), configuration=FEED)
    table().delete()
    source = DeltaSource.model_validate({"type": "delta", "path": "lake", "changes": {"from_version": 0}})
    added, removed = scan(from_version=0, to_version=0), scan(from_version=1)
    assert added.files[0].path == removed.files[0].path
    assert source.identity(added) != source.identity(removed)
    assert source.identity(added) == source.identity(scan(from_version=0, to_version=0))


# What is refused


def refused(first: int, last: int | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        LAKE.read(changes=spelled(first, last))
    return str(caught.value)


def test_a_table_without_a_feed() -> None:
    write_deltalake("lake", numbers(1))
    assert "keeps no change data feed in version 0 (delta.enableChangeDataFeed)" in refused(0)
    table().alter.set_table_properties(FEED)
    write_deltalake("lake", numbers(2), mode="append")
    assert "it does from version 1 on: give `from_version: 1`" in refused(0)
    assert LAKE.read(changes=spelled(1))["id"].to_list() == [2]
    table().alter.set_table_properties({"delta.enableChangeDataFeed": "false"})
    assert "keeps no change data feed in version 3" in refused(1)
    assert LAKE.read(changes=spelled(1, 2))["id"].to_list() == [2]


def test_versions_that_are_not_there_yet() -> None:
    write_deltalake("lake", numbers(1), configuration=FEED)
    assert "has no version 1: the newest one is 0" in refused(1)
    assert "has no version 7: the newest one is 0" in refused(0, 7)


def test_a_log_that_was_cleaned() -> None:
    for number in range(4):
        write_deltalake("lake", numbers(number), mode="append", configuration=None if number else FEED)
    DeltaTable("lake", 2).create_checkpoint()
    for version in range(2):
        Path(f"lake/_delta_log/{version:020d}.json").unlink()
    told = refused(0)
    assert "the log of the Delta table lake does not go back to version 0 any more" in told
    assert "begin with `from_version: 2`" in told
    assert sorted(LAKE.read(changes=spelled(2))["id"]) == [2, 3]


def test_changes_that_a_vacuum_has_removed() -> None:
    write_deltalake("lake", numbers(1, 2), configuration=FEED)
    table().delete("id = 2")
    old = time.time() - 30 * 24 * 3600
    for path in Path("lake").rglob("*.parquet"):
        os.utime(path, (old, old))
    table().vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    told = refused(1)
    assert "names the file _change_data/" in told
    assert "a vacuum may have removed the files of an old version; begin with a newer one" in told


def test_rows_that_do_not_fit_together_are_told_at_once() -> None:
    write_deltalake("lake", numbers(1).with_columns(w=pl.lit(True)), configuration=FEED)
    texts = numbers(2).with_columns(pl.col("id").cast(pl.String))
    write_deltalake("lake", texts, mode="overwrite", schema_mode="overwrite")
    told = refused(0)
    assert "'id' is bigint in version 0, string in version 1" in told
    assert "'w' of version 0 is gone in version 1" in told
    assert sorted(LAKE.read(changes=spelled(0, 0))["id"]) == [1]


def test_a_column_of_the_table_that_is_called_like_one_of_the_feed() -> None:
    write_deltalake("lake", numbers(1).rename({"v": "_commit_version"}))
    edit(0, lambda action: action.get("metaData", {}).update(configuration=FEED))
    assert "it has a column '_commit_version' of its own" in refused(0)


def test_columns_that_were_mapped_once() -> None:
    write_deltalake("lake", numbers(1), configuration=FEED)
    write_deltalake("lake", numbers(2), mode="append")
    table().alter.set_table_properties({"delta.logRetentionDuration": "interval 60 days"})

    def mapped(action: dict[str, Any]) -> None:
        if "metaData" in action:
            action["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"

    edit(0, mapped)
    assert "maps its columns to other names in version 0 (delta.columnMapping.mode)" in refused(0)


@pytest.mark.parametrize("odd", ["deletionVector", "partitionValues"])
def test_a_file_whose_changed_rows_the_log_does_not_tell(odd: str) -> None:
    write_deltalake("lake", numbers(1), configuration=FEED, partition_by=["v"])
    table().delete()

    def other(action: dict[str, Any]) -> None:
        if "remove" in action and odd == "partitionValues":
            del action["remove"][odd]
        elif "remove" in action:
            action["remove"][odd] = {
                "storageType": "u",
                "pathOrInlineDv": "x",
                "sizeInBytes": 1,
                "cardinality": 1,
            }

    edit(1, other)
    assert "does not tell which rows of the file" in refused(1)
