"""The power fails before each sync of a commit and after the last: what was not forced to disk is lost then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from fault_checker import assert_clean, assert_exactly, assert_whole
from fault_worker import COMMITTED, SKIPPED, WithoutSwap, Work, attempt, rows_of
from power import Disk

from rayetl import Pipeline
from rayetl.connectors.base import Epoch, FilesTarget
from rayetl.connectors.commit import session
from rayetl.connectors.commit.durable import replace_synced
from rayetl.engines.base import Job
from rayetl.engines.polars import PolarsEngine
from rayetl.observability.progress import Silent
from rayetl.plan.splits import Splits, cut
from rayetl.runs.parked import Parking

PARTS = ("day=1/0.json", "day=2/0.json", "1.json")
WORKS = {
    "append one file": Work("", "k1"),
    "append many files": Work("", "k1", parts=PARTS),
    "overwrite": Work("", "k1", mode="overwrite", parts=PARTS),
    "append in place": Work("", "k1", parts=PARTS, swap=False),
    "overwrite in place": Work("", "k1", mode="overwrite", parts=PARTS[1:], swap=False),
}


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("way", WORKS)
def test_a_power_cut_loses_no_epoch_that_was_committed_and_halves_none(
    way: str, first: bool, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = replace(WORKS[way], root=root)
    if not work.swap:
        monkeypatch.setattr(session, "Layout", WithoutSwap)
    before = [] if first else [replace(work, key="k0", mode="append", parts=PARTS)]
    for each in before:
        assert attempt(each) == COMMITTED
    disk = Disk(Path(root).parent)
    with disk.watched():
        assert attempt(work) == COMMITTED
    old = [row for each in before for row in rows_of(each)]
    new = rows_of(work) if work.mode == "overwrite" else [*old, *rows_of(work)]

    there = replace(work, root=str(tmp_path / "left" / "daily"))
    for is_over in disk.cuts(tmp_path / "left"):
        if work.swap:
            assert_whole(there.root, old, new)
        assert attempt(there) == SKIPPED if is_over else attempt(there) in (COMMITTED, SKIPPED)
        assert_exactly(there.root, new)
        further = replace(there, key="k2", mode="append")
        assert attempt(further) == COMMITTED
        assert_exactly(there.root, [*new, *rows_of(further)])
        assert_clean(there.root)


def test_a_power_cut_in_a_second_epoch_leaves_the_first_as_it_was(root: str, tmp_path: Path) -> None:
    works = [Work(root, key) for key in ("k1", "k2")]
    disk = Disk(Path(root).parent)
    with disk.watched():
        assert [attempt(work) for work in works] == [COMMITTED] * 2
    there = [replace(work, root=str(tmp_path / "left" / "daily")) for work in works]
    for _ in disk.cuts(tmp_path / "left"):
        assert {attempt(work) for work in there} <= {COMMITTED, SKIPPED}
        assert_exactly(there[0].root, [row for work in works for row in rows_of(work)])


def test_a_split_that_is_recorded_is_on_disk_with_all_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, left = tmp_path / "place", tmp_path / "left"
    place.mkdir()
    monkeypatch.chdir(tmp_path)
    rows = pl.DataFrame({"id": range(8), "v": [None, "a"] * 4})
    rows.write_parquet("in.parquet", row_group_size=4)
    rule = {"type": "validate", "rules": [{"name": "has_v", "not_null": ["v"]}]}
    plan = Pipeline.from_dict(
        {
            "name": "parked",
            "extract": {"rows": {"type": "files", "path": "in.parquet"}},
            "transform": [rule],
            "load": {"id": "out", "type": "files", "path": "place/out", "format": "parquet"},
        }
    ).plan()
    splits = cut(plan, 1)
    assert isinstance(splits, Splits)
    load = plan.loads[0]
    assert load.schema is not None
    session = load.load.open(Epoch("parked", "out", "k", "r"), load.schema)
    target = session.begin()
    assert isinstance(target, FilesTarget)
    job = Job(plan, {"out": target}, place / "refused")
    for made in (Path(target.parking), place / "state"):
        made.mkdir()
    disk = Disk(place)
    with disk.watched():
        Parking.of(place / "state", job, splits).do(0, PolarsEngine(), Silent())
    session.abort()
    files = left / Path(target.parking).name
    moved = replace(job, targets={"out": replace(target, parking=str(files))})
    for is_over in disk.cuts(left):
        parking = Parking.of(left / "state", moved, splits)
        kept = parking.kept()
        assert list(kept) == [0] or not (kept or is_over)
        for record in kept.values():
            (file,) = (files / parking.layout / record.token).iterdir()
            assert pl.read_parquet(file)["id"].to_list() == [1, 3]
            (refused,) = record.measured.rejects["validate_1"]
            assert pl.read_ipc(refused).height == 2


def test_a_file_that_is_replaced_is_the_one_or_the_other(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "notes").write_bytes(b"old")
    disk = Disk(place)
    with disk.watched():
        replace_synced(place / "notes", b"new")

    for is_over in disk.cuts(tmp_path / "left"):
        assert (tmp_path / "left" / "notes").read_bytes() in ((b"new",) if is_over else (b"old", b"new"))
