"""Notices that a Spark session on Ray is lost, where Spark itself would wait for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import field

from rayetl.records import dataclass


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a look at a session shows. `fault` is why it is lost; `tasks` how many run now, `done` how many of
    the stages under way are done."""

    fault: str | None = None
    running_jobs: int = 0
    tasks: int = 0
    done: int = 0


@dataclass(slots=True)
class Stall:
    """Judges pulses: jobs that run for `patience` seconds without a single task have nothing to run on."""

    patience: float
    clock: Callable[[], float] = time.monotonic
    _since: float | None = None
    _done: int = 0

    def judge(self, pulse: Pulse) -> str | None:
        """Why the session is lost, or `None`."""
        if pulse.fault is not None:
            return pulse.fault
        if pulse.running_jobs == 0 or pulse.tasks > 0 or pulse.done != self._done:
            self._since, self._done = None, pulse.done
            return None
        now = self.clock()
        if self._since is None:
            self._since = now
        waited = now - self._since
        return f"no executor took a task for {waited:.0f} seconds" if waited >= self.patience else None


@dataclass(slots=True)
class Watchdog:
    """Looks at a session every `interval` seconds, in a thread of its own, until it is lost or `stop`ped.

    `look` must not raise. `lost` is called once, with the reason.
    """

    look: Callable[[], Pulse]
    lost: Callable[[str], None]
    stall: Stall
    interval: float = 1.0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="rayetl-spark-watchdog", daemon=True)
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """Look no more; `wait` for a look that is under way."""
        self._over.set()
        if wait and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def _watch(self) -> None:
        while not self._over.wait(self.interval):
            reason = self.stall.judge(self.look())
            if reason is not None and not self._over.is_set():
                self.lost(reason)
                return
