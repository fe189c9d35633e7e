"""Loads into Delta and Iceberg tables: killed at every named point, raced, stopped and overtaken, and what
guards them."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lake_worker
import pytest
from fault_checker import Verdict
from lake_bugs import BUGS
from lake_checker import (
    DeltaTruth,
    HadoopTruth,
    IcebergTruth,
    Truth,
    assert_clean,
    assert_exactly,
    assert_whole,
    read,
)
from lake_worker import BROKEN, COMMITTED, CONFLICT, REFUSED, SKIPPED, LakeWork, rows_of
from test_races import Controller

KINDS = ("delta", "iceberg")
CUT = (("partition_by", "part"),)
WAYS = {
    "make": LakeWork("", "", "k1", settings=CUT),
    "append": LakeWork("", "", "k1"),
    "append widened": LakeWork("", "", "k1", wide=True, settings=(("add_columns", True),)),
    "overwrite": LakeWork("", "", "k1", mode="overwrite"),
    "overwrite partitions": LakeWork("", "", "k1", mode="overwrite", settings=(("replace", "partitions"),)),
    "upsert": LakeWork("", "", "k1", mode="upsert", settings=(("keys", ("part", "row")),)),
}
COMMON = {
    "lake.locked", "lake.fenced", "lake.cleared", "lake.attempt_made", "lake.staged", "lake.linked",
    "lake.deciding", "lake.decided", "lake.finished",
}  # fmt: skip
POINTS = {
    "delta": COMMON | {"delta.widened"},
    "iceberg": COMMON | {"iceberg.manifests_written", "iceberg.rewritten"},
}
DECIDED = {"iceberg.version_linked", "iceberg.version_made", "lake.decided", "lake.finished"}
LATEST = {
    "delta": "lake.deciding",
    "iceberg": "iceberg.manifests_written",
    "hadoop": "iceberg.version_written",
}
"""The last points before the decision that an attempt can be held up at."""


@pytest.fixture
def worker() -> Callable[..., None]:
    return lake_worker.run


@pytest.fixture
def execute(start) -> Callable[[LakeWork], int]:
    """Runs a worker to its end: in a process of its own where it dies or is broken, else in this one."""

    def runner(work: LakeWork) -> int:
        if not work.bug and work.lock and "kill9" not in work.arm:
            return lake_worker.attempt(work)
        process = start(work)
        process.join(60)
        return process.exitcode

    return runner


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def truth(kind, root) -> Truth:
    return truth_of(kind, root)


def truth_of(kind: str, root: str) -> Truth:
    return {"delta": DeltaTruth, "iceberg": IcebergTruth, "hadoop": HadoopTruth}[kind](root)


@pytest.fixture
def ways(kind, root) -> dict[str, LakeWork]:
    return {name: replace(work, kind=kind, root=root) for name, work in WAYS.items()}


def first(like: LakeWork) -> LakeWork:
    """What is in the table before: partitions `a` and `c`."""
    return LakeWork(like.kind, like.root, "k0", parts=("a", "c"), settings=CUT)


def after(way: str, work: LakeWork, before: list) -> list:
    rows = rows_of(work)
    if way == "overwrite":
        return rows
    if way in ("overwrite partitions", "upsert"):
        return [*rows, *(row for row in before if row[1] not in work.parts)]
    return [*before, *rows]


@pytest.fixture
def seeded(execute, ways, root, tmp_path) -> Callable[[str], list]:
    """Brings the table into the state before a way of loading."""
    backup = tmp_path / "backup"
    seed = first(ways["append"])
    assert execute(seed) == COMMITTED
    shutil.copytree(root, backup)

    def reset(way: str) -> list:
        shutil.rmtree(root)
        if way == "make":
            return []
        shutil.copytree(backup, root)
        return rows_of(seed)

    return reset


def passages(execute, work: LakeWork, log: Path) -> dict[str, int]:
    log.unlink(missing_ok=True)
    assert execute(replace(work, log=str(log))) == COMMITTED
    return dict(Counter(log.read_text().split()))


def assert_recovers(execute, truth: Truth, work: LakeWork, done: list) -> None:
    """The next run completes the epoch, or recognises it and the work goes on; then all is clean."""
    code = execute(work)
    assert_exactly(truth, done)
    if code == SKIPPED:
        further = replace(work, key="k2", mode="append", settings=work.settings if work.wide else ())
        assert execute(further) == COMMITTED
        assert_exactly(truth, [*done, *rows_of(further)])
    else:
        assert code == COMMITTED
        assert execute(work) == SKIPPED
    assert_clean(truth)


@pytest.mark.parametrize("way", WAYS)
def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(way, execute, seeded, ways, truth, tmp_path):
    work = ways[way]
    seeded(way)
    for name, count in passages(execute, work, tmp_path / "log").items():
        for turn in {1, count}:
            before = seeded(way)
            assert execute(replace(work, arm=f"{name}:kill9@{turn}")) == -signal.SIGKILL
            if truth.exists:
                assert_whole(truth, before, after(way, work, before))
            assert_recovers(execute, truth, work, after(way, work, before))


@pytest.mark.parametrize("died", ["lake.deciding", "lake.decided"])
def test_a_kill_while_a_dead_attempt_is_cleared(died, execute, seeded, ways, truth):
    """Who died before the decision is cleared after the commit of the next run, else before it."""
    before, work = seeded("append"), ways["append"]
    execute(replace(work, arm=f"{died}:kill9"))
    again = work if died == "lake.deciding" else replace(work, key="k3")
    assert execute(replace(again, arm="lake.cleared:kill9")) == -signal.SIGKILL
    assert execute(work) == SKIPPED
    assert_exactly(truth, [*before, *rows_of(work)])
    assert execute(replace(work, key="k4")) == COMMITTED
    assert_clean(truth)


def test_files_stay_until_somebody_else_has_committed(execute, seeded, ways, truth):
    """A commit that was sent may arrive after its sender has died, so what it names must be there."""
    seeded("append")
    work = ways["append"]
    kept = set(truth.root.rglob("*.parquet"))
    execute(replace(work, arm="lake.deciding:kill9"))
    linked = set(truth.root.rglob("part-*.parquet")) - kept
    assert linked
    execute(replace(work, arm="lake.staged:kill9"))
    assert all(path.exists() for path in linked)
    assert execute(work) == COMMITTED
    assert not any(path.exists() for path in linked)


def test_every_point_is_struck(execute, seeded, ways, kind, tmp_path):
    struck = {"lake.cleared"}
    for way, work in ways.items():
        seeded(way)
        struck |= set(passages(execute, work, tmp_path / "log"))
    assert struck == POINTS[kind]
    print(f"{kind}: {len(struck)} of {len(POINTS[kind])} points struck")


@pytest.mark.parametrize("action", ["raise", "enospc"])
@pytest.mark.parametrize("way", ["append", "upsert"])
def test_a_fault_at_any_point_is_told_and_mended(way, action, execute, seeded, ways, truth, tmp_path):
    work = ways[way]
    seeded(way)
    for name in passages(execute, work, tmp_path / "log"):
        before = seeded(way)
        code = execute(replace(work, arm=f"{name}:{action}"))
        assert code in (BROKEN, REFUSED) or name in DECIDED
        assert_whole(truth, before, after(way, work, before))
        assert_recovers(execute, truth, work, after(way, work, before))


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize(("way", "runs"), [("append", 2), ("append", 8), ("make", 3)])
def test_of_several_runs_at_once_one_wins(way, runs, lock, start, seeded, ways, truth):
    """Without locks they may fence one another, but two never commit."""
    before, work = seeded(way), replace(ways[way], lock=lock)
    at = time.time() + 0.3 + runs * 0.05
    racers = [start(work, at) for _ in range(runs)]
    for racer in racers:
        racer.join(60)
    codes = Counter(racer.exitcode for racer in racers)
    assert set(codes) <= {COMMITTED, CONFLICT, SKIPPED}
    assert codes[COMMITTED] == 1 or (not lock and codes[COMMITTED] == 0)
    if truth.exists:
        assert_exactly(truth, [*before, *rows_of(work)] if codes[COMMITTED] else before)


def overtaken(start, execute, work: LakeWork, following: LakeWork) -> tuple[int, int]:
    """The exit codes of an attempt that is held up just before its commit, and of one that comes meanwhile."""
    late = LATEST[work.kind]
    controller = Controller(str(Path(work.root).parent / "socket"))
    held = start(replace(work, lock=False, arm=f"{late}:barrier", socket=controller.path))
    _, connection = controller.wait()
    code = execute(replace(following, lock=False))
    connection.close()
    held.join(60)
    return held.exitcode, code


@pytest.mark.parametrize("key", ["k1", "k2"])
@pytest.mark.parametrize("way", ["append", "upsert", "overwrite"])
def test_an_attempt_that_wakes_up_late_cannot_commit(way, key, start, execute, seeded, ways, truth):
    before, work = seeded(way), ways[way]
    following = replace(work, key=key)
    assert overtaken(start, execute, work, following) == (CONFLICT, COMMITTED)
    assert_exactly(truth, after(way, following, before))


@pytest.mark.parametrize("way", ["append", "upsert"])
def test_another_load_that_is_faster_is_no_conflict(way, start, execute, seeded, ways, truth):
    """The commit is judged anew on top of what came in between; a merge takes the new rows into account."""
    before, work = seeded(way), ways[way]
    controller = Controller(str(Path(work.root).parent / "socket"))
    held = start(replace(work, arm="lake.deciding:barrier", socket=controller.path))
    _, connection = controller.wait()
    other = replace(work, key="other", load="other", mode="append", settings=(), parts=("b", "d"))
    assert execute(other) == COMMITTED
    connection.close()
    held.join(60)
    assert held.exitcode == COMMITTED
    assert_exactly(truth, after(way, work, [*before, *rows_of(other)]))
    assert execute(replace(work, key="k2", mode="append", settings=())) == COMMITTED
    if (work.kind, way) != ("delta", "upsert"):  # what a merge of deltalake leaves is for a vacuum
        assert_clean(truth)


def test_a_reader_never_sees_a_part(start, seeded, ways, truth):
    before = seeded("overwrite")
    work = replace(ways["overwrite"], parts=tuple("abcdefgh"))
    loading = start(work)
    looks = 0
    while loading.exitcode is None:
        assert_whole(truth, before, rows_of(work))
        looks += 1
    assert loading.exitcode == COMMITTED
    assert looks > 1
    assert sorted(read(truth)) == sorted(rows_of(work))


@pytest.mark.parametrize("way", ["make", "append", "upsert"])
def test_a_commit_whose_answer_is_lost_is_looked_up(way, ways, kind, execute, seeded, truth, monkeypatch):
    before, work = seeded(way), ways[way]
    session = lake_worker.SESSIONS[kind]
    real = session._write

    def lost(*given):
        real(*given)
        raise OSError("the connection was reset")

    monkeypatch.setattr(session, "_write", lost)
    assert execute(work) == COMMITTED
    assert_exactly(truth, after(way, work, before))

    def failed(*given):
        raise OSError("the connection was reset")

    monkeypatch.setattr(session, "_write", failed)
    assert execute(replace(work, key="k2", mode="append", settings=())) == REFUSED
    assert_exactly(truth, after(way, work, before))


# The checker is not blind


def kill_everywhere(execute, work: LakeWork, log: Path) -> None:
    probe = replace(work, root=f"{work.root}/probe")
    # The late points first, where most faults of a protocol show.
    for number, name in enumerate(reversed(passages(execute, probe, log))):
        here = replace(work, root=f"{work.root}/{number}")
        truth = truth_of(here.kind, here.root)
        execute(replace(here, arm=f"{name}:kill9@1"))
        if truth.exists:
            assert_whole(truth, [], rows_of(here))
        execute(here)
        assert_exactly(truth, rows_of(here))
        execute(replace(here, key="k2"))
        execute(here)
        assert_exactly(truth, [*rows_of(here), *rows_of(replace(here, key="k2"))])


KILLED = ("no_token", "token_in_a_second_commit", "part_by_part", "cleared_without_a_look", "no_key_check")


@pytest.mark.parametrize("bug", KILLED)
def test_bugs_that_kills_reveal(bug, execute, ways, tmp_path):
    with pytest.raises(Verdict):
        kill_everywhere(execute, replace(ways["make"], bug=bug), tmp_path / "log")


def test_the_work_without_a_bug_passes_the_same_test(execute, ways, tmp_path):
    kill_everywhere(execute, ways["make"], tmp_path / "log")


def test_a_second_run_reveals_check_then_append(start, execute, seeded, ways, truth):
    before = seeded("append")
    work = replace(ways["append"], bug="check_then_append")
    assert overtaken(start, execute, work, work) == (COMMITTED, COMMITTED)
    with pytest.raises(Verdict):
        assert_exactly(truth, [*before, *rows_of(work)])


def test_a_second_run_reveals_a_swallowed_conflict(start, execute, seeded, ways, truth):
    before = seeded("append")
    work = replace(ways["append"], bug="swallowed_conflict")
    following = replace(work, key="k2", bug="")
    assert overtaken(start, execute, work, following) == (COMMITTED, COMMITTED)
    with pytest.raises(Verdict):
        assert_exactly(truth, [*before, *rows_of(work), *rows_of(following)])


def test_every_planted_bug_is_asked_for():
    of_hadoop = {"renamed_over"}
    assert set(BUGS) == {*KILLED, "check_then_append", "swallowed_conflict", *of_hadoop}
