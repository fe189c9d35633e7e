"""The nodes of a plan as lazy frames: one for the rows a node hands on, one with flags where it checks."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import polars as pl

from rayetl import sql
from rayetl.connectors.base import FilesScan
from rayetl.connectors.formats import scan_files
from rayetl.engines.polars.batches import Batches
from rayetl.engines.polars.gates import Gate
from rayetl.names import BAD, ROW
from rayetl.plan.nodes import LoadNode, Node, Plan, SourceNode, StepNode
from rayetl.quality.base import Checked, OnFailure

REFUSING = (OnFailure.ABORT, OnFailure.QUARANTINE)


def any_of(flags: Iterable[str]) -> pl.Expr:
    """TRUE where one of the flag columns is; flags are never NULL."""
    return pl.any_horizontal([pl.col(flag) for flag in flags])


def refusing(checked: Checked) -> tuple[str, ...]:
    """The flags that keep a row from going on."""
    return tuple(check.flag for check in checked.rows if check.on_failure in REFUSING)


def handed_on(node: SourceNode | StepNode) -> tuple[str, ...]:
    """The columns that the readers of a node get, the hidden position among them."""
    assert node.schema is not None, f"{node.id} is not known before the run"
    return node.schema.names + ((ROW,) if node.carries_row else ())


def _read_by(node: Node) -> tuple[str, ...]:
    if isinstance(node, SourceNode):
        return ()
    return (node.input,) if isinstance(node, LoadNode) else node.inputs


def _same(batch: pl.DataFrame) -> pl.DataFrame:
    return batch


class Frames:
    """Lazy frames of the nodes that are asked for, each built once.

    `good` holds the rows that a node hands on. `flagged` holds all rows of a checking node with their
    flag columns; for a source with malformed records the flag is the hidden reason column itself. Rows
    of a node in `gates` pass through its gate, which must see each of them once: a node in `shared`
    is computed once for all its readers, and so it is behind a frame that was taken from somewhere else. The
    checks of `proved` nodes are not looked at. `batches` are the readings of a run; without them, each scan
    of a service is a reading of its own.
    """

    def __init__(
        self,
        plan: Plan,
        gates: Mapping[str, Gate] | None = None,
        shared: Container[str] = (),
        proved: Container[str] = (),
        batches: Batches | None = None,
    ) -> None:
        self._plan = plan
        self._gates = gates or {}
        self._shared = shared
        self._proved = proved
        self._batches = batches or Batches()
        self._columns: dict[str, tuple[str, ...]] = {}
        self._gated: set[str] = set()
        self.good: dict[str, pl.LazyFrame] = {}
        self.flagged: dict[str, pl.LazyFrame] = {}

    def add(self, node: str) -> pl.LazyFrame:
        """The rows of `node`, after those of everything it reads. A chain of steps can be hundreds long, so
        what is waiting for its inputs is kept in a list."""
        waiting = [node]
        while waiting:
            found = self._plan.nodes[waiting[-1]]
            missing = [each for each in _read_by(found) if each not in self.good]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if found.id not in self.good and not isinstance(found, LoadNode):
                self._add_one(found)
        found = self._plan.nodes[node]
        return self.visible(found.input) if isinstance(found, LoadNode) else self.good[node]

    def _add_one(self, node: SourceNode | StepNode) -> None:
        if isinstance(node, SourceNode):
            self._add_source(node)
        else:
            self._add_step(node)
        self._note_gates(node)
        if node.id in self._shared and (self._gates or self._gated):
            self.good[node.id] = self._once(node.id)

    def take(self, node: str, frame: pl.LazyFrame) -> None:
        """Let `frame`, which can be read once, be the rows that `node` hands on."""
        found = self._plan.nodes[node]
        assert isinstance(found, SourceNode | StepNode)
        self._columns[node] = handed_on(found)
        self._gated.add(node)
        self.good[node] = frame
        if node in self._shared:
            self.good[node] = self._once(node)

    def _note_gates(self, node: SourceNode | StepNode) -> None:
        if node.id in self._gates or any(each in self._gated for each in _read_by(node)):
            self._gated.add(node.id)

    def _once(self, node: str) -> pl.LazyFrame:
        """The rows of a node, computed once. Where its readers filter by different conditions, Polars would
        rather read twice than filter late, and takes the cache away; a gate would then see its rows twice,
        and what is handed over once would be asked for again."""
        frame = self.good[node].cache()
        if node not in self._gated:
            return frame
        return frame.map_batches(_same, predicate_pushdown=False, slice_pushdown=False, streamable=True)

    def visible(self, node: str) -> pl.LazyFrame:
        """The rows of `node` without hidden columns."""
        schema = self._plan.schema(node)
        assert schema is not None, f"{node} is not known before the run"
        return self._narrow(node, schema.names)

    def placed(self, load: str) -> pl.LazyFrame:
        """The rows that a load takes, with their position where they have one."""
        found = self._plan.nodes[load]
        assert isinstance(found, LoadNode)
        giver = self._plan.nodes[found.input]
        assert isinstance(giver, SourceNode | StepNode)
        return self._narrow(giver.id, handed_on(giver))

    def _narrow(self, node: str, names: tuple[str, ...]) -> pl.LazyFrame:
        frame = self.add(node)
        return frame if self._columns[node] == names else frame.select(names)

    def _add_source(self, node: SourceNode) -> None:
        names = handed_on(node)
        if not isinstance(node.scan, FilesScan):
            self.good[node.id] = self._batches.scan(node.id, node.scan)
            self._columns[node.id] = names
            return
        frame = scan_files(node.scan, position=node.reads_positions, malformed=node.reads_reasons)
        if node.reads_reasons:
            self.flagged[node.id] = frame
            frame = self._passing(node, frame, pl.col(BAD).is_not_null())
        elif node.reads_positions and not node.carries_row:
            frame = frame.select(names)
        self.good[node.id] = frame
        self._columns[node.id] = names

    def inputs(self, node: StepNode) -> dict[str, pl.LazyFrame]:
        """The frames behind the table names of a step's query."""
        frames = {}
        for binding, schema in node.visible():
            assert schema is not None, f"{binding.node} is not known before the run"
            frames[binding.name] = self._narrow(binding.node, schema.names)
        return frames

    def _add_step(self, node: StepNode) -> None:
        assert node.analyzed is not None
        assert node.schema is not None
        frame = sql.lower(node.analyzed, self.inputs(node))
        names = handed_on(node)
        if node.id in self._proved:
            frame = frame.select(names)
        elif node.checked is not None and node.checked.rows:
            self.flagged[node.id] = frame
            flags = refusing(node.checked)
            frame = self._passing(node, frame, any_of(flags) if flags else pl.lit(False))
        self.good[node.id] = frame
        self._columns[node.id] = names

    def _passing(self, node: SourceNode | StepNode, frame: pl.LazyFrame, refused: pl.Expr) -> pl.LazyFrame:
        """The good rows of a checking node without its flags."""
        names = handed_on(node)
        gate = self._gates.get(node.id)
        if gate is None:
            return frame.filter(~refused).select(names)
        return gate.passing(frame, refused, names)
