"""Loads into a bucket that are killed, raced, overtaken and lied to; an outsider then reads the bucket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import s3_worker
from fault_checker import Verdict
from s3_worker import BROKEN, BUGS, COMMITTED, CONFLICT, LATER, SKIPPED, Work, rows_of
from services.s3 import Account, Bucket

from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.formats import scan_files
from rayetl.connectors.s3.login import ATTEMPTS
from rayetl.errors import Retryable, SourceError

Row = tuple[str, str, int]
PARTS = ("0.json", "1.json")


@pytest.fixture
def worker() -> Callable[..., None]:
    return s3_worker.run


@dataclass
class Place:
    """A fresh target in a bucket for each name, which holds one epoch already."""

    bucket: Bucket
    seed: Work
    staging: Path
    seeded: dict[str, bytes] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def work(self, name: str, key: str = "k1", machine: str = "here", **more: object) -> Work:
        """A work at the target `name`."""
        if not self.seeded:
            for found in self.bucket.keys(f"{self.seed.prefix}/", hidden=True):
                self.seeded[found.removeprefix(self.seed.prefix)] = self.bucket.get(found)
        if name not in self.made:
            for found, body in self.seeded.items():
                self.bucket.put(f"{name}{found}", body)
            self.made.add(name)
        own = {"prefix": name, "key": key, "parts": PARTS, "staging": str(self.staging / machine)}
        return replace(self.seed, **own | more)

    @property
    def before(self) -> list[Row]:
        return rows_of(self.seed)

    def read(self, work: Work) -> list[Row]:
        """All rows a reader sees that passes over hidden names."""
        texts = [self.bucket.get(key).decode() for key in self.bucket.keys(f"{work.prefix}/")]
        lines = [json.loads(line) for text in texts for line in text.splitlines()]
        return [(line["key"], line["part"], line["row"]) for line in lines]

    def wait_for_part(self, work: Work) -> None:
        """Wait until some objects of the second epoch are there, but not all of them."""
        until = time.monotonic() + 20
        while not (parts := [key for key in self.bucket.keys(f"{work.prefix}/") if "part-000002" in key]):
            assert time.monotonic() < until
        assert len(parts) < len(work.parts)

    def epochs(self, work: Work) -> int:
        return len(
            self.bucket.client.list_objects_v2(
                Bucket=self.bucket.name, Prefix=f"{work.prefix}/_rayetl/epochs/"
            )["Contents"]
        )

    def assert_exactly(self, work: Work, oracle: list[Row]) -> None:
        seen, wanted = Counter(self.read(work)), Counter(oracle)
        if seen != wanted:
            raise Verdict(f"missing {wanted - seen}, extra {seen - wanted}")

    def assert_held_back(self, work: Work) -> None:
        """Nothing of an epoch is seen before it is decided, and nothing of it twice afterwards."""
        if self.epochs(work) == 1:
            self.assert_exactly(work, self.before)
        elif Counter(self.read(work)) - Counter([*self.before, *rows_of(work)]):
            raise Verdict("rows are seen twice")

    def assert_clean(self, work: Work) -> None:
        """No upload and no staged file is left."""
        left = [key for key in self.bucket.uploads() if key.startswith(f"{work.prefix}/")]
        staged = [str(path) for path in Path(work.staging).glob("*/*") if path.name != "lock"]
        if left or staged:
            raise Verdict(f"left behind: {left + staged}")

    def after(self, work: Work) -> list[Row]:
        return rows_of(work) if work.mode == "overwrite" else [*self.before, *rows_of(work)]

    def assert_recovers(self, execute: Callable[..., int], work: Work) -> None:
        """The next run completes the epoch, and the work goes on."""
        if execute(work) not in (COMMITTED, SKIPPED):
            raise Verdict("the next run fails")
        self.assert_exactly(work, self.after(work))
        further = replace(work, key="k9", mode="append", parts=("9.json",))
        if execute(further) != COMMITTED:
            raise Verdict("the work does not go on")
        self.assert_exactly(work, [*self.after(work), *rows_of(further)])
        self.assert_clean(work)


@pytest.fixture
def place(
    execute, bucket: Bucket, s3_account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setattr(*s3_worker.IMPATIENT)
    at = (bucket.name, "seed", s3_account.server.endpoint, str(tmp_path / "here"))
    seed = Work(*at, "k0", parts=("s.json",), environment=s3_account.environment)
    assert here(seed) == COMMITTED
    return Place(bucket, seed, tmp_path)


def passages(execute, work: Work, log: Path, code: int = COMMITTED) -> dict[str, int]:
    """How often each failpoint is passed by `work`."""
    log.unlink(missing_ok=True)
    assert execute(replace(work, log=str(log))) == code
    return dict(Counter(log.read_text().split()))


def here(work: Work) -> int:
    """Do a work in this process, which costs less."""
    return s3_worker.attempts(work)


def kill(execute, work: Work, name: str, turn: int) -> None:
    assert execute(replace(work, arm=f"{name}:kill9@{turn}")) == -signal.SIGKILL, (
        f"{name}@{turn} did not strike"
    )


def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(execute, place, tmp_path) -> None:
    for name, count in passages(execute, place.work("probe", mode="overwrite"), tmp_path / "log").items():
        assert_survives(execute, place, place.work(name, mode="overwrite"), name, count)


@pytest.mark.parametrize("name", ["s3.part_sent", "s3.before_decision", "s3.decided", "s3.completed_one"])
def test_a_kill_of_an_append_keeps_what_is_there(name, execute, place) -> None:
    assert_survives(execute, place, place.work(name), name, 1)


def assert_survives(execute, place: Place, work: Work, name: str, turn: int) -> None:
    kill(execute, work, name, turn)
    place.assert_held_back(work)
    place.assert_recovers(here, work)


def recoveries(execute, place: Place, log: Path) -> Iterator[tuple[str, str, dict[str, int]]]:
    """What is run after a kill past the decision: the epoch again, or another one; and what that passes."""
    for key in ("k1", "k2"):
        killed = place.work(f"probe-{key}", mode="overwrite")
        kill(execute, killed, "s3.decided", 1)
        following = replace(killed, key=key, mode="append")
        passed = passages(execute, following, log, SKIPPED if key == "k1" else COMMITTED)
        yield key, "s3.decided", passed


def test_a_kill_during_recovery_is_recovered_from(execute, place, tmp_path) -> None:
    for key, decided, passed in recoveries(execute, place, tmp_path / "log"):
        for name in passed:
            if key == "k2" and name not in (
                "s3.rolled_forward",
                "s3.cleared",
                "s3.completed_one",
                "s3.marked",
            ):
                continue
            work = place.work(f"{key}-{name}", mode="overwrite")
            kill(execute, work, decided, 1)
            following = replace(work, key=key, mode="append")
            kill(execute, following, name, 1)
            assert here(following) in (COMMITTED, SKIPPED)
            more = rows_of(following) if key == "k2" else []
            place.assert_exactly(work, [*rows_of(work), *more])


def test_an_error_at_any_point_is_undone_or_completed(execute, place, tmp_path) -> None:
    for name in (
        "s3.locked",
        "s3.upload_begun",
        "s3.part_sent",
        "s3.before_decision",
        "s3.decided",
        "s3.completed_one",
    ):
        work = place.work(name)
        assert execute(replace(work, arm=f"{name}:raise")) == BROKEN
        place.assert_held_back(work)
        place.assert_recovers(here, work)


def test_every_failpoint_in_the_code_is_one_that_is_fired(execute, place, tmp_path) -> None:
    """The tests above kill at every point they find passed; no point is passed by none of them."""
    package = Path(__file__).parents[2] / "rayetl" / "connectors" / "s3"
    names = {
        name
        for path in package.glob("*.py")
        for name in re.findall(r'failpoint\("([^"]+)"\)', path.read_text())
    }
    fired = set(passages(execute, place.work("probe", mode="overwrite"), tmp_path / "log"))
    for _, _, passed in recoveries(execute, place, tmp_path / "log"):
        fired |= passed.keys()
    broken = replace(place.work("broken"), arm="s3.sent:raise", log=str(tmp_path / "dropped"))
    execute(replace(broken, arm="s3.before_decision:raise"))
    fired |= set((tmp_path / "dropped").read_text().split())
    assert names == fired, names ^ fired


# Answers that are lost


LOST = {
    "the manifest": ("PUT", "_rayetl/epochs/000002.json"),
    "a completion": ("POST", "uploadId="),
    "the beginning of an upload": ("POST", "uploads"),
    "a part": ("PUT", "partNumber="),
    "a removal": ("DELETE", "part-000001"),
    "the mark": ("PUT", "_rayetl/published"),
    "the ledger": ("GET", "_rayetl/epochs/000001.json"),
}


HOW = ({"status": 500}, {"status": 503, "code": "SlowDown", "after": True}, {"status": 0, "after": True})


@pytest.mark.parametrize("what", LOST)
def test_a_request_whose_answer_is_lost_is_not_done_twice(what, execute, place, s3_server) -> None:
    method, part = LOST[what]
    for number, how in enumerate(HOW):
        work = place.work(f"{number}", mode="overwrite", tries=2)
        fault = s3_server.break_down(method, part, **how)
        assert here(work) == COMMITTED
        assert fault.struck == 1
        place.assert_exactly(work, rows_of(work))
        assert here(work) == SKIPPED


@pytest.mark.parametrize("after", [True, False])
def test_a_decision_that_nobody_answers_is_looked_up(after, execute, place, s3_server) -> None:
    work = place.work("x", tries=2)
    fault = s3_server.break_down("PUT", "_rayetl/epochs/000002.json", status=500, times=ATTEMPTS, after=after)
    assert here(work) == COMMITTED
    assert fault.struck == ATTEMPTS
    place.assert_recovers(here, work)


@pytest.mark.parametrize("after", [True, False])
def test_a_service_that_goes_away_at_the_decision_keeps_what_was_decided(
    after, execute, place, s3_server
) -> None:
    work = place.work("x")
    manifest = "x/_rayetl/epochs/000002.json"
    decided = s3_server.break_down("PUT", manifest, status=500, times=ATTEMPTS, after=after)
    s3_server.break_down("GET", manifest, status=500, times=2 * ATTEMPTS, since=decided)
    assert execute(work) == LATER
    s3_server.mend()
    assert here(work) == (SKIPPED if after else COMMITTED)
    place.assert_recovers(here, work)


# Several runs


@pytest.mark.parametrize("racers", [2, 4])
def test_of_runs_on_several_machines_exactly_one_wins(racers, start, execute, place) -> None:
    works = [place.work("x", machine=f"m{number}") for number in range(racers)]
    for key in ("k1", "k2"):
        start_at = time.time() + 0.2
        processes = [start(replace(work, key=key), start_at) for work in works]
        for process in processes:
            process.join(60)
        codes = Counter(process.exitcode for process in processes)
        assert codes[COMMITTED] == 1, codes
        assert set(codes) <= {COMMITTED, SKIPPED, CONFLICT}, codes
    place.assert_exactly(works[0], [*place.before, *rows_of(works[0]), *rows_of(replace(works[0], key="k2"))])
    assert here(replace(works[0], key="k3")) == COMMITTED
    for work in works:
        place.assert_clean(work)


class Controller:
    """Answers the `barrier` action of failpoints: knows who waits where and lets them go."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(16)
        self.server.settimeout(30)

    def wait(self) -> socket.socket:
        connection, _ = self.server.accept()
        connection.recv(200)
        return connection


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    controller = Controller(str(tmp_path / "socket"))
    yield controller
    controller.server.close()


def overtake(
    point: str, following: Work, controller: Controller, start, execute, work: Work
) -> tuple[int, int]:
    """Hold a run at `point`, let another one of another machine do its work, and let the first go on."""
    held = start(replace(work, arm=f"{point}:barrier", socket=controller.path))
    waiting = controller.wait()
    taken = execute(following)
    waiting.close()
    held.join(30)
    return taken, held.exitcode


@pytest.mark.parametrize("key", ["k1", "k2"])
@pytest.mark.parametrize(
    "point", ["s3.attempt_made", "s3.upload_begun", "s3.part_sent", "s3.sent", "s3.before_decision"]
)
def test_a_run_that_was_overtaken_cannot_commit(point, key, controller, start, execute, place) -> None:
    work = place.work("x", mode="overwrite")
    following = place.work("x", key, machine="there")
    assert overtake(point, following, controller, start, execute, work) == (COMMITTED, CONFLICT)
    place.assert_exactly(work, [*place.before, *rows_of(following)])
    place.assert_clean(work)


def test_a_run_whose_files_another_of_this_machine_took_away_cannot_commit(
    controller, start, execute, place
) -> None:
    """Without its lock, as on a file system that has none: no epoch is entered whose rows are nowhere."""
    work = place.work("x")
    held = start(replace(work, arm="s3.staged:barrier", socket=controller.path))
    waiting = controller.wait()
    for lock in Path(work.staging).rglob("lock"):
        lock.unlink()
    assert execute(replace(work, key="k2", arm="s3.attempt_made:kill9@1")) == -signal.SIGKILL
    waiting.close()
    held.join(30)
    assert held.exitcode == CONFLICT
    place.assert_exactly(work, place.before)
    assert execute(work) == COMMITTED
    place.assert_exactly(work, [*place.before, *rows_of(work)])


def test_a_run_that_has_decided_is_completed_by_another_and_replaced(
    controller, start, execute, place
) -> None:
    work = place.work("x")
    following = place.work("x", "k2", machine="there", mode="overwrite")
    assert overtake("s3.decided", following, controller, start, execute, work) == (COMMITTED, COMMITTED)
    place.assert_exactly(work, rows_of(following))
    assert execute(replace(following, key="k3", mode="append")) == COMMITTED
    place.assert_clean(work)


def test_a_second_run_of_this_machine_is_told_who_loads(controller, start, execute, place, capfd) -> None:
    work = place.work("x")
    assert overtake("s3.sent", work, controller, start, execute, work) == (CONFLICT, COMMITTED)


# Readers


def seen(work: Work) -> list[Row]:
    """The rows that a source of ours takes from a target."""
    service = {"credential": "lake", "s3": {"endpoint": work.endpoint}}
    schema = "key STRING, part STRING, row INT"
    path = f"s3://{work.bucket}/{work.prefix}"
    source = {"type": "files", "path": path, "format": "json", "schema": schema, **service}
    return scan_files(FilesSource.model_validate(source).describe(None)).collect().rows()


@pytest.mark.parametrize("mode", ["append", "overwrite"])
@pytest.mark.parametrize(
    "point", ["s3.decided", "s3.before_complete", "s3.completed", "s3.removed_old", "s3.marked"]
)
def test_a_source_takes_whole_epochs(point, mode, controller, start, execute, place) -> None:
    work = place.work("x", mode=mode)
    turn = len(PARTS) if point == "s3.before_complete" else 1
    held = start(replace(work, arm=f"{point}:barrier@{turn}", socket=controller.path))
    waiting = controller.wait()
    if turn > 1:
        place.wait_for_part(work)
    found = Counter(seen(work))
    waiting.close()
    held.join(30)
    whole = place.before if point in ("s3.decided", "s3.before_complete") else place.after(work)
    assert found == Counter(whole)
    assert Counter(seen(work)) == Counter(place.after(work))


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_source_beside_a_load_never_meets_part_of_an_epoch(mode, start, place) -> None:
    works = [place.work("x", f"k{number}", mode=mode) for number in range(1, 7)]
    states = [place.before]
    for work in works:
        states.append(rows_of(work) if mode == "overwrite" else [*states[-1], *rows_of(work)])
    loading = start(works)
    looks = 0
    while loading.is_alive():
        try:
            found = Counter(seen(works[0]))
        except (SourceError, Retryable) as error:
            # It was listed before it was replaced.
            if "is not there any more" in error.message or "faster than" in error.message:
                continue
            raise
        assert found in [Counter(state) for state in states]
        looks += 1
    assert loading.exitcode == COMMITTED
    assert looks
    assert Counter(seen(works[0])) == Counter(states[-1])


def test_what_others_put_or_remove_is_seen_as_it_is(execute, place) -> None:
    work = place.work("x", mode="overwrite", parts=("0.json",))
    place.bucket.put("x/theirs.json", '{"key": "t", "part": "t", "row": 1}\n')
    assert here(work) == COMMITTED
    place.bucket.put("x/theirs.json", '{"key": "t", "part": "t", "row": 1}\n')
    assert sorted(seen(work)) == sorted([*rows_of(work), ("t", "t", 1)])
    (ours,) = [key for key in place.bucket.keys("x/") if "part-" in key]
    place.bucket.client.delete_object(Bucket=place.bucket.name, Key=ours)
    assert seen(work) == [("t", "t", 1)]


# The checks are not blind


CAUGHT = {
    "completed_before": "s3.before_decision",
    "no_roll_forward": "s3.decided",
    "no_key_check": "s3.finished",
    "marked_first": "s3.before_complete",
}


@pytest.mark.parametrize("bug", CAUGHT)
def test_a_bug_is_caught_by_a_kill(bug, execute, place) -> None:
    work = place.work("x", bug=bug)
    kill(execute, work, CAUGHT[bug], 1)

    def judge() -> None:
        place.assert_held_back(work)
        place.assert_recovers(execute, work)

    with pytest.raises(Verdict):
        judge()


def test_a_bug_is_caught_by_lost_answers(execute, place, s3_server) -> None:
    s3_server.break_down("PUT", "_rayetl/epochs/000002.json", status=500, after=True)
    assert execute(place.work("x", bug="own_work_is_foreign")) == CONFLICT


def test_a_bug_is_caught_by_a_service_that_goes_away(execute, place, s3_server) -> None:
    work = place.work("x", bug="dropped_in_doubt")
    manifest = "x/_rayetl/epochs/000002.json"
    decided = s3_server.break_down("PUT", manifest, status=500, times=ATTEMPTS, after=True)
    s3_server.break_down("GET", manifest, status=500, times=ATTEMPTS, since=decided)
    assert execute(work) == LATER
    s3_server.mend()
    with pytest.raises(Verdict):
        place.assert_recovers(execute, work)


def test_a_bug_is_caught_by_overtaking(controller, start, execute, place) -> None:
    work = place.work("x", bug="no_condition")
    following = place.work("x", "k2", machine="there")
    assert overtake("s3.before_decision", following, controller, start, execute, work) != (
        COMMITTED,
        CONFLICT,
    )


def test_every_planted_bug_is_used() -> None:
    text = Path(__file__).read_text()
    assert all(text.count(f'"{bug}"') == 1 for bug in BUGS), os.linesep.join(BUGS)
