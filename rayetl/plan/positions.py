"""Which nodes must carry the hidden position of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rayetl.connectors.base import FilesScan
from rayetl.plan.checks import PlanStep, contract_of, refuses
from rayetl.plan.graph import Graph
from rayetl.plan.nodes import LoadNode, SourceNode, StepNode
from rayetl.quality.validate import ValidateStep


def carriers(
    sources: Mapping[str, SourceNode],
    nodes: Mapping[str, StepNode],
    steps: Mapping[str, PlanStep],
    loads: Iterable[LoadNode],
) -> set[str]:
    """Every node on a way from a source to a node or load that may refuse rows, where the position survives
    it.

    A refused row whose position is lost on the way, after an aggregation say, has none.
    """
    carrying: set[str] = set()
    for node in nodes.values():
        if node.checked is not None and refuses(node.checked):
            carrying |= _way(node.id, sources, nodes, steps)
    for load in loads:
        if load.load.takes_batches:
            carrying |= _way(load.input, sources, nodes, steps)
    return carrying


def _way(
    name: str, sources: Mapping[str, SourceNode], nodes: Mapping[str, StepNode], steps: Mapping[str, PlanStep]
) -> set[str]:
    """The nodes from `name` up to its source; none where a step on the way merges rows, or the source has
    no positions."""
    way = {name}
    while name not in sources:
        step = steps.get(name)
        if nodes[name].query is None or (step is not None and not step.carries()):
            return set()
        name = nodes[name].main
        way.add(name)
    return way if isinstance(sources[name].scan, FilesScan) else set()


def likely_carriers(sources: Mapping[str, SourceNode], graph: Graph) -> frozenset[str]:
    """What `carriers` will name, as far as it can be told before a step is compiled, which is most of the
    work of planning: not yet known is whether a check only warns, and what waits for values in the data."""
    steps = {draft.id: draft for draft in graph.steps}

    def way(name: str) -> set[str]:
        found = set()
        while name not in sources:
            draft = steps.get(name)
            if draft is None or not draft.step.carries():
                return set()
            found.add(name)
            name = draft.inputs[0]
        return {*found, f"{name}.contract"} if isinstance(sources[name].scan, FilesScan) else set()

    likely = {each for name in sources for each in way(name)}
    for draft in graph.steps:
        if isinstance(draft.step, ValidateStep):
            likely |= way(draft.id)
    for load in graph.loads:
        if contract_of(load.load) is not None or load.load.takes_batches:
            likely |= {f"{load.id}.contract", *found} if (found := way(load.input)) else set()
    return frozenset(likely)
