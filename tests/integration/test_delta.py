"""Delta tables as source and load, beyond `test_lakes`: time travel, other writers, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from lakes import EVERY_TYPE, Lake, numbers

from rayetl import Pipeline
from rayetl.errors import ConfigError, LoadError, RayetlError, SourceError


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


LAKE = Lake()
load, read, seen = LAKE.load, LAKE.read, LAKE.seen


# Tables of others


def test_other_writers_and_readers_get_along() -> None:
    write_deltalake("lake", numbers(1))
    load(numbers(2), mode="append")
    write_deltalake("lake", numbers(3), mode="append")
    assert sorted(read()["id"]) == [1, 2, 3]


def test_partitions_of_a_table_are_kept_and_read() -> None:
    kinds = pl.DataFrame(
        {
            "id": [1, 2, 3],
            "day": [dt.date(2020, 1, 1), dt.date(2021, 1, 1), None],
            "t": ["a b", "ü=/%", "x"],
            "n": [1, None, 3],
        }
    )
    write_deltalake("lake", kinds.head(0), partition_by=["day", "t", "n"])
    load(kinds, mode="append")
    assert seen().sort("id").select(kinds.columns).equals(kinds)
    assert read().sort("id").equals(kinds)
    config = {
        "name": "f",
        "extract": {"type": "delta", "path": "lake"},
        "transform": [{"type": "filter", "where": "day = DATE'2021-01-01'"}],
    }
    assert Pipeline.from_dict({**config, "load": {"type": "files", "path": "x"}}).run().rows_loaded == 1


@pytest.mark.parametrize("text", ["", "__HIVE_DEFAULT_PARTITION__"])
@pytest.mark.parametrize("mode", ["upsert", "insert_ignore"])
def test_a_key_that_the_log_takes_for_null_is_one(text: str, mode: str) -> None:
    rows = pl.DataFrame({"p": ["a", text], "id": [1, 2]})
    write_deltalake("lake", rows.head(0), partition_by=["p"])
    with pytest.raises(LoadError, match=r"1 rows have NULL in a key \(p, id\)"):
        load(rows, mode=mode, keys=["p", "id"])
    load(rows.head(1), mode=mode, keys=["p", "id"])
    load(rows, mode=mode, keys="id")
    assert sorted(seen()["id"]) == [1, 2]


@pytest.mark.parametrize("ours", [True, False])
def test_partitions_that_are_no_finite_numbers(ours: bool) -> None:
    rows = pl.DataFrame({"id": range(5), "p": [float("nan"), float("inf"), -float("inf"), -0.0, None]})
    feed = {"delta.enableChangeDataFeed": "true"}
    first = rows.clear() if ours else rows
    write_deltalake("lake", first, partition_by=["p"], configuration=feed)
    if ours:
        load(rows, mode="append")
    assert read().sort("id").equals(rows)
    assert read(changes={"from_version": 0}).sort("id").select("id", "p").equals(rows)


MOMENT = dt.datetime(2020, 1, 1, 1, 2, 3, 100_000)
VALUES = [
    1e-7,
    float("nan"),
    -float("inf"),
    Decimal("0.0000000001"),
    MOMENT,
    MOMENT.replace(tzinfo=dt.UTC),
    dt.date(1, 1, 1),
    True,
    "a b/%",
]


def optimized() -> None:
    config = {
        "name": "p",
        "extract": {"type": "delta", "path": "lake"},
        "load": {"type": "files", "path": "out"},
    }
    Pipeline.from_dict(config).table(None).optimize(None)


FAR = pa.array([dt.datetime(9999, 12, 31), dt.datetime(2020, 1, 1)], pa.timestamp("us", "UTC"))


@pytest.mark.parametrize("far", [FAR, pa.array([[{"t": FAR[0]}], None])], ids=["plain", "nested"])
def test_times_that_the_library_would_spoil_stay_as_they_are(far: pa.Array) -> None:
    """Spark writes INT96 by default; what is rewritten without it is as good as any other."""
    rows = pa.table({"id": [1, 2], "t": far})
    for int96 in (True, False):
        write_deltalake("lake", rows, mode="overwrite")
        file = Path(DeltaTable("lake").file_uris()[0].removeprefix("file://"))
        pq.write_table(rows, file, use_deprecated_int96_timestamps=int96)
        log = max(Path("lake/_delta_log").glob("*.json"))
        size = re.sub(r'"size":\d+', f'"size":{file.stat().st_size}', log.read_text())
        log.write_text(size)
        new = pl.from_arrow(rows.slice(1))
        if int96:
            with pytest.raises(LoadError, match="times before 1678 or after 2261 in the column 't'"):
                load(new, mode="upsert", keys="id")
        else:
            load(new, mode="upsert", keys="id")
        assert read().sort("id").equals(pl.DataFrame(rows))


def test_floats_inside_of_a_key_are_refused() -> None:
    """To the library, -0.0 is not 0.0 inside of another column."""
    rows = pl.DataFrame({"k": [[0.0]], "v": [1]})
    with pytest.raises(ConfigError, match=r"the key 'k' of type array<double> has floats inside"):
        load(rows, mode="upsert", keys="k")


@pytest.mark.parametrize("far", [FAR, pa.array([[{"t": FAR[0]}], None])], ids=["plain", "nested"])
def test_a_compaction_keeps_times_of_spark(far: pa.Array) -> None:
    rows = pa.table({"id": [1, 2], "t": far})
    for version in (0, 1):
        write_deltalake("lake", rows, mode="append")
        log = Path(f"lake/_delta_log/{version:020}.json")
        name = next(line["add"]["path"] for line in map(json.loads, log.open()) if "add" in line)
        pq.write_table(rows, f"lake/{name}", use_deprecated_int96_timestamps=True)
    optimized()
    assert len(DeltaTable("lake").file_uris()) == 1
    assert seen()["t"].to_list() == 2 * pl.DataFrame(rows)["t"].to_list()


def test_partitions_that_the_library_would_misspell_stay_as_they_are() -> None:
    rows = numbers(1).with_columns(p=pl.lit(Decimal("-0.05"), pl.Decimal(9, 2)))
    load(rows, mode="append", partition_by="p")
    with pytest.raises(LoadError, match=r"is partitioned by 'p' of type decimal\(9,2\), which the library"):
        load(rows, mode="upsert", keys="id")
    assert read().equals(rows)


def test_a_compaction_keeps_every_type() -> None:
    rows = EVERY_TYPE.with_columns(p=pl.lit(Decimal("-0.05"), pl.Decimal(9, 2)))
    for _ in range(2):
        load(rows, mode="append", partition_by="p", force=True)
    optimized()
    assert len(DeltaTable("lake").file_uris()) == 1
    assert read().sort("bool").equals(pl.concat([rows, rows]).sort("bool"))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_partition_is_replaced_however_its_value_is_spelled(value: Any) -> None:
    there = pl.DataFrame({"id": [1, 2], "p": [value, None]})
    write_deltalake("lake", there, partition_by=["p"])
    load(there.with_columns(id=pl.lit(3, pl.Int64)).head(1), mode="overwrite", replace="partitions")
    assert sorted(read()["id"]) == [2, 3]
    assert read().filter(pl.col("id") == 3)["p"].equals(there["p"].head(1))


def test_a_column_that_may_not_be_null() -> None:
    from deltalake import Field, Schema

    schema = Schema([Field("id", "long", nullable=False), Field("v", "string")])
    DeltaTable.create("lake", schema)
    load(numbers(1), mode="append")
    with pytest.raises(
        LoadError, match=r"the column 'id' .* may not be NULL, and 1 rows have no value there"
    ):
        load(pl.DataFrame({"id": [None], "v": ["x"]}, schema={"id": pl.Int64, "v": pl.String}), mode="append")
    assert seen()["id"].to_list() == [1]


def test_a_constraint_of_the_table_refuses_the_load() -> None:
    write_deltalake("lake", numbers(1))
    DeltaTable("lake").alter.add_constraint({"positive": "id > 0"})
    with pytest.raises(LoadError, match="has the constraint positive"):
        load(numbers(-1), mode="append")


def test_an_append_only_table_is_not_overwritten() -> None:
    write_deltalake("lake", numbers(1), configuration={"delta.appendOnly": "true"})
    load(numbers(2), mode="append")
    with pytest.raises(LoadError, match="append-only"):
        load(numbers(3), mode="overwrite")


def test_a_table_that_forgets_its_epochs_is_not_loaded_into() -> None:
    """Spark leaves the tokens out of its next checkpoint, whatever their age: the library dates none."""
    keeps = {"delta.setTransactionRetentionDuration": "interval 30 days"}
    write_deltalake("lake", numbers(1), configuration=keeps)
    with pytest.raises(LoadError, match=r"forgets which epochs it holds after interval 30 days"):
        load(numbers(2), mode="append")
    DeltaTable("lake").optimize.compact()
    assert read()["id"].to_list() == [1]


def test_a_directory_with_other_files_is_no_table() -> None:
    Path("lake").mkdir()
    Path("lake/mine.txt").write_text("mine")
    with pytest.raises(LoadError, match=r"holds files that belong to no Delta table, as mine\.txt"):
        load(numbers(1), mode="overwrite")
    assert Path("lake/mine.txt").read_text() == "mine"


def test_figures_in_the_log_let_readers_leave_out_files() -> None:
    load(pl.DataFrame({"id": [3, 7, None], "x": [1.0, float("nan"), 2.0], "t": ["b", "a" * 99, None]}))
    found = pa.table(DeltaTable("lake").get_add_actions(flatten=True)).to_pylist()[0]
    assert (found["num_records"], found["min.id"], found["max.id"], found["null_count.id"]) == (3, 3, 7, 1)
    assert found.get("min.x") is None, "NaN has no place between least and greatest"
    assert found.get("max.t") is None, "a long text is not certain"


# The source


def test_versions_and_moments_of_the_past() -> None:
    load(numbers(1), mode="append")
    between = dt.datetime.now(dt.UTC).isoformat()
    os.utime("lake/_delta_log/00000000000000000000.json")
    load(numbers(2), mode="append")
    assert read(version=0)["id"].to_list() == [1]
    assert sorted(read(version=1)["id"]) == [1, 2]
    assert read(timestamp=between)["id"].to_list() == [1]
    with pytest.raises(ConfigError, match="the Delta table lake has no version 7: the newest one is"):
        read(version=7)


def test_a_moment_is_that_of_the_commit_where_commits_name_it() -> None:
    """A copy of the table has files that were all written at once."""
    for number in range(4):
        load(numbers(number), mode="append")
    for version, log in enumerate(sorted(Path("lake/_delta_log").glob("*.json"))):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        lines.sort(key=lambda line: "commitInfo" not in line)
        lines[0]["commitInfo"]["inCommitTimestamp"] = 1_000_000 * (version + 1)
        for line in lines:
            if "metaData" in line:
                line["metaData"]["configuration"]["delta.enableInCommitTimestamps"] = "true"
            if "protocol" in line:
                line["protocol"] = {"minReaderVersion": 1, "minWriterVersion": 7}
                line["protocol"]["writerFeatures"] = ["inCommitTimestamp"]
        log.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    rows = [read(timestamp=f"1970-01-01T00:{text}Z").height for text in ("16:40", "33:20", "49:59", "50:00")]
    assert rows == [1, 2, 2, 3]
    assert read(timestamp="2000-01-01T00:00:00Z").height == 4


def test_a_moment_before_the_first_version_has_none() -> None:
    load(numbers(1), mode="append")
    with pytest.raises(ConfigError, match=r"lake had no version yet at 2001-01-01T00:00:00"):
        read(timestamp="2001-01-01T00:00:00Z")


def test_deleted_rows_stay_deleted() -> None:
    load(numbers(1, 2, 3), mode="append")
    DeltaTable("lake").delete("id = 2")
    assert sorted(read()["id"]) == [1, 3]


@pytest.mark.parametrize("scheme", ["file:", "file://"])
def test_a_clone_names_files_of_another_table(scheme: str) -> None:
    """As Spark's SHALLOW CLONE writes it, with one slash, and others with three."""
    write_deltalake("origin dir", numbers(1))
    Path("lake/_delta_log").mkdir(parents=True)
    log = "_delta_log/00000000000000000000.json"
    there = f'"path":"{scheme}{quote(str(Path("origin dir").absolute()))}/'
    Path("lake", log).write_text(Path("origin dir", log).read_text().replace('"path":"', there))
    assert read()["id"].to_list() == [1]


def test_columns_that_are_mapped_are_refused() -> None:
    load(numbers(1), mode="append")
    log = Path("lake/_delta_log/00000000000000000000.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "metaData" in line:
            schema = json.loads(line["metaData"]["schemaString"])
            for place, field in enumerate(schema["fields"], 1):
                name = field["name"]
                field["metadata"] = {
                    "delta.columnMapping.id": place,
                    "delta.columnMapping.physicalName": name,
                }
            line["metaData"]["schemaString"] = json.dumps(schema)
            line["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
        if "protocol" in line:
            line["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}
    log.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    with pytest.raises(RayetlError, match="maps its columns to other names") as caught:
        read()
    assert "DROP FEATURE" in str(caught.value)


def test_a_feature_that_the_library_lacks_is_read_where_it_means_nothing_and_not_loaded_into() -> None:
    load(numbers(1), mode="append")
    log = Path("lake/_delta_log/00000000000000000000.json")
    features = ["vacuumProtocolCheck"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7} | dict.fromkeys(
        ("readerFeatures", "writerFeatures"), features
    )
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [{"protocol": protocol} if "protocol" in line else line for line in lines]
    log.write_text("\n".join(map(json.dumps, told)) + "\n")
    assert read()["id"].to_list() == [1]
    with pytest.raises(RayetlError, match="lake uses the feature vacuumProtocolCheck"):
        load(numbers(2), mode="append")


def test_source_errors_are_source_errors() -> None:
    Path("lake/_delta_log").mkdir(parents=True)
    Path("lake/_delta_log/00000000000000000000.json").write_text("{not json")
    with pytest.raises((ConfigError, SourceError), match="the Delta table lake cannot be read") as caught:
        read()
    assert "bring back a whole copy of its _delta_log" in str(caught.value)
