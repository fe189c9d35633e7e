"""Findings about a plan that do not stop a run."""

from __future__ import annotations

from dataclasses import replace

from rayetl.connectors.dead_letters import DeadLetterStore
from rayetl.errors import ConfigPath, Problem
from rayetl.plan.graph import DEAD_LETTER, Graph, StepDraft
from rayetl.plan.nodes import Plan
from rayetl.secrets.naming import UsesCredential
from rayetl.steps.deduplicate import Deduplicate
from rayetl.steps.rows import Limit, Sort

_TYPES = "give it a `schema` or a contract; by itself it has the types that the files of the moment look like"


def warnings_of(plan: Plan, graph: Graph, letters: DeadLetterStore) -> tuple[Problem, ...]:
    """Inputs and steps that nothing reads, types that later files may change, steps whose result is up to
    chance, and secrets in the config."""
    read = graph.readers()
    checked = {step.id for step in plan.steps if step.checked is not None}
    found = []
    for source in graph.sources:
        if source.id not in read:
            found.append(_warn(f"nothing reads the source `{source.id}`", source.path))
    for node in plan.sources:
        if node.source.is_incremental() and node.source.guesses_types(node.scan):
            found.append(_warn(f"files that come later may give `{node.id}` other types", node.path, _TYPES))
    steps = {draft.id: draft for draft in graph.steps}
    for draft in graph.steps:
        if draft.id not in read and draft.id not in checked:
            found.append(_warn(f"nothing reads the step `{draft.id}`", draft.path))
        found.extend(_chance(draft, steps))
    for source in graph.sources:
        found.extend(_in_clear(source.source, source.id, source.path))
    for load in graph.loads:
        found.extend(_in_clear(load.load, load.id, load.path))
    found.extend(_in_clear(letters, "dead_letter", DEAD_LETTER))
    return tuple(found)


def unnamed(plan: Plan) -> Plan:
    """The plan of a run without a key, with a warning for each load that gets all rows once more."""
    sources = [node.id for node in plan.sources if node.source.identity(node.scan) is None]
    why = f"nobody can tell whether {', '.join(f'`{name}`' for name in sources)} changed since"
    found = [
        _warn(f"`{load.id}` appends all rows again with each run, as {why}; --run-key names a run", load.path)
        for load in plan.loads
        if load.load.mode == "append"
    ]
    return replace(plan, warnings=(*plan.warnings, *found))


def _in_clear(model: object, name: str, path: ConfigPath) -> list[Problem]:
    if not isinstance(model, UsesCredential):
        return []
    hint = "write `credential: NAME` and keep it with `rayetl vault set NAME ...`, see docs/secrets.md"
    return [
        _warn(f"`{name}` holds the secret `{field}` in clear", (*path, field), hint)
        for field in model.inline_secrets()
    ]


def _chance(draft: StepDraft, steps: dict[str, StepDraft]) -> list[Problem]:
    if isinstance(draft.step, Limit):
        before = steps.get(draft.inputs[0])
        if before is None or not isinstance(before.step, Sort):
            hint = "put a `sort` directly before it"
            return [_warn(f"which rows `{draft.id}` keeps is up to chance", draft.path, hint)]
    if isinstance(draft.step, Deduplicate) and draft.step.keys and not draft.step.order_by:
        hint = "add `order_by` to choose"
        return [_warn(f"which row of several `{draft.id}` keeps is up to chance", draft.path, hint)]
    return []


def _warn(message: str, path: ConfigPath, hint: str | None = None) -> Problem:
    return Problem("warning", message, path=path, hint=hint)
