"""The actor that owns a run on the cluster, and the driver that starts it, retells its progress, ends it.

The supervisor holds the locks of the loads and is the only one that commits. It may die at any moment: the
cluster starts it again, it is given the same run once more, and the ledger of each load says what is left
to do. When the driver goes, the cluster ends the supervisor and its tasks.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import ray
from ray import exceptions as faults

from rayetl.cluster.board import INTERVAL, Retold, Status, Work
from rayetl.cluster.circuits import SharedCircuits
from rayetl.cluster.engine import OnCluster, Stopped, outcome
from rayetl.cluster.metered import MeteredBoard
from rayetl.cluster.metrics import Meters
from rayetl.cluster.names import NAMESPACE, run_name
from rayetl.cluster.orphans import let_orphans_end
from rayetl.cluster.session import Head, HeadGone
from rayetl.cluster.tasks import Site, settled
from rayetl.errors import QualityAbort, RayetlError, RunError, Terminal
from rayetl.observability.progress import ProgressListener
from rayetl.observability.report import RunReport
from rayetl.runs.execute import Run

RESTARTS = 3
GRACE = 1.5
"""Seconds that a run has to roll back or complete a commit once it is told to stop; Ray kills a job that
was stopped after 3, and a signal may have to wait for an answer that is asked for."""


class Supervisor:
    """Owns one run. Every method may be called again after a restart."""

    def __init__(self, site: Site, split_size: int) -> None:
        self._board = MeteredBoard(Meters(site.pipeline, site.run))
        self._site = site
        self._split_size = split_size
        self._running = threading.Lock()
        self._asked = 0

    def run(self, packed: bytes) -> RunReport | None:
        """Do the pickled run; `None` if it was stopped. Raises what the run raises."""
        with self._running, settled(self._site, os.cpu_count() or 1):
            make: Callable[..., Run] = pickle.loads(packed)
            try:
                return self._execute(make)
            except Stopped:
                return None
            except RayetlError as error:
                if error.report is not None:
                    self._board.meters.ended(error.report)
                raise
            finally:
                self._board.close()

    def _execute(self, make: Callable[..., Run]) -> RunReport:
        # The engine needs the key of the run, which is bound in `make` already.
        run = make(engine=None, progress=self._board, circuits=SharedCircuits(), runtime="ray")
        epoch = hashlib.sha256(f"{run.plan.name}\0{run.key}".encode()).hexdigest()[:16]
        me, records = ray.get_runtime_context().current_actor, run.state / "parked" / epoch
        run.engine = engine = OnCluster(self._board, me, self._site, records, self._split_size)
        let_orphans_end(self._site, engine.go_on)
        if ray.get_runtime_context().was_current_actor_reconstructed:
            run.measured = engine.recall(run.plan)
        try:
            report = run.execute()
        except BaseException as error:
            # A key with the id of the run never comes again, nor do rules let the same rows pass.
            if isinstance(error, QualityAbort) or run.key.endswith(f"#{run.id}"):
                engine.forget()
            raise
        engine.forget()
        self._board.meters.ended(report)
        return report

    def note(self, part: int, rows: Mapping[str, int], work: Work | None = None) -> None:
        """A task tells how far it is."""
        self._board.note(part, rows, work)

    def status(self) -> Status:
        """The run as it stands."""
        return self._board.status()

    def ask(self) -> Status:
        """The run as it stands, for its driver."""
        self._asked += 1
        return self.status()

    def beat(self) -> tuple[str, int]:
        """The pipeline, and how often the driver has asked: while that grows, there is a driver."""
        return self._site.pipeline, self._asked

    def stop(self) -> None:
        """End the run: a commit under way is completed, everything else rolled back."""
        self._board.stopping.set()


def supervise(
    site: Site, prepare: Callable[[], Callable[..., Run]], listener: ProgressListener, split_size: int
) -> RunReport:
    """Do a run on the cluster that this process is connected to, in splits of about `split_size` bytes where
    it can be cut. What `prepare` gives makes the run; it is called while the supervisor starts.

    Raises what a run raises, and `KeyboardInterrupt` when a signal ended it; the run is rolled back then.
    """
    actor = ray.remote(Supervisor).options(
        name=run_name(site.run),
        namespace=NAMESPACE,
        num_cpus=0,
        max_restarts=RESTARTS,
        max_task_retries=RESTARTS,
        max_concurrency=5,
    )
    supervisor = actor.remote(site, split_size)
    try:
        return _done(supervisor, _packed(prepare()), listener)
    finally:
        ray.kill(supervisor)


def _done(supervisor: Any, packed: bytes, listener: ProgressListener) -> RunReport:
    reference, head = supervisor.run.remote(packed), Head(ray.get_runtime_context().gcs_address)
    try:
        _follow(supervisor, reference, Retold(listener), head)
        report: RunReport | None = _reported(reference)
    except (KeyboardInterrupt, HeadGone):
        # Stop in time, cleanly if that can be: killed, it leaves what the next run clears away.
        supervisor.stop.remote()
        ray.wait([reference], timeout=GRACE)
        raise
    if report is None:
        raise RunError(
            "the run was stopped; nothing of it is visible", hint="run it again to go on from there"
        )
    return report


def status(run: str) -> Status:
    """How far a run is, asked of its supervisor. Raises `RunError` where it has none on this cluster."""
    try:
        found: Status = ray.get(ray.get_actor(run_name(run), NAMESPACE).status.remote(), timeout=10)
        return found
    except (ValueError, faults.RayError) as error:
        raise RunError(
            f"no run {run} is under way on this cluster", hint="`rayetl report` shows runs that ended"
        ) from error


def assert_lasting(places: Mapping[str, str]) -> None:
    """Raise for paths, by what they are for, that lie in the copy of a working directory which the cluster
    makes for a job and later removes."""
    copy = Path.cwd()
    if "working_dir_files" not in copy.parts:
        return
    lost = [
        f"{purpose} ({path})"
        for purpose, path in places.items()
        if Path(os.path.realpath(path)).is_relative_to(copy.resolve())
    ]
    if lost:
        raise Terminal(
            f"{', '.join(lost)} would lie in the copy of the working directory that Ray removes after a job",
            hint="give absolute paths that outlive the job; nothing was read or written",
        )


def _packed(make: Callable[..., Run]) -> Any:
    try:
        return cloudpickle.dumps(make)
    except TypeError as error:
        raise Terminal(
            f"the run cannot be sent to the cluster: {error}",
            hint="name secrets with `credential:`; the process that opens the connection looks them up",
        ) from error


def _follow(supervisor: Any, reference: Any, retold: Retold, head: Head) -> None:
    while not ray.wait([reference], timeout=INTERVAL)[0]:
        _look(supervisor, retold)
        head.look()
    _look(supervisor, retold)


def _look(supervisor: Any, retold: Retold) -> None:
    try:
        retold.tell(ray.get(supervisor.ask.remote(), timeout=2 * INTERVAL))
    except (faults.GetTimeoutError, faults.RayActorError):
        # It is being started again; the call that it serves decides whether the run goes on.
        time.sleep(INTERVAL)


def _reported(reference: Any) -> RunReport | None:
    try:
        report: RunReport | None = outcome(reference)
        return report
    except RunError as error:
        if isinstance(error.__cause__, faults.RayActorError):
            raise RunError(
                f"the supervisor of the run died {RESTARTS + 1} times"
                if _is_alive(ray.get_runtime_context().get_node_id())
                else "the cluster has lost the node that this command runs on: its `raylet` is gone",
                hint="run again: what is committed is recognised, what is finished is kept",
            ) from error.__cause__
        raise


def _is_alive(node: str) -> bool:
    return any(each["Alive"] and each["NodeID"] == node for each in ray.nodes())
