"""The rows of a node that several parts of a run take, none of them far ahead of the slowest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field

import polars as pl

from rayetl.connectors.feeding import Feed
from rayetl.connectors.scanning import waiting
from rayetl.records import dataclass


@dataclass(slots=True)
class Fork:
    """Hands the rows of `node` to its readers, each with what collects it. It goes on `to_end`, or until
    nobody wants more; `rows` have come."""

    node: str
    to_end: bool
    readers: list[tuple[Feed, Callable[[], None]]] = field(default_factory=list)
    rows: int = 0

    def start(self) -> None:
        """Let all readers begin."""
        for feed, collect in self.readers:
            feed.start(collect)

    def sink(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """A lazy sink for the rows of the node, when the readers have said which columns they want."""
        wanted = {column for feed, _ in self.readers for column in feed.columns()}
        names = [name for name in frame.collect_schema() if name in wanted]
        return waiting((frame.select(names) if names else frame).sink_batches(self._take, lazy=True))

    def close(self) -> None:
        """Wait until all readers are done, after the last rows. Raises what one of them met."""
        for feed, _ in self.readers:
            feed.take(None)
        for feed, _ in self.readers:
            feed.close()

    def abandon(self, patience: float | None) -> None:
        """Let all readers fail, and wait until they have, or for about so many seconds."""
        for feed, _ in self.readers:
            feed.abandon()
        until = None if patience is None else time.monotonic() + patience
        for feed, _ in self.readers:
            feed.wait(None if until is None else max(0.0, until - time.monotonic()))

    def _take(self, rows: pl.DataFrame) -> bool:
        """Whether that is enough."""
        if rows.is_empty():
            return False
        self.rows += rows.height
        wanted = [feed.take(rows) for feed, _ in self.readers]
        return not self.to_end and not any(wanted)
