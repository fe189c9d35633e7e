"""The dead letter store: exactly once per epoch, found again, replayed once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from rayetl.connectors import dead_letters
from rayetl.connectors.base import Epoch
from rayetl.connectors.dead_letter_files import DeadLetterFiles
from rayetl.connectors.dead_letters import DEAD_LETTER, digest
from rayetl.errors import SourceError


def letters(epoch: Epoch, count: int) -> pl.DataFrame:
    reasons = [{"rule": "range", "kind": "range", "field": "delay", "reason": "out of range"}, {"rule": "r2"}]
    base = {name: [None] * count for name in DEAD_LETTER.names}
    return pl.DataFrame(
        base
        | {
            "id": [f"{row}-{digest(epoch.pipeline, 'a.csv')}" for row in range(count)],
            "pipeline": [epoch.pipeline] * count,
            "run": [epoch.run] * count,
            "epoch": [epoch.key] * count,
            "step": ["validate"] * count,
            "reasons": [reasons] * count,
            "row": list(range(count)),
            "record": [b"\xffraw"] * count,
            "record_format": ["csv"] * count,
            "time": [datetime(2026, 1, 1, tzinfo=UTC)] * count,
        }
    )


def store(tmp_path, epoch: Epoch, count: int = 3):
    dead = DeadLetterFiles(path=str(tmp_path)).of("flights/x")
    dead.write(epoch, [letters(epoch, count).lazy()], count)
    return dead


def test_rejects_of_an_epoch_exist_once(tmp_path):
    epoch = Epoch("flights/x", "rejects", "k1", "r1")
    dead = store(tmp_path, epoch)
    store(tmp_path, epoch)
    assert dead.read().collect().height == 3
    summary = dead.count()
    assert summary["letters"].to_list() == [3, 3]
    assert set(summary["rule"]) == {"range", "r2"}


def test_a_letter_is_found_by_the_beginning_of_its_id(tmp_path):
    dead = store(tmp_path, Epoch("flights/x", "rejects", "k1", "r1"))
    wanted = dead.read().collect().row(1, named=True)
    assert dead.show(wanted["id"][:4]) == wanted
    assert wanted["record"] == b"\xffraw"
    with pytest.raises(SourceError, match="no dead letter begins with 'zz'"):
        dead.show("zz")


def test_a_replay_is_marked_once(tmp_path):
    dead = store(tmp_path, Epoch("flights/x", "rejects", "k1", "r1"))
    ids = dead.read().collect()["id"].to_list()[:2]
    replay = Epoch("flights/x", "replay", "again", "r2")
    assert dead.mark_replayed(ids, replay).status == "committed"
    assert dead.mark_replayed(ids, replace(replay, run="r3")).status == "skipped"
    assert dead.read(pending=True).collect().height == 1
    assert dead.read(ids).collect()["replayed"].to_list() == [True, True]


@pytest.mark.parametrize("asked_for", [1, 1_000])
def test_letters_are_chosen_by_few_ids_and_by_many(tmp_path, monkeypatch, asked_for):
    monkeypatch.setattr(dead_letters, "_ASKED_FOR", asked_for)
    first = store(tmp_path, Epoch("flights/x", "rejects", "k1", "r1"))
    ids = first.read().collect()["id"].sort()
    wanted = [*ids[:2], "0-nobody", ids[0]]
    assert first.read(wanted).collect()["id"].sort().to_list() == ids[:2].to_list()
    assert first.read(ids[1:]).collect()["id"].sort().to_list() == ids[1:].to_list()


def test_an_empty_store_has_nothing(tmp_path):
    dead = DeadLetterFiles(path=str(tmp_path)).of("nobody")
    assert dead.read().collect().is_empty()
    assert dead.count().is_empty()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["rejects", "replayed"])
def test_a_damaged_file_is_named_and_the_others_are_read_without_it(tmp_path, part):
    epoch = Epoch("flights/x", "rejects", "k1", "r1")
    dead = store(tmp_path, epoch)
    dead.mark_replayed(["0-1"], epoch)
    dead.write(Epoch("flights/x", "rejects", "k2", "r2"), [letters(epoch, 2).lazy()], 2)
    (*_, last) = sorted(tmp_path.rglob(f"{part}/part-*.parquet"))
    whole = last.read_bytes()
    for spoilt in (whole[:-9], whole[: len(whole) // 2], b"", whole[:4] + bytes(60) + whole[64:]):
        last.write_bytes(spoilt)
        for ask in (dead.count, lambda: dead.read().collect(), lambda: dead.show("0-")):
            with pytest.raises(SourceError) as told:
                ask()
            assert last.name in str(told.value)
            assert "move it away" in str(told.value)
    last.unlink()
    assert dead.read().collect().height == 3


def test_the_last_letter_of_an_id_is_kept_and_only_once(tmp_path):
    first = store(tmp_path, Epoch("flights/x", "rejects", "k1", "r1"))
    for number, day in ((3, 2), (2, 3)):
        epoch = Epoch("flights/x", "rejects", f"k{number}", f"r{number}")
        later = letters(epoch, 2).with_columns(time=pl.lit(datetime(2026, 1, day, tzinfo=UTC)))
        # The last one is there twice, as where a service got it again.
        first.write(epoch, [later.lazy(), later.lazy()], 4)
    kept = first.read().sort("id").select("id", "run").collect()
    assert kept["run"].to_list() == ["r2", "r2", "r1"]
