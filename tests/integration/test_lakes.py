"""What loads and sources of Delta and Iceberg tables promise alike: types, modes, errors."""

from __future__ import annotations

import datetime as dt
import json
import math
import shutil
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from lakes import EVERY_TYPE, DeltaOnS3, HadoopLake, IcebergLake, IcebergOnS3, Lake, numbers

from rayetl import Pipeline
from rayetl.errors import ConfigError, LoadError

KINDS = {
    "delta": Lake,
    "delta on S3": DeltaOnS3,
    "iceberg": IcebergLake,
    "iceberg on S3": IcebergOnS3,
    "hadoop": HadoopLake,
}


@pytest.fixture(params=KINDS)
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.chdir(tmp_path)
    kind = KINDS[request.param]
    if issubclass(kind, DeltaOnS3 | IcebergOnS3):
        return kind(request.getfixturevalue("bucket"), request.getfixturevalue("s3_server"))
    return kind()


def test_every_type_comes_back_as_it_was(lake: Lake) -> None:
    lake.load(EVERY_TYPE)
    # Iceberg has no integers of one or two bytes.
    small = {"byte": pl.Int32, "short": pl.Int32} if isinstance(lake, IcebergLake) else {}
    assert lake.read().equals(EVERY_TYPE.cast(small))  # type: ignore[arg-type]
    assert lake.seen().equals(EVERY_TYPE.cast(small))  # type: ignore[arg-type]
    report = lake.load(EVERY_TYPE, mode="append", force=True)
    assert report.loads[0].rows == 2


def test_maps_come_back_as_they_were(lake: Lake) -> None:
    rows = pa.table({"m": pa.array([[("a", 1.5)], None], pa.map_(pa.string(), pa.float64()))})
    pq.write_table(rows, "in.parquet")
    config = {
        "name": "p",
        "extract": {"type": "files", "path": "in.parquet"},
        "load": lake.settings,
    }
    Pipeline.from_dict(config).run()
    assert lake.seen()["m"].to_arrow().to_pylist() == [[("a", 1.5)], None]
    assert lake.read().to_dicts()[1]["m"] is None


def test_no_row_makes_a_table_with_its_columns(lake: Lake) -> None:
    assert lake.load(numbers().cast({"id": pl.Int64, "v": pl.String})).rows_loaded == 0
    assert lake.seen().height == 0
    assert lake.read().columns == ["id", "v"]


NUMBER = pa.field("n", pa.int32(), nullable=False)
HOLDERS = {
    "s": (pa.struct([NUMBER]), {"n": 1}, {"n": None}),
    "l": (pa.list_(pa.struct([NUMBER])), [{"n": 1}], [{"n": 1}, {"n": None}]),
    "m": (pa.map_(pa.string(), NUMBER), [("k", 1)], [("k", None)]),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("lake", ["delta", "iceberg"], indirect=True)
def test_a_field_inside_of_a_column_that_may_not_be_null(lake: Lake, holder: str) -> None:
    """Spark reads 0 where such a field of a Delta table has no value."""
    kind, whole, broken = HOLDERS[holder]
    columns = pa.schema([("id", pa.int64()), ("x", kind)])
    if isinstance(lake, IcebergLake):
        lake.made(columns)
    else:
        write_deltalake("lake", columns.empty_table())

    def loaded(*values: Any) -> None:
        rows = pl.DataFrame({"id": range(len(values))}).with_columns(x=pl.from_arrow(_loose(kind, values)))
        lake.load(rows, mode="append", force=True)

    loaded(whole, None)
    with pytest.raises(
        LoadError, match=r"the field 'x\..*' of the .* may not be NULL, and rows have no value"
    ):
        loaded(whole, broken)
    assert lake.read().height == 2


def _loose(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    """Values whose members all may be NULL."""
    number = NUMBER.with_nullable(True)
    if pa.types.is_map(kind):
        return pa.array(values, pa.map_(pa.string(), number))
    return pa.array(
        values, pa.struct([number]) if pa.types.is_struct(kind) else pa.list_(pa.struct([number]))
    )


# Modes


def test_append_keeps_and_the_same_epoch_is_skipped(lake: Lake) -> None:
    lake.load(numbers(1), mode="append", key="a")
    lake.load(numbers(2), mode="append", key="b")
    again = lake.load(numbers(2), mode="append", key="b")
    assert again.loads[0].status == "skipped"
    assert again.loads[0].rows == 1
    assert sorted(lake.seen()["id"]) == [1, 2]


def test_force_appends_again(lake: Lake) -> None:
    lake.load(numbers(1), mode="append")
    lake.load(numbers(1), mode="append", force=True)
    assert lake.seen()["id"].to_list() == [1, 1]


def test_overwrite_replaces_and_an_epoch_that_was_replaced_is_loaded_anew(lake: Lake) -> None:
    lake.load(numbers(1), mode="overwrite", key="a")
    lake.load(numbers(2), mode="overwrite", key="b")
    assert lake.seen()["id"].to_list() == [2]
    assert lake.load(numbers(2), mode="overwrite", key="b").loads[0].status == "skipped"
    assert lake.load(numbers(1), mode="overwrite", key="a").loads[0].status == "committed"
    assert lake.seen()["id"].to_list() == [1]


def test_overwrite_of_partitions_leaves_the_others(lake: Lake) -> None:
    old = pl.DataFrame({"id": [1, 2, 3], "p": ["a/b", "c%d", None]})
    lake.load(old, mode="append", partition_by="p")
    new = pl.DataFrame({"id": [20, 30], "p": ["c%d", None]})
    lake.load(new, mode="overwrite", replace="partitions")
    assert lake.seen().sort("id").rows() == [(1, "a/b"), (20, "c%d"), (30, None)]


@pytest.mark.parametrize("partition_by", [[], ["p"]])
def test_upsert_replaces_rows_of_the_same_key(lake: Lake, partition_by: list[str]) -> None:
    old = pl.DataFrame({"id": [1, 2], "p": ["x", "y"], "v": [1, 2]})
    lake.load(old, mode="upsert", keys=["id", "p"], partition_by=partition_by)
    report = lake.load(
        pl.DataFrame({"id": [2, 3], "p": ["y", "y"], "v": [20, 30]}), mode="upsert", keys=["id", "p"]
    )
    assert report.loads[0].rows == 2
    assert sorted(lake.seen().rows()) == [(1, "x", 1), (2, "y", 20), (3, "y", 30)]


def test_keys_and_partitions_are_found_however_they_are_spelled(lake: Lake) -> None:
    for _ in range(2):
        lake.load(numbers(1, 2), mode="upsert", keys="ID", partition_by="V", force=True)
    assert sorted(lake.seen().rows()) == [(1, "v1"), (2, "v2")]


def test_keys_of_any_type_meet_themselves(lake: Lake) -> None:
    """To Spark, zeros are the same and NaNs are, whatever their bits."""
    keys = pl.DataFrame(
        {
            "zero": [0.0, 1.5],
            "nan": pl.Series([math.nan, 1.5], dtype=pl.Float32),
            "moment": [dt.datetime(1, 1, 1), dt.datetime(2026, 1, 1)],
            "price": pl.Series([Decimal("1.10"), Decimal("-0.05")], dtype=pl.Decimal(9, 2)),
            "pair": [{"a": 1, "b": None}, {"a": None, "b": "x"}],
            "list": [[1, None], []],
        }
    )
    floats = {"zero": [-0.0, 1.5], "nan": pl.Series([-math.nan, 1.5], dtype=pl.Float32)}
    other = keys.with_columns(pl.DataFrame(floats))
    for rows, value in ((keys, "old"), (other, "new"), (other, "newest")):
        new = rows.with_columns(v=pl.lit(value))
        lake.load(new, mode="upsert", keys=keys.columns)
    assert lake.seen()["v"].to_list() == ["newest", "newest"]


def test_upsert_keeps_columns_that_do_not_come(lake: Lake) -> None:
    lake.load(numbers(1, 2).with_columns(w=pl.lit(1.5)), mode="append")
    new = numbers(2, 3).with_columns(v=pl.lit("new"))
    assert lake.load(new, mode="upsert", keys="id").loads[0].rows == 2
    assert sorted(lake.seen().rows()) == [(1, "v1", 1.5), (2, "new", 1.5), (3, "new", None)]


def test_upsert_may_add_a_column(lake: Lake) -> None:
    lake.load(numbers(1, 2), mode="append")
    new = numbers(2, 3).with_columns(w=pl.lit(1.5))
    lake.load(new, mode="upsert", keys="id", add_columns=True)
    assert sorted(lake.seen().rows()) == [(1, "v1", None), (2, "v2", 1.5), (3, "v3", 1.5)]


def test_insert_ignore_leaves_rows_out_whose_key_is_there(lake: Lake) -> None:
    lake.load(numbers(1, 2), mode="insert_ignore", keys="id")
    report = lake.load(
        numbers(2, 3).with_columns(v=pl.lit("new")), mode="insert_ignore", keys="id", key="second"
    )
    assert report.loads[0].rows == 1
    assert sorted(lake.seen().rows()) == [(1, "v1"), (2, "v2"), (3, "new")]
    again = lake.load(numbers(2, 3), mode="insert_ignore", keys="id", key="second")
    assert (again.loads[0].status, again.loads[0].rows) == ("skipped", 1)


@pytest.mark.parametrize("first", [True, False])
def test_a_key_twice_or_null_stops_the_load(lake: Lake, first: bool) -> None:
    if not first:
        lake.load(numbers(9), mode="upsert", keys="id")
    with pytest.raises(LoadError, match=r"a key comes 2 times among the rows: id = 5"):
        lake.load(numbers(5, 5), mode="upsert", keys="id")
    with pytest.raises(LoadError, match=r"1 rows have NULL in a key \(id\)"):
        lake.load(
            numbers(1).vstack(
                pl.DataFrame({"id": [None], "v": ["x"]}, schema={"id": pl.Int64, "v": pl.String})
            ),
            mode="upsert",
            keys="id",
        )
    assert first or lake.seen()["id"].to_list() == [9]
    assert not list(Path("lake").glob("**/part-*")) or not first


def test_modes_that_look_whether_there_are_rows(lake: Lake) -> None:
    lake.load(numbers(1), mode="error_if_exists", key="a")
    with pytest.raises(LoadError, match="holds rows already and the mode is error_if_exists"):
        lake.load(numbers(2), mode="error_if_exists", key="b")
    assert lake.load(numbers(2), mode="ignore", key="c").loads[0].status == "ignored"
    assert lake.seen()["id"].to_list() == [1]


# What does not fit


def test_a_column_is_added_on_request_and_is_null_before(lake: Lake) -> None:
    lake.load(numbers(1), mode="append")
    more = numbers(2).with_columns(w=pl.lit(1.5))
    with pytest.raises(LoadError, match="has no column 'w'"):
        lake.load(more, mode="append")
    lake.load(more, mode="append", add_columns=True)
    assert lake.read().sort("id").rows() == [(1, "v1", None), (2, "v2", 1.5)]
    assert lake.seen().sort("id").rows() == [(1, "v1", None), (2, "v2", 1.5)]


def test_all_that_does_not_fit_is_said_at_once(lake: Lake) -> None:
    lake.load(pl.DataFrame({"id": [1], "shop": ["x"], "Day": [1]}), mode="append")
    with pytest.raises(LoadError) as told:
        lake.load(pl.DataFrame({"id": ["1"], "shpo": ["x"], "day": [1]}), mode="append")
    assert "'id' is string, there bigint" in told.value.message
    assert "no column 'shpo' (did you mean 'shop'?)" in told.value.message
    assert "'day' is spelled 'Day' there" in told.value.message
    assert lake.name in told.value.message
    assert told.value.step == "lake"


# The source


@pytest.mark.parametrize("lake", ["delta", "iceberg", "hadoop"], indirect=True)
def test_a_fault_of_the_disk_says_what_to_see_to(lake: Lake) -> None:
    lake.load(numbers(1), mode="append")
    (own,) = Path("lake").rglob("_rayetl")
    shutil.rmtree(own)
    own.touch()
    with pytest.raises(LoadError, match=r"cannot be loaded into: .*Not a directory") as told:
        lake.load(numbers(2), mode="append")
    assert str(told.value.hint).startswith("see to the disk and the rights of ")
    assert str(own) in str(told.value.hint)


def test_a_table_that_did_not_change_is_the_same_input(lake: Lake) -> None:
    lake.load(numbers(1), mode="append")
    config = lake.source()
    assert Pipeline.from_dict(config).run().loads[0].status == "committed"
    assert Pipeline.from_dict(config).run().loads[0].status == "skipped"
    lake.load(numbers(2), mode="append")
    assert Pipeline.from_dict(config).run().loads[0].status == "committed"


def test_what_is_not_there_is_said_when_the_config_is_checked(lake: Lake) -> None:
    with pytest.raises(ConfigError, match=r"there is no (Delta|Iceberg) table"):
        lake.read()
    assert not Path("lake").exists()
    lake.load(numbers(1))
    lake.remove_a_file()
    with pytest.raises(ConfigError, match=r"names the file .*part-.*, which cannot be read"):
        lake.read()


def test_a_refused_row_of_a_table_keeps_its_file_and_row(lake: Lake) -> None:
    lake.load(numbers(1, -2, 3))
    config = {
        "name": "q",
        "extract": lake.settings,
        "transform": [{"type": "validate", "rules": [{"name": "positive", "check": "id > 0"}]}],
        "load": {"type": "files", "path": "good"},
    }
    pipeline = Pipeline.from_dict(config)
    assert (pipeline.run().rows_loaded, pipeline.run().status) == (2, "skipped")
    letter = pipeline.dead_letters.read().collect().row(0, named=True)
    assert letter["row"] == 1
    assert json.loads(letter["record"]) == {"id": -2, "v": "v-2"}
    assert "part-00000-" in letter["file"]
