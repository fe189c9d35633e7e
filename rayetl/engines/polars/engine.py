"""Runs a plan as one Polars query: every load, every reject and every count are collected together. Where
rows go to several readers, more queries go on from there."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Container, Sequence
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
from rayetl.engines.polars.forks import Fork
from rayetl.engines.polars.frames import Frames, any_of, refusing
from rayetl.engines.polars.gates import Gate
from rayetl.engines.polars.parts import Part, parts
from rayetl.engines.polars.pouring import Pouring, sink_spool, without_refused
from rayetl.engines.polars.proof import proved
from rayetl.engines.polars.queries import Query, Run, Take
from rayetl.names import BAD
from rayetl.plan.nodes import Node, Plan, SourceNode, StepNode

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from rayetl.sql.types import Schema

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
# Polars' hook for SIGINT lets the system take up again what that interrupts: in a program that uses the API,
# Ctrl-C would be heard only when a wait for a server or a thread is over.
signal.siginterrupt(signal.SIGINT, True)
# Threads that close the files of many partitions, of which more wait than may run; none waits for another.
warnings.filterwarnings("ignore", message="POLARS_MAX_BLOCKING_THREAD_COUNT reached")


class PolarsEngine:
    """The engine `polars`."""

    name = "polars"
    log: str | None = None

    def run(self, job: Job) -> Measured:
        needed = _needed(job.plan, job.targets)
        with Batches.reading(_services(job.plan, needed)) as batches:
            run = _run(job, needed, batches)
            with told_plainly(job.plan, lambda: needed, _written(job)):
                run.collect()
            for node in batches.opened:
                run.classes.take(node, batches.count(node))
        return _measured(run, job.plan, needed)

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


def _run(job: Job, needed: Sequence[str], batches: Batches) -> Run:
    """The queries of a run, with gates where rows are checked, and counts of what nothing else counts."""
    known = proved(job.plan, needed)
    classes = Classes(job.plan, needed, job.targets, known)
    gates = {
        node: gate for node in needed if node not in known and (gate := _gate(job, job.plan.nodes[node]))
    }
    for name in (*map(load_key, job.targets), *gates, *map(input_key, gates), *batches.opened):
        classes.will_take(name)
    _count_by_footers(classes, job.plan, needed)
    cut = parts(job.plan, needed, job.targets)
    ends = [part.feed for part in cut if part.feed is not None]
    to_end = classes.uncounted(ends)
    for node in to_end:
        classes.will_take(node)
    counted = [*unfinished(job.plan, needed, job.targets, gates), *classes.uncounted(needed)]
    forks = {node: Fork(node, node in {*to_end, *counted}) for node in ends}
    run = Run(classes, gates, known, forks)
    for part in cut:
        own = [node for node in counted if node in part.nodes and node not in forks]
        counted = [node for node in counted if node not in own]
        _add_query(run, job, part, own, batches)
    return run


def _add_query(run: Run, job: Job, part: Part, counted: Sequence[str], batches: Batches) -> None:
    """One more query, which counts these of its nodes."""
    ends = [node for node in part.nodes if node in run.forks]
    several = shared(job.plan, part.nodes, part.loads, [*counted, *ends])
    query = Query(Frames(job.plan, run.gates, several, run.proved, batches))
    if part.feed is not None:
        query.feed = run.feed(part.feed)
        query.frames.take(part.feed, query.feed.rows)
    for load in part.loads:
        _add_load(run, query, job, load)
    for node in part.nodes:
        query.frames.add(node)
        _add_tables(run, query, job.plan.nodes[node])
    for node in counted:
        query.measures.append((query.frames.add(node).select(pl.len()), _count_taker(run, node)))
    run.add(query, part.nodes)


def _add_load(run: Run, query: Query, job: Job, load: str) -> None:
    run.passed[load], target = 0, job.targets[load]
    lock = threading.Lock()

    def count(batch: pl.DataFrame) -> pl.DataFrame:
        with lock:
            run.passed[load] += batch.height
        job.progress.rows(load, run.passed[load])
        return batch

    if isinstance(target, BatchesTarget):
        frame = query.frames.placed(load).map_batches(count, streamable=True)
        run.poured[load] = Pouring(load, target, job.rejects / load)
        query.sinks.append(run.poured[load].sink(frame))
        run.finishes.append(run.poured[load].finish)
    elif isinstance(target, SpoolTarget):
        frame = query.frames.placed(load).map_batches(count, streamable=True)
        query.sinks.append(sink_spool(frame, target))
    else:
        frame = query.frames.add(load).map_batches(count, streamable=True)
        sink = sink_files(frame, target, load)
        query.sinks.append(sink.rows)
        run.finishes.append(sink.finish)
        run.abandons.append(sink.abandon)


def _add_tables(run: Run, query: Query, node: Node) -> None:
    if isinstance(node, StepNode) and node.tables:
        inputs = query.frames.inputs(node)
        for analyzed in node.tables:
            query.measures.append((sql.lower(analyzed, inputs), _table_taker(run, node.id)))


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


def _table_taker(run: Run, node: str) -> Take:
    def take(row: pl.DataFrame) -> None:
        finding = TableFinding(row["observed"][0], bool(row["failed"][0]))
        run.tables[node] = (*run.tables.get(node, ()), finding)

    return take


def _count_taker(run: Run, node: str) -> Take:
    return lambda counted: run.classes.take(node, counted.item())


def _written(job: Job) -> list[str]:
    """Where the run writes: loads into directories, and refused rows."""
    loads = [
        load.load.directory() or target.directory
        for load in job.plan.loads
        if isinstance(target := job.targets.get(load.id), FilesTarget)
    ]
    return list(dict.fromkeys([*loads, str(job.rejects.parent)]))


def _measured(run: Run, plan: Plan, needed: Sequence[str]) -> Measured:
    for load, passed in run.passed.items():
        run.classes.take(load_key(load), passed)
    rows = {node: run.classes.rows(node) for node in needed}
    read = {}
    for source in plan.sources:
        if source.id in rows:
            key = input_key(source.id) if source.reads_reasons else source.id
            read[source.id] = run.classes.rows(key)
    for node in run.gates:
        run.classes.rows(input_key(node))
    gates = run.gates
    measured = Measured(
        read=read,
        rows=rows,
        refused={node: gate.refused for node, gate in gates.items()},
        failing={node: tuple(gate.failing) for node, gate in gates.items()}
        | {node: no_failure(plan.nodes[node]) for node in run.proved},
        tables=run.tables,
        staged=run.passed,
        rejects={node: gate.parts for node, gate in gates.items() if gate.keeps},
    )
    return without_refused(measured, {load: pouring.gate for load, pouring in run.poured.items()})


def no_failure(node: Node) -> tuple[int, ...]:
    """The failing rows of each check of a proved node."""
    assert isinstance(node, StepNode)
    assert node.checked is not None
    return (0,) * len(node.checked.rows)


def _to_arrow(frame: pl.LazyFrame, schema: Schema | None) -> pa.Table:
    assert schema is not None
    return frame.collect().to_arrow().cast(sql.interop.to_castable_arrow(schema))
