"""SIGKILL at every named point of every way to commit; then run again, and look from outside."""

from __future__ import annotations

import re
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from fault_checker import assert_clean, assert_exactly, assert_whole, read
from fault_worker import BROKEN, COMMITTED, REFUSED, SKIPPED, Work, rows_of

PARTS = ("0.json", "1.json", "2.json")
FOLDERS = ("day=1/0.json", "day=2/0.json", "day=__HIVE_DEFAULT_PARTITION__/0.json")
WAYS = {
    "append one file": Work("", "k1"),
    "append many files": Work("", "k1", parts=PARTS),
    "append partitions": Work("", "k1", parts=FOLDERS),
    "overwrite": Work("", "k1", mode="overwrite", parts=PARTS),
    "overwrite partitions": Work("", "k1", mode="overwrite", parts=FOLDERS),
    "append in place": Work("", "k1", parts=PARTS, swap=False),
    "overwrite in place": Work("", "k1", mode="overwrite", parts=PARTS, swap=False),
}
RECOVERED = ("append one file", "append many files", "append in place", "overwrite in place")


def passages(execute, work: Work, log: Path, code: int = COMMITTED) -> dict[str, int]:
    """How often each failpoint is passed by `work`."""
    log.unlink(missing_ok=True)
    assert execute(replace(work, log=str(log))) == code
    return dict(Counter(log.read_text().split()))


def turns(count: int) -> set[int]:
    return {1, (count + 1) // 2, count}


def kill(execute, work: Work, name: str, turn: int) -> None:
    armed = f"{work.arm},{name}:kill9@{turn}"
    assert execute(replace(work, arm=armed)) == -signal.SIGKILL, f"{name}@{turn} did not strike"


def after(work: Work, before: list) -> list:
    return rows_of(work) if work.mode == "overwrite" else [*before, *rows_of(work)]


def assert_recovers(execute, work: Work, before: list) -> None:
    """The next run completes the epoch, a third recognises it, and the work goes on."""
    done = after(work, before)
    assert execute(work) in (COMMITTED, SKIPPED)
    assert_exactly(work.root, done)
    assert execute(work) == SKIPPED
    further = replace(work, key="k2", mode="append")
    assert execute(further) == COMMITTED
    assert_exactly(work.root, [*done, *rows_of(further)])
    assert_clean(work.root)


@pytest.fixture
def seeded(execute, root):
    """A target that holds one epoch, and a way to bring it back to that state."""
    first = Work(root, "k0", parts=FOLDERS)
    assert execute(first) == COMMITTED
    backup = Path(root).parent.with_name("backup")
    shutil.copytree(root, backup)

    def reset() -> list:
        shutil.rmtree(Path(root).parent)
        shutil.copytree(backup, root)
        return rows_of(first)

    return reset


@pytest.mark.parametrize("way", WAYS)
def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(way, execute, seeded, root, tmp_path):
    work = replace(WAYS[way], root=root)
    for name, count in passages(execute, work, tmp_path / "log").items():
        for turn in turns(count):
            before = seeded()
            kill(execute, work, name, turn)
            if work.swap:
                assert_whole(root, before, after(work, before))
            assert_recovers(execute, work, before)


def recoveries(execute, work: Work, reset, log: Path):
    """What runs after a kill of `work` (at which point, the next work) and the failpoints this passes."""
    decided = "swap.decided" if work.swap and len(work.parts) > 1 else "commit.decided"
    for first in ("stage.synced", decided):
        reset()
        kill(execute, work, first, 1)
        # After an exchange the epoch is complete; clearing up is left to the run of the next epoch.
        nexts = replace(work, key="k3") if first == "swap.decided" else work
        code = SKIPPED if first == "commit.decided" else COMMITTED
        passed = passages(execute, nexts, log, code)
        yield first, nexts, {n: c for n, c in passed.items() if nexts is work or n.startswith("recover.")}


@pytest.mark.parametrize("way", RECOVERED)
def test_a_kill_during_recovery_is_recovered_from(way, execute, seeded, root, tmp_path):
    work = replace(WAYS[way], root=root)
    for first, nexts, passed in recoveries(execute, work, seeded, tmp_path / "log"):
        for name, count in passed.items():
            for turn in turns(count):
                before = seeded()
                kill(execute, work, first, 1)
                kill(execute, nexts, name, turn)
                assert_recovers(execute, work, before)


def test_recoveries_that_are_killed_one_after_the_other_still_find_what_was_decided(execute, seeded, root):
    before = seeded()
    work = replace(WAYS["append in place"], root=root)
    kill(execute, work, "commit.decided", 1)
    for _ in range(3):
        kill(execute, work, "recover.fenced", 1)
    assert_recovers(execute, work, before)


def test_a_kill_on_the_first_load_leaves_nothing_that_matters(execute, root, tmp_path):
    work = Work(root, "k1", parts=PARTS)
    for name, count in passages(execute, work, tmp_path / "log").items():
        shutil.rmtree(Path(root).parent)
        Path(root).parent.mkdir()
        kill(execute, work, name, count)
        assert_whole(root, [], rows_of(work))
        assert_recovers(execute, work, [])


def test_a_kill_while_giving_up(execute, seeded, root):
    before = seeded()
    work = replace(WAYS["append many files"], root=root, arm="stage.written:raise")
    kill(execute, work, "abort.removed", 1)
    assert_exactly(root, before)
    assert_recovers(execute, replace(work, arm=""), before)


@pytest.mark.parametrize("action", ["raise", "enospc"])
@pytest.mark.parametrize("way", ["append one file", "append many files", "overwrite", "append in place"])
def test_an_error_at_any_point_is_undone_or_completed(way, action, execute, seeded, root, tmp_path):
    work = replace(WAYS[way], root=root)
    for name in passages(execute, work, tmp_path / "log"):
        before = seeded()
        assert execute(replace(work, arm=f"{name}:{action}@1")) in (BROKEN, REFUSED), name
        if work.swap:
            assert_whole(root, before, after(work, before))
        assert_recovers(execute, work, before)


def test_files_of_others_are_kept_by_append_and_replaced_by_overwrite(execute, seeded, root):
    before = seeded()
    foreign = Path(root, "day=1", "foreign.json")
    foreign.write_text('{"key": "f", "part": "f", "row": 1}\n')
    before.append(("f", "f", 1))
    append = replace(WAYS["append many files"], root=root)
    assert execute(append) == COMMITTED
    assert_exactly(root, after(append, before))
    overwrite = replace(WAYS["overwrite"], root=root, key="k2")
    assert execute(overwrite) == COMMITTED
    assert_exactly(root, rows_of(overwrite))


def test_a_file_that_appears_while_the_next_directory_is_built_is_kept(execute, start, seeded, root):
    before = seeded()
    work = replace(WAYS["append many files"], root=root)
    kill(execute, work, "swap.decided", 1)
    old = next(Path(root).parent.glob(".daily.rayetl-*/next"))
    (old / "stray.json").write_text('{"key": "s", "part": "s", "row": 1}\n')
    assert execute(replace(work, key="k2")) == COMMITTED
    assert ("s", "s", 1) in read(root)
    assert len(read(root)) == len(before) + 1 + 2 * len(rows_of(work))


def test_every_failpoint_in_the_code_is_one_that_is_fired(execute, seeded, root, tmp_path):
    """The tests above kill at every point they find passed; no point is passed by none of them."""
    commit = Path(__file__).parents[2] / "rayetl" / "connectors" / "commit"
    names = {
        name
        for path in commit.glob("*.py")
        for name in re.findall(r'failpoint\("([^"]+)"\)', path.read_text())
    }
    fired = {"abort.removed"}
    for work in WAYS.values():
        seeded()
        fired.update(passages(execute, replace(work, root=root), tmp_path / "log"))
    for way in RECOVERED:
        for _, _, passed in recoveries(execute, replace(WAYS[way], root=root), seeded, tmp_path / "log"):
            fired.update(passed)
    assert names == fired, names ^ fired
