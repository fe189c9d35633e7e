"""Pipelines that take each file of a growing folder once: which plans that makes sense for.

A run sees the new files only. What it loads must be what one run over all files would have loaded, so rows of
a load must each come of one row of such a source, or replace their older selves by their keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rayetl.errors import Problem
from rayetl.plan.nodes import LoadNode, Plan, SourceNode
from rayetl.plan.streaming import obstacle, rows_of

NO_KEY = "a run key does not go with an incremental source"

ADDING = ("append", "upsert", "insert_ignore")
"""The modes of loads that keep what earlier runs have loaded."""

REPLACING = "upsert"
"""The mode that takes a changed row for its older self."""


def growing(plan: Plan) -> tuple[SourceNode, ...]:
    """The sources of which each file is taken once."""
    return tuple(node for node in plan.sources if node.source.is_incremental())


def growing_problems(plan: Plan, run_key: str | None) -> Iterator[Problem]:
    """What makes the sources of `plan` that take each file once impossible."""
    sources = growing(plan)
    if not sources:
        return
    if run_key is not None:
        yield Problem("plan.incremental", f"{NO_KEY}: each batch of new files is a run", path=("run_key",))
    fed = frozenset[str]().union(*(rows_of(plan, source.id) for source in sources))
    for load in plan.loads:
        if load.load.mode not in ADDING:
            yield _fault(load, f"`{load.load.mode}` would leave the rows of the newest files only", "mode")
        elif load.input not in fed:
            yield _fault(load, "takes no rows of an incremental source: each run would add its rows again")
    adding = _behind(plan, {load.input for load in plan.loads if load.load.mode != REPLACING})
    for step in plan.steps:
        if step.id in fed & adding and (why := obstacle(step, fed)):
            message = f"{step.id} ({step.kind}) {why}, and a run sees the new files of {_names(sources)} only"
            hint = "load into a table with `mode: upsert` if that is meant"
            yield Problem("plan.incremental", message, path=step.path, hint=hint)


def _names(sources: Sequence[SourceNode]) -> str:
    return ", ".join(f"`{source.id}`" for source in sources)


def _behind(plan: Plan, nodes: set[str]) -> set[str]:
    """These nodes and what they read, directly or not."""
    found = set(nodes)
    for step in reversed(plan.steps):
        if step.id in found:
            found.update(step.inputs)
    return found


def _fault(load: LoadNode, what: str, *field: str) -> Problem:
    modes = ", ".join(f"`{mode}`" for mode in ADDING)
    hint = f"beside an incremental source loads have the mode {modes}" if field else None
    return Problem("plan.incremental", f"{load.id}: {what}", path=(*load.path, *field), hint=hint)
