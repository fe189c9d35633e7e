"""A part of a source, read by the embedded engine in whatever process, for Spark to go on with."""

from __future__ import annotations

import secrets
from pathlib import Path

import polars as pl

from rayetl.connectors.base import FilesScan, Scan
from rayetl.connectors.formats import scan_files
from rayetl.engines.polars.batches import Batches
from rayetl.engines.polars.failing import told_at
from rayetl.engines.polars.gates import Gate
from rayetl.engines.spark.exchange import sink_for_spark
from rayetl.names import BAD
from rayetl.records import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """What is read of `source` at once: `columns` of `scan`, with `positions` and `reasons` where the source
    has them. Rows go into the directory `rows`, refused records below `refused`; without it they are counted
    only. Plain data, for any process that reaches both directories."""

    source: str
    scan: Scan
    columns: tuple[str, ...]
    positions: bool
    reasons: bool
    rows: Path
    refused: Path | None


@dataclass(frozen=True, slots=True)
class Done:
    """A part that was read: how many `rows` came in, how many of them were `refused`, the Parquet `file` of
    the others, and the Arrow files of those that are `kept` though refused."""

    rows: int
    refused: int
    file: Path
    kept: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Begun:
    """A part whose `sink` is still to be collected."""

    sink: pl.LazyFrame
    file: Path
    gate: Gate | None

    def done(self) -> Done:
        """What came of it, once it was."""
        if self.gate is None:
            written = pl.scan_parquet(self.file, glob=False).select(pl.len()).collect()
            return Done(int(written.item()), 0, self.file, ())
        self.gate.close()
        return Done(self.gate.rows, self.gate.refused, self.file, tuple(self.gate.parts))


def begin(part: Part) -> Begun:
    """The reading of a part, malformed records set aside on the way. A part may be begun again: nobody looks
    at the files of a process that died over it."""
    token = secrets.token_hex(4)
    file = part.rows / f"{token}.parquet"
    gate = Gate((), part.refused / token if part.refused else None) if part.reasons else None
    return Begun(sink_for_spark(_rows(part, gate), file), file, gate)


def read(part: Part) -> Done:
    """Read a part in this process. Raises what a scan raises."""
    with told_at(part.source, part.scan):
        begun = begin(part)
        pl.collect_all([begun.sink])
        return begun.done()


def _rows(part: Part, gate: Gate | None) -> pl.LazyFrame:
    if not isinstance(part.scan, FilesScan):
        return Batches().scan(part.source, part.scan)
    frame = scan_files(part.scan, position=part.positions, malformed=part.reasons)
    if gate is None:
        return frame.select(part.columns)
    return gate.passing(frame, pl.col(BAD).is_not_null(), part.columns)
