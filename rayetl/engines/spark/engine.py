"""Runs a plan on Spark: its own readers, writers and shuffles, the same counts, rejects and staged files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from rayetl import sql
from rayetl.connectors.base import BatchesTarget, FilesTarget
from rayetl.engines.base import Job, Measured
from rayetl.engines.polars import PolarsEngine
from rayetl.engines.polars.counting import Classes, input_key, load_key
from rayetl.engines.polars.engine import no_failure
from rayetl.engines.polars.failing import behind
from rayetl.engines.polars.proof import proved
from rayetl.engines.spark.described import schema_of
from rayetl.engines.spark.exchange import R, Spread, T, hand_back
from rayetl.engines.spark.failing import told_plainly
from rayetl.engines.spark.keeping import kept
from rayetl.engines.spark.measuring import Judged, findings, judge
from rayetl.engines.spark.pouring import Pours
from rayetl.engines.spark.session import for_plan
from rayetl.engines.spark.sources import Sources
from rayetl.engines.spark.staging import stage
from rayetl.engines.spark.tables import Tables
from rayetl.names import ROW
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession
    from sqlglot import exp

WORK = ".spark"
"""Directory beside the refused rows for what Spark and this process hand to each other; no id is like it."""


class Sessions(Protocol):
    """Where the engine gets its Spark session from; it never makes one."""

    log: str | None
    """The file that takes what the session's processes say."""

    def working(self) -> AbstractContextManager[SparkSession]:
        """A live session for the work inside. Raises `Retryable` where the session is lost meanwhile."""

    def spread(self, pipeline: str, work: Callable[[T], R], items: Sequence[T]) -> Sequence[R]:
        """What `work` makes of each of `items`, in their order, by processes of the cluster that a session
        lives on. Raises what the work raises, and `RunError` where its processes die."""


class SparkEngine:
    """The engine `spark`."""

    name = "spark"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.log = sessions.log

    def run(self, job: Job) -> Measured:
        plan = job.plan
        needed = _needed(plan, job.targets)
        work = job.rejects / WORK
        work.mkdir()
        pours = Pours(job, work)
        with self._sessions.working() as session, for_plan(session, plan) as spark:
            spread = self._spread_for(plan)
            sources = Sources(spark, plan, work, job.rejects, spread)
            known = proved(plan, needed)
            tables = Tables(spark, plan, sources.read(needed), kept(plan, needed, job.targets), known)
            try:
                measured = _Execution(job, needed, known, sources, tables, pours, work, spread).measured()
            finally:
                tables.release()
        # Beyond the session: a store that fails or is slow has nothing to do with it.
        return pours.poured(measured)

    def rows(self, plan: Plan, node: str, limit: int | None = None) -> pa.Table:
        if isinstance(plan.nodes[node], SourceNode):
            return PolarsEngine().rows(plan, node, limit)
        schema = plan.schema(node)
        assert schema is not None
        with self._tables(plan, [node]) as (tables, work), told_plainly(plan, node):
            frame = tables.visible(node)
            rows = hand_back(frame if limit is None else frame.limit(limit), schema, work / "rows")
            return rows.collect().to_arrow().cast(sql.interop.to_castable_arrow(schema))

    def rejected(self, plan: Plan, node: str) -> pl.DataFrame:
        found = plan.nodes[node]
        if not isinstance(found, StepNode):
            return PolarsEngine().rejected(plan, node)
        assert found.analyzed is not None
        with self._tables(plan, [node]) as (tables, work), told_plainly(plan, node):
            tables.add(node)
            return hand_back(tables.refused(found), found.analyzed.schema, work / "rows").collect()

    def finder(self, plan: Plan) -> Callable[[StepNode, exp.Query], Sequence[Any] | None]:
        def found(step: StepNode, query: exp.Query) -> Sequence[Any] | None:
            if any(plan.schema(name) is None for name in step.inputs):
                return None
            with self._tables(plan, step.inputs) as (tables, work), told_plainly(plan, step.id):
                frame = tables.ask(step, query)
                rows = hand_back(frame, schema_of(frame.schema.jsonValue()), work / "found")
                return rows.collect().to_series(0).to_list()

        return found

    def _spread_for(self, plan: Plan) -> Spread:
        return partial(self._sessions.spread, plan.name)

    @contextmanager
    def _tables(self, plan: Plan, nodes: Sequence[str]) -> Iterator[tuple[Tables, Path]]:
        """The queries behind `nodes`, for a look that stores nothing."""
        with (
            tempfile.TemporaryDirectory(prefix="rayetl-spark-") as directory,
            self._sessions.working() as session,
            for_plan(session, plan) as spark,
        ):
            work = Path(directory)
            sources = Sources(spark, plan, work, None, self._spread_for(plan))
            yield Tables(spark, plan, sources.read(behind(plan, nodes))), work


@dataclass(slots=True)
class _Execution:
    """One run whose sources are read: the queries that count, judge, stage and set aside."""

    job: Job
    needed: Sequence[str]
    proved: frozenset[str]
    sources: Sources
    tables: Tables
    pours: Pours
    work: Path
    spread: Spread

    def measured(self) -> Measured:
        for name in self.needed:
            self.tables.add(name)
        classes = Classes(self.job.plan, self.needed, self.job.targets, self.proved)
        self._count_sources(classes)
        judged = self._judge(classes)
        with told_plainly(self.job.plan):
            verdicts = findings(self.tables, self.needed)
        staged = {load: self._stage(classes, load) for load in self.job.targets}
        counted = self.sources.judged | judged
        set_aside = {name: self._set_aside(name, counts) for name, counts in judged.items()}
        rows = {name: classes.rows(name) for name in self.needed}
        return Measured(
            read={node.id: _read(classes, node) for node in self.job.plan.sources if node.id in rows},
            rows=rows,
            refused={name: each.refused for name, each in counted.items()},
            failing={name: each.failing for name, each in counted.items()}
            | {name: no_failure(self.job.plan.nodes[name]) for name in self.proved},
            tables=verdicts,
            staged=staged,
            rejects=self.sources.kept | set_aside,
        )

    def _count_sources(self, classes: Classes) -> None:
        for name, rows in self.sources.counts.items():
            classes.will_take(name)
            classes.take(name, rows)
        for name, each in self.sources.judged.items():
            classes.will_take(input_key(name))
            classes.will_take(name)
            classes.take(input_key(name), each.rows)
            classes.take(name, each.rows - each.refused)

    def _judge(self, classes: Classes) -> dict[str, Judged]:
        """Count what checking steps refuse, and the rows of what nothing else counts."""
        checking = [name for name in self.needed if name in self.tables.flagged]
        for name in (*checking, *map(input_key, checking), *map(load_key, self.job.targets)):
            classes.will_take(name)
        counted = classes.uncounted(self.needed)
        with told_plainly(self.job.plan):
            found = judge(self.tables, self.job.plan, checking, counted)
        for name in counted:
            classes.take(name, found[name].rows)
        for name in checking:
            classes.take(input_key(name), found[name].rows)
            classes.take(name, found[name].rows - found[name].refused)
        return {name: found[name] for name in checking}

    def _stage(self, classes: Classes, load: str) -> int:
        target = self.job.targets[load]
        with told_plainly(self.job.plan, load):
            if isinstance(target, BatchesTarget):
                frame, schema = self.tables.placed(load)
                rows = self.pours.set_down(load, frame, schema)
            else:
                assert isinstance(target, FilesTarget)
                rows = stage(self.tables.add(load), load, target, self.work / f"load-{load}", self.spread)
                self.job.progress.rows(load, rows)
        classes.take(load_key(load), rows)
        return rows

    def _set_aside(self, name: str, counts: Judged) -> list[Path]:
        """Keep the refused rows of a step, with their flags, in the order of their positions."""
        if not counts.refused:
            return []
        node = self.job.plan.nodes[name]
        assert isinstance(node, StepNode)
        assert node.analyzed is not None
        with told_plainly(self.job.plan, name):
            refused = self.tables.refused(node)
            rows = hand_back(refused, node.analyzed.schema, self.work / f"refused-{name}")
            part = self.job.rejects / name / "00000000.arrow"
            part.parent.mkdir(exist_ok=True)
            (rows.sort(ROW) if node.carries_row else rows).sink_ipc(part)
        return [part]


def _read(classes: Classes, node: SourceNode) -> int:
    return classes.rows(input_key(node.id) if node.reads_reasons else node.id)


def _needed(plan: Plan, loads: Container[str]) -> list[str]:
    """The sources and steps behind the loads, and every check, each after what it reads."""
    wanted = {load.input for load in plan.loads if load.id in loads}
    wanted |= {step.id for step in plan.steps if step.checked is not None}
    return behind(plan, wanted)
