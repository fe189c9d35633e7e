"""One run from a plan to a report: recognise, stage, decide, commit.

The order is fixed. What is committed already is recognised first. All loads and the dead letters are
staged by one pass of the engine. Then the books and the `abort` rules decide, and only after that the
dead letters are committed, and the loads one by one; a run killed between two commits is completed by
the next, which finds the epoch of each load on its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from rayetl.connectors.base import Epoch, FilesScan, LoadResult, LoadSession, Target
from rayetl.connectors.dead_letters import DeadLetters
from rayetl.connectors.listing import assert_unchanged
from rayetl.engines.base import Engine, Job, Measured
from rayetl.errors import RayetlError, Retryable, RunError, Terminal, at_step
from rayetl.observability.logs import bound, get_logger
from rayetl.observability.progress import ProgressListener
from rayetl.observability.report import (
    ErrorReport,
    LoadReport,
    RunReport,
    StageTime,
    Status,
    Version,
)
from rayetl.observability.store import save_report
from rayetl.plan.fingerprint import run_key
from rayetl.plan.nodes import LoadNode, Plan, SourceNode
from rayetl.records import dataclass
from rayetl.resilience.breaker import BreakerPolicy, Circuits, LocalCircuits, guarded
from rayetl.resilience.retry import Retrier, RetryPolicy
from rayetl.runs import books, rejects, verdict
from rayetl.runs.room import Room
from rayetl.runs.taken import Batch, assert_known

_LOG = get_logger(__name__)

REJECTS = "rejects"
"""The id under which dead letters are committed; no load may bear it."""


def new_id() -> str:
    """A name for a run; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


@dataclass(slots=True)
class Run:
    """A run under way. `state` is the directory that takes its report and, meanwhile, refused rows; `batch`
    what it loads of folders that grow."""

    plan: Plan
    engine: Engine
    dead_letters: DeadLetters
    key: str
    id: str
    state: Path
    progress: ProgressListener
    max_reject_share: float | None = None
    places: Callable[[SourceNode], rejects.Places] = rejects.as_scanned
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    stages: list[StageTime] = field(default_factory=list)
    sessions: dict[str, LoadSession] = field(default_factory=dict)
    results: dict[str, LoadResult] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    measured: Measured | None = None
    refused: rejects.Written = field(default_factory=rejects.Written)
    retrier: Retrier = field(default_factory=lambda: Retrier(RetryPolicy()))
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    circuits: Circuits = field(default_factory=LocalCircuits)
    runtime: str = "local"
    batch: Batch | None = None
    retries: int = 0
    room: Room | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and tell the listener."""
        begun = time.perf_counter()
        self.progress.stage_started(name)
        try:
            yield
        finally:
            seconds = time.perf_counter() - begun
            self.stages.append(StageTime(name, seconds))
            self.progress.stage_finished(name, seconds)

    def execute(self) -> RunReport:
        """Do the run and save its report. What may pass is tried again from the start: a load whose commit
        was decided all the same is then recognised. Raises what stopped it; a failed run's report is
        saved too and is `error.report`."""
        with bound(run=self.id, pipeline=self.plan.name):
            try:
                self.retrier.call(self._attempt, self._again)
                report = self._done()
            except BaseException as error:
                self._undo()
                if isinstance(error, RayetlError):
                    error.report = self._failed(error)
                    self._save(error.report)
                raise
            finally:
                if self.room is not None:
                    self.room.close()
            self._save(report)
            return report

    def nothing_new(self) -> RunReport:
        """Save and give the report of a run that found no file to load."""
        self.plan = replace(self.plan, loads=())
        report = self._report("nothing_new", 0)
        self._save(report)
        return report

    def _save(self, report: RunReport) -> None:
        """A run is what its loads hold: one whose report cannot be written is no other for that."""
        try:
            save_report(report, self.state)
        except OSError as error:
            _LOG.error(
                "the report could not be saved, the run is as it says all the same",
                state=str(self.state),
                reason=error.strerror or str(error),
            )

    def _attempt(self) -> None:
        lease = f"{self.id}-{self.retries}"
        with guarded(self.circuits, endpoints(self.plan, self.dead_letters), self.breaker, lease):
            with self.stage("open"):
                self._recognise()
            if self.targets:
                self._stage()
                self._commit()

    def _again(self, error: Retryable, attempt: int, wait: float) -> None:
        """Take back what the failed attempt staged. What it counted stands until the next one counts: if all
        turns out to be committed, those are the books."""
        _LOG.warning("tried again", attempt=attempt, wait=f"{wait:.1f}s", error=error.message)
        self._undo()
        if self.room is not None:
            self.room.empty()
        self.sessions.clear()
        self.targets.clear()
        self.retries += 1

    def _recognise(self) -> None:
        """Find the loads that hold this epoch already, and open the others."""
        for load in self.plan.loads:
            with at_step(load.id):
                self._open(load)

    def _open(self, load: LoadNode) -> None:
        assert load.schema is not None
        session = load.load.open(self._epoch(load.id), load.schema)
        result = session.committed()
        if result is not None:
            if self.batch is not None:
                assert_known(result.run, self.batch.runs, load.id, self.key)
            self.results[load.id] = result
            return
        self.sessions[load.id] = session
        target = session.begin()
        if target is None:
            self.results[load.id] = _ignored(load, self._epoch(load.id), session)
        else:
            self.targets[load.id] = target

    def _epoch(self, load: str) -> Epoch:
        return Epoch(self.plan.name, load, self.key, self.id)

    @property
    def _letters(self) -> Epoch:
        """The epoch of the dead letters. A batch that is given up leaves its number to other files, which
        have letters of their own."""
        if self.batch is None:
            return self._epoch(REJECTS)
        exact = run_key(self.plan) or self.id
        return Epoch(self.plan.name, REJECTS, f"{self.key}-{exact}", self.id)

    def _stage(self) -> None:
        with at_step(REJECTS):
            self.dead_letters.assert_ready(self._letters)
        try:
            self.room = self.room or Room.of(self.state, self.id)
            refused = self.room.open()
        except OSError as error:
            raise unwritable(self.state, error) from error
        with self.stage("run"):
            self.measured = self.engine.run(Job(self.plan, self.targets, refused, self.progress))
        self._assert_inputs()
        books.balance(self.plan, self.measured)
        place = partial(rejects.first_place, self.plan, self.measured, self.places)
        verdict.stop_on_abort(verdict.check_reports(self.plan, self.measured), place)

    def _assert_inputs(self) -> None:
        """The epoch is named after the files as they were listed; only those may be committed under it."""
        for node in self.plan.sources:
            if isinstance(node.scan, FilesScan):
                with at_step(node.id):
                    assert_unchanged(node.scan.files)

    def _commit(self) -> None:
        assert self.measured is not None
        if any(self.measured.refused[node] for node in self.measured.rejects):
            with self.stage("rejects"), at_step(REJECTS):
                self.refused = rejects.write(
                    self.plan, self.measured, self.dead_letters, self._letters, self.places
                )
        with self.stage("commit"):
            for load in self.targets:
                with at_step(load):
                    self.results[load] = self.sessions[load].commit(self.measured.staged[load])
                del self.sessions[load]

    def _undo(self) -> None:
        """Take back what was staged; what cannot be, the next run removes: told is what stopped this one."""
        for load, session in self.sessions.items():
            try:
                session.abort()
            except (OSError, RunError) as error:
                _LOG.warning("what was staged could not be removed", step=load, reason=str(error))

    def _done(self) -> RunReport:
        if not self.targets and all(result.status == "skipped" for result in self.results.values()):
            return self._report("skipped", 0)
        too_many = self.measured is not None and self._too_many()
        return self._report("rejects_over_share", 4) if too_many else self._report("done", 0)

    def _too_many(self) -> bool:
        assert self.measured is not None
        if verdict.over_share(verdict.check_reports(self.plan, self.measured)):
            return True
        read = sum(self.measured.read.values())
        share = self.refused.rows / read if read else 0.0
        return self.max_reject_share is not None and share > self.max_reject_share

    def _failed(self, error: RayetlError) -> RunReport:
        told = ErrorReport(type(error).__name__, error.message, error.hint, error.step)
        status: Status = "aborted" if error.exit_code == 3 else "failed"
        return replace(self._report(status, error.exit_code), error=told)

    def _report(self, status: Status, exit_code: int) -> RunReport:
        measured = self.measured
        return RunReport(
            run=self.id,
            pipeline=self.plan.name,
            engine=self.engine.name,
            runtime=self.runtime,
            run_key=self.key,
            status=status,
            exit_code=exit_code,
            started=self.started,
            finished=datetime.now(UTC),
            stages=tuple(self.stages),
            sources=books.source_reports(self.plan, measured) if measured else (),
            steps=books.step_reports(self.plan, measured) if measured else (),
            loads=tuple(self._load_report(load) for load in self.plan.loads),
            checks=verdict.check_reports(self.plan, measured) if measured else (),
            rejects=self.refused.reasons,
            warnings=tuple(problem.message for problem in self.plan.warnings),
            books=tuple(
                books.book(self.plan, load, measured)
                for load in self.plan.loads
                if load.id in measured.staged
            )
            if measured
            else (),
            peak_memory_bytes=_peak_memory(),
            versions=_versions(self.engine.name),
            splits=measured.splits if measured else None,
            retries=self.retries,
            engine_log=self.engine.log,
            rejected_rows=sum(measured.refused[node] for node in measured.rejects) if measured else None,
        )

    def _load_report(self, load: LoadNode) -> LoadReport:
        result = self.results.get(load.id)
        columns = books.columns(load.schema)
        if result is None:
            mode, path = load.load.mode, load.load.location() or ""
            return LoadReport(
                load.id,
                load.load.type,
                path,
                mode,
                "not_committed",
                0,
                0,
                0,
                0.0,
                self.key,
                columns,
                load.input,
            )
        return LoadReport(
            result.load,
            result.type,
            result.location,
            result.mode,
            result.status,
            result.rows,
            result.files,
            result.bytes,
            result.seconds,
            result.epoch,
            columns,
            load.input,
        )


def endpoints(plan: Plan, letters: DeadLetters) -> list[str]:
    """The services that a plan reads from and writes to, each once, in a fixed order."""
    found = {node.source.endpoint() for node in plan.sources} | {node.load.endpoint() for node in plan.loads}
    found.add(letters.endpoint)
    return sorted(endpoint for endpoint in found if endpoint is not None)


def unwritable(state: Path, error: OSError) -> Terminal:
    """What is said where a run cannot write down what it needs."""
    return Terminal(
        f"the state directory {state} cannot be written: {error.strerror}",
        hint="see to its disk and rights, or choose another `state`; nothing was committed",
    )


def _ignored(load: LoadNode, epoch: Epoch, session: LoadSession) -> LoadResult:
    session.abort()
    return LoadResult(
        load.id,
        load.load.type,
        load.load.location() or "",
        load.load.mode,
        "ignored",
        0,
        0,
        0,
        0.0,
        epoch.key,
        epoch.run,
    )


def _peak_memory() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@cache
def _versions(engine: str) -> tuple[Version, ...]:
    from importlib.metadata import version

    more = ("pyspark", "raydp", "ray") if engine == "spark" else ()
    return tuple(Version(name, version(name)) for name in ("rayetl", "polars", "pyarrow", "sqlglot", *more))
