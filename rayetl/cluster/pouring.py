"""Rows that tasks have set down are poured into the stores by the process that holds their transactions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from rayetl.cluster.metrics import Meters
from rayetl.connectors.base import BatchesTarget, SpoolTarget, Target
from rayetl.engines.base import Job, Measured
from rayetl.engines.polars.pouring import Pouring, spooled, without_refused
from rayetl.plan.splits import Split


class Pours:
    """The pouring of a job. Parts are poured in the order of their numbers, whichever is finished first:
    where rows have the same key, the store gets them in the order of the source."""

    def __init__(self, job: Job, meters: Meters) -> None:
        self._meters = meters
        self._pourings = {
            load: Pouring(load, target, job.rejects / load)
            for load, target in job.targets.items()
            if isinstance(target, BatchesTarget)
        }
        self._offered: dict[int, Mapping[str, Path]] = {}
        self._next = 0
        self._under_way = self._all()
        self.waiting: deque[Split] = deque()
        """Parts of this attempt that are finished and not poured."""

    def offer(self, number: int, spools: Mapping[str, Path], split: Split | None = None) -> None:
        """The rows of a part are there, by load."""
        if self._pourings:
            self._offered[number] = spools
            if split is not None:
                self.waiting.append(split)

    @property
    def ready(self) -> bool:
        """Whether there is something to pour now."""
        return self._next in self._offered

    def step(self) -> None:
        """Pour a few rows, if there are any."""
        next(self._under_way, None)

    def _all(self) -> Iterator[None]:
        while True:
            while not self.ready:
                yield
            for load, place in self._offered[self._next].items():
                for rows in spooled(place):
                    self._pourings[load].write(rows)
                    yield
            del self._offered[self._next]
            self.waiting = deque(split for split in self.waiting if split.number != self._next)
            self._next += 1

    def finished(self, measured: Measured) -> Measured:
        """What was counted, without the rows that the stores have refused."""
        for pouring in self._pourings.values():
            pouring.finish()
        gates = {load: pouring.gate for load, pouring in self._pourings.items()}
        for load, gate in gates.items():
            self._meters.refused(load, gate.refused)
        return without_refused(measured, gates)


def spools_of(job: Job, directory: Path) -> Mapping[str, Target]:
    """The targets of a job for a task that holds no transaction: rows of stores go below `directory`."""
    return {
        load: SpoolTarget(str(directory / load)) if isinstance(target, BatchesTarget) else target
        for load, target in job.targets.items()
    }
