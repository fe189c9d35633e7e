"""Loads of files by partitions: few are written as rows come; the rows of many wait, and are set down in time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import fastavro
import polars as pl
import pyarrow.parquet as pq
import pytest

from rayetl.connectors import feeding
from rayetl.connectors.base import FilesTarget
from rayetl.connectors.files_load import CODECS, WriteOptions
from rayetl.connectors.formats import partitions
from rayetl.connectors.formats.writing import sink_files
from rayetl.sql.interop import parse_ddl

SCHEMA = parse_ddl(
    "day DATE, len STRING, v BIGINT, words ARRAY<STRING>, at STRUCT<x: DOUBLE, y: DECIMAL(20,4)>"
)
ROWS = 40_000
ALL_AT_ONCE = 2**40
KEPT = 2**25
"""Too little to write 77 partitions at a time, and enough to keep all rows."""


def rows(days: int, texts: int) -> pl.LazyFrame:
    """Many batches in which each partition comes again and again; NULL is a partition too."""
    number = pl.col("v")
    return pl.LazyFrame({"v": range(ROWS)}).select(
        pl.date(2024, 1, 1).dt.offset_by(pl.format("{}d", number % days)).alias("day"),
        pl.when(number % texts != 0).then(pl.format("a/b {}", number % texts)).alias("len"),
        number.cast(pl.Int64),
        pl.concat_list(pl.format("w{}", number), pl.lit(None, pl.String)).alias("words"),
        pl.struct(x=number / 3, y=(number % 100).cast(pl.Decimal(20, 4))).alias("at"),
    )


def target(directory: Path, form: str, **more: object) -> FilesTarget:
    options = WriteOptions(compression="deflate" if form == "avro" else CODECS[form][0])
    return FilesTarget(str(directory), form, options, ("day", "len"), schema=SCHEMA, **more)  # type: ignore[arg-type]


def numbers(path: Path) -> list[int]:
    if path.suffix == ".parquet":
        return pq.read_table(path, partitioning=None)["v"].to_pylist()
    if path.suffix == ".avro":
        with path.open("rb") as file:
            return [record["v"] for record in fastavro.reader(file)]
    return [json.loads(line)["v"] for line in path.read_text().splitlines()]


def by_partition(frame: pl.LazyFrame) -> dict[tuple[str, ...], list[int]]:
    expected: dict[tuple[str, ...], list[int]] = {}
    for day, text, number in frame.select("day", "len", "v").collect().iter_rows():
        place = (f"day={day}", f"len={text or '__HIVE_DEFAULT_PARTITION__'}")
        expected.setdefault(place, []).append(number)
    return expected


def found(directory: Path) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    for path in sorted(directory.rglob("*.*")):
        yield tuple(unquote(part) for part in path.relative_to(directory).parts[:-1]), numbers(path)


@pytest.mark.parametrize("form", ["parquet", "json", "avro"])
@pytest.mark.parametrize(
    ("memory", "late"),
    [(ALL_AT_ONCE, False), (KEPT, True), (2**20, True), (1, True)],
    ids=["as they come", "kept", "set down", "each batch"],
)
def test_a_partition_is_one_file_with_its_rows_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, memory: int, late: bool
) -> None:
    monkeypatch.setattr(partitions, "MEMORY", memory)
    frame = rows(days=7, texts=11)
    sink_files(frame, target(tmp_path, form)).collect()
    files = list(found(tmp_path))
    assert len(files) == 77
    assert dict(files) == by_partition(frame)
    stem = "00000000-late" if late and form != "avro" else "00000000"
    assert {path.stem for path in tmp_path.rglob("*.*")} == {stem}


def test_partitions_that_become_too_many_lose_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun is closed as it is, and what comes after lies beside it."""
    monkeypatch.setattr(partitions, "OPEN_FILES", 20)
    closed: list[bool] = []
    close = feeding.Feed.close

    def looked(self: feeding.Feed) -> None:
        close(self)
        closed.append(not list(tmp_path.rglob("*-late.parquet")) and waiting[-1] == [])

    monkeypatch.setattr(feeding.Feed, "close", looked)
    waiting: list[list[pl.DataFrame]] = []
    take = partitions.Partitions.take

    def taken(self: partitions.Partitions, batch: pl.DataFrame) -> None:
        waiting.append(self._waiting)
        take(self, batch)

    monkeypatch.setattr(partitions.Partitions, "take", taken)
    ordered = rows(days=7, texts=11).sort("day", "len", maintain_order=True).collect().iter_slices(1000)
    frame = pl.concat([part.lazy() for part in ordered])
    sink_files(frame, target(tmp_path, "parquet")).collect()
    assert len(list(tmp_path.rglob("00000000.parquet"))) in (19, 20)
    assert closed == [True], "what waits in the writer is written before others begin to wait"
    merged: dict[tuple[str, ...], list[int]] = {}
    for place, values in found(tmp_path):
        merged[place] = sorted(merged.get(place, []) + values)
    assert merged == by_partition(frame)


def bad_in_the_end(batch: pl.DataFrame) -> pl.DataFrame:
    if batch["v"].max() == ROWS - 1:
        raise ValueError("the last row is bad")
    return batch


def test_a_run_that_fails_leaves_no_writer(tmp_path: Path) -> None:
    parts = [part.lazy() for part in rows(7, 11).collect().iter_slices(1000)]
    frame = pl.concat(parts).map_batches(bad_in_the_end, streamable=True)
    with pytest.raises(ValueError, match="the last row is bad"):
        sink_files(frame, target(tmp_path, "parquet")).collect()
    assert "partitions" not in [thread.name for thread in threading.enumerate()]


def test_a_batch_that_comes_too_late_begins_no_writer(tmp_path: Path) -> None:
    given = rows(7, 11).collect()
    over = partitions.Partitions(str(tmp_path), {"day": "day"}, lambda _, part: part, lambda part: part, 1)
    over.abandon()
    over.take(given)
    assert "partitions" not in [thread.name for thread in threading.enumerate()]


def test_what_stops_the_writer_stops_the_run(tmp_path: Path) -> None:
    frame = rows(7, 11).with_columns(len=pl.lit("x" * 300))
    with pytest.raises(OSError, match="File name too long"):
        sink_files(frame, target(tmp_path, "parquet")).collect()
    assert "partitions" not in [thread.name for thread in threading.enumerate()]


def test_values_of_every_kind_are_the_same_after_they_were_set_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, memory in (("kept", ALL_AT_ONCE), ("down", 1)):
        monkeypatch.setattr(partitions, "MEMORY", memory)
        sink_files(rows(3, 2), target(tmp_path / name, "parquet")).collect()
    kept, down = (pl.read_parquet(tmp_path / name / "**/*.parquet").sort("v") for name in ("kept", "down"))
    assert kept.equals(down)
    assert kept.schema == down.schema


@pytest.mark.parametrize("memory", [ALL_AT_ONCE, 2**18])
def test_a_partition_makes_several_files_where_they_may_be_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(partitions, "MEMORY", memory)
    sink_files(rows(1, 1), target(tmp_path, "json", max_bytes=2**18)).collect()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len({path.parent for path in files}) == 1
    assert len(files) > 1
    assert sorted(number for path in files for number in numbers(path)) == list(range(ROWS))


def test_what_waits_is_bounded_and_gone_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes, so that few rows that are long do not wait for more of them."""
    monkeypatch.setattr(partitions, "MEMORY", 2**20)
    waited: list[int] = []
    take = partitions.Partitions.take

    def looked(self: partitions.Partitions, batch: pl.DataFrame) -> None:
        take(self, batch)
        waited.append(self._bytes)

    monkeypatch.setattr(partitions.Partitions, "take", looked)
    long = pl.LazyFrame({"day": [None], "len": ["x" * 200_000], "v": [1]}, schema_overrides={"day": pl.Date})
    frame = pl.concat([long] * 40).with_columns(
        words=pl.lit(None, pl.List(pl.String)), at=pl.lit(None, rows(1, 1).collect_schema()["at"])
    )
    few = FilesTarget(str(tmp_path), "parquet", WriteOptions(compression="zstd"), ("day",), schema=SCHEMA)
    sink_files(frame, few).collect()
    assert max(waited) <= 2**20
    assert len(waited) > 1
    assert waited[-1] > 0, "some still wait when the last has come"
    assert len(numbers(next(tmp_path.rglob("*.parquet")))) == 40
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["00000000-late.parquet"]


def test_no_rows_make_no_files(tmp_path: Path) -> None:
    sink_files(rows(1, 1).head(0), target(tmp_path, "parquet")).collect()
    assert list(tmp_path.rglob("*")) == []
