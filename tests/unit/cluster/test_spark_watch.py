"""When a session counts as lost: at once where something died, after a while where nothing moves."""

from __future__ import annotations

import threading

from rayetl.cluster.spark_watch import Pulse, Stall, Watchdog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_fault_is_a_loss_at_once() -> None:
    assert Stall(60).judge(Pulse(fault="the master died")) == "the master died"


def test_jobs_without_tasks_are_a_loss_after_the_patience() -> None:
    clock = Clock()
    stall = Stall(60, clock)
    idle = Pulse(running_jobs=1, tasks=0, done=0)
    assert [stall.judge(idle) for clock.now in (0, 30, 59)] == [None] * 3
    clock.now = 61
    assert stall.judge(idle) == "no executor took a task for 61 seconds"


def test_whatever_moves_begins_the_wait_anew() -> None:
    clock = Clock()
    stall = Stall(60, clock)
    moves = [
        (0, Pulse(running_jobs=1)),
        (50, Pulse(running_jobs=1, tasks=1)),
        (100, Pulse(running_jobs=1)),
        (150, Pulse(running_jobs=1, done=3)),
        (200, Pulse(running_jobs=1, done=3)),
        (250, Pulse()),
        (300, Pulse(running_jobs=1)),
        (350, Pulse(running_jobs=1)),
    ]
    for clock.now, pulse in moves:
        assert stall.judge(pulse) is None, clock.now


def test_the_watchdog_tells_once_and_stops() -> None:
    told: list[str] = []
    over = threading.Event()

    def lost(reason: str) -> None:
        told.append(reason)
        over.set()

    pulses = iter([Pulse(), Pulse(fault="gone"), Pulse(fault="gone")])
    dog = Watchdog(lambda: next(pulses), lost, Stall(60), interval=0.001)
    dog.start()
    assert over.wait(5)
    dog.stop()
    assert told == ["gone"]


def test_a_stopped_watchdog_tells_nothing() -> None:
    told: list[str] = []
    dog = Watchdog(lambda: Pulse(fault="gone"), told.append, Stall(60), interval=30)
    dog.start()
    dog.stop()
    assert told == []
