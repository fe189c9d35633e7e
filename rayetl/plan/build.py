"""From a config to a plan: every check that can be made before a row is read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from rayetl import sql
from rayetl.connectors.base import FilesScan, Scan, Source
from rayetl.contracts import ContractConfig
from rayetl.errors import (
    ConfigError,
    ConfigPath,
    CredentialError,
    NoFilesError,
    Problem,
    Retryable,
    RunError,
    SourceError,
    SqlError,
    UnsupportedSqlError,
    at_step,
)
from rayetl.names import ROW
from rayetl.plan.aliases import is_sparse, with_aliases
from rayetl.plan.apart import apart, place_field
from rayetl.plan.checks import contract_of, visible
from rayetl.plan.columns import column_problems
from rayetl.plan.fingerprint import fingerprint
from rayetl.plan.graph import Graph, LoadDraft, SourceDraft, StepDraft, build_graph
from rayetl.plan.growing import growing_problems
from rayetl.plan.nodes import Binding, LoadNode, Plan, SourceNode, StepNode, with_row
from rayetl.plan.positions import carriers, likely_carriers
from rayetl.plan.problems import below, ordered
from rayetl.plan.readings import reading_problems
from rayetl.plan.syntax import syntax_problems
from rayetl.plan.warnings import warnings_of
from rayetl.quality.base import Checked
from rayetl.quality.contract import check_contract, promised_schema
from rayetl.quality.validate import ValidateStep
from rayetl.records import dataclass
from rayetl.sql.analyzed import AnalyzedQuery
from rayetl.sql.faults import UNSUPPORTED
from rayetl.sql.parse import IN_PARTS
from rayetl.sql.types import Schema
from rayetl.stepping import SAME_COLUMNS, Input, RowEffect, StepContext

if TYPE_CHECKING:
    from rayetl.config.models import PipelineConfig

Found = Callable[[StepNode, exp.Query], Sequence[Any] | None]
"""Runs a one-column query over the bindings of a node; `None` when that cannot be done yet."""

Typed = Callable[[exp.Query, Mapping[str, Schema], str], Schema]
"""What Spark makes of a query over tables with these schemas, in a time zone. Raises `SqlError`."""

NO_FILES = "plan.no_files"
"""The code of a source behind whose path there is no file."""

Describe = Callable[[str, Source, Schema | None], Scan]
"""Gives the scan of a source, with its id and the schema that its contract promises."""

TEXT_FORMATS = frozenset({"csv", "json"})
"""Formats whose single records may be malformed."""


class _WaitsError(Exception):
    """A step needs values that cannot be looked up yet."""


def described(_: str, source: Source, promised: Schema | None) -> Scan:
    """The scan as the source describes it."""
    return source.describe(promised)


def build_plan(
    config: PipelineConfig,
    *,
    found: Found | None = None,
    typed: Typed | None = None,
    describe: Describe = described,
) -> Plan:
    """The plan of a config.

    `found` looks up the values a `pivot` without `values` turns into columns; without it such steps wait
    and `Plan.deferred` is true. Nothing else of the data is read than what `Source.describe` reads.
    `typed` is asked for queries that Spark alone can run; without it they are refused.

    Raises `ConfigError` with every problem of the whole config; the `CredentialError` or `Retryable` of a
    source that cannot be reached, if that is the only one.
    """
    graph = build_graph(config)
    now = time.time_ns() // 1000
    compiler = _Compiler(graph, config.time_zone, now, found, typed, describe)
    compiler.run()
    beside = apart(config, compiler.sources.values(), graph.loads)
    problems = [*graph.problems, *compiler.problems, *beside]
    unreached = [Problem("plan", error.message, path, error.hint) for path, error in compiler.unreached]
    if compiler.unreached and not problems and len(unreached) == 1:
        raise compiler.unreached[0][1]
    if problems := [*problems, *unreached]:
        raise ConfigError(ordered(problems))
    plan = Plan(
        name=config.name,
        sources=tuple(compiler.sources.values()),
        steps=tuple(compiler.steps.values()),
        loads=tuple(compiler.loads),
        time_zone=config.time_zone,
        now=now,
        fingerprint="",
    )
    growing = () if plan.deferred else growing_problems(plan, config.run_key)
    if impossible := [*reading_problems(plan), *growing]:
        raise ConfigError(impossible)
    mark = fingerprint(plan, {draft.id: draft.step for draft in graph.steps})
    return replace(plan, fingerprint=mark, warnings=warnings_of(plan, graph, config.resilience.dead_letter))


@dataclass(slots=True)
class _Compiler:
    """Compiles every node in order. Of a node whose inputs failed, what is wrong in itself is told."""

    graph: Graph
    time_zone: str
    now: int
    found: Found | None
    typed: Typed | None
    describe: Describe
    problems: list[Problem] = field(default_factory=list)
    unreached: list[tuple[ConfigPath, RunError]] = field(default_factory=list)
    sources: dict[str, SourceNode] = field(default_factory=dict)
    steps: dict[str, StepNode] = field(default_factory=dict)
    loads: list[LoadNode] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    recipes: dict[str, Callable[[bool], StepNode]] = field(default_factory=dict)
    likely: frozenset[str] = frozenset()

    def run(self) -> None:
        for source in self.graph.sources:
            self._add_source(source)
        self.likely = likely_carriers(self.sources, self.graph)
        for source in self.graph.sources:
            contract = contract_of(source.source)
            if source.id in self.sources and contract is not None:
                self._add_contract(source.id, source.id, contract, (*source.path, "contract"))
        for step in self.graph.steps:
            self._add_step(step)
        for load in self.graph.loads:
            self._add_load(load)
        if not self.problems:
            self._add_positions()

    def _add_source(self, draft: SourceDraft) -> None:
        contract = contract_of(draft.source)
        place = place_field(draft.source)
        promised = None
        try:
            promised = promised_schema(contract) if contract else None
            with at_step(draft.id):
                scan = self.describe(draft.id, draft.source, promised)
        except SqlError as error:
            self._extend(error.problems, (*draft.path, "contract") if promised is None else draft.path)
            return
        except SourceError as error:
            code = NO_FILES if isinstance(error, NoFilesError) else "plan"
            self._fault(error.message, (*draft.path, *(error.path or (place,))), error.hint, code)
            return
        except (CredentialError, Retryable) as error:
            self.unreached.append((draft.path, error))
            return
        if isinstance(scan, FilesScan):
            scan = scan.in_zone(self.time_zone)
            scan = with_aliases(scan, draft.source, contract) if contract else scan
        schema = visible(scan.schema)
        if not self._check_columns(scan.schema, draft.path, hidden=False):
            return
        self.sources[draft.id] = _source_node(draft, scan, schema)
        self.outputs[draft.id] = draft.id

    def _add_contract(self, owner: str, name: str, contract: ContractConfig, path: ConfigPath) -> None:
        """The checked node behind a source, or before a load, and its place in the chain."""
        node_id = f"{owner}.contract"
        bindings = (Binding(name, self.outputs[name]),)

        def compile_it(carry: bool) -> StepNode:
            context = self._context((name,), bindings, path, carry)
            if context is None:
                schemas = self._schemas(bindings)
                return StepNode(node_id, "contract", bindings, RowEffect.FILTERS, path, schemas=schemas)
            source = self.sources.get(bindings[0].node) if owner == name else None
            checked = check_contract(contract, context, sparse=source is not None and is_sparse(source.scan))
            return self._checked(node_id, "contract", bindings, context, checked, RowEffect.FILTERS)

        good = self._compile(node_id, compile_it, path)
        if owner == name:
            self._put_out(owner, node_id, good)

    def _add_step(self, draft: StepDraft) -> None:
        if any(self.outputs.get(name) is None for name in draft.inputs):
            self.problems += syntax_problems(draft.step, draft.path)
            return
        bindings = tuple(Binding(name, self.outputs[name]) for name in dict.fromkeys(draft.inputs))

        def compile_it(carry: bool) -> StepNode:
            return replace(self._compiled_step(draft, bindings, carry), cache=draft.step.cache)

        good = self._compile(draft.id, compile_it, draft.path)
        self._put_out(draft.id, draft.id, good)
        if not good and draft.step.effect in SAME_COLUMNS:
            # What reads the step is right or wrong whatever is wrong with it.
            self.outputs[draft.id] = self.outputs[draft.inputs[0]]

    def _put_out(self, name: str, node_id: str, good: bool) -> None:
        """Readers of `name` get the rows of a node; none if it failed, and then they stay silent."""
        if good:
            self.outputs[name] = node_id
        else:
            self.outputs.pop(name, None)

    def _compile(self, node_id: str, recipe: Callable[[bool], StepNode], path: ConfigPath) -> bool:
        try:
            node = self._compiled(node_id, recipe)
        except SqlError as error:
            self._extend(error.problems, path)
            return False
        except RecursionError:
            message = "the SQL of this step is nested too deeply, or too long a chain of operators"
            self._extend([Problem("sql.syntax", message, hint=IN_PARTS)], path)
            return False
        if not self._check_node(node, path):
            return False
        self.steps[node_id] = node
        self.recipes[node_id] = recipe
        return True

    def _compiled(self, node_id: str, recipe: Callable[[bool], StepNode]) -> StepNode:
        """A node, with positions where it will likely need them; what is wrong is told of it without."""
        if node_id in self.likely:
            with contextlib.suppress(SqlError, RecursionError):
                return recipe(True)
        return recipe(False)

    def _compiled_step(self, draft: StepDraft, bindings: tuple[Binding, ...], carry: bool) -> StepNode:
        schemas = self._schemas(bindings)
        waiting = StepNode(
            *(draft.id, draft.kind, bindings, draft.step.effect, draft.path),
            carries_row=carry,
            schemas=schemas,
        )
        context = self._context(draft.inputs, bindings, draft.path, carry)
        if context is None:
            return waiting
        if isinstance(draft.step, ValidateStep):
            checked = draft.step.to_checked(context)
            return self._checked(draft.id, draft.kind, bindings, context, checked, draft.step.effect)
        try:
            query = draft.step.to_query(replace(context, found=self._finder(waiting)))
        except _WaitsError:
            return waiting
        analyzed = self._analyze(query, context)
        return replace(waiting, query=query, analyzed=analyzed, schema=visible(analyzed.schema))

    def _checked(
        self,
        node_id: str,
        kind: str,
        bindings: tuple[Binding, ...],
        context: StepContext,
        checked: Checked,
        effect: RowEffect,
    ) -> StepNode:
        analyzed = self._analyze(checked.query, context)
        tables = tuple(self._analyze(check.query, context) for check in checked.tables)
        return StepNode(
            *(node_id, kind, bindings, effect, context.path),
            query=checked.query,
            analyzed=analyzed,
            schema=visible(analyzed.schema),
            checked=checked,
            tables=tables,
            carries_row=bool(context.carry),
            schemas=self._schemas(bindings),
        )

    def _context(
        self, names: Sequence[str], bindings: tuple[Binding, ...], path: ConfigPath, carry: bool
    ) -> StepContext | None:
        """`None` while the columns of an input wait for values found in the data."""
        known = {
            binding.name: schema for binding, schema in zip(bindings, self._schemas(bindings), strict=True)
        }
        inputs = []
        for index, name in enumerate(names):
            schema = known[name]
            if schema is None:
                return None
            inputs.append(Input(name, with_row(schema) if carry and index == 0 else schema))
        return StepContext(tuple(inputs), path, (ROW,) if carry else ())

    def _schemas(self, bindings: tuple[Binding, ...]) -> tuple[Schema | None, ...]:
        return tuple(self._node(binding.node).schema for binding in bindings)

    def _node(self, name: str) -> SourceNode | StepNode:
        return self.sources[name] if name in self.sources else self.steps[name]

    def _analyze(self, query: exp.Query, context: StepContext) -> AnalyzedQuery:
        schemas: dict[str, Schema] = {}
        for given in context.inputs:
            assert given.schema is not None
            schemas.setdefault(given.name, given.schema)
        return self._typed_query(query, schemas)

    def _typed_query(self, query: exp.Query, schemas: Mapping[str, Schema]) -> AnalyzedQuery:
        try:
            return sql.analyze(query, schemas, time_zone=self.time_zone, now=self.now)
        except UnsupportedSqlError as error:
            if self.typed is None:
                raise
            found = self.typed(query, schemas, self.time_zone)
            return sql.known_by_spark(schemas, found, error.problems[0].message)
        except SqlError as error:
            if self.typed is None:
                raise
            raise SqlError([each for each in error.problems if each.code != UNSUPPORTED]) from None

    def _finder(self, node: StepNode) -> Callable[[exp.Query], Sequence[Any] | None]:
        def look_up(query: exp.Query) -> Sequence[Any]:
            schemas = {binding.name: schema for binding, schema in node.visible() if schema is not None}
            self._typed_query(query, schemas)
            values = self.found(node, query) if self.found else None
            if values is None:
                raise _WaitsError
            return values

        return look_up

    def _add_load(self, draft: LoadDraft) -> None:
        name = draft.input
        if self.outputs.get(name) is None:
            return
        contract = contract_of(draft.load)
        node_id = self.outputs[name]
        if contract is not None:
            node_id = f"{draft.id}.contract"
            self._add_contract(draft.id, name, contract, (*draft.path, "contract"))
            if node_id not in self.steps:
                return
        schema = self._node(node_id).schema
        if schema is not None:
            self._extend((problem.under(draft.path) for problem in draft.load.check(schema)), ())
        self.loads.append(LoadNode(draft.id, draft.load, node_id, schema, draft.path))

    def _add_positions(self) -> None:
        """Let the hidden position be carried from its source to where rows are refused, and only there."""
        steps = {draft.id: draft.step for draft in self.graph.steps}
        carrying = carriers(self.sources, self.steps, steps, self.loads)
        for name, source in self.sources.items():
            if name in carrying:
                self.sources[name] = replace(source, carries_row=True, reads_positions=True)
        for name, node in self.steps.items():
            if node.carries_row != (name in carrying):
                self.steps[name] = self.recipes[name](name in carrying)

    def _check_node(self, node: StepNode, path: ConfigPath) -> bool:
        return node.schema is None or self._check_columns(node.schema, path, hidden=True)

    def _check_columns(self, schema: Schema, path: ConfigPath, *, hidden: bool) -> bool:
        found = [*column_problems(schema, path, hidden=hidden)]
        self.problems += found
        return not found

    def _fault(self, message: str, path: ConfigPath, hint: str | None = None, code: str = "plan") -> None:
        self.problems.append(Problem(code, message, path=path, hint=hint))

    def _extend(self, problems: Iterable[Problem], path: ConfigPath) -> None:
        self.problems.extend(below(problem, path) for problem in problems)


def _source_node(draft: SourceDraft, scan: Scan, schema: Schema) -> SourceNode:
    reasons = scan.format in TEXT_FORMATS and scan.mode != "fail"
    return SourceNode(
        id=draft.id,
        source=draft.source,
        scan=scan,
        schema=schema,
        path=draft.path,
        reads_positions=reasons and scan.mode == "permissive",
        reads_reasons=reasons,
    )
