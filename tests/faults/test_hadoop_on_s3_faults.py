"""Loads into Iceberg tables of a hadoop catalog in a bucket, where a conditional request decides: what
`test_lake_on_s3_faults` asks of all lakes, at the points that count."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import test_lake_on_s3_faults as lakes
from lake_checker import assert_exactly
from lake_worker import COMMITTED, CONFLICT, SKIPPED, rows_of
from services.s3 import Account, Bucket
from test_lake_on_s3_faults import Place, execute, place_of, worker
from test_races import Controller

__all__ = ["execute", "worker"]


@pytest.fixture
def place(bucket: Bucket, s3_account: Account, tmp_path: Path) -> Place:
    return place_of("hadoop", bucket, s3_account, tmp_path)


@pytest.mark.parametrize(
    ("way", "point", "code"),
    [
        ("append", "lake.deciding", COMMITTED),
        ("append", "iceberg.manifests_written", COMMITTED),
        ("append", "iceberg.version_made", SKIPPED),
        ("make", "iceberg.version_made", SKIPPED),
    ],
)
def test_a_kill_just_before_and_after_the_decision(way, point, code, execute, place):
    """The next run is on another machine."""
    before, work = place.seeded("t", way), place.work("t", way=way)
    assert execute(replace(work, arm=f"{point}:kill9")) == -signal.SIGKILL
    elsewhere = place.work("t", machine="elsewhere", way=way)
    assert execute(elsewhere) == code
    assert_exactly(place.truth(work), [*before, *rows_of(work)])
    further = replace(place.work("t", "k2", machine="elsewhere"), parts=("d",))
    assert execute(further) == COMMITTED
    assert_exactly(place.truth(work), [*before, *rows_of(work), *rows_of(further)])
    place.assert_clean(work)


@pytest.mark.parametrize(("way", "runs"), [("append", 4), ("make", 3)])
def test_of_several_machines_at_once_one_wins(way, runs, start, place):
    lakes.test_of_several_machines_at_once_one_wins(way, runs, start, place)


@pytest.mark.parametrize(("load", "ended"), [("out", CONFLICT), ("other", COMMITTED)])
def test_of_two_that_are_about_to_decide_one_looks_again(load, ended, start, execute, place, tmp_path):
    """Another run of the same load has taken its place; another load has only taken the version."""
    before, work = place.seeded("t", "append"), place.work("t")
    following = replace(place.work("t", "k2", machine="elsewhere"), load=load)
    controller = Controller(str(tmp_path / "socket"))
    held = start(replace(work, arm="iceberg.manifests_written:barrier", socket=controller.path))
    _, connection = controller.wait()
    assert execute(following) == COMMITTED
    connection.close()
    held.join(60)
    assert held.exitcode == ended
    done = [*before, *rows_of(following), *(rows_of(work) if ended == COMMITTED else ())]
    assert_exactly(place.truth(work), done)


@pytest.mark.parametrize(("status", "times"), [(0, 1), (503, 20)])
def test_a_commit_whose_answer_is_lost_is_looked_up(status, times, execute, place):
    """The driver sends it again and meets its own work; or no answer comes, and it is there all the same. What
    the library wrote for it must not be taken for that of a commit that failed."""
    lakes.test_a_commit_whose_answer_is_lost_is_looked_up("append", status, times, execute, place)


def test_a_commit_that_never_arrives_leaves_all_as_it_was(execute, place):
    lakes.test_a_commit_that_never_arrives_leaves_all_as_it_was(execute, place)
