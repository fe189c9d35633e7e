"""Which steps' rows Spark keeps, so that several readers do not compute them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from sqlglot import exp

from rayetl.plan.nodes import Plan, StepNode
from rayetl.sql.relations import Filter, Generate, Input, Project

_ROWWISE = (Input, Filter, Project, Generate)
_CLOCK = ("current_timestamp", "current_date", "localtimestamp", "now", "curdate")


def kept(plan: Plan, needed: Sequence[str], loads: Collection[str]) -> set[str]:
    """The steps among `needed` that are read more than once and cost more than reading their source again.

    A step that asks for the time of day is always kept: asked twice, it would answer twice.
    """
    readers = _readers(plan, needed, loads)
    found: set[str] = set()
    cheap: set[str] = {source.id for source in plan.sources}
    for name in needed:
        node = plan.nodes[name]
        if not isinstance(node, StepNode):
            continue
        if readers[name] > 1 and (
            _reads_clock(node) or not (_is_rowwise(node) and cheap.issuperset(node.inputs))
        ):
            found.add(name)
        if name in found or (_is_rowwise(node) and cheap.issuperset(node.inputs)):
            cheap.add(name)
    return found


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


def _reads_clock(node: StepNode) -> bool:
    assert isinstance(node.query, exp.Expression)
    calls = node.query.find_all(exp.Anonymous, exp.CurrentTimestamp, exp.CurrentDate)
    return any(not isinstance(call, exp.Anonymous) or call.name.lower() in _CLOCK for call in calls)
