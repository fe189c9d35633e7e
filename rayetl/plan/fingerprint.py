"""What makes two plans, and two runs of a plan, the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlglot import exp

from rayetl.model import Model
from rayetl.plan.checks import PlanStep
from rayetl.plan.nodes import Plan, StepNode
from rayetl.quality.base import Checked

_NAMES: Mapping[str, set[str] | bool] = {
    **dict.fromkeys(("id", "from_", "contract", "cache", "broadcast", "incremental"), True),
    "s3": {"staging", "allow_http"},
}
"""Fields that say how a step is called, or how an engine or a machine goes about it, and change no row."""

_SPELLING = {"hint", "quoted"}
"""What a query says besides its rows."""


def fingerprint(plan: Plan, steps: Mapping[str, PlanStep]) -> str:
    """A hash (hex, sha256) that is the same for two plans that give the same rows from the same input.

    Ids, the order of independent steps, comments and spelling do not count. A step that waits for values
    found in the data counts with its config, and so do the steps after it, before and after the values are
    known.
    """
    marks: dict[str, str] = {}
    waits: set[str] = set()
    for source in plan.sources:
        marks[source.id] = _hash(["source", _dump(source.source), str(source.scan.schema), source.scan.mode])
    for node in plan.steps:
        step = steps.get(node.id)
        if (step is not None and step.waits()) or any(name in waits for name in node.inputs):
            waits.add(node.id)
        said = _dump(step) if node.id in waits and step is not None else _said(node, node.id in waits)
        marks[node.id] = _hash([node.kind, said, [marks[binding.node] for binding in node.bindings]])
    loads = [_hash(["load", _dump(load.load), marks[load.input]]) for load in plan.loads]
    return _hash([plan.time_zone, loads, sorted(_unloaded(plan, marks))])


def run_key(plan: Plan) -> str | None:
    """The name of the epoch that a batch run of `plan` is: the plan and its exact input.

    `None` when an input cannot be told from what it was an hour ago; then every run is a new epoch.
    """
    identities = []
    for source in sorted(plan.sources, key=lambda node: node.id):
        identity = source.source.identity(source.scan)
        if identity is None:
            return None
        identities.append([source.id, identity])
    return _hash([plan.fingerprint, identities])[:32]


def _unloaded(plan: Plan, marks: Mapping[str, str]) -> Iterable[str]:
    """Checks count even where no load reads them: an `abort` rule decides over all loads."""
    return (marks[step.id] for step in plan.steps if step.checked is not None)


def _said(node: StepNode, waiting: bool) -> list[object]:
    if waiting or node.query is None:
        return ["contract"]
    said: list[object] = [_anonymous(node, node.query)]
    if node.checked is not None:
        said.append(_checks(node, node.checked))
    return said


def _checks(node: StepNode, checked: Checked) -> list[object]:
    rows = [repr(replace(check, reason="")) for check in checked.rows]
    tables = [
        [
            *(check.rule, check.kind, check.field, check.on_failure),
            check.identity or _anonymous(node, check.query),
        ]
        for check in checked.tables
    ]
    return [rows, tables]


def _anonymous(node: StepNode, query: exp.Query) -> list[object]:
    """The query without its spelling, node by node, with its tables numbered instead of named."""
    numbers = {binding.name.lower(): index for index, binding in enumerate(node.bindings)}
    said: list[object] = []
    rest: list[object] = [query]
    while rest:
        part = rest.pop()
        if isinstance(part, list):
            said.append(len(part))
            rest.extend(reversed(part))
        elif isinstance(part, exp.Expr):
            args = {name: value for name, value in part.args.items() if value and name not in _SPELLING}
            named = args.get("this" if isinstance(part, exp.Table) else "table")
            if isinstance(part, (exp.Table, exp.Column)) and isinstance(named, exp.Identifier):
                name = named.name.lower()
                if name in numbers:
                    args["this" if isinstance(part, exp.Table) else "table"] = numbers[name]
            names = sorted(args)
            said.append([part.key, *names])
            rest.extend(args[name] for name in reversed(names))
        else:
            said.append(str(part))
    return said


def _dump(model: Model) -> object:
    return json.loads(model.model_dump_json(exclude=_NAMES))


def _hash(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
