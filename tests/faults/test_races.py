"""Several runs at one moment, and attempts that wake up after they were given up for dead."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from fault_checker import assert_clean, assert_exactly, assert_whole, read
from fault_worker import COMMITTED, CONFLICT, SKIPPED, Work, rows_of

PARTS = ("0.json", "1.json", "2.json")


class Controller:
    """Answers the `barrier` action of failpoints: knows who waits where and lets them go."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(16)
        self.server.settimeout(30)

    def wait(self) -> tuple[int, socket.socket]:
        connection, _ = self.server.accept()
        return int(connection.recv(200).split()[0]), connection


@pytest.fixture
def controller(root):
    controller = Controller(str(Path(root).parents[1] / "socket"))
    yield controller
    controller.server.close()


@pytest.mark.parametrize("parts", [PARTS[:1], PARTS])
@pytest.mark.parametrize("racers", [2, 4, 8])
def test_of_many_runs_at_once_exactly_one_wins(racers, parts, start, root):
    for number in range(5):
        work = Work(root, f"k{number}", parts=parts)
        start_at = time.time() + 0.15
        processes = [start(work, start_at) for _ in range(racers)]
        for process in processes:
            process.join(60)
        codes = Counter(process.exitcode for process in processes)
        assert codes[COMMITTED] == 1, codes
        assert set(codes) <= {COMMITTED, SKIPPED, CONFLICT}, codes
        assert_exactly(root, [row for n in range(number + 1) for row in rows_of(replace(work, key=f"k{n}"))])
    assert_clean(root)


def test_a_second_run_is_told_who_holds_the_load(controller, start, execute, root, capfd):
    first = start(Work(root, "k1", arm="stage.written:barrier", socket=controller.path))
    pid, connection = controller.wait()
    from rayetl.connectors.base import Epoch, FilesTarget
    from rayetl.connectors.commit import DirectorySession, SaveMode
    from rayetl.errors import CommitConflict
    from rayetl.model import Model

    second = DirectorySession(
        Epoch("flights", "out", "k1", "r2"),
        SaveMode.APPEND,
        FilesTarget("", "json", Model()),
        lambda _: None,
        ".json",
        root,
    )
    assert second.committed() is None
    with pytest.raises(CommitConflict, match=rf"run-{pid} \(process {pid} on"):
        second.begin()
    connection.close()
    first.join(30)
    assert first.exitcode == COMMITTED
    assert second.committed().status == "skipped"


ZOMBIES = {
    "append one file": Work("", "k1"),
    "append many files": Work("", "k1", parts=PARTS),
    "overwrite": Work("", "k1", mode="overwrite", parts=PARTS),
    "overwrite in place": Work("", "k1", mode="overwrite", parts=PARTS, swap=False),
}
LAST_MOMENT = {True: "swap.before_decision", False: "commit.before_decision"}


def stop_and_take_over(
    work: Work, point: str, controller, start, execute, next_work: Work
) -> tuple[int, int]:
    """Stop a run at `point`, lose its lock, let another run take over, and wake the first one up."""
    zombie = start(replace(work, arm=f"{point}:barrier", socket=controller.path))
    pid, connection = controller.wait()
    os.kill(pid, signal.SIGSTOP)
    # The lock dies with the process or not at all; a file system without locks is played by removing it.
    Path(work.root, "_rayetl", "lock").unlink()
    taken = execute(next_work)
    connection.close()
    os.kill(pid, signal.SIGCONT)
    zombie.join(30)
    return taken, zombie.exitcode


@pytest.mark.parametrize("same_key", [True, False])
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("way", ZOMBIES)
def test_a_zombie_cannot_commit(way, early, same_key, controller, start, execute, root):
    work = replace(ZOMBIES[way], root=root)
    swaps = work.swap and len(work.parts) > 1
    point = "stage.written" if early else LAST_MOMENT[swaps]
    following = work if same_key else replace(work, key="k2")
    assert stop_and_take_over(work, point, controller, start, execute, following) == (COMMITTED, CONFLICT)
    assert_exactly(root, rows_of(following))
    assert execute(replace(work, key="k3", mode="append")) == COMMITTED
    assert_clean(root)


@pytest.mark.parametrize("way", ZOMBIES)
def test_a_zombie_that_wakes_up_while_it_is_cleared_away_cannot_commit(way, controller, start, root):
    """Its files are still there, and the ledger may have been read already: the fence alone holds it off."""
    work = replace(ZOMBIES[way], root=root, socket=controller.path)
    swaps = work.swap and len(work.parts) > 1
    zombie = start(replace(work, arm=f"{LAST_MOMENT[swaps]}:barrier"))
    _, asleep = controller.wait()
    Path(root, "_rayetl", "lock").unlink()
    following = start(replace(work, key="k2", arm="recover.fenced:barrier"))
    _, fenced = controller.wait()
    asleep.close()
    zombie.join(30)
    fenced.close()
    following.join(30)
    assert (zombie.exitcode, following.exitcode) == (CONFLICT, COMMITTED)
    assert_exactly(root, rows_of(replace(work, key="k2")))
    assert_clean(root)


def test_a_zombie_that_had_decided_is_completed_by_its_successor(controller, start, execute, root):
    work = Work(root, "k1", parts=PARTS, swap=False)
    following = replace(work, key="k2")
    taken, _ = stop_and_take_over(work, "commit.decided", controller, start, execute, following)
    assert taken == COMMITTED
    assert_exactly(root, [*rows_of(work), *rows_of(following)])


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_reader_never_sees_part_of_a_batch(mode, execute, root):
    works = [Work(root, f"k{n}", mode=mode, parts=PARTS, rows=20) for n in range(25)]
    states = [[]] + [
        rows_of(work) if mode == "overwrite" else [row for w in works[: n + 1] for row in rows_of(w)]
        for n, work in enumerate(works)
    ]
    execute(works[0])
    seen, faults, done = set(), [], threading.Event()

    def poll() -> None:
        while not done.is_set():
            try:
                rows = len(read(root))
                assert_whole(root, *states) if mode == "append" else None
                seen.add(rows)
            except FileNotFoundError:
                continue  # listed before the exchange, opened after it
            except AssertionError as error:
                faults.append(error)

    reader = threading.Thread(target=poll)
    reader.start()
    for work in works[1:]:
        assert execute(work) == COMMITTED
    done.set()
    reader.join()
    assert not faults
    assert seen <= {len(state) for state in states}
    assert seen
