"""The queries of one run: what each of them collects, and which go on from which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

import polars as pl

from rayetl.connectors.feeding import Feed
from rayetl.engines.base import TableFinding
from rayetl.engines.polars.counting import Classes, input_key
from rayetl.engines.polars.forks import Fork
from rayetl.engines.polars.frames import Frames
from rayetl.engines.polars.gates import Gate
from rayetl.engines.polars.pouring import Pouring
from rayetl.records import dataclass

Take = Callable[[pl.DataFrame], None]

_GRACE = 0.5
"""Seconds that a run which is told to stop waits for queries in other threads, which need not hear of the
signal. What they still write is in nobody's way, and ends with the process."""


@dataclass(slots=True)
class Query:
    """Sinks that yield nothing, small frames with what to do with each, and the nodes that other queries go
    on from. Its own rows come from `feed`, unless it is the first of its run."""

    frames: Frames
    feed: Feed | None = None
    sinks: list[pl.LazyFrame] = field(default_factory=list)
    measures: list[tuple[pl.LazyFrame, Take]] = field(default_factory=list)
    forks: list[Fork] = field(default_factory=list)
    _found: list[pl.DataFrame] = field(default_factory=list)

    def collect(self) -> None:
        """Collect all of it, and the queries that go on from here."""
        try:
            for fork in self.forks:
                fork.start()
            sinks = [*self.sinks, *(fork.sink(self.frames.add(fork.node)) for fork in self.forks)]
            self._found = pl.collect_all([*sinks, *(frame for frame, _ in self.measures)])[len(sinks) :]
            for fork in self.forks:
                fork.close()
        except BaseException as fault:
            for fork in self.forks:
                fork.abandon(None if isinstance(fault, Exception) else _GRACE)
            raise

    def tell(self) -> None:
        """Do what is to be done with what was found."""
        for result, (_, take) in zip(self._found, self.measures, strict=True):
            take(result)


@dataclass(slots=True)
class Run:
    """The queries of a run, each after the one that feeds it, and what is counted on the way."""

    classes: Classes
    gates: Mapping[str, Gate]
    proved: frozenset[str]
    forks: Mapping[str, Fork]
    queries: list[Query] = field(default_factory=list)
    tables: dict[str, tuple[TableFinding, ...]] = field(default_factory=dict)
    passed: dict[str, int] = field(default_factory=dict)
    poured: dict[str, Pouring] = field(default_factory=dict)
    finishes: list[Callable[[], None]] = field(default_factory=list)
    abandons: list[Callable[[], None]] = field(default_factory=list)
    _givers: dict[str, Query] = field(default_factory=dict)

    def add(self, query: Query, nodes: tuple[str, ...]) -> None:
        """One more query; these nodes are its own."""
        self.queries.append(query)
        for node in nodes:
            self._givers.setdefault(node, query)

    def feed(self, node: str) -> Feed:
        """A way for the rows of a node to one more query."""
        return Feed(self._givers[node].frames.add(node).collect_schema(), node)

    def collect(self) -> None:
        """Do all of it."""
        self._join()
        try:
            self.queries[0].collect()
            for finish in self.finishes:
                finish()
        except BaseException:
            for abandon in self.abandons:
                abandon()
            raise
        for query in self.queries:
            query.tell()
        for fork in self.forks.values():
            if fork.to_end:
                self.classes.take(fork.node, fork.rows)
        for node, gate in self.gates.items():
            gate.close()
            self.classes.take(input_key(node), gate.rows)
            self.classes.take(node, gate.rows - gate.refused)

    def _join(self) -> None:
        """Let each query go on from the one that feeds it."""
        for node, fork in self.forks.items():
            self._givers[node].forks.append(fork)
        for query in self.queries:
            if query.feed is not None:
                self.forks[query.feed.name].readers.append((query.feed, query.collect))
