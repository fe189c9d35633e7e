"""Counting rows without reading them twice.

Nodes that hand on every row they get have the same count. Such nodes form a class; a class is counted by
what is at hand (the footers of its files, the rows that passed into a load's files, the flags of a
checking node) and only where nothing is, by a query that shares the scan. Where a class has several
counts they were taken independently and must agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from rayetl.errors import BooksError
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.steps.base import RowEffect


def load_key(load: str) -> str:
    """The name under which a load's staged rows are counted; apart from the names of nodes."""
    return f"load:{load}"


def input_key(node: str) -> str:
    """The name under which the rows that come into a checking node are counted."""
    return f"into:{node}"


class Classes:
    """The nodes of a plan in classes of equal row counts, and the counts that were taken. The checks of
    `proved` nodes refuse nothing."""

    def __init__(
        self, plan: Plan, nodes: Iterable[str], loads: Iterable[str], proved: Collection[str]
    ) -> None:
        self._proved = proved
        self._parent: dict[str, str] = {}
        self._taken: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._expected: set[str] = set()
        for node in nodes:
            self._join(plan, node)
        for load in plan.loads:
            if load.id in set(loads):
                self._union(load.input, load_key(load.id))

    def _join(self, plan: Plan, node: str) -> None:
        self._find(node)
        found = plan.nodes[node]
        if isinstance(found, StepNode):
            if found.checked is not None and node not in self._proved:
                self._union(found.main, input_key(node))
            elif node in self._proved or found.effect is RowEffect.KEEPS:
                self._union(found.main, node)
        elif isinstance(found, SourceNode) and found.reads_reasons:
            self._find(input_key(node))

    def _find(self, name: str) -> str:
        root = self._parent.setdefault(name, name)
        while root != self._parent[root]:
            root = self._parent[root]
        self._parent[name] = root
        return root

    def _union(self, left: str, right: str) -> None:
        self._parent[self._find(right)] = self._find(left)

    def will_take(self, name: str) -> None:
        """Promise that a count of `name` will be taken, so that its class needs no query."""
        self._expected.add(self._find(name))

    def uncounted(self, nodes: Iterable[str]) -> list[str]:
        """One node of each class that nothing counts yet."""
        chosen: dict[str, str] = {}
        for node in nodes:
            root = self._find(node)
            if root not in self._expected:
                chosen.setdefault(root, node)
        return list(chosen.values())

    def take(self, name: str, rows: int) -> None:
        """Note that `rows` rows were counted at `name`."""
        self._taken[self._find(name)].append((name, rows))

    def rows(self, name: str) -> int:
        """The count of the class of `name`. Raises `BooksError` where two counts of it differ."""
        taken = self._taken[self._find(name)]
        first_name, first = taken[0]
        for other_name, other in taken[1:]:
            if other != first:
                raise BooksError(
                    f"{first_name} counted {first} rows, {other_name} {other}; they must be the same",
                    hint="nothing was committed; please report this with the config and the run's report",
                )
        return first
