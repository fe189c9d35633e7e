"""Who reads whom: ids, references and order of a config's sources, steps and loads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from rayetl.connectors.base import Load, Source
from rayetl.errors import ConfigPath, Problem
from rayetl.plan.checks import PlanStep, contract_of
from rayetl.records import dataclass
from rayetl.steps.fragments import nearest

if TYPE_CHECKING:
    from rayetl.config.models import PipelineConfig

RESERVED = frozenset({"rejects"})
"""The id under which dead letters are committed."""

DEAD_LETTER = ("resilience", "dead_letter")
"""Where a config names the store of dead letters."""


@dataclass(frozen=True, slots=True)
class SourceDraft:
    id: str
    source: Source
    path: ConfigPath


@dataclass(frozen=True, slots=True)
class StepDraft:
    """`inputs` are ids of sources and steps, the main one first; the same one may stand there twice."""

    id: str
    kind: str
    step: PlanStep
    path: ConfigPath
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadDraft:
    id: str
    load: Load
    path: ConfigPath
    input: str


@dataclass(slots=True)
class Graph:
    """`steps` stand after what they read. A step or load whose inputs cannot be told is left out, its
    fault is in `problems`."""

    sources: list[SourceDraft] = field(default_factory=list)
    steps: list[StepDraft] = field(default_factory=list)
    loads: list[LoadDraft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def refusing(self) -> list[str]:
        """Every id that dead letters may name as their step."""
        owners: list[tuple[str, Source | Load]] = [(each.id, each.source) for each in self.sources]
        owners += [(each.id, each.load) for each in self.loads]
        contracts = [f"{name}.contract" for name, owner in owners if contract_of(owner)]
        return [*(name for name, _ in owners), *(step.id for step in self.steps), *contracts]

    def readers(self) -> set[str]:
        """Every id that some step or load reads."""
        read = {name for step in self.steps for name in step.inputs}
        return read | {load.input for load in self.loads}


class _Builder:
    def __init__(
        self,
        sources: Mapping[str, tuple[Source, ConfigPath]],
        steps: Sequence[tuple[PlanStep, ConfigPath]],
        loads: Sequence[tuple[Load, ConfigPath]],
    ) -> None:
        self.graph = Graph()
        self._sources = sources
        self._steps = steps
        self._loads = loads
        self._taken: dict[str, str] = {}
        self._ids: dict[str, str] = {}

    def problem(
        self, message: str, path: ConfigPath, hint: str | None = None, offset: int | None = None
    ) -> None:
        self.graph.problems.append(Problem("plan", message, path=path, hint=hint, offset=offset))

    def build(self) -> Graph:
        for name, (source, path) in self._sources.items():
            self._take(name, "source", path)
            self.graph.sources.append(SourceDraft(name, source, path))
        step_ids = self._name([(step.id, _kind(step), path) for step, path in self._steps], "step")
        load_ids = self._name([(load.id, "load", path) for load, path in self._loads], "load")
        self._ids = {name.lower(): name for name in (*self._sources, *step_ids)}
        drafts = [
            self._step(index, name, step, path, step_ids)
            for index, (name, (step, path)) in enumerate(zip(step_ids, self._steps, strict=True))
        ]
        self.graph.steps = self._sorted([draft for draft in drafts if draft is not None])
        for name, (load, path) in zip(load_ids, self._loads, strict=True):
            self._load(name, load, path, step_ids)
        return self.graph

    def _take(self, name: str, what: str, path: ConfigPath) -> None:
        other = self._taken.get(name.lower())
        if other is not None:
            self.problem(
                f"the id `{name}` is taken by {other}", path, "every source, step and load has its own id"
            )
        elif name.lower() in RESERVED:
            self.problem(f"the id `{name}` is kept for rayetl itself", path, "choose another")
        else:
            self._taken[name.lower()] = f"the {what} at {'.'.join(str(part) for part in path)}"

    def _name(self, items: Iterable[tuple[str | None, str, ConfigPath]], what: str) -> list[str]:
        """Given ids, and `filter_1`-like ones by position for the rest."""
        items = list(items)
        for given, _, path in items:
            if given is not None:
                self._take(given, what, (*path, "id"))
        names = []
        for position, (given, kind, path) in enumerate(items, start=1):
            name = given or f"{kind}_{position}"
            while given is None and name.lower() in self._taken:
                name += "_"
            if given is None:
                self._take(name, what, path)
            names.append(name)
        return names

    def _resolve(self, name: str, path: ConfigPath, offset: int | None = None) -> str | None:
        found = self._ids.get(name.lower())
        if found is None:
            known = ", ".join(self._ids.values())
            hint = nearest(name, self._ids.values()) or f"the ids are {known}"
            self.problem(f"there is no source or step `{name}`", path, hint, offset)
        return found

    def _step(
        self, index: int, name: str, step: PlanStep, path: ConfigPath, names: list[str]
    ) -> StepDraft | None:
        unreadable = step.unreadable()
        if unreadable:
            self.graph.problems.extend(problem.under(path) for problem in unreadable)
            return None
        others = [
            self._resolve(other, (*path, *place), step.offset_of(other))
            for place, other in step.other_inputs()
        ]
        reads_main = step.reads_previous()
        if not reads_main:
            main = self._main_of_query(step, path, others)
        elif step.from_ is not None:
            main = self._resolve(step.from_, (*path, "from"))
        else:
            main = names[index - 1] if index else next(iter(self._sources))
        rest = others if reads_main else [other for other in others if other != main]
        inputs = [main, *rest]
        known = tuple(item for item in inputs if item is not None)
        return StepDraft(name, _kind(step), step, path, known) if len(known) == len(inputs) else None

    def _main_of_query(self, step: PlanStep, path: ConfigPath, others: list[str | None]) -> str | None:
        if step.from_ is not None:
            main = self._resolve(step.from_, (*path, "from"))
            if main is not None and main not in others:
                self.problem(
                    f"the query does not read `{main}`", (*path, "from"), "it is called `input` there"
                )
            return main
        if not others:
            self.problem("the query reads no source and no step", path, "the step before is called `input`")
            return None
        return others[0]

    def _only_source(self, path: ConfigPath) -> str | None:
        if len(self._sources) == 1:
            return next(iter(self._sources))
        names = ", ".join(f"`{name}`" for name in self._sources)
        self.problem(
            "there are several sources and no step; which one is loaded?", path, f"add `from`: one of {names}"
        )
        return None

    def _load(self, name: str, load: Load, path: ConfigPath, step_ids: list[str]) -> None:
        if load.from_ is not None:
            found = self._resolve(load.from_, (*path, "from"))
        else:
            found = step_ids[-1] if step_ids else self._only_source(path)
        if found is not None:
            self.graph.loads.append(LoadDraft(name, load, path, found))

    def _sorted(self, drafts: list[StepDraft]) -> list[StepDraft]:
        """In the order of the config as far as each step comes after what it reads."""
        placed = set(self._sources)
        known = placed | {draft.id for draft in drafts}
        order: list[StepDraft] = []
        waiting = drafts
        while waiting:
            ready = next((d for d in waiting if all(i in placed or i not in known for i in d.inputs)), None)
            if ready is None:
                self._report_cycle(waiting)
                break
            order.append(ready)
            placed.add(ready.id)
            waiting = [draft for draft in waiting if draft is not ready]
        return order

    def _report_cycle(self, waiting: list[StepDraft]) -> None:
        by_id = {draft.id: draft for draft in waiting}
        trail = [waiting[0].id]
        while True:
            following = next(name for name in by_id[trail[-1]].inputs if name in by_id)
            if following in trail:
                break
            trail.append(following)
        circle = trail[trail.index(following) :]
        text = " reads ".join(f"`{name}`" for name in [*circle, following])
        self.problem(f"these steps wait for each other: {text}", by_id[circle[0]].path, "change one `from`")


def _kind(step: PlanStep) -> str:
    return str(getattr(step, "type", type(step).__name__.lower()))


def build_graph(config: PipelineConfig) -> Graph:
    """Ids and references of a config settled; never raises, all faults are in `Graph.problems`."""
    return _Builder(
        {name: (source, ("extract", name)) for name, source in config.extract.items()},
        [(step, ("transform", index)) for index, step in enumerate(config.transform)],
        [(load, ("load", index)) for index, load in enumerate(config.load)],
    ).build()
