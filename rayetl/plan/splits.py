"""Which plans can be run split by split, and how their source is cut.

A plan streams from a source when every row that reaches a load or a check comes of a single row of it, and
of inputs that are the same for all its rows. Then its files, the row groups of large Parquet files, or
the ranges of a table can be put through the plan one after the other, or at the same time, and what comes out
is what comes out of all of them at once. Whether a step streams is read off its analyzed query, not off its
verb.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from rayetl.connectors.base import BatchScan, FilesScan, InputFile, Scan
from rayetl.connectors.formats import row_groups
from rayetl.errors import at_step
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.records import dataclass
from rayetl.sql import relations

SPLIT_BYTES = 64 * 1024 * 1024
"""Bytes of a split, about, unless the run says otherwise."""

FIXED_BYTES = 64 * 1024 * 1024
"""Bytes of files that every split may read again for its joins."""

_KEPT_SIDES = {
    "inner": ("left", "right"),
    "left": ("left",),
    "right": ("right",),
    "semi": ("left",),
    "anti": ("left",),
}
"""The sides of each kind of join that may stream while the other one is fixed."""


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a source: a scan of some of its files, of some row groups of one, or of a range of a table.
    `bytes` is 0 where nobody knows."""

    number: int
    scan: Scan
    bytes: int


@dataclass(frozen=True, slots=True)
class Splits:
    """How a plan is cut: the source, the nodes whose rows come of it, and its parts in order. Those of a
    service are known when it is `opened`; they are of one `moment`, the like of which never comes again."""

    source: str
    streaming: frozenset[str]
    parts: tuple[Split, ...] = ()
    moment: str = ""

    def plan_of(self, plan: Plan, split: Split) -> Plan:
        """The plan over one part of the source."""
        sources = (
            replace(node, scan=split.scan) if node.id == self.source else node for node in plan.sources
        )
        return replace(plan, sources=tuple(sources))

    @property
    def lasting(self) -> bool:
        """Whether whoever cuts the plan again gets the same parts."""
        return bool(self.parts) and not self.moment

    @contextmanager
    def opened(self, plan: Plan) -> Iterator[Splits]:
        """With all parts, which any process may read until the context ends. Raises as a scan's `open`."""
        scan = next(node.scan for node in plan.sources if node.id == self.source)
        if isinstance(scan, FilesScan):
            yield self
            return
        with ExitStack() as stack:
            with at_step(self.source):
                scans = stack.enter_context(scan.parts())
            parts = tuple(Split(number, part, 0) for number, part in enumerate(scans))
            yield replace(self, parts=parts, moment=secrets.token_hex(8))


def cut(plan: Plan, size: int = SPLIT_BYTES) -> Splits | str:
    """The plan in splits of about `size` bytes, or why it runs as one piece."""
    services = [node for node in plan.sources if isinstance(node.scan, BatchScan)]
    whole = [node for node in services if isinstance(node.scan, BatchScan) and node.scan.ranges is None]
    if whole or len(services) > 1:
        return f"{(whole or services[1:])[0].id} is read at one moment, which splits would not share"
    source = services[0] if services else max(plan.sources, key=_bytes)
    others = sum(_bytes(node) for node in plan.sources if node is not source)
    streaming = _streaming(plan, source.id)
    if isinstance(streaming, str):
        return streaming
    if others > FIXED_BYTES:
        return f"every split would read {others} bytes of other sources again"
    if not isinstance(source.scan, FilesScan):
        return Splits(source.id, streaming)
    parts = cut_files(source.scan, size)
    if len(parts) < 2:
        return f"{source.id} is small enough for one task"
    return Splits(source.id, streaming, parts)


def _bytes(node: SourceNode) -> int:
    return sum(file.size for file in node.scan.files) if isinstance(node.scan, FilesScan) else 0


# What streams


def _streaming(plan: Plan, source: str) -> frozenset[str] | str:
    """The nodes whose rows come of `source`, or what makes one of them need all of its rows at once."""
    found = rows_of(plan, source)
    for step in plan.steps:
        if step.id not in found:
            continue
        if why := "checks all rows together" if step.tables else obstacle(step, found):
            return f"{step.id} ({step.kind}) {why}"
    for load in plan.loads:
        if load.input not in found:
            return f"{load.id} takes no rows of {source}"
    return found


def rows_of(plan: Plan, source: str) -> frozenset[str]:
    """A source and the steps that read rows of it, from it or from one another."""
    found = {source}
    for step in plan.steps:
        if found.intersection(step.inputs):
            found.add(step.id)
    return frozenset(found)


def obstacle(step: StepNode, streaming: frozenset[str]) -> str | None:
    """Why the query of a step needs more than a row at a time of the nodes in `streaming`; `None` if it does
    not."""
    if step.analyzed is None:
        return "waits for values found in the data"
    tables = {binding.name.lower() for binding in step.bindings if binding.node in streaming}
    return _needs(step.analyzed.plan, tables)


def _needs(relation: relations.Relation, streaming: set[str]) -> str | None:
    """Why a relation needs more than a row at a time of the tables in `streaming`; `None` if it does not."""
    if not _reads(relation, streaming):
        return None
    match relation:
        case relations.Input():
            return None
        case relations.Filter(input=below) | relations.Project(input=below) | relations.Generate(input=below):
            return _needs(below, streaming)
        case relations.Attach(input=below, single=single):
            return "looks up a value of all rows" if _reads(single, streaming) else _needs(below, streaming)
        case relations.Join():
            return _join_needs(relation, streaming)
        case relations.SetOperation(left=left, right=right, kind="union", distinct=False):
            if not (_reads(left, streaming) and _reads(right, streaming)):
                return "adds rows of another source"
            return _needs(left, streaming) or _needs(right, streaming)
        case relations.SparkOnly():
            return "is a query of which Spark alone knows what it needs"
    return f"needs all rows at once ({type(relation).__name__.lower()})"


def _join_needs(join: relations.Join, streaming: set[str]) -> str | None:
    left, right = _reads(join.left, streaming), _reads(join.right, streaming)
    if left and right:
        return "joins rows of the source with one another"
    side = "left" if left else "right"
    if side not in _KEPT_SIDES.get(join.kind, ()):
        return f"is a {join.kind} join that keeps rows of the other side"
    return _needs(join.left if left else join.right, streaming)


def _reads(relation: relations.Relation, tables: set[str]) -> bool:
    return any(isinstance(part, relations.Input) and part.table.lower() in tables for part in relation.walk())


# Cutting


def cut_files(scan: FilesScan, size: int) -> tuple[Split, ...]:
    """Parts of about `size` bytes: small files together, large Parquet files by their row groups. Together
    they have every row once, at the position that it has in the scan."""
    cuts: list[tuple[int, tuple[InputFile, ...], int]] = []
    open_cut = False
    for number, file in enumerate(scan.files):
        large = scan.format == "parquet" and file.size > size
        pieces = list(_pieces(file, size)) if large else []
        if len(pieces) > 1:
            cuts += ((number, (piece,), weight) for piece, weight in pieces)
            open_cut = False
        elif open_cut and cuts[-1][2] + file.size <= size:
            first, files, weight = cuts[-1]
            cuts[-1] = (first, (*files, file), weight + file.size)
        else:
            cuts.append((number, (file,), file.size))
            open_cut = True
    return tuple(
        Split(number, replace(scan, files=files, first_file=first), weight)
        for number, (first, files, weight) in enumerate(cuts)
    )


def _pieces(file: InputFile, size: int) -> Iterator[tuple[InputFile, int]]:
    """Runs of row groups of a file with the bytes of each, by their share of the file."""
    groups = row_groups(file)
    whole = sum(weight for _, weight in groups) or 1
    first = rows = held = 0
    for count, weight in groups:
        share = weight * file.size // whole
        if rows and held + share > size:
            yield replace(file, first=first, count=rows), held
            first, rows, held = first + rows, 0, 0
        rows, held = rows + count, held + share
    if rows:
        yield replace(file, first=first, count=rows), held
