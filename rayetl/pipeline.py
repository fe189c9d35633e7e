"""The Python API: a pipeline from a config, checked, explained, previewed, tested and run.

from rayetl import Pipeline

pipeline = Pipeline.load("configs/flights.yaml")
pipeline.check()
report = pipeline.run()
print(report.rows_loaded)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, get_args

from rayetl.config.load import LoadedConfig, from_mapping, load_config
from rayetl.errors import ConfigError, Problem, RayetlError
from rayetl.forks import assert_threads
from rayetl.observability.progress import ProgressListener, Silent
from rayetl.observability.report import ParityReport, RunReport, StageTime, TestReport
from rayetl.plan.build import NO_FILES, Describe, Typed, build_plan, described
from rayetl.plan.credentials import assert_credentials
from rayetl.plan.fingerprint import run_key as key_of
from rayetl.plan.growing import NO_KEY
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.plan.splits import size_for
from rayetl.plan.warnings import unnamed
from rayetl.resilience.breaker import LocalCircuits
from rayetl.resilience.retry import Retrier

_CIRCUITS = LocalCircuits()
"""Shared by all pipelines of this process: a service that is down is down for each of them."""

if TYPE_CHECKING:
    import pyarrow as pa

    from rayetl.config.models import PipelineConfig
    from rayetl.connectors.base import Scan, Source
    from rayetl.connectors.dead_letters import DeadLetters
    from rayetl.connectors.lake.upkeep import Upkeep
    from rayetl.engines.base import Engine
    from rayetl.runs.execute import Run
    from rayetl.runs.taken import Taken
    from rayetl.sql.types import Schema

Runtime = Literal["local", "ray"]
"""Where a run lives: in this process, or on a Ray cluster."""


class _NothingNewError(Exception):
    """Every file was taken before. It is no fault, but there is no run."""

    def __init__(self, made: Callable[..., Run]) -> None:
        super().__init__("no new files")
        self.made = made

    def report(self, **more: Any) -> RunReport:
        return self.made(**more).nothing_new()


class Pipeline:
    """A pipeline as its config describes it. Immutable; may be used from many threads at once, and in other
    processes, but for those that are forked from one that has run a query."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self._loaded = loaded

    @classmethod
    def load(cls, path: str | Path, *, variables: Mapping[str, str] | None = None) -> Pipeline:
        """The pipeline of a YAML or JSON file; `variables` override the config's `vars`.

        Raises `ConfigError` with every fault of form, each with file, line and column.
        """
        return cls(load_config(path, variables=variables or {}))

    @classmethod
    def from_dict(
        cls, document: Mapping[str, Any], *, variables: Mapping[str, str] | None = None
    ) -> Pipeline:
        """The pipeline of a config that is a mapping already. Raises `ConfigError`."""
        return cls(from_mapping(document, variables=variables or {}))

    @property
    def config(self) -> PipelineConfig:
        """The checked form of the config."""
        return self._loaded.config

    @property
    def dead_letters(self) -> DeadLetters:
        """The store that takes this pipeline's rejects. Raises `RayetlError` in a process that was forked
        from one that had run a query."""
        assert_threads()
        return self.config.resilience.dead_letter.of(self.config.name)

    def check(self) -> tuple[Problem, ...]:
        """What is doubtful about the config. Raises `ConfigError` with everything wrong that can be found
        without reading rows."""
        plan = self._build(None)
        with self._placing():
            if self.config.tests:
                from rayetl.plan.cases import case_problems

                if problems := case_problems(self.config, plan):
                    raise ConfigError(problems)
            assert_credentials(plan, self.config.resilience.dead_letter)
        return tuple(self._placed(plan.warnings))

    def plan(self) -> Plan:
        """The plan that `run` would execute, ready to run.

        Values that steps look up in the data (a `pivot` without `values`) are read for it.
        Raises `ConfigError`; `SourceError` where that reading fails.
        """
        return self._ready()

    def _ready(self, describe: Describe = described) -> Plan:
        plan = self._build(None, describe)
        while plan.deferred:
            plan = self._build(self._engine().finder(plan), describe)
        return plan

    def explain(self, *, sql: bool = False, runtime: Runtime = "local", split_size: int | None = None) -> str:
        """The plan in words, or with `sql` the Spark SQL query of every step; for the runtime `ray` also what
        runs split by split. Raises `ConfigError`."""
        from rayetl.plan.explain import explain

        size = self._cut_by(split_size)
        plan = self._build(None)
        if self.config.engine.type != "spark":
            return explain(plan, sql=sql, split_size=size if runtime == "ray" else None)
        from rayetl.engines.spark.keeping import notes

        return explain(plan, sql=sql, engine="spark", why="the config asks for it", notes=notes(plan))

    def preview(self, step: str | None = None, rows: int = 20) -> pa.Table:
        """The first `rows` rows of a source or step, by default of the last one; nothing is written.

        Raises `ConfigError`; `RayetlError` for an unknown `step`; `SourceError` for an input that cannot be
        read; `ValueError` for less than no rows.
        """
        if rows < 0:
            raise ValueError(f"rows is {rows}; it is 0 or more")
        plan = self.plan()
        node = step or (plan.steps or plan.sources)[-1].id
        found = plan.nodes.get(node)
        if found is None:
            raise RayetlError(
                f"there is no source, step or load {node!r}", hint=f"there are {', '.join(plan.nodes)}"
            )
        shown = node if isinstance(found, SourceNode | StepNode) else found.input
        return self._engine().rows(plan, shown, rows)

    def test(self, names: Sequence[str] = ()) -> TestReport:
        """Run the config's `tests`, or those of `names`: given rows in, expected rows out.

        Raises `ConfigError`; `RayetlError` for a name that no test has.
        """
        from rayetl.runs.cases import run_cases

        with self._typing() as typed:
            return run_cases(self._loaded, names, self._engine(), typed)

    def run(
        self,
        *,
        run_key: str | int | None = None,
        force: bool = False,
        progress: ProgressListener | None = None,
        runtime: Runtime = "local",
        address: str | None = None,
        split_size: int | None = None,
    ) -> RunReport:
        """Run the pipeline and save its report under the config's `state` directory.

        The runtime `local` is this process. With `ray` the run lives on the Ray cluster at `address` (`auto`
        for that of this machine), or on one that is started for it and ended with it. Where the plan can be
        cut, it is done there in splits of about `split_size` bytes, by default 64 MiB.

        `run_key` names the epoch; by default it is made from the plan and the exact input. An epoch that
        is committed already is skipped and reported so; `force` runs it anew.

        Raises `ConfigError`, `SourceError`, `LoadError`, `CommitConflict`, `QualityAbort` and `BooksError`;
        nothing is visible in any load then but what was committed before the fault. The report of the
        failed run is saved and is the error's `report`. `ValueError` for another runtime.
        """
        from rayetl.runs.execute import new_id
        from rayetl.runs.taken import taking

        if runtime not in get_args(Runtime):
            raise ValueError(f"runtime is {runtime!r}; it is one of {', '.join(get_args(Runtime))}")
        listener, size, run = progress or Silent(), self._cut_by(split_size), new_id()
        if not any(source.is_incremental() for source in self.config.extract.values()):
            prepare = partial(self._prepared, run, run_key, force, listener)
            return self._done_by(runtime, address, run, prepare, listener, size)
        if run_key is not None:
            raise RayetlError(NO_KEY, hint="leave it out: each batch of new files is a run")
        with taking(Path(self.config.state), self.config.name, run) as taken:
            prepare = partial(self._prepared, run, None, force, listener, taken)
            try:
                report = self._done_by(runtime, address, run, prepare, listener, size)
            except _NothingNewError as nothing:
                return nothing.report(engine=self._engine(), progress=listener, runtime=runtime)
            taken.loaded()
            return report

    def _done_by(
        self,
        runtime: Runtime,
        address: str | None,
        run: str,
        prepare: Callable[[], Callable[..., Run]],
        listener: ProgressListener,
        size: int,
    ) -> RunReport:
        """The report of the run that `prepare` makes, done where it is to live."""
        if runtime == "local" or self.config.engine.type == "spark":
            # Spark is on Ray of its own accord.
            with self._ending_spark():
                return prepare()(
                    engine=self._engine(address), progress=listener, circuits=_CIRCUITS, runtime=runtime
                ).execute()
        from rayetl.cluster.handover import offered
        from rayetl.cluster.session import connected

        with connected(address), offered() as secrets:
            from rayetl.cluster.supervisor import assert_lasting, supervise
            from rayetl.cluster.tasks import Site

            assert_lasting(self._places())
            site = Site(run, self.config.name, os.getcwd(), secrets)
            return supervise(site, prepare, listener, size)

    def _cut_by(self, split_size: int | None) -> int:
        with self._placing():
            return size_for(self.config.engine.type, split_size)

    @contextmanager
    def _ending_spark(self) -> Iterator[None]:
        """A signal ends the Spark session at once, whatever is under way: a query, rows poured, a commit."""
        try:
            yield
        except KeyboardInterrupt:
            if self.config.engine.type == "spark":
                from rayetl.cluster.spark_session import stop_spark

                stop_spark(at_once=True)
            raise

    def _places(self) -> dict[str, str]:
        """The paths that a run writes to, by what goes there."""
        paths = {f"the load {place}": load.directory() for place, load in enumerate(self.config.load, 1)}
        letters, state = self.config.resilience.dead_letter.directory(), self.config.state
        others = {"the dead letters": letters, "the reports": state}
        return {purpose: path for purpose, path in (paths | others).items() if path is not None}

    def _prepared(
        self,
        run: str,
        run_key: str | int | None,
        force: bool,
        listener: ProgressListener,
        taken: Taken | None = None,
    ) -> Callable[..., Run]:
        """A run that waits for the engine, listener and circuits of the process it will live in; of the files
        that `taken` says, where it is given."""
        from rayetl.runs.execute import Run

        started, begun = datetime.now(UTC), perf_counter()
        listener.stage_started("plan")
        plan, batch = self._plan_of(taken), None
        if taken is not None and (batch := taken.next(plan, again=force)) is not None:
            plan = batch.of(plan)
        if taken is not None and not force:
            plan = taken.warned(plan)
        seconds = perf_counter() - begun
        listener.stage_finished("plan", seconds)
        named = ("" if run_key is None else str(run_key)) or self.config.run_key or key_of(plan)
        if batch is None and not named:
            plan = unnamed(plan)
        key = named if named and not force else f"{named or 'run'}#{run}"
        made = partial(
            Run,
            plan=plan,
            dead_letters=self.dead_letters,
            key=key if batch is None else batch.key,
            id=run,
            state=Path(self.config.state),
            max_reject_share=self.config.max_reject_share,
            started=started,
            stages=[StageTime("plan", seconds)],
            retrier=Retrier(self.config.resilience.retry),
            breaker=self.config.resilience.circuit_breaker,
            batch=batch,
        )
        if taken is not None and batch is None:
            raise _NothingNewError(made)
        return made

    def _plan_of(self, taken: Taken | None) -> Plan:
        """The plan of a run. Sources whose files were taken before may have none by now; where no source has
        any, it reads nothing."""
        try:
            return self.plan()
        except ConfigError as error:
            if taken is None or any(each.code != NO_FILES for each in error.problems):
                raise
            sources = {id_: each for id_, each in self.config.extract.items() if each.is_incremental()}
            drained = taken.drained(sources)
            if not all(each.path[1] in drained for each in error.problems):
                raise
            if (
                taken.is_idle()
                and drained.issuperset(sources)
                and not any(each.has_files() for each in sources.values())
            ):
                return Plan(self.config.name, (), (), (), self.config.time_zone, 0, "")

        def describe(name: str, source: Source, promised: Schema | None) -> Scan:
            return source.describe_drained(promised) if name in drained else source.describe(promised)

        return self._ready(describe)

    def replay(self, ids: Sequence[str] = (), *, progress: ProgressListener | None = None) -> RunReport:
        """Put stored source records through the present config, each once however often it is called.

        `ids` chooses dead letters; by default all that were not replayed. Raises what `run` raises.
        """
        from rayetl.runs.replay import replay

        ids = [ids] if isinstance(ids, str) else ids
        return replay(self._ready, self.config, self.dead_letters, self._engine(), ids, progress or Silent())

    def table(self, name: str | None = None) -> Upkeep:
        """The table of a lake that the source or load `name` is about; by default the only one of the config.

        Raises `RayetlError` where there is no such table, or more than one to choose from.
        """
        from rayetl.connectors.lake.tables import upkeep_of

        loads = {load.id or f"load_{number}": load for number, load in enumerate(self.config.load, start=1)}
        return upkeep_of(self.config.name, {**self.config.extract, **loads}, name)

    def parity(self, sample: int | None = None) -> ParityReport:
        """Run the pipeline on both engines, commit nothing, and compare rows, types, rejects and counts.

        With `sample`, over the first rows of every source only. Raises what `run` raises.
        """
        from rayetl.engines.polars import PolarsEngine
        from rayetl.runs.parity import compare

        assert_threads()
        return compare(self.plan(), (PolarsEngine(), self._spark()), sample)

    def _engine(self, address: str | None = None) -> Engine:
        from rayetl.engines.polars import PolarsEngine

        assert_threads()
        return self._spark(address) if self.config.engine.type == "spark" else PolarsEngine()

    def _spark(self, address: str | None = None) -> Engine:
        """Spark as the config describes it, or as it is by default, on the Ray cluster at `address`."""
        from rayetl.cluster.spark_session import SparkOnRay
        from rayetl.config.engines import SparkSettings
        from rayetl.engines.spark import SparkEngine

        chosen = self.config.engine
        settings = chosen if chosen.type == "spark" else SparkSettings(type="spark")
        return SparkEngine(SparkOnRay(settings, address))

    def _typing(self) -> AbstractContextManager[Typed | None]:
        """What types queries that Spark alone can run, where Spark is to run them."""
        if self.config.engine.type != "spark":
            return nullcontext()
        from rayetl.cluster.spark_types import asking

        return asking()

    def _build(self, found: Any, describe: Describe = described) -> Plan:
        with self._placing(), self._typing() as typed:
            return build_plan(self.config, found=found, typed=typed, describe=describe)

    @contextmanager
    def _placing(self) -> Iterator[None]:
        """Faults of the config say file, line and column."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(self._placed(error.problems)) from None

    def _placed(self, problems: Sequence[Problem]) -> list[Problem]:
        placed = [self._loaded.place(problem) for problem in problems]
        return sorted(placed, key=lambda problem: (problem.line or 0, problem.column or 0))
