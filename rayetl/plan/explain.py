"""A plan as text for people: what is read, what becomes of it, where it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlglot import exp

from rayetl.connectors.base import BatchScan
from rayetl.contracts import ContractConfig
from rayetl.observability.text import many, size
from rayetl.plan.checks import contract_of
from rayetl.plan.nodes import LoadNode, Plan, SourceNode, StepNode
from rayetl.plan.splits import Splits, cut
from rayetl.sql.parse import render
from rayetl.sql.types import Field, Schema

MAX_COLUMNS = 12
"""Columns shown of a schema before it is cut short."""


def explain(
    plan: Plan,
    *,
    sql: bool = False,
    engine: str = "polars",
    why: str | None = None,
    split_size: int | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """The plan as a readable tree; with `sql`, every step's query as Spark SQL text that Spark runs as is.

    `engine` and `why` say what runs the plan and how that was chosen, `notes` what it does at single
    sources, steps and loads; with `split_size` (bytes), the text says what the runtime `ray` makes of the
    plan.
    """
    if sql:
        return "\n\n".join(_statements(plan)) + "\n"
    reason = why or "it runs every function of this plan"
    head = [f"pipeline {plan.name}", f"engine {engine}: {reason}", f"time zone {plan.time_zone}"]
    if split_size is not None:
        head += _on_ray(plan, split_size)
    lines = [*head, "", "sources", *_sources(plan, notes or {})]
    if plan.steps:
        lines += ["", "steps", *_steps(plan, notes or {})]
    lines += ["", "loads", *_loads(plan, notes or {})]
    if plan.warnings:
        lines += ["", "warnings", *(f"  {_warning(str(w.message), w.hint)}" for w in plan.warnings)]
    return "\n".join(lines) + "\n"


def _on_ray(plan: Plan, split_size: int) -> Iterator[str]:
    if plan.deferred:
        yield "runtime ray: known when the values have been looked up in the data"
        return
    splits = cut(plan, split_size)
    stores = [load.id for load in plan.loads if load.load.takes_batches]
    poured = [f"  in the supervisor, which holds the transaction: {_listed(stores)}"] if stores else []
    if isinstance(splits, str):
        yield f"runtime ray: one task, because {splits}"
        yield from poured
        return
    yield f"runtime ray: {_cuts(plan, splits)}, one commit"
    steps = [step.id for step in plan.steps if step.id in splits.streaming]
    if steps:
        yield f"  split by split: {_listed(steps)}"
    nodes = [*(node.id for node in plan.sources), *(node.id for node in plan.steps)]
    again = [node for node in nodes if node not in splits.streaming]
    if again:
        yield f"  again for every split: {_listed(again)}"
    yield from poured


def _cuts(plan: Plan, splits: Splits) -> str:
    if not splits.parts:
        scan = next(node.scan for node in plan.sources if node.id == splits.source)
        assert isinstance(scan, BatchScan)
        return f"{splits.source} by ranges of {scan.ranges}, cut when the run begins"
    largest = max(split.bytes for split in splits.parts)
    return f"{len(splits.parts)} splits of {splits.source}, the largest of {size(largest)}"


def _warning(message: str, hint: str | None) -> str:
    return f"{message}; {hint}" if hint else message


def _sources(plan: Plan, notes: Mapping[str, str]) -> Iterator[str]:
    for source in plan.sources:
        yield f"  {source.id}: {', '.join(_about(source))}"
        if source.id in notes:
            yield f"    {notes[source.id]}"
        contract = contract_of(source.source)
        if contract is not None:
            yield f"    contract {_contract(contract)}"
        yield from _columns(source.schema)


def _about(source: SourceNode) -> Iterator[str]:
    if isinstance(source.scan, BatchScan):
        yield source.scan.place
        return
    files = source.scan.files
    total = sum(file.size for file in files)
    yield f"{many(len(files), f'{source.scan.format} file')} of {size(total)}"
    if source.reads_reasons:
        becomes = "rejected" if source.scan.mode == "permissive" else "dropped"
        yield f"malformed records are {becomes}"
    if source.source.is_incremental():
        yield "each file is taken once"
    if source.carries_row:
        yield "rows carry their position"


def _contract(contract: ContractConfig) -> str:
    named = contract.schema_ if isinstance(contract.schema_, str) else "written in the config"
    return f"{named}, on mismatch {contract.on_mismatch}, extra fields {contract.extra_fields}"


def _columns(schema: Schema | None) -> Iterator[str]:
    if schema is None:
        yield "    columns are known when the values have been looked up in the data"
        return
    yield f"    {many(len(schema), 'column')}: {_listed([str(f) for f in schema])}"


def _listed(items: Sequence[str]) -> str:
    shown = ", ".join(items[:MAX_COLUMNS])
    return f"{shown} and {len(items) - MAX_COLUMNS} more" if len(items) > MAX_COLUMNS else shown


def _steps(plan: Plan, notes: Mapping[str, str]) -> Iterator[str]:
    for step in plan.steps:
        carried = ", rows carry their position" if step.carries_row else ""
        reads = ", ".join(step.inputs)
        yield f"  {step.id}: {step.kind} of {reads}, {_effect(step)}{carried}"
        if step.id in notes:
            yield f"    {notes[step.id]}"
        yield from _changes(plan.schema(step.main), step.schema)
        yield from _checks(step)


_EFFECTS = {
    "keeps": "keeps every row",
    "filters": "drops rows",
    "deduplicates": "drops duplicates",
    "folds": "folds rows into groups",
    "joins": "joins rows",
    "expands": "makes rows of one",
    "unites": "appends rows",
    "limits": "keeps the first rows",
    "free": "any rows",
}


def _effect(step: StepNode) -> str:
    return "checks rows" if step.checked is not None else _EFFECTS[step.effect]


def _changes(before: Schema | None, after: Schema | None) -> Iterator[str]:
    """What became of the columns, as a difference where most of them stayed."""
    if before is None or after is None:
        yield from _columns(after)
        return
    old, new = {f.name: f for f in before}, {f.name: f for f in after}
    kept = [name for name in new if name in old]
    if new == old and list(new) == list(old):
        yield "    columns unchanged"
    elif len(kept) * 2 < len(new):
        yield from _columns(after)
    else:
        added = [str(field) for name, field in new.items() if name not in old]
        changed = [_retyped(old[name], new[name]) for name in kept if old[name] != new[name]]
        dropped = [name for name in old if name not in new]
        for sign, items in (("+", added), ("~", changed), ("-", dropped)):
            if items:
                yield f"    {sign} {_listed(items)}"
        if not (added or changed or dropped):
            yield "    columns in another order"


def _retyped(old: Field, new: Field) -> str:
    if old.type == new.type:
        return f"{new.name}: {'may be NULL' if new.nullable else 'never NULL'}"
    return f"{new.name}: {old.type} -> {new.type}"


def _checks(step: StepNode) -> Iterator[str]:
    if step.checked is None:
        return
    for row in step.checked.rows:
        share = f" above {row.max_share:.2%}" if row.max_share is not None else ""
        yield f"    ! {row.rule} ({row.kind}): {row.reason}: {row.on_failure}{share}"
    for table in step.checked.tables:
        yield f"    ! {table.rule} ({table.kind}, all rows): {table.reason}: {table.on_failure}"


def _loads(plan: Plan, notes: Mapping[str, str]) -> Iterator[str]:
    for load in plan.loads:
        yield f"  {load.id}: {_target(load)} from {load.input}"
        if load.id in notes:
            yield f"    {notes[load.id]}"
        yield from _columns(load.schema)


def _target(load: LoadNode) -> str:
    found = (getattr(load.load, field, None) for field in ("type", "format", "path", "table", "mode"))
    return " ".join(str(part) for part in found if part is not None)


def _statements(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        yield "\n".join([*_comments(step), _statement(step)])
        if step.checked is not None:
            for check in step.checked.tables:
                yield f"-- {step.id}, rule {check.rule} over all rows\n{_text(check.query)};"


def _comments(step: StepNode) -> Iterator[str]:
    yield f"-- {step.id} ({step.kind})"
    for binding in step.bindings:
        if binding.name != binding.node:
            yield f"-- {binding.name} stands for {binding.node}"
    if step.carries_row:
        yield "-- _rayetl_row is the position of a row in its source"


def _statement(step: StepNode) -> str:
    if step.query is None:
        return "-- known when the values have been looked up in the data"
    return f"{_text(step.query)};"


def _text(query: exp.Query) -> str:
    assert isinstance(query, exp.Expression)
    return render(query)
