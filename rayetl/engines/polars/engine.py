"""Runs a plan as one Polars query: every load, every reject and every count are collected together."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Container, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import polars as pl

from rayetl import sql
from rayetl.connectors.base import BatchesTarget, BatchScan, FilesScan, FilesTarget, SpoolTarget
from rayetl.connectors.formats import count_rows
from rayetl.connectors.formats.writing import sink_files
from rayetl.engines.base import Job, Measured, TableFinding
from rayetl.engines.polars.batches import Batches
from rayetl.engines.polars.counting import Classes, input_key, load_key
from rayetl.engines.polars.failing import behind, told_plainly
from rayetl.engines.polars.flow import shared, unfinished
from rayetl.engines.polars.frames import Frames, any_of, refusing
from rayetl.engines.polars.gates import Gate
from rayetl.engines.polars.pouring import Pouring, sink_spool, without_refused
from rayetl.engines.polars.proof import proved
from rayetl.names import BAD
from rayetl.plan.nodes import Node, Plan, SourceNode, StepNode
from rayetl.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from rayetl.connectors.base import Target
    from rayetl.sql.types import Schema

Take = Callable[[pl.DataFrame], None]

# How many batches may wait between two parts of a query. With Polars' own numbers more than twice as many
# pile up before a sink when cores are busy, and one ahead for each core keeps them busy too. The settings
# hold for the process; those that a user made stand.
_CORES = max(2, os.cpu_count() or 1)
for _setting, _most in {
    "POLARS_ROW_GROUP_PREFETCH_SIZE": _CORES,
    "POLARS_DEFAULT_DISTRIBUTOR_BUFFER_SIZE": 1,
    "POLARS_DEFAULT_LINEARIZER_BUFFER_SIZE": 1,
    "POLARS_INFLIGHT_SINK_MORSEL_LIMIT": _CORES + 1,
}.items():
    os.environ.setdefault(_setting, str(_most))
# Threads that close the files of many partitions, of which more wait than may run; none waits for another.
warnings.filterwarnings("ignore", message="POLARS_MAX_BLOCKING_THREAD_COUNT reached")


@dataclass(slots=True)
class _Query:
    """The parts of one run: sinks that yield nothing, and small frames with what to do with each."""

    frames: Frames
    classes: Classes
    gates: dict[str, Gate]
    proved: frozenset[str]
    sinks: list[pl.LazyFrame] = field(default_factory=list)
    measures: list[tuple[pl.LazyFrame, Take]] = field(default_factory=list)
    tables: dict[str, tuple[TableFinding, ...]] = field(default_factory=dict)
    passed: dict[str, int] = field(default_factory=dict)
    poured: dict[str, Pouring] = field(default_factory=dict)
    finishes: list[Callable[[], None]] = field(default_factory=list)
    abandons: list[Callable[[], None]] = field(default_factory=list)

    def collect(self) -> None:
        try:
            results = pl.collect_all([*self.sinks, *(frame for frame, _ in self.measures)])
            for finish in self.finishes:
                finish()
        except BaseException:
            for abandon in self.abandons:
                abandon()
            raise
        for result, (_, take) in zip(results[len(self.sinks) :], self.measures, strict=True):
            take(result)
        for node, gate in self.gates.items():
            gate.close()
            self.classes.take(input_key(node), gate.rows)
            self.classes.take(node, gate.rows - gate.refused)


class PolarsEngine:
    """The engine `polars`."""

    name = "polars"
    log: str | None = None

    def run(self, job: Job) -> Measured:
        needed = _needed(job.plan, job.targets)
        with Batches.reading(_services(job.plan, needed)) as batches:
            query = _query(job, needed, batches)
            for load, target in job.targets.items():
                self._add_load(query, job, load, target)
            for node in needed:
                query.frames.add(node)
                self._add_tables(query, job.plan.nodes[node])
            with told_plainly(job.plan, lambda: needed, _written(job)):
                query.collect()
            for node in batches.opened:
                query.classes.take(node, batches.count(node))
        return _measured(query, job.plan, needed)

    def rows(self, plan: Plan, node: str, limit: int | None = None) -> pa.Table:
        frames = Frames(plan)
        with told_plainly(plan, lambda: behind(plan, [node])):
            frame = frames.visible(node)
            return _to_arrow(frame if limit is None else frame.head(limit), plan.schema(node))

    def rejected(self, plan: Plan, node: str) -> pl.DataFrame:
        frames = Frames(plan)
        frames.add(node)
        with told_plainly(plan, lambda: behind(plan, [node])):
            return _refused(frames, plan, node).collect()

    def finder(self, plan: Plan) -> Callable[[StepNode, exp.Query], Sequence[Any] | None]:
        frames = Frames(plan)

        def found(step: StepNode, query: exp.Query) -> Sequence[Any] | None:
            if any(plan.schema(name) is None for name in step.inputs):
                return None
            schemas = {binding.name: schema for binding, schema in step.visible() if schema is not None}
            analyzed = sql.analyze(query, schemas, time_zone=plan.time_zone, now=plan.now)
            with told_plainly(plan, lambda: behind(plan, step.inputs)):
                frame = sql.lower(analyzed, frames.inputs(step)).collect()
            return frame.to_series(0).to_list()

        return found

    def _add_load(self, query: _Query, job: Job, load: str, target: Target) -> None:
        query.passed[load] = 0
        lock = threading.Lock()

        def count(batch: pl.DataFrame) -> pl.DataFrame:
            with lock:
                query.passed[load] += batch.height
            job.progress.rows(load, query.passed[load])
            return batch

        if isinstance(target, BatchesTarget):
            frame = query.frames.placed(load).map_batches(count, streamable=True)
            query.poured[load] = Pouring(load, target, job.rejects / load)
            query.sinks.append(query.poured[load].sink(frame))
            query.finishes.append(query.poured[load].finish)
        elif isinstance(target, SpoolTarget):
            frame = query.frames.placed(load).map_batches(count, streamable=True)
            query.sinks.append(sink_spool(frame, target))
        else:
            frame = query.frames.add(load).map_batches(count, streamable=True)
            sink = sink_files(frame, target, load)
            query.sinks.append(sink.rows)
            query.finishes.append(sink.finish)
            query.abandons.append(sink.abandon)

    def _add_tables(self, query: _Query, node: Node) -> None:
        if isinstance(node, StepNode) and node.tables:
            inputs = query.frames.inputs(node)
            for analyzed in node.tables:
                query.measures.append((sql.lower(analyzed, inputs), _table_taker(query, node.id)))


def _query(job: Job, needed: Sequence[str], batches: Batches) -> _Query:
    """The frames of a run, gates where rows are checked, and a count of what nothing else counts."""
    known = proved(job.plan, needed)
    classes = Classes(job.plan, needed, job.targets, known)
    gates = {
        node: gate for node in needed if node not in known and (gate := _gate(job, job.plan.nodes[node]))
    }
    for name in (*map(load_key, job.targets), *gates, *map(input_key, gates), *batches.opened):
        classes.will_take(name)
    _count_by_footers(classes, job.plan, needed)
    counted = [*unfinished(job.plan, needed, job.targets, gates), *classes.uncounted(needed)]
    several = shared(job.plan, needed, job.targets, counted)
    query = _Query(Frames(job.plan, gates, several, known, batches), classes, gates, known)
    for node in counted:
        query.measures.append((query.frames.add(node).select(pl.len()), _count_taker(query, node)))
    return query


def _gate(job: Job, node: Node) -> Gate | None:
    store = job.rejects / node.id
    if isinstance(node, SourceNode) and node.reads_reasons:
        return Gate((), None if node.scan.mode == "drop" else store)
    if isinstance(node, StepNode) and node.checked is not None and node.checked.rows:
        return Gate(tuple(check.flag for check in node.checked.rows), store)
    return None


def _count_by_footers(classes: Classes, plan: Plan, needed: Sequence[str]) -> None:
    for node in needed:
        found = plan.nodes[node]
        if isinstance(found, SourceNode) and isinstance(found.scan, FilesScan) and not found.reads_reasons:
            rows = count_rows(found.scan)
            if rows is not None:
                classes.will_take(node)
                classes.take(node, rows)


def _services(plan: Plan, needed: Sequence[str]) -> dict[str, BatchScan]:
    """The scans among `needed` that are not of files."""
    scans = {source.id: source.scan for source in plan.sources if source.id in needed}
    return {node: scan for node, scan in scans.items() if isinstance(scan, BatchScan)}


def _needed(plan: Plan, loads: Container[str]) -> list[str]:
    """The sources and steps behind the loads, and every check, each after what it reads."""
    wanted = {load.input for load in plan.loads if load.id in loads}
    wanted |= {step.id for step in plan.steps if step.checked is not None}
    return behind(plan, wanted)


def _refused(frames: Frames, plan: Plan, node: str) -> pl.LazyFrame:
    found = plan.nodes[node]
    flagged = frames.flagged[node]
    if isinstance(found, SourceNode):
        return flagged.filter(pl.col(BAD).is_not_null())
    assert isinstance(found, StepNode)
    assert found.checked is not None
    flags = refusing(found.checked)
    return flagged.filter(any_of(flags)) if flags else flagged.clear()


def _table_taker(query: _Query, node: str) -> Take:
    def take(row: pl.DataFrame) -> None:
        finding = TableFinding(row["observed"][0], bool(row["failed"][0]))
        query.tables[node] = (*query.tables.get(node, ()), finding)

    return take


def _count_taker(query: _Query, node: str) -> Take:
    return lambda counted: query.classes.take(node, counted.item())


def _written(job: Job) -> list[str]:
    """Where the run writes: loads into directories, and refused rows."""
    loads = [
        load.load.directory() or target.directory
        for load in job.plan.loads
        if isinstance(target := job.targets.get(load.id), FilesTarget)
    ]
    return list(dict.fromkeys([*loads, str(job.rejects.parent)]))


def _measured(query: _Query, plan: Plan, needed: Sequence[str]) -> Measured:
    for load, passed in query.passed.items():
        query.classes.take(load_key(load), passed)
    rows = {node: query.classes.rows(node) for node in needed}
    read = {}
    for source in plan.sources:
        if source.id in rows:
            key = input_key(source.id) if source.reads_reasons else source.id
            read[source.id] = query.classes.rows(key)
    for node in query.gates:
        query.classes.rows(input_key(node))
    gates = query.gates
    measured = Measured(
        read=read,
        rows=rows,
        refused={node: gate.refused for node, gate in gates.items()},
        failing={node: tuple(gate.failing) for node, gate in gates.items()}
        | {node: no_failure(plan.nodes[node]) for node in query.proved},
        tables=query.tables,
        staged=query.passed,
        rejects={node: gate.parts for node, gate in gates.items() if gate.keeps},
    )
    return without_refused(measured, {load: pouring.gate for load, pouring in query.poured.items()})


def no_failure(node: Node) -> tuple[int, ...]:
    """The failing rows of each check of a proved node."""
    assert isinstance(node, StepNode)
    assert node.checked is not None
    return (0,) * len(node.checked.rows)


def _to_arrow(frame: pl.LazyFrame, schema: Schema | None) -> pa.Table:
    assert schema is not None
    return frame.collect().to_arrow().cast(sql.interop.to_castable_arrow(schema))
