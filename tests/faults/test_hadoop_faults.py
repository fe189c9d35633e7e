"""Loads into Iceberg tables of a hadoop catalog, where a link decides instead of a database: what `test_lake_faults`
asks of all lakes, in the modes that take different ways through the catalog, and what is peculiar to it."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import test_lake_faults as lakes
from fault_checker import Verdict
from lake_checker import assert_clean, assert_exactly
from lake_worker import COMMITTED, CONFLICT, SKIPPED, rows_of
from test_lake_faults import COMMON, execute, overtaken, passages, seeded, truth, ways, worker
from test_races import Controller

__all__ = ["execute", "seeded", "truth", "ways", "worker"]

POINTS = COMMON | {
    "iceberg.manifests_written", "iceberg.version_written", "iceberg.version_linked", "iceberg.version_made",
}  # fmt: skip


@pytest.fixture
def kind() -> str:
    return "hadoop"


@pytest.mark.parametrize("way", ["make", "append"])
def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(way, execute, seeded, ways, truth, tmp_path):
    lakes.test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(
        way, execute, seeded, ways, truth, tmp_path
    )
    assert (
        set(passages(execute, replace(ways["append"], key="k9"), tmp_path / "log")) | {"lake.cleared"}
        == POINTS
    )


@pytest.mark.parametrize(
    ("died", "code"), [("iceberg.version_written", COMMITTED), ("iceberg.version_linked", SKIPPED)]
)
def test_a_kill_just_before_and_after_the_decision(died, code, execute, seeded, ways, truth):
    """After it the hint still names the version before."""
    before, work = seeded("upsert"), ways["upsert"]
    assert execute(replace(work, arm=f"{died}:kill9")) == -signal.SIGKILL
    assert (truth.root / "metadata" / "version-hint.text").read_text() == "1"
    assert execute(work) == code
    assert_exactly(truth, lakes.after("upsert", work, before))
    further = replace(work, key="k2", mode="append", settings=())
    assert execute(further) == COMMITTED
    assert (truth.root / "metadata" / "version-hint.text").read_text() == "3"
    assert_clean(truth)


@pytest.mark.parametrize("action", ["raise", "enospc"])
def test_a_fault_at_any_point_is_told_and_mended(action, execute, seeded, ways, truth, tmp_path):
    lakes.test_a_fault_at_any_point_is_told_and_mended(
        "append", action, execute, seeded, ways, truth, tmp_path
    )
    assert not list(truth.root.rglob("*.temp"))


@pytest.mark.parametrize(("way", "runs"), [("append", 8), ("make", 4)])
def test_of_several_runs_at_once_without_locks_one_wins(way, runs, start, seeded, ways, truth):
    lakes.test_of_several_runs_at_once_one_wins(way, runs, False, start, seeded, ways, truth)


@pytest.mark.parametrize(("way", "key"), [("append", "k1"), ("overwrite", "k2")])
def test_an_attempt_that_wakes_up_late_cannot_commit(way, key, start, execute, seeded, ways, truth):
    lakes.test_an_attempt_that_wakes_up_late_cannot_commit(way, key, start, execute, seeded, ways, truth)


@pytest.mark.parametrize("way", ["append", "upsert"])
def test_loads_that_race_for_a_version_both_commit(way, start, execute, seeded, ways, truth):
    """Held up with its version written, the first finds its number taken, looks again and takes the next one."""
    before, work = seeded(way), ways[way]
    other = replace(work, key="other", load="other", mode="append", settings=(), parts=("b", "d"))
    assert overtaken(start, execute, work, other) == (COMMITTED, COMMITTED)
    assert_exactly(truth, lakes.after(way, work, [*before, *rows_of(other)]))
    assert not list(truth.root.rglob("*.temp"))


def test_a_name_that_was_taken_and_is_free_again_is_no_commit(start, execute, seeded, ways, truth):
    """Held up for so long that others made its version, went on, and removed it."""
    before, work = seeded("append"), ways["append"]
    path = truth.root / "metadata" / "v1.metadata.json"
    metadata = json.loads(path.read_text())
    metadata["properties"] |= {
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.previous-versions-max": "1",
    }
    path.write_text(json.dumps(metadata))
    controller = Controller(str(Path(work.root).parent / "socket"))
    held = start(replace(work, arm="iceberg.version_written:barrier", socket=controller.path))
    _, connection = controller.wait()
    others = [replace(work, key=f"other{number}", load="other") for number in range(3)]
    assert [execute(other) for other in others] == [COMMITTED] * 3
    assert sorted(each.name for each in path.parent.glob("v*.json")) == [
        "v3.metadata.json",
        "v4.metadata.json",
    ]
    connection.close()
    held.join(60)
    assert held.exitcode == CONFLICT
    done = [*before, *(row for other in others for row in rows_of(other))]
    assert_exactly(truth, done)
    assert execute(work) == COMMITTED
    (path.parent / "v2.metadata.json").unlink()
    assert_exactly(truth, [*done, *rows_of(work)])


def test_many_loads_into_one_table_all_commit(start, seeded, ways, truth):
    before = seeded("append")
    works = [replace(ways["append"], key=f"k{number}", load=f"out{number}") for number in range(5)]
    racers = [start(work) for work in works]
    for racer in racers:
        racer.join(60)
    assert Counter(racer.exitcode for racer in racers) == {COMMITTED: 5}
    assert_exactly(truth, [*before, *(row for work in works for row in rows_of(work))])


@pytest.mark.parametrize("way", ["make", "append"])
def test_a_commit_whose_answer_is_lost_is_looked_up(way, ways, kind, execute, seeded, truth, monkeypatch):
    lakes.test_a_commit_whose_answer_is_lost_is_looked_up(
        way, ways, kind, execute, seeded, truth, monkeypatch
    )


def test_a_link_that_is_made_twice_meets_its_own_work(execute, seeded, ways, truth, monkeypatch):
    """As over a network: the first answer is lost, the second says that the file is there."""
    before, work = seeded("append"), ways["append"]
    real = os.link

    def link(source, target):
        real(source, target)
        if str(target).endswith(".metadata.json"):
            raise FileExistsError(17, "File exists", str(target))

    monkeypatch.setattr(os, "link", link)
    assert execute(work) == COMMITTED
    assert_exactly(truth, [*before, *rows_of(work)])


@pytest.mark.parametrize("hint", [None, "", "1", "0", "99", "-3", "one"])
def test_a_hint_is_only_a_hint(hint, execute, seeded, ways, truth):
    """Missing, empty, behind, ahead, or no number."""
    before, work = seeded("append"), ways["append"]
    assert execute(replace(work, key="k0b", load="other")) == COMMITTED
    told: Path = truth.root / "metadata" / "version-hint.text"
    told.unlink()
    if hint is not None:
        told.write_text(hint)
    assert execute(work) == COMMITTED
    assert execute(work) == SKIPPED
    assert_exactly(truth, [*before, *rows_of(replace(work, key="k0b")), *rows_of(work)])
    assert hint == "99" or told.read_text() == "3"


def test_a_race_reveals_a_rename_that_overwrites(start, execute, seeded, ways, truth):
    before = seeded("append")
    work = replace(ways["append"], bug="renamed_over")
    following = replace(work, key="k2", bug="")
    assert overtaken(start, execute, work, following) == (COMMITTED, COMMITTED)
    with pytest.raises(Verdict):
        assert_exactly(truth, [*before, *rows_of(work), *rows_of(following)])


def test_without_the_bug_the_same_race_is_a_conflict(start, execute, seeded, ways, truth):
    before, work = seeded("append"), ways["append"]
    following = replace(work, key="k2")
    assert overtaken(start, execute, work, following) == (CONFLICT, COMMITTED)
    assert_exactly(truth, [*before, *rows_of(following)])
