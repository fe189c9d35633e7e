"""Delta tables as source and load: modes, types, time travel, other writers, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from rayetl import Pipeline
from rayetl.errors import ConfigError, LoadError, RayetlError, SourceError
from rayetl.observability.report import RunReport


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(rows: pl.DataFrame, name: str = "in.parquet") -> str:
    rows.write_parquet(name)
    return name


def load(rows: pl.DataFrame, *, key: str | None = None, force: bool = False, **settings: Any) -> RunReport:
    """Load rows into the table `lake`."""
    config = {
        "name": "p",
        "extract": {"type": "files", "path": put(rows)},
        "load": {"id": "lake", "type": "delta", "path": "lake", **settings},
    }
    return Pipeline.from_dict(config).run(run_key=key, force=force)


def read(**settings: Any) -> pl.DataFrame:
    """The table `lake` as the source reads it."""
    config = {
        "name": "r",
        "extract": {"type": "delta", "path": "lake", **settings},
        "load": {"type": "files", "path": "read", "mode": "overwrite"},
    }
    report = Pipeline.from_dict(config).run(force=True)
    found = pl.read_parquet("read/*.parquet")
    assert report.rows_read == found.height
    return found


def seen() -> pl.DataFrame:
    """The table as a reader sees it that knows nothing of rayetl."""
    return pl.from_arrow(DeltaTable("lake").to_pyarrow_table())  # type: ignore[return-value]


def numbers(*found: int) -> pl.DataFrame:
    return pl.DataFrame({"id": list(found), "v": [f"v{number}" for number in found]})


EVERY_TYPE = pl.DataFrame(
    {
        "bool": [True, None],
        "byte": pl.Series([1, None], dtype=pl.Int8),
        "short": pl.Series([-32768, None], dtype=pl.Int16),
        "int": pl.Series([2**31 - 1, None], dtype=pl.Int32),
        "long": pl.Series([-(2**63), None], dtype=pl.Int64),
        "float": pl.Series([float("nan"), None], dtype=pl.Float32),
        "double": [-0.0, None],
        "text": ["häß\n'\"\\ ", None],
        "bytes": [b"\x00\xff", None],
        "date": [dt.date(1582, 10, 15), None],
        "instant": pl.Series([dt.datetime(2020, 6, 1, 12, 0, 0, 1), None], dtype=pl.Datetime("us", "UTC")),
        "wall": pl.Series([dt.datetime(1, 1, 1), None], dtype=pl.Datetime("us")),
        "small": pl.Series([Decimal("-99.99"), None], dtype=pl.Decimal(4, 2)),
        "large": pl.Series(
            [Decimal("12345678901234567890.123456789012345678"), None], dtype=pl.Decimal(38, 18)
        ),
        "list": [[1, None], None],
        "struct": [{"a": 1, "b": [{"c": "x"}]}, None],
    }
)


def test_every_type_comes_back_as_it_was() -> None:
    load(EVERY_TYPE)
    assert read().equals(EVERY_TYPE)
    assert seen().equals(EVERY_TYPE)


def test_maps_come_back_as_they_were() -> None:
    rows = pa.table({"m": pa.array([[("a", 1.5)], None], pa.map_(pa.string(), pa.float64()))})
    pa.parquet.write_table(rows, "in.parquet")
    config = {
        "name": "p",
        "extract": {"type": "files", "path": "in.parquet"},
        "load": {"type": "delta", "path": "lake"},
    }
    Pipeline.from_dict(config).run()
    assert DeltaTable("lake").to_pyarrow_table()["m"].to_pylist() == [[("a", 1.5)], None]
    assert read().to_dicts()[1]["m"] is None


def test_no_row_makes_a_table_with_its_columns() -> None:
    assert load(numbers().cast({"id": pl.Int64, "v": pl.String})).rows_loaded == 0
    assert seen().height == 0
    assert read().columns == ["id", "v"]


# Modes


def test_append_keeps_and_the_same_epoch_is_skipped() -> None:
    load(numbers(1), mode="append", key="a")
    load(numbers(2), mode="append", key="b")
    again = load(numbers(2), mode="append", key="b")
    assert again.loads[0].status == "skipped"
    assert again.loads[0].rows == 1
    assert sorted(seen()["id"]) == [1, 2]


def test_force_appends_again() -> None:
    load(numbers(1), mode="append")
    load(numbers(1), mode="append", force=True)
    assert seen()["id"].to_list() == [1, 1]


def test_overwrite_replaces_and_an_epoch_that_was_replaced_is_loaded_anew() -> None:
    load(numbers(1), mode="overwrite", key="a")
    load(numbers(2), mode="overwrite", key="b")
    assert seen()["id"].to_list() == [2]
    assert load(numbers(2), mode="overwrite", key="b").loads[0].status == "skipped"
    assert load(numbers(1), mode="overwrite", key="a").loads[0].status == "committed"
    assert seen()["id"].to_list() == [1]


def test_overwrite_of_partitions_leaves_the_others() -> None:
    old = pl.DataFrame({"id": [1, 2, 3], "p": ["a/b", "c%d", None]})
    load(old, mode="append", partition_by="p")
    new = pl.DataFrame({"id": [20, 30], "p": ["c%d", None]})
    load(new, mode="overwrite", replace="partitions")
    assert seen().sort("id").rows() == [(1, "a/b"), (20, "c%d"), (30, None)]


@pytest.mark.parametrize("partition_by", [[], ["p"]])
def test_upsert_replaces_rows_of_the_same_key(partition_by: list[str]) -> None:
    old = pl.DataFrame({"id": [1, 2], "p": ["x", "y"], "v": [1, 2]})
    load(old, mode="upsert", keys=["id", "p"], partition_by=partition_by)
    report = load(
        pl.DataFrame({"id": [2, 3], "p": ["y", "y"], "v": [20, 30]}), mode="upsert", keys=["id", "p"]
    )
    assert report.loads[0].rows == 2
    assert sorted(seen().rows()) == [(1, "x", 1), (2, "y", 20), (3, "y", 30)]


def test_insert_ignore_leaves_rows_out_whose_key_is_there() -> None:
    load(numbers(1, 2), mode="insert_ignore", keys="id")
    report = load(numbers(2, 3).with_columns(v=pl.lit("new")), mode="insert_ignore", keys="id")
    assert report.loads[0].rows == 1
    assert sorted(seen().rows()) == [(1, "v1"), (2, "v2"), (3, "new")]


@pytest.mark.parametrize("first", [True, False])
def test_a_key_twice_or_null_stops_the_load(first: bool) -> None:
    if not first:
        load(numbers(9), mode="upsert", keys="id")
    with pytest.raises(LoadError, match=r"a key comes 2 times among the rows: id = 5"):
        load(numbers(5, 5), mode="upsert", keys="id")
    with pytest.raises(LoadError, match=r"1 rows have NULL in a key \(id\)"):
        load(
            numbers(1).vstack(
                pl.DataFrame({"id": [None], "v": ["x"]}, schema={"id": pl.Int64, "v": pl.String})
            ),
            mode="upsert",
            keys="id",
        )
    assert first or seen()["id"].to_list() == [9]
    assert not list(Path("lake").glob("part-*")) or not first


def test_modes_that_look_whether_there_are_rows() -> None:
    load(numbers(1), mode="error_if_exists", key="a")
    with pytest.raises(LoadError, match="holds rows already and the mode is error_if_exists"):
        load(numbers(2), mode="error_if_exists", key="b")
    assert load(numbers(2), mode="ignore", key="c").loads[0].status == "ignored"
    assert seen()["id"].to_list() == [1]


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


def test_a_column_is_added_on_request_and_is_null_before() -> None:
    load(numbers(1), mode="append")
    more = numbers(2).with_columns(w=pl.lit(1.5))
    with pytest.raises(LoadError, match="has no column 'w'"):
        load(more, mode="append")
    load(more, mode="append", add_columns=True)
    assert read().sort("id").rows() == [(1, "v1", None), (2, "v2", 1.5)]
    assert seen().sort("id").rows() == [(1, "v1", None), (2, "v2", 1.5)]


def test_all_that_does_not_fit_is_said_at_once() -> None:
    load(pl.DataFrame({"id": [1], "shop": ["x"], "Day": [1]}), mode="append")
    with pytest.raises(LoadError) as told:
        load(pl.DataFrame({"id": ["1"], "shpo": ["x"], "day": [1]}), mode="append")
    assert "'id' is string, there bigint" in told.value.message
    assert "no column 'shpo' (did you mean 'shop'?)" in told.value.message
    assert "'day' is spelled 'Day' there" in told.value.message
    assert told.value.step == "lake"


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
    with pytest.raises(ConfigError, match="the Delta table lake cannot be read"):
        read(version=7)


def test_a_table_that_did_not_change_is_the_same_input() -> None:
    load(numbers(1), mode="append")
    config = {
        "name": "r",
        "extract": {"type": "delta", "path": "lake"},
        "load": {"type": "files", "path": "out", "mode": "append"},
    }
    assert Pipeline.from_dict(config).run().loads[0].status == "committed"
    assert Pipeline.from_dict(config).run().loads[0].status == "skipped"
    load(numbers(2), mode="append")
    assert Pipeline.from_dict(config).run().loads[0].status == "committed"


def test_deleted_rows_stay_deleted() -> None:
    load(numbers(1, 2, 3), mode="append")
    DeltaTable("lake").delete("id = 2")
    assert sorted(read()["id"]) == [1, 3]


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
    with pytest.raises(RayetlError, match="maps its columns to other names"):
        read()


def test_what_is_not_there_is_said_when_the_config_is_checked() -> None:
    with pytest.raises(ConfigError, match="there is no Delta table at lake"):
        read()
    assert not Path("lake").exists()
    load(numbers(1))
    next(Path("lake").glob("part-*.parquet")).unlink()
    with pytest.raises(ConfigError, match=r"names the file part-.*, which cannot be read"):
        read()


def test_a_refused_row_of_a_table_keeps_its_file_and_row() -> None:
    load(numbers(1, -2, 3))
    config = {
        "name": "q",
        "extract": {"type": "delta", "path": "lake"},
        "transform": [{"type": "validate", "rules": [{"name": "positive", "check": "id > 0"}]}],
        "load": {"type": "files", "path": "good"},
    }
    pipeline = Pipeline.from_dict(config)
    assert (pipeline.run().rows_loaded, pipeline.run().status) == (2, "skipped")
    letter = pipeline.dead_letters.read().collect().row(0, named=True)
    assert letter["row"] == 1
    assert json.loads(letter["record"]) == {"id": -2, "v": "v-2"}
    assert "part-00000-" in letter["file"]


def test_source_errors_are_source_errors() -> None:
    Path("lake/_delta_log").mkdir(parents=True)
    Path("lake/_delta_log/00000000000000000000.json").write_text("{not json")
    with pytest.raises((ConfigError, SourceError), match="the Delta table lake cannot be read"):
        read()
