"""The engine of a supervisor: what the Polars engine does in one process, done by tasks of the cluster."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import ray
from ray import exceptions as faults

from rayetl.cluster.board import INTERVAL
from rayetl.cluster.metered import MeteredBoard
from rayetl.cluster.pouring import Pours, spools_of
from rayetl.cluster.tasks import Site, run_split, run_whole
from rayetl.connectors.base import SpoolTarget
from rayetl.engines.base import Job, Measured
from rayetl.engines.polars import PolarsEngine
from rayetl.errors import RayetlError, RunError
from rayetl.observability.progress import Silent
from rayetl.plan.splits import Split, Splits, cut
from rayetl.records import dataclass
from rayetl.runs.parked import Parking

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from sqlglot import exp

    from rayetl.plan.nodes import Plan, StepNode

_SHARE = 0.05
"""Bytes of input under way for each byte of the cluster's memory: in memory they are ten times as many."""

ATTEMPTS = 3
"""How often the cluster starts a task again whose worker process died."""


class Stopped(BaseException):
    """The driver asked the run to end."""


@dataclass(slots=True)
class OnCluster:
    """Runs jobs by tasks that report to the supervisor `me`: split by split where the plan streams, else by
    one. `records` is where the finished splits of the run are noted, `split_size` is in bytes.

    Where a run fails or is stopped, the cluster ends its tasks with the supervisor. Nothing here cancels
    them: Ray 2.60 aborts a process that cancels a task in the moment in which it ends. Where the run tries
    again, what is still under way comes to its end first and is kept.
    """

    board: MeteredBoard
    me: Any
    site: Site
    records: Path
    split_size: int
    name: str = "polars"
    log: str | None = None
    _parking: Parking | None = None
    _flying: dict[Any, Split] = field(default_factory=dict)

    def run(self, job: Job) -> Measured:
        while self._flying:
            for reference in self._finished(at_once=False):
                del self._flying[reference]
        splits = cut(job.plan, self.split_size)
        if isinstance(splits, str):
            return self._whole(job)
        with splits.opened(job.plan) as opened:
            return self._by_splits(job, opened)

    def recall(self, plan: Plan) -> Measured | None:
        """What an earlier life of this supervisor has counted, if it came to the end: where it had committed
        everything, those are the books. What a store refused is not among it, so then there is none."""
        splits = cut(plan, self.split_size)
        if isinstance(splits, str) or not splits.lasting:
            return None
        if any(load.load.takes_batches for load in plan.loads):
            return None
        return Parking.left(self.records, plan, splits)

    def forget(self) -> None:
        """Remove finished splits that nobody will ask for again."""
        if self._parking is not None:
            self._parking.forget()

    def _by_splits(self, job: Job, splits: Splits) -> Measured:
        self._parking = parking = Parking.of(self.records, job, splits)
        kept = parking.kept()
        parking.clear(kept)
        self.board.begin(len(splits.parts), len(kept))
        pours = Pours(job, self.board.meters)
        for record in kept.values():
            self.board.note(record.number, record.measured.staged)
            pours.offer(record.number, parking.spooled(record))
        self._do([split for split in splits.parts if split.number not in kept], parking, pours)
        return pours.finished(parking.gather(len(kept)))

    def _do(self, splits: list[Split], parking: Parking, pours: Pours) -> None:
        packed = ray.put(cloudpickle.dumps(parking))
        task = ray.remote(num_cpus=1, max_retries=ATTEMPTS)(run_split)
        window, waiting = Window.of_cluster(), splits[::-1]
        flying = self._flying
        while waiting or flying or pours.ready:
            while waiting and window.has_room([*flying.values(), *pours.waiting], waiting[-1]):
                split = waiting.pop()
                named = task.options(name=f"{parking.plan.name} split {split.number}")
                flying[named.remote(packed, split.number, self.site, self.me)] = split
            for reference in self._finished(at_once=pours.ready):
                split = flying.pop(reference)
                self.board.finish(split.number, outcome(reference))
                pours.offer(split.number, parking.spooled(parking.record(split.number)), split)
            pours.step()

    def _finished(self, at_once: bool) -> list[Any]:
        self.go_on()
        if not self._flying:
            return []
        timeout = 0 if at_once else INTERVAL / 4
        done: list[Any] = ray.wait(list(self._flying), num_returns=1, timeout=timeout)[0]
        return done

    def go_on(self) -> None:
        """Raise where the driver wants the run to end."""
        if self.board.stopping.is_set():
            raise Stopped

    def _whole(self, job: Job) -> Measured:
        self.board.begin(1, 0)
        # The task of a supervisor that was killed goes on for seconds, beside that of its next life.
        job = replace(job, rejects=job.rejects / secrets.token_hex(4))
        job.rejects.mkdir()
        pours, spools = Pours(job, self.board.meters), spools_of(job, job.rejects / ".spools")
        packed = ray.put(cloudpickle.dumps(replace(job, targets=spools, progress=Silent())))
        threads = _threads()
        task = ray.remote(run_whole).options(num_cpus=1, max_retries=ATTEMPTS, name=f"run {job.plan.name}")
        reference = task.remote(packed, self.site, threads, self.me)
        measured: Measured = self._result(reference)
        self.board.finish(0, measured.staged)
        pours.offer(
            0,
            {load: Path(spool.directory) for load, spool in spools.items() if isinstance(spool, SpoolTarget)},
        )
        while pours.ready:
            self.go_on()
            pours.step()
        return pours.finished(measured)

    def _result(self, reference: Any) -> Any:
        while not ray.wait([reference], timeout=INTERVAL / 4)[0]:
            self.go_on()
        return outcome(reference)

    def rows(self, plan: Plan, node: str, limit: int | None = None) -> pa.Table:
        return PolarsEngine().rows(plan, node, limit)

    def rejected(self, plan: Plan, node: str) -> pl.DataFrame:
        return PolarsEngine().rejected(plan, node)

    def finder(self, plan: Plan) -> Callable[[StepNode, exp.Query], Sequence[Any] | None]:
        return PolarsEngine().finder(plan)


@dataclass(frozen=True, slots=True)
class Window:
    """How much work may be under way at once: parts of so many bytes of input together, and so many parts."""

    bytes: int
    parts: int

    @classmethod
    def of_cluster(cls) -> Window:
        """As much as the cluster has room for: a part more than processors, so that none of them waits."""
        resources = ray.cluster_resources()
        return cls(int(resources.get("memory", 0) * _SHARE), int(resources.get("CPU", 1)) + 1)

    def has_room(self, flying: Collection[Split], part: Split) -> bool:
        """Whether one more part may start. A part that is larger than the window goes alone."""
        held = sum(split.bytes for split in flying)
        return not flying or (len(flying) < self.parts and held + part.bytes <= self.bytes)


def outcome(reference: Any) -> Any:
    """The result of a finished task or call; its own error is raised as it was."""
    try:
        return ray.get(reference)
    except faults.RayTaskError as error:
        if isinstance(error.cause, RayetlError):
            raise error.cause from None
        raise (error.cause or error) from error
    except faults.OutOfMemoryError as error:
        raise RunError(
            "the cluster ended a worker of this run because its node was out of memory",
            hint="give the nodes more memory, or cut smaller parts with --split-size, and run again",
        ) from error
    except faults.RayError as error:
        raise RunError(
            f"the workers of this run died {ATTEMPTS + 1} times ({type(error).__name__})",
            hint="see the log of the nodes below /tmp/ray/session_latest/logs, then run again: what is "
            "finished is kept",
        ) from error


def _threads() -> int:
    """The processors of one node: the task of a whole plan has one to itself."""
    return max(1, max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]))
