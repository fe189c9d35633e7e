"""What is said when the query engine fails: one sentence, with the source or step that it was."""

from __future__ import annotations

import errno
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from rayetl.connectors.base import FilesScan, Scan
from rayetl.connectors.formats import find_damage
from rayetl.engines.polars.frames import Frames
from rayetl.errors import Terminal
from rayetl.plan.nodes import Plan, SourceNode, StepNode

FAULTS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ArithmeticError)
"""What a query ends with that cannot be done."""

_REPORT = "run again with --debug for the details; nothing was committed"
_DISK = "see to {places}, then run again; nothing was committed"
_LONG = (
    "a value of a column in `partition_by` is too long to name a directory: shorten it in a select step, or "
    "partition by another column; nothing was committed"
)


@contextmanager
def told_plainly(
    plan: Plan, nodes: Callable[[], Sequence[str]], written: Sequence[str] = ()
) -> Iterator[None]:
    """Faults of the query engine as one sentence of ours; that of a damaged file names the file, any other
    the first of `nodes` (in the order of the plan) that fails with the same words when run again. `written`
    are the places that the query writes to."""
    try:
        yield
    except FAULTS as fault:
        for source in plan.sources:
            if isinstance(source.scan, FilesScan) and (damage := find_damage(source.scan)):
                raise damage from fault
        of_disk = _is_of_disk(fault)
        step = None if of_disk else _first_failing(plan, nodes(), fault)
        places = f"the disk of {' and of '.join(written)}" if written else "the disk or file it names"
        hint = _hint(fault, places)
        raise Terminal(f"the query failed: {_first_line(fault)}", hint=hint, step=step) from fault


@contextmanager
def told_at(node: str, scan: Scan | None = None) -> Iterator[None]:
    """The same for the part of a query that is the source or load `node`, of which it reads `scan`."""
    try:
        yield
    except FAULTS as fault:
        if isinstance(scan, FilesScan) and (damage := find_damage(scan)):
            raise damage from fault
        hint = _hint(fault, "the disk or file it names")
        raise Terminal(f"the query failed: {_first_line(fault)}", hint=hint, step=node) from fault


def _hint(fault: BaseException, places: str) -> str:
    if not _is_of_disk(fault):
        return _REPORT
    told = (f"(os error {errno.ENAMETOOLONG})", f"[Errno {errno.ENAMETOOLONG}]")
    return _LONG if any(each in _first_line(fault) for each in told) else _DISK.format(places=places)


def _is_of_disk(fault: BaseException) -> bool:
    """Whether the system refused to read or write; writers of files wrap what it says in faults of theirs."""
    return isinstance(fault, OSError) or re.search(r"\(os error \d+\)", _first_line(fault)) is not None


def behind(plan: Plan, ids: Iterable[str]) -> list[str]:
    """`ids` and everything they read, each after what it reads."""
    wanted = set(ids)
    for step in reversed(plan.steps):
        if step.id in wanted:
            wanted.update(step.inputs)
    nodes: tuple[SourceNode | StepNode, ...] = (*plan.sources, *plan.steps)
    return [node.id for node in nodes if node.id in wanted]


def _first_failing(plan: Plan, nodes: Sequence[str], fault: BaseException) -> str | None:
    """Found by halving, so that a failed run costs a few more at most."""

    def fails(count: int) -> bool:
        said = _fault_of(plan, nodes[:count])
        return said is not None and _first_line(said) == _first_line(fault)

    found = bisect_left(range(1, len(nodes) + 1), True, key=fails)
    return _owner(plan, nodes[found]) if found < len(nodes) else None


def _fault_of(plan: Plan, nodes: Sequence[str]) -> BaseException | None:
    """What goes wrong when every column of these nodes is computed and nothing is kept."""
    frames = Frames(plan)
    try:
        for node in nodes:
            frames.add(node)
        every = [frames.flagged.get(node, frames.good[node]) for node in nodes]
        pl.collect_all([frame.select(pl.all().null_count()) for frame in every], engine="streaming")
    except FAULTS as fault:
        return fault
    return None


def _owner(plan: Plan, node: str) -> str:
    """The id as the config knows it: a contract belongs to its source or load."""
    found = plan.nodes[node]
    return (
        node.removesuffix(".contract") if isinstance(found, StepNode) and found.kind == "contract" else node
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
