"""The engine of a supervisor: what the Polars engine does in one process, done by tasks of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cloudpickle
import ray
from ray import exceptions as faults

from rayetl.cluster.board import INTERVAL, Board
from rayetl.cluster.tasks import run_whole
from rayetl.engines.base import Job, Measured
from rayetl.engines.polars import PolarsEngine
from rayetl.errors import RayetlError, RunError
from rayetl.observability.progress import Silent

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from sqlglot import exp

    from rayetl.plan.nodes import Plan, StepNode

ATTEMPTS = 3
"""How often the cluster starts a task again whose worker process died."""


class Stopped(BaseException):
    """The driver asked the run to end."""


@dataclass(frozen=True, slots=True)
class OnCluster:
    """Runs jobs by tasks that report to the supervisor `me`. `directory` is where the driver works."""

    board: Board
    me: Any
    directory: str
    name: str = "polars"

    def run(self, job: Job) -> Measured:
        self.board.begin(1, 0)
        packed = ray.put(cloudpickle.dumps(replace(job, progress=Silent())))
        threads = _threads()
        task = ray.remote(run_whole).options(num_cpus=1, max_retries=ATTEMPTS, name=f"run {job.plan.name}")
        reference = task.remote(packed, self.directory, threads, self.me)
        measured: Measured = self._result(reference)
        self.board.finish(0, measured.staged)
        return measured

    def _result(self, reference: Any) -> Any:
        while not ray.wait([reference], timeout=INTERVAL / 4)[0]:
            if self.board.stopping.is_set():
                ray.cancel(reference, force=True)
                raise Stopped
        return outcome(reference)

    def rows(self, plan: Plan, node: str, limit: int | None = None) -> pa.Table:
        return PolarsEngine().rows(plan, node, limit)

    def rejected(self, plan: Plan, node: str) -> pl.DataFrame:
        return PolarsEngine().rejected(plan, node)

    def finder(self, plan: Plan) -> Callable[[StepNode, exp.Query], Sequence[Any] | None]:
        return PolarsEngine().finder(plan)


def outcome(reference: Any) -> Any:
    """The result of a finished task or call; its own error is raised as it was."""
    try:
        return ray.get(reference)
    except faults.RayTaskError as error:
        if isinstance(error.cause, RayetlError):
            raise error.cause from None
        raise
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
