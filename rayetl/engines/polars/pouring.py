"""Rows that flow into a store as they come, and those that it refuses."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rayetl.connectors.base import BatchesTarget
from rayetl.engines.polars.gates import Gate
from rayetl.errors import RayetlError, at_step


class Pouring:
    """The way of the rows of `load` into `target`; `gate` keeps and counts what it refuses, in `store`."""

    def __init__(self, load: str, target: BatchesTarget, store: Path) -> None:
        self.gate = Gate((), store)
        self._load = load
        self._target = target

    def sink(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """A lazy sink of `frame` for `polars.collect_all`."""
        made = frame.sink_batches(self._write, lazy=True)
        if made is None:
            raise RayetlError("polars ran a sink at once that was asked to wait")
        return made

    def finish(self) -> None:
        """Let the store judge to the end what it has got."""
        with at_step(self._load):
            self._keep(self._target.finish())
        self.gate.close()

    def _write(self, rows: pl.DataFrame) -> None:
        with at_step(self._load):
            self._keep(self._target.write(rows))

    def _keep(self, refused: pl.DataFrame | None) -> None:
        if refused is not None:
            self.gate.set_aside(refused)
