"""Rows of Spark for stores: executors write them down, the process that holds the transaction pours them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rayetl.connectors.base import BatchesTarget
from rayetl.engines.base import Job, Measured
from rayetl.engines.polars.pouring import Pouring, without_refused
from rayetl.engines.spark.exchange import from_files, hand_back
from rayetl.names import ROW
from rayetl.records import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from rayetl.sql.types import Schema


@dataclass(slots=True)
class Pours:
    """The rows of a job that wait to be poured. Below `work` they lie until that is done."""

    job: Job
    work: Path
    _frames: dict[str, pl.LazyFrame] = field(default_factory=dict)

    def set_down(self, load: str, frame: DataFrame, schema: Schema) -> int:
        """Write the rows of a load down and return how many there are. With a position among the columns of
        `schema` they come in its order, as they do without Spark: of two rows with the same key the store
        gets that first which is first in the source."""
        place = self.work / f"load-{load}"
        rows = hand_back(frame, schema, place)
        if ROW in schema.names and not _in_order(rows):
            # The files are sorted, not the query: that would run twice, to find the ranges and to sort.
            found = from_files(frame.sparkSession, [place], schema)
            rows = hand_back(found.sort(ROW), schema, self.work / f"load-{load}-sorted")
        self._frames[load] = rows
        return int(rows.select(pl.len()).collect().item())

    def poured(self, measured: Measured) -> Measured:
        """Pour all of them; what was counted, without the rows that the stores have refused. Raises
        `LoadError` and `Retryable`."""
        pourings = self._pourings()
        for load, pouring in pourings.items():
            done = 0
            for rows in self._frames[load].collect_batches(maintain_order=True):
                pouring.write(rows)
                done += rows.height
                self.job.progress.rows(load, done)
        for pouring in pourings.values():
            pouring.finish()
        return without_refused(measured, {load: pouring.gate for load, pouring in pourings.items()})

    def _pourings(self) -> Mapping[str, Pouring]:
        return {
            load: Pouring(load, target, self.job.rejects / load)
            for load, target in self.job.targets.items()
            if isinstance(target, BatchesTarget)
        }


def _in_order(rows: pl.LazyFrame) -> bool:
    """Whether positions grow from row to row, as they do unless Spark shuffled or read several files. Rows
    that were joined to several keep their position."""
    last = -1
    for batch in rows.select(ROW).collect_batches(maintain_order=True):
        positions = batch[ROW]
        if not positions.is_sorted() or (batch.height and positions[0] < last):
            return False
        last = positions[-1] if batch.height else last
    return True
