"""Rows that flow into a store as they come, and those that it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from rayetl.connectors.base import BatchesTarget, SpoolTarget
from rayetl.connectors.scanning import waiting
from rayetl.engines.base import Measured
from rayetl.engines.polars.gates import Gate
from rayetl.errors import at_step


class Pouring:
    """The way of the rows of `load` into `target`; `gate` keeps and counts what it refuses, in `store`."""

    def __init__(self, load: str, target: BatchesTarget, store: Path) -> None:
        self.gate = Gate((), store)
        self._load = load
        self._target = target

    def sink(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """A lazy sink of `frame` for `polars.collect_all`."""
        return waiting(frame.sink_batches(self.write, lazy=True))

    def finish(self) -> None:
        """Let the store judge to the end what it has got."""
        with at_step(self._load):
            self._keep(self._target.finish())
        self.gate.close()

    def write(self, rows: pl.DataFrame) -> None:
        """Pour in some rows."""
        with at_step(self._load):
            self._keep(self._target.write(rows))

    def _keep(self, refused: pl.DataFrame | None) -> None:
        if refused is not None:
            self.gate.set_aside(refused)


def without_refused(measured: Measured, gates: Mapping[str, Gate]) -> Measured:
    """What was counted before the stores judged, without the rows that these `gates` of theirs have kept."""
    refused = {load: gate.refused for load, gate in gates.items()}
    return replace(
        measured,
        refused={**measured.refused, **refused},
        staged={load: rows - refused.get(load, 0) for load, rows in measured.staged.items()},
        rejects={**measured.rejects, **{load: gate.parts for load, gate in gates.items()}},
    )


def sink_spool(frame: pl.LazyFrame, target: SpoolTarget) -> pl.LazyFrame:
    """A lazy sink that sets rows down for another process to pour."""
    place = Path(target.directory, "rows.arrow")
    return waiting(frame.sink_ipc(place, compression="lz4", mkdir=True, lazy=True))


def spooled(directory: Path) -> Iterator[pl.DataFrame]:
    """The rows that `sink_spool` set down there, a few at a time."""
    yield from pl.scan_ipc(directory / "rows.arrow", glob=False).collect_batches(maintain_order=True)
