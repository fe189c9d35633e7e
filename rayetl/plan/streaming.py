"""Which steps take the rows of a source one by one, whatever the others are: read off their analyzed queries,
not off their verbs."""

from __future__ import annotations

from collections.abc import Iterable

from rayetl.plan.nodes import LoadNode, Plan, StepNode
from rayetl.quality.base import OnFailure
from rayetl.sql import relations

Passed = tuple[type[relations.Relation], ...]
"""Relations whose rows stand for a row of their first input each, as far as somebody cares."""

_SINGLE_ROWS: Passed = (relations.Filter, relations.Project, relations.Generate)

_KEPT_SIDES = {
    "inner": ("left", "right"),
    "left": ("left",),
    "right": ("right",),
    "semi": ("left",),
    "anti": ("left",),
}
"""The sides of each kind of join that may stream while the other one is fixed."""


def streaming_from(plan: Plan, source: str) -> frozenset[str] | str:
    """The nodes whose rows come of `source`, or what makes one of them need all of its rows at once."""
    found = rows_of(plan, source)
    for step in plan.steps:
        if step.id not in found:
            continue
        if why := "checks all rows together" if step.tables else obstacle(step, found):
            return f"{step.id} ({step.kind}) {why}"
    for load in plan.loads:
        if load.input not in found:
            return f"{load.id} takes no rows of {source}"
    return found


def rows_of(plan: Plan, node: str) -> frozenset[str]:
    """A source or step, and the steps that read rows of it, from it or from one another."""
    found = {node}
    for step in plan.steps:
        if found.intersection(step.inputs):
            found.add(step.id)
    return frozenset(found)


def mixing(plan: Plan, source: str) -> str | None:
    """What keeps rows of `source` that come after the others from becoming what they would have been among
    them, in the loads; `None` if nothing does. In which order they come is nothing, and a rule on the whole
    input judges those that come together."""
    found = rows_of(plan, source)
    for step in _before(plan, (load.input for load in plan.loads)):
        if step.id not in found:
            continue
        if rule := _comparing(step):
            return f"the rule {rule} of the step {step.id} compares rows with one another"
        unseen = (relations.Sort,) if step.checked is None else (relations.Sort, relations.Window)
        if why := obstacle(step, found, (*_SINGLE_ROWS, *unseen)):
            return f"the step {step.id} ({step.kind}) {why}"
    return None


def loads_behind(plan: Plan, node: str) -> tuple[LoadNode, ...]:
    """The loads that rows of a source or step get to."""
    found = rows_of(plan, node)
    return tuple(load for load in plan.loads if load.input in found)


def _before(plan: Plan, ends: Iterable[str]) -> list[StepNode]:
    """The steps that the rows of `ends` come of, in their order."""
    wanted = set(ends)
    found = []
    for step in reversed(plan.steps):
        if step.id in wanted:
            wanted.update(step.inputs)
            found.append(step)
    return found[::-1]


def _comparing(step: StepNode) -> str | None:
    """The first rule that refuses rows for what other ones are."""
    checks = step.checked.rows if step.checked else ()
    refusing = (check for check in checks if check.on_failure is not OnFailure.WARN)
    return next((check.rule for check in refusing if check.kind == "unique"), None)


def obstacle(step: StepNode, streaming: frozenset[str], passed: Passed = _SINGLE_ROWS) -> str | None:
    """Why the query of a step needs more than a row at a time of the nodes in `streaming`; `None` if it does
    not."""
    if step.analyzed is None:
        return "waits for values found in the data"
    tables = {binding.name.lower() for binding in step.bindings if binding.node in streaming}
    return _needs(step.analyzed.plan, tables, passed)


def _needs(relation: relations.Relation, streaming: set[str], passed: Passed) -> str | None:
    """Why a relation needs more than a row at a time of the tables in `streaming`; `None` if it does not."""
    if not _reads(relation, streaming) or isinstance(relation, relations.Input):
        return None
    if isinstance(relation, passed):
        return _needs(next(relation.children()), streaming, passed)
    match relation:
        case relations.Attach(input=below, single=single):
            if _reads(single, streaming):
                return "looks up a value of all rows"
            return _needs(below, streaming, passed)
        case relations.Join():
            return _join_needs(relation, streaming, passed)
        case relations.SetOperation(left=left, right=right, kind="union", distinct=False):
            if not (_reads(left, streaming) and _reads(right, streaming)):
                return "adds rows of another source"
            return _needs(left, streaming, passed) or _needs(right, streaming, passed)
        case relations.SparkOnly():
            return "is a query of which Spark alone knows what it needs"
    return f"needs all rows at once ({type(relation).__name__.lower()})"


def _join_needs(join: relations.Join, streaming: set[str], passed: Passed) -> str | None:
    left, right = _reads(join.left, streaming), _reads(join.right, streaming)
    if left and right:
        return "joins rows of the source with one another"
    side = "left" if left else "right"
    if side not in _KEPT_SIDES.get(join.kind, ()):
        return f"is a {join.kind} join that keeps rows of the other side"
    return _needs(join.left if left else join.right, streaming, passed)


def _reads(relation: relations.Relation, tables: set[str]) -> bool:
    return any(isinstance(part, relations.Input) and part.table.lower() in tables for part in relation.walk())
