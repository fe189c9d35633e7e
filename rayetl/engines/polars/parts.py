"""Which nodes of a run one query serves, and where another one goes on.

A query keeps for the slower of two readers of a node whatever the quicker one has had, which may come to all
rows. So at a node that several read one query ends and others begin, and the quicker ones wait.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlglot import exp

from rayetl.connectors.base import FilesScan
from rayetl.plan.nodes import Plan, StepNode
from rayetl.records import dataclass

MOST = 64
"""Of how many parts a run is made at most. Each that waits for rows holds one of Polars' 512 threads."""

Reads = Mapping[str, Collection[str]]
"""The nodes that each step and load reads."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one query serves. It is handed the rows of `feed`, a node of an earlier part; the first part of a
    run is handed none."""

    nodes: tuple[str, ...]
    loads: tuple[str, ...]
    feed: str | None = None


def parts(plan: Plan, needed: Sequence[str], loads: Collection[str]) -> list[Part]:
    """The parts of a run that needs these nodes, each after the one that feeds it."""
    wanted = {*needed, *loads}
    reads: dict[str, Collection[str]] = {step.id: step.inputs for step in plan.steps if step.id in wanted}
    reads |= {load.id: (load.input,) for load in plan.loads if load.id in wanted}
    readers = Counter(node for inputs in reads.values() for node in inputs)
    sources = [source for source in plan.sources if source.id in wanted and not source.reads_reasons]
    bare = {source.id for source in sources}
    again = {source.id for source in sources if isinstance(source.scan, FilesScan)}
    ends: set[str] = set()
    found = [Part(tuple(needed), tuple(load.id for load in plan.loads if load.id in wanted))]
    for node in needed:
        if readers[node] > 1 and not (node in bare and _all_filter(plan, node, reads)):
            more = _parted(needed, reads, again - {*ends, node}, ends | {node})
            if more is not None and len(more) <= MOST:
                found, ends = more, ends | {node}
    return found


def _all_filter(plan: Plan, node: str, reads: Reads) -> bool:
    """Whether every reader wants some of the rows only. Each asks its source for them, then."""
    readers = [plan.nodes[reader] for reader, inputs in reads.items() if node in inputs]
    return all(
        isinstance(reader, StepNode) and reader.query is not None and reader.query.find(exp.Where) is not None
        for reader in readers
    )


def _parted(
    needed: Sequence[str], reads: Reads, again: Collection[str], ends: Collection[str]
) -> list[Part] | None:
    """The parts that end at the nodes `ends`; `None` where a run cannot be cut there. No part is fed by two
    others, nor by one that it feeds: they would wait for each other. Sources `again` are read by each part
    that wants their rows."""
    groups = _groups([*needed, *reads], reads, {*again, *ends})
    feeds = {
        key: {node for name in names for node in reads.get(name, ()) if node in ends}
        for key, names in groups.items()
    }
    fed = Counter(node for nodes in feeds.values() for node in nodes)
    if any(len(nodes) > 1 for nodes in feeds.values()) or any(fed[node] < 2 for node in ends):
        return None

    nodes = set(needed)

    def part(names: Collection[str], feed: str | None) -> Part:
        own = {*names, *(node for name in names for node in reads.get(name, ()) if node in again)} - {feed}
        return Part(
            tuple(node for node in needed if node in own),
            tuple(name for name in names if name not in nodes),
            feed,
        )

    first = [name for key, names in groups.items() if not feeds[key] for name in names]
    found, placed = [part([name for name in first if name in ends or name not in again], None)], set(first)
    waiting = {key: node for key, nodes in feeds.items() for node in nodes}
    while waiting:
        ready = [key for key, node in waiting.items() if node in placed]
        if not ready:
            return None
        for key in ready:
            found.append(part(groups[key], waiting.pop(key)))
            placed.update(groups[key])
    return found


def _groups(names: Iterable[str], reads: Reads, apart: Collection[str]) -> dict[str, list[str]]:
    """The names that hang together when nobody reads what is `apart`, by one of each group."""
    above = {name: name for name in names}

    def top(name: str) -> str:
        while above[name] != name:
            above[name] = name = above[above[name]]
        return name

    for reader, inputs in reads.items():
        for node in inputs:
            if node not in apart:
                above[top(reader)] = top(node)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in above:
        groups[top(name)].append(name)
    return groups
