"""How far a run on the cluster is: what its supervisor writes down and its driver reads and retells."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Literal

from rayetl.observability.progress import ProgressListener
from rayetl.records import dataclass

INTERVAL = 0.2
"""Seconds between two reports of a task, and between two looks of the driver."""


@dataclass(frozen=True, slots=True)
class Event:
    """A stage began, or ended after `seconds`."""

    stage: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Work:
    """A part of the run that is under way: on which node, in which process."""

    part: int
    node: str
    pid: int


@dataclass(frozen=True, slots=True)
class Status:
    """A run as it stands. `rows` by node id; of its `parts`, `done` are finished, `kept` of them by an
    earlier run that did not end."""

    run: str
    state: Literal["waiting", "running", "stopping", "done"]
    events: tuple[Event, ...]
    rows: Mapping[str, int]
    work: tuple[Work, ...] = ()
    parts: int = 1
    done: int = 0
    kept: int = 0


class Board:
    """The notes of one run; a `ProgressListener` for what the supervisor does itself. Safe for threads."""

    def __init__(self, run: str) -> None:
        self.stopping = threading.Event()
        self._run = run
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._rows: dict[str, dict[int, int]] = defaultdict(dict)
        self._work: dict[int, Work] = {}
        self._state: Literal["waiting", "running", "stopping", "done"] = "waiting"
        self._parts, self._done, self._kept = 1, 0, 0

    def stage_started(self, stage: str) -> None:
        with self._lock:
            self._state = "running"
            self._events.append(Event(stage, None))

    def stage_finished(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._events.append(Event(stage, seconds))

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        del total
        self.note(0, {name: rows})

    def begin(self, parts: int, kept: int) -> None:
        """The run is made of so many parts, `kept` of which are there already."""
        with self._lock:
            self._parts, self._done, self._kept = parts, kept, kept
            self._rows.clear()

    def note(self, part: int, rows: Mapping[str, int], work: Work | None = None) -> None:
        """So many rows of a part have passed each node so far."""
        with self._lock:
            for name, count in rows.items():
                self._rows[name][part] = count
            if work is not None:
                self._work[part] = work

    def finish(self, part: int, rows: Mapping[str, int]) -> None:
        """A part is done, and came to so many rows."""
        self.note(part, rows)
        with self._lock:
            self._work.pop(part, None)
            self._done += 1

    def close(self) -> None:
        """Nothing more will happen."""
        with self._lock:
            self._state = "done"

    def status(self) -> Status:
        with self._lock:
            stopping = self.stopping.is_set() and self._state != "done"
            return Status(
                run=self._run,
                state="stopping" if stopping else self._state,
                events=tuple(self._events),
                rows={name: sum(parts.values()) for name, parts in self._rows.items()},
                work=tuple(self._work.values()),
                parts=self._parts,
                done=self._done,
                kept=self._kept,
            )


class Retold:
    """Tells a listener what each status has that the one before had not."""

    def __init__(self, listener: ProgressListener) -> None:
        self._listener = listener
        self._seen = 0

    def tell(self, status: Status) -> None:
        for event in status.events[self._seen :]:
            if event.seconds is None:
                self._listener.stage_started(event.stage)
            else:
                self._listener.stage_finished(event.stage, event.seconds)
        # They may be fewer by now: a supervisor that was started anew begins its notes anew.
        self._seen = len(status.events)
        for name, rows in status.rows.items():
            self._listener.rows(name, rows)


class Reporter:
    """The listener inside a task: passes row counts on, but not more often than every `INTERVAL`; `each` is
    told of every batch."""

    def __init__(
        self,
        send: Callable[[Mapping[str, int]], None],
        clock: Callable[[], float] = time.monotonic,
        each: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._send = send
        self._each = each
        self._clock = clock
        self._rows: dict[str, int] = {}
        self._last = clock()
        self._lock = threading.Lock()

    def stage_started(self, stage: str) -> None:
        del stage

    def stage_finished(self, stage: str, seconds: float) -> None:
        del stage, seconds

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        del total
        self._each(name)
        with self._lock:
            self._rows[name] = rows
            now = self._clock()
            if now - self._last < INTERVAL:
                return
            self._last, told = now, dict(self._rows)
        self._send(told)
