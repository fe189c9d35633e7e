"""Loads into databases: killed at every named point, the server crashed, answers lost, several at once."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from database_checker import assert_chain, assert_exactly, assert_whole, read
from database_worker import BUGS, COMMITTED, CONFLICT, LOST, REFUSED, SKIPPED, Load, run
from fault_checker import Verdict
from services.databases import DatabaseServer, SqlDatabase
from services.proxy import Proxy
from test_races import Controller

MODES = ("append", "overwrite", "upsert")
"""Every way of rows into a table: the other modes go one of these."""

OLD = [(each, "old") for each in range(-5, 5)]
Execute = Callable[[Load], int | None]


@pytest.fixture
def database(store: SqlDatabase) -> SqlDatabase:
    return store


@pytest.fixture
def worker() -> Callable[..., None]:
    return run


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    found = Controller(str(tmp_path / "socket"))
    yield found
    found.server.close()


def seed(database: SqlDatabase, mode: str) -> list[tuple[int, str]]:
    """The target as it is before a load in `mode`."""
    key = " PRIMARY KEY" if mode == "upsert" else ""
    database.execute(
        "DROP TABLE IF EXISTS t, rayetl_epochs",
        f"CREATE TABLE t (id bigint{key}, epoch varchar(9))",
        f"INSERT INTO t VALUES {', '.join(map(str, OLD))}",
    )
    return list(OLD)


def after(work: Load, before: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The oracle: what the rows are once `work` is done."""
    new = [(each, work.key) for each in work.ids if each not in work.bad]
    if work.mode == "overwrite":
        return new
    return [*before, *new] if work.mode == "append" else list({**dict(before), **dict(new)}.items())


def passages(execute: Execute, work: Load, log: Path) -> dict[str, int]:
    """How often each failpoint is passed by `work`."""
    log.unlink(missing_ok=True)
    assert execute(replace(work, log=str(log))) == COMMITTED
    return dict(Counter(log.read_text().split()))


def assert_recovers(
    execute: Execute, database: SqlDatabase, work: Load, before: list[tuple[int, str]]
) -> None:
    """The next run completes the epoch, a third recognises it, and the work goes on."""
    done = after(work, before)
    assert execute(work) in (COMMITTED, SKIPPED)
    assert_exactly(database, done)
    assert execute(work) == SKIPPED
    further = replace(work, key="k2", mode="append", first=1000, bad=())
    assert execute(further) == COMMITTED
    assert_exactly(database, after(further, done))
    assert_chain(database, [work.key, "k2"])


@pytest.mark.parametrize("mode", MODES)
def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(
    mode: str, execute: Execute, database: SqlDatabase, tmp_path: Path
) -> None:
    work = Load(database.kind, database.config, "k1", mode, bad=(60,))
    seed(database, mode)
    for name, count in passages(execute, work, tmp_path / "log").items():
        before = seed(database, mode)
        turn = (count + 1) // 2
        assert execute(replace(work, arm=f"{name}:kill9@{turn}")) == -signal.SIGKILL, name
        assert_whole(database, before, after(work, before))
        assert_recovers(execute, database, work, before)


def test_every_failpoint_of_the_load_is_one_that_is_fired(
    execute: Execute, database: SqlDatabase, tmp_path: Path
) -> None:
    """The test above kills at every point that it finds passed; no point is passed in none of the modes."""
    connectors = Path(__file__).parents[2] / "rayetl/connectors"
    sources = [*connectors.glob("databases/*.py"), *connectors.glob(f"{database.kind}/*.py")]
    names = {name for path in sources for name in re.findall(r'failpoint\("([^"]+)"\)', path.read_text())}
    wanted = {(name, mode) for name in names for mode in MODES if name != "database.merged"}
    wanted.add(("database.merged", "upsert"))
    fired = set()
    for mode in MODES:
        seed(database, mode)
        work = Load(database.kind, database.config, "k1", mode)
        fired |= {(name, mode) for name in passages(execute, work, tmp_path / "log")}
    print(f"{len(fired & wanted)} of {len(wanted)} pairs of point and mode are killed at")
    assert fired == wanted


def test_a_crash_of_the_server_at_any_point_is_recovered_from(
    start, execute: Execute, controller: Controller, database: SqlDatabase,
    store_server: DatabaseServer, tmp_path: Path,
) -> None:  # fmt: skip
    work = Load(database.kind, database.config, "k1", "upsert")
    seed(database, "upsert")
    for name in passages(execute, work, tmp_path / "log"):
        before = seed(database, "upsert")
        stopped = start(replace(work, arm=f"{name}:barrier", socket=controller.path))
        _, connection = controller.wait()
        store_server.crash()
        store_server.start()
        connection.close()
        stopped.join(30)
        assert stopped.exitcode == (COMMITTED if name == "database.committed" else LOST), name
        assert_whole(database, before, after(work, before))
        assert_recovers(execute, database, work, before)


@pytest.mark.parametrize("racers", [2, 4, 8])
def test_of_many_runs_of_an_epoch_exactly_one_wins(racers: int, start, database: SqlDatabase) -> None:
    rows = seed(database, "append")
    for number in range(3):
        work = Load(database.kind, database.config, f"k{number}", first=1000 * number)
        race(start, [work] * racers)
        rows = after(work, rows)
        assert_exactly(database, rows)
    assert_chain(database, ["k0", "k1", "k2"])


def race(start, works: list[Load]) -> None:
    start_at = time.time() + 0.3
    processes = [start(work, start_at) for work in works]
    for process in processes:
        process.join(60)
    codes = Counter(process.exitcode for process in processes)
    if codes[COMMITTED] != 1 or not set(codes) <= {COMMITTED, SKIPPED, CONFLICT}:
        raise Verdict(str(codes))


def test_runs_of_different_epochs_all_win_one_after_the_other(start, database: SqlDatabase) -> None:
    rows = seed(database, "append")
    works = [Load(database.kind, database.config, f"k{number}", first=1000 * number) for number in range(4)]
    start_at = time.time() + 0.3
    processes = [start(work, start_at) for work in works]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [COMMITTED] * 4
    assert_exactly(database, [*rows, *((each, work.key) for work in works for each in work.ids)])
    assert database.rows("SELECT number FROM rayetl_epochs ORDER BY number") == [(1,), (2,), (3,), (4,)]


def test_a_zombie_cannot_commit(
    start, execute: Execute, controller: Controller, database: SqlDatabase, store_server: DatabaseServer
) -> None:
    before = seed(database, "append")
    work = Load(database.kind, database.config, "k1")
    zombie = start(replace(work, arm="database.tracked:barrier", socket=controller.path))
    _, connection = controller.wait()
    store_server.cut(database)
    assert execute(work) == COMMITTED
    connection.close()
    zombie.join(30)
    assert zombie.exitcode == LOST
    assert_exactly(database, after(work, before))
    assert_chain(database, ["k1"])


class Reader(threading.Thread):
    """Looks at the target all the time; `verdict` is what was wrong."""

    def __init__(self, database: SqlDatabase, *states: list[tuple[int, str]]) -> None:
        super().__init__(daemon=True)
        self._database, self._states, self._ended = database, states, threading.Event()
        self.verdict: Verdict | None = None
        self.looks = 0

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                assert_whole(self._database, *self._states)
            except Verdict as verdict:
                self.verdict = verdict
                return
            self.looks += 1

    def judge(self) -> None:
        self._ended.set()
        self.join(30)
        if self.verdict:
            raise self.verdict
        assert self.looks


def read_along(execute: Execute, database: SqlDatabase, work: Load) -> None:
    before = seed(database, work.mode)
    for number in range(3):
        each = replace(work, key=f"k{number}", first=work.first + 1000 * number)
        reader = Reader(database, before, after(each, before))
        reader.start()
        assert execute(each) == COMMITTED
        before = after(each, before)
        reader.judge()


@pytest.mark.parametrize("mode", ["append", "overwrite", "upsert"])
def test_a_reader_never_sees_part_of_a_batch(mode: str, execute: Execute, database: SqlDatabase) -> None:
    read_along(execute, database, Load(database.kind, database.config, "", mode))


def through(work: Load, database: SqlDatabase, proxy: Proxy) -> Load:
    # Under TLS nobody could tell a COMMIT from other bytes.
    return replace(work, where={**database.through(proxy.port).config, "sslmode": "disable"})


@pytest.mark.parametrize(("after_it", "code"), [(True, COMMITTED), (False, LOST)])
def test_a_commit_whose_answer_is_lost_is_looked_up(
    after_it: bool, code: int, execute: Execute, database: SqlDatabase, store_server: DatabaseServer
) -> None:
    before = seed(database, "append")
    first, work = (
        Load(database.kind, database.config, "k1"),
        Load(database.kind, database.config, "k2", first=1000),
    )
    assert execute(first) == COMMITTED
    before = after(first, before)
    with Proxy(database.port, answered=store_server.answered, after=after_it) as proxy:
        proxy.arm()
        assert execute(through(work, database, proxy)) == code
        assert proxy.cuts == 1
    assert_exactly(database, after(work, before) if after_it else before)
    assert execute(work) == (SKIPPED if after_it else COMMITTED)
    assert_exactly(database, after(work, before))
    assert_chain(database, ["k1", "k2"])


def test_a_commit_that_cannot_be_looked_up_is_told_how_to(
    execute: Execute, database: SqlDatabase, tmp_path: Path, store_server: DatabaseServer
) -> None:
    before = seed(database, "append")
    work = Load(database.kind, database.config, "it's", first=1000)
    assert execute(Load(database.kind, database.config, "k1")) == COMMITTED
    with Proxy(database.port, answered=store_server.answered, after=True, alone=True) as proxy:
        proxy.arm()
        assert execute(replace(through(work, database, proxy), told=str(tmp_path / "told"))) == LOST
    told = (tmp_path / "told").read_text()
    assert "whether it was decided cannot be looked up" in told
    assert database.value(told.split("by hand: ")[1].replace("*", "count(*)")) == 1
    assert execute(work) == SKIPPED
    assert_exactly(database, after(work, after(Load("", {}, "k1"), before)))


# The checker is not blind


def kill_at(point: str) -> Callable[[Execute, SqlDatabase, Load], None]:
    def look(execute: Execute, database: SqlDatabase, work: Load) -> None:
        before = seed(database, work.mode)
        execute(replace(work, arm=f"{point}:kill9@1"))
        assert_whole(database, before, after(work, before))
        for _ in range(2):
            execute(work)
            assert_exactly(database, after(work, before))

    return look


def lose_the_answer(execute: Execute, database: SqlDatabase, work: Load) -> None:
    before = seed(database, work.mode)
    assert execute(replace(work, key="k0", bug="", first=5000)) == COMMITTED
    before = after(replace(work, key="k0", first=5000), before)
    with Proxy(database.port, after=False) as proxy:
        proxy.arm()
        code = execute(through(work, database, proxy))
    assert_exactly(database, after(work, before) if code == COMMITTED else before)


def once(execute: Execute, database: SqlDatabase, work: Load) -> None:
    before = seed(database, work.mode)
    assert execute(work) == COMMITTED
    assert_exactly(database, after(work, before))


REVEALED = {
    "token_after_the_rows": ("append", kill_at("database.between")),
    "no_transaction": ("append", kill_at("database.sent")),
    "no_token": ("append", kill_at("database.committed")),
    "delete_first": ("overwrite", kill_at("database.prepared")),
    "delete_nothing": ("overwrite", once),
    "lost_is_done": ("append", lose_the_answer),
    "dropped_chunk": ("append", once),
    "old_rows_stay": ("upsert", once),
}


@pytest.mark.parametrize("bug", REVEALED)
def test_planted_bugs_are_seen(bug: str, execute: Execute, database: SqlDatabase) -> None:
    mode, look = REVEALED[bug]
    work = Load(database.kind, database.config, "k1", mode)
    look(execute, database, work)
    with pytest.raises(Verdict):
        look(execute, database, replace(work, bug=bug))


def test_no_fence_is_seen_when_two_run_at_once(
    start, execute: Execute, controller: Controller, database: SqlDatabase
) -> None:
    before = seed(database, "append")
    work = Load(database.kind, database.config, "k1", bug="no_fence")
    racer = start(replace(work, arm="database.tracked:barrier", socket=controller.path))
    _, connection = controller.wait()
    assert execute(work) == COMMITTED
    connection.close()
    racer.join(30)
    with pytest.raises(Verdict):
        assert_exactly(database, after(work, before))
    with pytest.raises(Verdict):
        assert_chain(database, ["k1"])


def test_every_planted_bug_is_asked_for() -> None:
    assert set(BUGS) == {*REVEALED, "no_fence"}


def test_a_load_that_is_refused_leaves_all_as_it_was(execute: Execute, database: SqlDatabase) -> None:
    before = seed(database, "append")
    assert execute(Load(database.kind, database.config, "k1", "error_if_exists")) == REFUSED
    assert_exactly(database, before)
    assert read(database)
