"""The plan: the checked, immutable graph that is made from a config and that engines run.

How an engine reads it
----------------------
- `Plan.sources`, then `Plan.steps` (every step after what it reads), then `Plan.loads`.
- A `SourceNode` is a scan. With `reads_positions` the scan must add the hidden position column `ROW`,
  with `reads_reasons` also `BAD`; the rows that have a reason are the source's own rejects and are taken
  out before any step sees them. `BAD` never leaves the source.
- A `StepNode` is one query. `bindings` says which node stands behind each table name of the query. The
  columns a binding shows are those of `StepNode.visible`: the first binding keeps `ROW` if the step has
  `carries_row`, every other one never has it. A frame with more columns is cut down to these first.
- A step with `checked` (a validate step or a contract) gives flagged rows: `query` is `checked.query` and
  `schema` already is that of its good rows, without the flags. `tables` are the analyzed queries of
  `checked.tables`, in the same order and over the same bindings.
- A `LoadNode` takes the visible columns of its `input`.
- A step whose `query` is `None` cannot be known before values are looked up in the data (a `pivot`
  without `values`, and all that follows it). `Plan.deferred` is then true, and `build_plan` must be called
  again with `found` before the plan can run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from rayetl.errors import ConfigPath, Problem
from rayetl.names import ROW
from rayetl.records import dataclass
from rayetl.sql.types import LONG, Field, Schema
from rayetl.stepping import RowEffect

if TYPE_CHECKING:
    from sqlglot import exp

    from rayetl.connectors.base import Load, Scan, Source
    from rayetl.quality.base import Checked
    from rayetl.sql.analyzed import AnalyzedQuery

ROW_FIELD = Field(ROW, LONG)


@dataclass(frozen=True, slots=True)
class SourceNode:
    """An input as it is read. `schema` has the visible columns only.

    `carries_row`: the rows handed on keep their position. `reads_positions` may be true without it, when
    only the malformed records themselves need to be found again.
    """

    id: str
    source: Source
    scan: Scan
    schema: Schema
    path: ConfigPath
    carries_row: bool = False
    reads_positions: bool = False
    reads_reasons: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """The table `name` of a query is the rows of `node`."""

    name: str
    node: str


@dataclass(frozen=True, slots=True)
class StepNode:
    """One query over the rows of earlier nodes.

    `kind` is the verb, or `contract` for the node that a contract of a source or load becomes (its id is
    that of the source or load and `.contract`). `schema` has the visible columns; `None` with `query` while
    the step waits for values found in the data. `path` is the step's place in the config. `cache` says
    whether an engine that can keep rows for further readers does; `None` leaves it to the engine.
    """

    id: str
    kind: str
    bindings: tuple[Binding, ...]
    effect: RowEffect
    path: ConfigPath
    query: exp.Query | None = None
    analyzed: AnalyzedQuery | None = None
    schema: Schema | None = None
    checked: Checked | None = None
    tables: tuple[AnalyzedQuery, ...] = ()
    carries_row: bool = False
    schemas: tuple[Schema | None, ...] = ()
    cache: bool | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The ids of the nodes that are read, the main one first, each once."""
        return tuple(dict.fromkeys(binding.node for binding in self.bindings))

    @property
    def main(self) -> str:
        return self.bindings[0].node

    def visible(self) -> Iterator[tuple[Binding, Schema | None]]:
        """Each binding with the columns that the query sees behind it."""
        for index, (binding, schema) in enumerate(zip(self.bindings, self.schemas, strict=True)):
            yield binding, with_row(schema) if schema and self.carries_row and index == 0 else schema


@dataclass(frozen=True, slots=True)
class LoadNode:
    """An output: the visible columns of the node `input`. `schema` is `None` while that one's is."""

    id: str
    load: Load
    input: str
    schema: Schema | None
    path: ConfigPath


Node = SourceNode | StepNode | LoadNode


@dataclass(frozen=True)
class Plan:
    """A pipeline that has passed every check that can be made before rows are read.

    `now` is the time that its queries see, in microseconds since 1970. `fingerprint` changes when the config
    would give other rows from the same input. `warnings` are findings that do not stop a run.
    """

    name: str
    sources: tuple[SourceNode, ...]
    steps: tuple[StepNode, ...]
    loads: tuple[LoadNode, ...]
    time_zone: str
    now: int
    fingerprint: str
    warnings: tuple[Problem, ...] = ()

    @property
    def deferred(self) -> bool:
        """Whether some step waits for values found in the data."""
        return any(step.query is None for step in self.steps)

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Every node by its id."""
        every: list[Node] = [*self.sources, *self.steps, *self.loads]
        return {node.id: node for node in every}

    def schema(self, node: str) -> Schema | None:
        """The visible columns of a node's rows."""
        return self.nodes[node].schema

    def readers(self, node: str) -> tuple[StepNode | LoadNode, ...]:
        """The steps and loads that read a node."""
        steps = [step for step in self.steps if node in step.inputs]
        return (*steps, *(load for load in self.loads if load.input == node))


def with_row(schema: Schema) -> Schema:
    """The same columns and the hidden position."""
    return Schema((*schema.fields, ROW_FIELD))
