"""Plans that would grow too large when they are written out, as an engine does with what is read twice."""

from __future__ import annotations

from collections.abc import Iterator

from rayetl.errors import Problem
from rayetl.plan.nodes import Plan, StepNode
from rayetl.sql.analyze.scope import MOST_READINGS, READ_ONCE
from rayetl.sql.relations import Input


def reading_problems(plan: Plan) -> Iterator[Problem]:
    """The first step that reads sources in too many places, itself and by all the steps that it reads."""
    places = dict.fromkeys((source.id for source in plan.sources), 1)
    for step in plan.steps:
        places[step.id] = sum(places[node] for node in _read(step))
        if places[step.id] > MOST_READINGS:
            message = (
                f"{step.id} reads the sources in more than {MOST_READINGS:,} places: all that a step reads "
                "counts again wherever the step is read"
            )
            yield Problem("plan.readings", message, path=step.path, hint=READ_ONCE)
            return


def _read(step: StepNode) -> Iterator[str]:
    """The nodes that a step reads, each as often as its query does."""
    if step.analyzed is None:
        yield from step.inputs
        return
    nodes = {binding.name: binding.node for binding in step.bindings}
    for part in step.analyzed.plan.walk():
        if isinstance(part, Input):
            yield nodes[part.table]
