"""Loads into Delta tables: killed at every named point, raced, stopped and overtaken, and what guards it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import delta_worker
import pytest
from delta_checker import assert_clean, assert_exactly, assert_whole, read
from delta_worker import BROKEN, BUGS, COMMITTED, CONFLICT, SKIPPED, DeltaWork, rows_of
from fault_checker import Verdict
from test_races import Controller

WAYS = {
    "make": DeltaWork("", "k1"),
    "append": DeltaWork("", "k1"),
    "append widened": DeltaWork("", "k1", wide=True, settings=(("add_columns", True),)),
    "overwrite": DeltaWork("", "k1", mode="overwrite"),
    "overwrite partitions": DeltaWork("", "k1", mode="overwrite", settings=(("replace", "partitions"),)),
    "upsert": DeltaWork("", "k1", mode="upsert", settings=(("keys", ("part", "row")),)),
}
POINTS = {
    "delta.locked", "delta.fenced", "delta.cleared", "delta.attempt_made", "delta.staged", "delta.linked", "delta.widened",
    "delta.deciding", "delta.decided", "delta.finished",
}  # fmt: skip


@pytest.fixture(scope="session")
def processes() -> Iterator[multiprocessing.context.BaseContext]:
    """The library's threads do not survive a fork of a process that uses it; a server forks that does not."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["delta_worker"])
    yield context
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def worker() -> Callable[..., None]:
    return delta_worker.run


def first(root: str) -> DeltaWork:
    """What is in the table before: partitions `a` and `c`."""
    return DeltaWork(root, "k0", parts=("a", "c"), settings=(("partition_by", "part"),))


def after(way: str, work: DeltaWork, before: list) -> list:
    rows = rows_of(work)
    if way == "overwrite":
        return rows
    if way in ("overwrite partitions", "upsert"):
        return [*rows, *(row for row in before if row[1] not in work.parts)]
    return [*before, *rows]


@pytest.fixture
def seeded(execute, root, tmp_path) -> Callable[[str], list]:
    """Brings the table into the state before a way of loading."""
    backup = tmp_path / "backup"
    assert execute(first(root)) == COMMITTED
    shutil.copytree(root, backup)

    def reset(way: str) -> list:
        shutil.rmtree(root)
        if way == "make":
            return []
        shutil.copytree(backup, root)
        return rows_of(first(root))

    return reset


def passages(execute, work: DeltaWork, log: Path) -> dict[str, int]:
    log.unlink(missing_ok=True)
    assert execute(replace(work, log=str(log))) == COMMITTED
    return dict(Counter(log.read_text().split()))


def assert_recovers(execute, work: DeltaWork, done: list) -> None:
    """The next run completes the epoch, a third recognises it, and the work goes on."""
    assert execute(work) in (COMMITTED, SKIPPED)
    assert_exactly(work.root, done)
    assert execute(work) == SKIPPED
    further = replace(work, key="k2", mode="append", settings=work.settings if work.wide else ())
    assert execute(further) == COMMITTED
    assert_exactly(work.root, [*done, *rows_of(further)])
    assert_clean(work.root)


@pytest.mark.parametrize("way", WAYS)
def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(way, execute, seeded, root, tmp_path):
    work = replace(WAYS[way], root=root)
    seeded(way)
    for name, count in passages(execute, work, tmp_path / "log").items():
        for turn in {1, count}:
            before = seeded(way)
            assert execute(replace(work, arm=f"{name}:kill9@{turn}")) == -signal.SIGKILL
            if Path(root, "_delta_log").exists():
                assert_whole(root, before, after(way, work, before))
            assert_recovers(execute, work, after(way, work, before))


def test_a_kill_while_a_dead_attempt_is_cleared(execute, seeded, root):
    work = replace(WAYS["append"], root=root)
    for died, cleared in (("delta.deciding", False), ("delta.decided", True)):
        before = seeded("append")
        execute(replace(work, arm=f"{died}:kill9"))
        again = replace(work, key="k3") if cleared else work
        assert execute(replace(again, arm="delta.cleared:kill9")) == -signal.SIGKILL
        done = [*before, *rows_of(work)]
        assert execute(work) == (SKIPPED if cleared else COMMITTED)
        assert_exactly(root, done)
        assert execute(replace(work, key="k4")) == COMMITTED
        assert_clean(root)


def test_every_point_is_struck(execute, seeded, root, tmp_path):
    struck = {"delta.cleared"}
    for way, work in WAYS.items():
        seeded(way)
        struck |= set(passages(execute, replace(work, root=root), tmp_path / "log"))
    assert struck == POINTS
    print(f"{len(POINTS)} of {len(POINTS)} points struck")


@pytest.mark.parametrize("action", ["raise", "enospc"])
def test_a_fault_at_any_point_is_told_and_mended_by_the_next_run(action, execute, seeded, root, tmp_path):
    work = replace(WAYS["append"], root=root)
    seeded("append")
    for name in passages(execute, work, tmp_path / "log"):
        before = seeded("append")
        assert execute(replace(work, arm=f"{name}:{action}")) != COMMITTED or name == "delta.decided"
        assert_whole(root, before, after("append", work, before))
        assert_recovers(execute, work, after("append", work, before))


@pytest.mark.parametrize("runs", [2, 8])
@pytest.mark.parametrize("lock", [True, False])
def test_of_several_runs_at_once_one_wins(runs, lock, start, seeded, root):
    """Without locks they may fence one another, but two never commit."""
    before, work = seeded("append"), replace(WAYS["append"], root=root, lock=lock)
    at = time.time() + 1.5
    racers = [start(work, at) for _ in range(runs)]
    for racer in racers:
        racer.join(60)
    codes = Counter(racer.exitcode for racer in racers)
    assert set(codes) <= {COMMITTED, CONFLICT, SKIPPED}
    assert codes[COMMITTED] == 1 or (not lock and codes[COMMITTED] == 0)
    assert_exactly(root, [*before, *rows_of(work)] if codes[COMMITTED] else before)


def overtaken(root, start, execute, work: DeltaWork, following: DeltaWork) -> tuple[int, int]:
    """The exit codes of an attempt that is held up just before its commit, and of one that comes meanwhile."""
    controller = Controller(str(Path(root).parent / "socket"))
    held = start(replace(work, lock=False, arm="delta.deciding:barrier", socket=controller.path))
    _, connection = controller.wait()
    code = execute(replace(following, lock=False))
    connection.close()
    held.join(60)
    return held.exitcode, code


@pytest.mark.parametrize("key", ["k1", "k2"])
def test_an_attempt_that_wakes_up_late_cannot_commit(key, start, execute, seeded, root):
    before = seeded("append")
    work = replace(WAYS["append"], root=root)
    following = replace(work, key=key)
    assert overtaken(root, start, execute, work, following) == (CONFLICT, COMMITTED)
    assert_exactly(root, [*before, *rows_of(following)])


def test_a_reader_never_sees_a_part(start, seeded, root):
    before = seeded("overwrite")
    work = replace(WAYS["overwrite"], root=root, parts=tuple("abcdefgh"))
    loading = start(work)
    looks = 0
    while loading.exitcode is None:
        assert_whole(root, before, rows_of(work))
        looks += 1
    assert loading.exitcode == COMMITTED
    assert looks > 1
    assert sorted(read(root)) == sorted(rows_of(work))


def test_a_commit_whose_answer_is_lost_is_looked_up(root, monkeypatch):
    from rayetl.connectors.delta import session
    from rayetl.errors import LoadError

    real = session.write

    def lost(*given):
        real(*given)
        raise OSError("the connection was reset")

    monkeypatch.setattr(session, "write", lost)
    assert delta_worker._attempt(DeltaWork(root, "k1")) == COMMITTED
    assert_exactly(root, rows_of(DeltaWork(root, "k1")))

    def failed(*given):
        raise OSError("the connection was reset")

    monkeypatch.setattr(session, "write", failed)
    assert delta_worker._attempt(DeltaWork(root, "k2")) == delta_worker.REFUSED
    assert_exactly(root, rows_of(DeltaWork(root, "k1")))
    assert LoadError


# The checker is not blind


def kill_everywhere(execute, root: str, work: DeltaWork, log: Path) -> None:
    probe = replace(work, root=f"{root}/probe")
    for number, name in enumerate(passages(execute, probe, log)):
        here = replace(work, root=f"{root}/{number}")
        execute(replace(here, arm=f"{name}:kill9@1"))
        if Path(here.root, "_delta_log").exists():
            assert_whole(here.root, [], rows_of(here))
        execute(here)
        assert_exactly(here.root, rows_of(here))
        execute(replace(here, key="k2"))
        execute(here)
        assert_exactly(here.root, [*rows_of(here), *rows_of(replace(here, key="k2"))])


KILLED = ("no_token", "token_in_a_second_commit", "part_by_part", "cleared_without_a_look", "no_key_check")


@pytest.mark.parametrize("bug", KILLED)
def test_bugs_that_kills_reveal(bug, execute, root, tmp_path):
    with pytest.raises(Verdict):
        kill_everywhere(execute, f"{root}/bug", DeltaWork("", "k1", bug=bug), tmp_path / "log")


def test_the_work_without_a_bug_passes_the_same_test(execute, root, tmp_path):
    kill_everywhere(execute, f"{root}/sound", DeltaWork("", "k1"), tmp_path / "log")


def test_a_second_run_reveals_check_then_append(start, execute, seeded, root):
    before = seeded("append")
    work = replace(WAYS["append"], root=root, bug="check_then_append")
    assert overtaken(root, start, execute, work, work) == (COMMITTED, COMMITTED)
    with pytest.raises(Verdict):
        assert_exactly(root, [*before, *rows_of(work)])


def test_a_second_run_reveals_a_swallowed_conflict(start, execute, seeded, root):
    before = seeded("append")
    work = replace(WAYS["append"], root=root, bug="swallowed_conflict")
    following = replace(work, key="k2", bug="")
    assert overtaken(root, start, execute, work, following) == (COMMITTED, COMMITTED)
    with pytest.raises(Verdict):
        assert_exactly(root, [*before, *rows_of(work), *rows_of(following)])


def test_every_planted_bug_is_asked_for():
    assert set(BUGS) == {*KILLED, "check_then_append", "swallowed_conflict"}
    assert BROKEN
