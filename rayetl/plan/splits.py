"""Which plans can be run split by split, and how their source is cut.

A plan streams from a source when every row that reaches a load or a check comes of a single row of it, and
of inputs that are the same for all its rows. Then its files, the row groups of large Parquet files, or
the ranges of a table can be put through the plan one after the other, or at the same time, and what comes out
is what comes out of all of them at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from rayetl.connectors.base import BatchScan, FilesScan, InputFile, Scan
from rayetl.connectors.formats import row_groups
from rayetl.errors import ConfigError, Problem, at_step
from rayetl.observability import text
from rayetl.plan.nodes import Plan, SourceNode
from rayetl.plan.streaming import streaming_from
from rayetl.records import dataclass

SPLIT_BYTES = 64 * 1024 * 1024
"""Bytes of a split, about, unless the run says otherwise."""

FIXED_BYTES = 64 * 1024 * 1024
"""Bytes of files that every split may read again for its joins."""


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


def size_for(engine: str, asked: int | None) -> int:
    """The bytes of a split. Raises `ConfigError` where a size is asked of Spark."""
    if asked is None:
        return SPLIT_BYTES
    if engine == "spark":
        problem = Problem(
            "engine.splits",
            "with `engine: spark` nothing is cut by --split-size: Spark cuts what it reads",
            ("engine",),
            "leave --split-size out, or write engine: {type: spark, "
            f"conf: {{spark.sql.files.maxPartitionBytes: {asked}}}}}",
        )
        raise ConfigError([problem])
    return asked


def cut(plan: Plan, size: int = SPLIT_BYTES) -> Splits | str:
    """The plan in splits of about `size` bytes, or why it runs as one piece."""
    services = [node for node in plan.sources if isinstance(node.scan, BatchScan)]
    whole = [node for node in services if isinstance(node.scan, BatchScan) and node.scan.ranges is None]
    if whole or len(services) > 1:
        return f"{(whole or services[1:])[0].id} is read at one moment, which splits would not share"
    source = services[0] if services else max(plan.sources, key=_bytes)
    others = sum(_bytes(node) for node in plan.sources if node is not source)
    streaming = streaming_from(plan, source.id)
    if isinstance(streaming, str):
        return streaming
    if others > FIXED_BYTES:
        return f"every split would read {text.size(others)} of other sources again"
    if not isinstance(source.scan, FilesScan):
        return Splits(source.id, streaming)
    parts = cut_files(source.scan, size)
    if len(parts) < 2:
        if _bytes(source) > size:
            return f"{source.id} cannot be cut: splits are whole files, and row groups of Parquet"
        return f"{source.id} is small enough for one task"
    return Splits(source.id, streaming, parts)


def _bytes(node: SourceNode) -> int:
    return sum(file.size for file in node.scan.files) if isinstance(node.scan, FilesScan) else 0


# Cutting


def cut_files(scan: FilesScan, size: int) -> tuple[Split, ...]:
    """Parts of about `size` bytes: small files together, large Parquet files by their row groups. Together
    they have every row once, at the position that it has in the scan."""
    cuts: list[tuple[int, list[InputFile], int]] = []
    open_cut = False
    for number, file in enumerate(scan.files):
        large = scan.format == "parquet" and file.size > size
        pieces = list(_pieces(file, size)) if large else []
        if len(pieces) > 1:
            cuts += ((number, [piece], weight) for piece, weight in pieces)
            open_cut = False
        elif open_cut and cuts[-1][2] + file.size <= size:
            first, files, weight = cuts[-1]
            files.append(file)
            cuts[-1] = (first, files, weight + file.size)
        else:
            cuts.append((number, [file], file.size))
            open_cut = True
    return tuple(
        Split(number, replace(scan, files=tuple(files), first_file=first), weight)
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
