"""The nodes of a plan as lazy frames: one for the rows a node hands on, one with flags where it checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from rayetl import sql
from rayetl.connectors.formats import scan_files
from rayetl.names import BAD, ROW
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.quality.base import Checked, OnFailure

REFUSING = (OnFailure.ABORT, OnFailure.QUARANTINE)


def any_of(flags: Iterable[str]) -> pl.Expr:
    """TRUE where one of the flag columns is; flags are never NULL."""
    return pl.any_horizontal([pl.col(flag) for flag in flags])


def refusing(checked: Checked) -> tuple[str, ...]:
    """The flags that keep a row from going on."""
    return tuple(check.flag for check in checked.rows if check.on_failure in REFUSING)


class Frames:
    """Lazy frames of the nodes that are asked for, each built once.

    `good` holds the rows that a node hands on. `flagged` holds all rows of a checking node with their
    flag columns; for a source with malformed records the flag is the hidden reason column itself.
    """

    def __init__(self, plan: Plan, given: Mapping[str, pl.LazyFrame] | None = None) -> None:
        self._plan = plan
        self._given = given or {}
        self._columns: dict[str, tuple[str, ...]] = {}
        self.good: dict[str, pl.LazyFrame] = {}
        self.flagged: dict[str, pl.LazyFrame] = {}

    def add(self, node: str) -> pl.LazyFrame:
        """The rows of `node`, after those of everything it reads."""
        if node not in self.good:
            found = self._plan.nodes[node]
            if isinstance(found, SourceNode):
                self._add_source(found)
            elif isinstance(found, StepNode):
                self._add_step(found)
            else:
                return self.visible(found.input)
        return self.good[node]

    def visible(self, node: str) -> pl.LazyFrame:
        """The rows of `node` without hidden columns."""
        schema = self._plan.schema(node)
        assert schema is not None, f"{node} is not known before the run"
        return self._narrow(node, schema.names)

    def _narrow(self, node: str, names: tuple[str, ...]) -> pl.LazyFrame:
        frame = self.add(node)
        return frame if self._columns[node] == names else frame.select(names)

    def _add_source(self, node: SourceNode) -> None:
        names = node.schema.names + ((ROW,) if node.carries_row else ())
        if node.id in self._given:
            frame = self._given[node.id]
        else:
            frame = scan_files(node.scan, position=node.reads_positions, malformed=node.reads_reasons)
        if node.reads_reasons:
            # Each reader of these rows has a filter of its own, which would otherwise go down into a scan of
            # its own: the files would be read three times.
            frame = frame.cache()
            self.flagged[node.id] = frame
            frame = frame.filter(pl.col(BAD).is_null()).select(names)
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
        names = node.schema.names + ((ROW,) if node.carries_row else ())
        if node.checked is not None and node.checked.rows:
            self.flagged[node.id] = frame
            flags = refusing(node.checked)
            frame = (frame.filter(~any_of(flags)) if flags else frame).select(names)
        self.good[node.id] = frame
        self._columns[node.id] = names
