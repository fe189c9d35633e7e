"""How rows flow between the nodes of one run: which are read by several, and which by none to the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from sqlglot import exp

from rayetl.plan.nodes import Plan, StepNode
from rayetl.sql.relations import Expand, Input, Join, Relation
from rayetl.steps.base import RowEffect

_READS_ALL = {
    RowEffect.KEEPS,
    RowEffect.FILTERS,
    RowEffect.DEDUPLICATES,
    RowEffect.EXPANDS,
    RowEffect.FOLDS,
    RowEffect.UNITES,
}
"""Effects of steps that ask for every row of their inputs. A join with an empty side may not."""


def shared(plan: Plan, needed: Sequence[str], loads: Iterable[str], measured: Iterable[str]) -> set[str]:
    """The nodes that are read more than once: by steps, in as many places as their queries do, by loads, for
    table checks and by `measured`."""
    readers = Counter(measured)
    readers.update(load.input for load in plan.loads if load.id in set(loads))
    for step in _steps(plan, needed):
        readers.update(_places(step))
        for _ in step.tables:
            readers.update(step.inputs)
    return {node for node, count in readers.items() if count > 1}


def _places(step: StepNode) -> Counter[str]:
    """The nodes that a step reads, each with the number of places where its query does."""
    tables = Counter(_tables(step.analyzed.plan)) if step.analyzed is not None else Counter()
    found: Counter[str] = Counter()
    for binding in step.bindings:
        found[binding.node] += max(1, tables[binding.name])
    return found


def _tables(relation: Relation) -> Iterator[str]:
    """The table of each place that reads one. What is below a relation that is made of several readings of
    another, as an UNPIVOT is, counts for each of two."""
    if isinstance(relation, Input):
        yield relation.table
    again = isinstance(relation, Expand) or (isinstance(relation, Join) and relation.kind != "inner")
    for child in relation.children():
        for table in _tables(child):
            yield from (table, table) if again else (table,)


def unfinished(
    plan: Plan, needed: Sequence[str], loads: Collection[str], gated: Collection[str]
) -> list[str]:
    """Those of `gated` whose rows nothing would pull to the last one, each after what it reads.

    A limit stops early, and a filter that is never true is not even begun: the optimizer sees to it.
    """
    finished = {load.input for load in plan.loads if load.id in loads}
    found = []
    for node in reversed(needed):
        if node in gated and node not in finished:
            finished.add(node)
            found.append(node)
        step = plan.nodes[node]
        if node in finished and isinstance(step, StepNode) and _reads_all(step):
            finished.update(step.inputs)
    return found[::-1]


def _reads_all(step: StepNode) -> bool:
    if step.checked is not None or step.effect is not RowEffect.FILTERS:
        return step.effect in _READS_ALL
    return step.query is not None and not _known_beforehand(step.query)


def _known_beforehand(query: exp.Query) -> bool:
    """Whether a part of the condition looks at no column, so that the whole of it may be a constant."""
    parts = query.find_all(exp.Predicate, exp.Boolean, exp.Null)
    return any(
        part.find(exp.Column) is None and not (isinstance(part, exp.Null) and isinstance(part.parent, exp.Is))
        for part in parts
    )


def _steps(plan: Plan, needed: Sequence[str]) -> Iterable[StepNode]:
    return (step for step in plan.steps if step.id in set(needed))
