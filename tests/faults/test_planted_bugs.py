"""The checker is not blind: each planted bug is caught by the tests that guard against it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fault_checker import Verdict, assert_exactly, assert_whole
from fault_worker import BUGS, COMMITTED, Work, rows_of
from test_kills import PARTS, passages
from test_races import Controller, stop_and_take_over


def kill_everywhere(execute, root: str, work: Work, log: Path) -> None:
    """What `test_kills` asserts, for one way to commit on a fresh target for each kill."""
    for number, name in enumerate(passages(execute, replace(work, root=f"{root}/probe/x"), log)):
        here = replace(work, root=f"{root}/{number}/x")
        execute(replace(here, arm=f"{name}:kill9@1"))
        if here.swap:
            assert_whole(here.root, [], rows_of(here))
        execute(here)
        assert_exactly(here.root, rows_of(here))
        execute(here)
        assert_exactly(here.root, rows_of(here))


KILLED = {
    "token_after_data": Work("", "k1"),
    "no_roll_forward": Work("", "k1"),
    "swallowed_rename": Work("", "k1"),
    "manifest_before_data": Work("", "k1"),
    "no_key_check": Work("", "k1", parts=PARTS),
    "part_by_part": Work("", "k1", parts=PARTS),
}


@pytest.mark.parametrize("bug", KILLED)
def test_bugs_that_kills_reveal(bug, execute, root, tmp_path):
    kill_everywhere(execute, f"{root}/sound", KILLED[bug], tmp_path / "log")
    with pytest.raises(Verdict):
        kill_everywhere(execute, f"{root}/bug", replace(KILLED[bug], bug=bug), tmp_path / "log")


def test_no_fence_is_revealed_by_a_zombie(start, execute, root):
    controller = Controller(str(Path(root).parents[1] / "socket"))
    work = Work(root, "k1", parts=PARTS, bug="no_fence")
    following = replace(work, key="k2")
    codes = stop_and_take_over(work, "swap.before_decision", controller, start, execute, following)
    assert codes == (COMMITTED, COMMITTED)
    with pytest.raises(Verdict):
        assert_exactly(root, rows_of(following))


@pytest.mark.parametrize("bug", ["check_then_append", "swallowed_conflict"])
def test_bugs_that_two_runs_at_once_reveal(bug, start, execute, root):
    controller = Controller(str(Path(root).parents[1] / "socket"))
    work = Work(root, "k1", bug=bug)
    execute(Work(root, "k0"))
    racer = start(replace(work, arm="commit.before_decision:barrier", socket=controller.path))
    _, connection = controller.wait()
    execute(work)
    connection.close()
    racer.join(30)
    with pytest.raises(Verdict):
        assert_exactly(root, [*rows_of(work), *rows_of(replace(work, key="k0"))])


def test_every_planted_bug_is_asked_for():
    assert set(BUGS) == {*KILLED, "no_fence", "check_then_append", "swallowed_conflict"}
