"""Which steps' rows Spark keeps, so that several readers do not compute them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from sqlglot import exp

from rayetl.connectors.base import BatchScan
from rayetl.engines.spark import native
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.sql.relations import Filter, Generate, Input, Project

_ROWWISE = (Input, Filter, Project, Generate)


def kept(plan: Plan, needed: Sequence[str], loads: Collection[str]) -> set[str]:
    """The steps among `needed` that are read more than once and cost more than reading their source again.

    A step's own `cache` comes before that.
    """
    readers = _readers(plan, needed, loads)
    found: set[str] = set()
    cheap: set[str] = {source.id for source in plan.sources}
    for name in needed:
        node = plan.nodes[name]
        if not isinstance(node, StepNode):
            continue
        again = _is_rowwise(node) and cheap.issuperset(node.inputs)
        if node.cache if node.cache is not None else readers[name] > 1 and not again:
            found.add(name)
        if again or name in found:
            cheap.add(name)
    return found


def notes(plan: Plan) -> dict[str, str]:
    """What Spark is told to do at the sources, steps and loads of a plan, in words, by id. Raises
    `SourceError` for a damaged footer."""
    if plan.deferred:
        return {}
    needed = [*(source.id for source in plan.sources), *(step.id for step in plan.steps)]
    loads = [load.id for load in plan.loads]
    readers = _readers(plan, needed, loads)
    said = {source.id: [_reading(source)] for source in plan.sources}
    said |= {name: [f"kept for {_times(readers[name])}"] for name in kept(plan, needed, loads)}
    for step in plan.steps:
        assert isinstance(step.query, exp.Expression)
        for hint in step.query.find_all(exp.JoinHint):
            told = "is broadcast" if hint.name.upper() == "BROADCAST" else "is not broadcast"
            said.setdefault(step.id, []).append(f"{', '.join(each.name for each in hint.expressions)} {told}")
    stores = (load.id for load in plan.loads if load.load.takes_batches)
    said |= {load: ["poured by this process, which holds the transaction"] for load in stores}
    return {name: "; ".join(parts) for name, parts in said.items()}


def _reading(source: SourceNode) -> str:
    if native.reads_alike(source.scan):
        return "read by the executors"
    ranges = source.scan.ranges if isinstance(source.scan, BatchScan) else None
    cut = f", by ranges of {ranges} at the same time" if ranges else ""
    return f"read by the embedded engine{cut}, and handed to Spark"


def _times(readers: int) -> str:
    return f"{readers} reader{'' if readers == 1 else 's'}"


def _readers(plan: Plan, needed: Sequence[str], loads: Collection[str]) -> Counter[str]:
    """How often each node is read: by loads, by steps and by their checks."""
    readers = Counter(load.input for load in plan.loads if load.id in loads)
    for name in needed:
        node = plan.nodes[name]
        if isinstance(node, StepNode):
            readers.update(dict.fromkeys(node.inputs, 1 + len(node.tables)))
            if node.checked is not None and node.checked.rows:
                readers[name] += 2
    return readers


def _is_rowwise(node: StepNode) -> bool:
    assert node.analyzed is not None
    return all(isinstance(part, _ROWWISE) for part in node.analyzed.plan.walk())
