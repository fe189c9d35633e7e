"""The tests of a config against its plan: what they name must be there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rayetl.errors import ConfigPath, Problem
from rayetl.names import PREFIX
from rayetl.plan.nodes import Plan
from rayetl.steps.fragments import nearest

if TYPE_CHECKING:
    from rayetl.config.models import ExpectedReject, PipelineConfig


def case_problems(config: PipelineConfig, plan: Plan) -> list[Problem]:
    """Ids and columns in `tests` that the plan does not have."""
    found: list[Problem] = []
    for index, test in enumerate(config.tests):
        path: ConfigPath = ("tests", index)
        for source, given in test.given.items():
            if any(node.id == source for node in plan.sources):
                found += _columns(plan, source, given, (*path, "given", source))
        for node, rows in test.expect.items():
            if node in plan.nodes:
                found += _columns(plan, node, rows, (*path, "expect", node))
            else:
                found.append(_unknown_id(plan, node, (*path, "expect", node)))
        found += _rejects(plan, test.expect_rejects or (), path)
    return found


def _rejects(plan: Plan, rejects: Iterable[ExpectedReject], path: ConfigPath) -> Iterator[Problem]:
    for index, reject in enumerate(rejects):
        place = (*path, "expect_rejects", index)
        if reject.step is not None and reject.step not in plan.nodes:
            yield _unknown_id(plan, reject.step, (*place, "step"))
        elif reject.step in {step.id for step in plan.steps if step.kind != "contract"} and reject.row:
            # What a contract refuses may have other columns than what it lets through.
            for problem in _columns(plan, reject.step, [reject.row], place):
                yield replace(problem, path=(*place, "row", *problem.path[-1:]))


def _unknown_id(plan: Plan, name: str, path: ConfigPath) -> Problem:
    known = [node for node in plan.nodes if not node.endswith(".contract")]
    hint = nearest(name, known) or f"the ids are {', '.join(known)}"
    return Problem("plan", f"there is no source, step or load `{name}`", path=path, hint=hint)


def _columns(plan: Plan, node: str, rows: Sequence[Mapping[str, Any]], path: ConfigPath) -> Iterator[Problem]:
    schema = plan.schema(node)
    if schema is None:
        return
    names = [name for name in schema.names if not name.startswith(PREFIX)]
    known = {name.lower() for name in names}
    for index, row in enumerate(rows):
        for column in row:
            if column.lower() not in known:
                hint = nearest(column, names) or f"its columns are {', '.join(names)}"
                message = f"`{node}` has no column `{column}`"
                yield Problem("plan", message, path=(*path, index, column), hint=hint)
