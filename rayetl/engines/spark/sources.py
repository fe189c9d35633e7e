"""The sources of a plan as Spark reads them: its own Parquet reader where that agrees with ours, else ours.

Text, Avro and the rows of services are read by the embedded engine, once, malformed records set aside on the
way, and handed over as Parquet. So a record is refused for the same reason and at the same position,
whichever engine runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rayetl.connectors.base import FilesScan
from rayetl.connectors.formats import count_rows, scan_files
from rayetl.engines.polars.batches import Batches
from rayetl.engines.polars.failing import told_plainly
from rayetl.engines.polars.frames import handed_on
from rayetl.engines.polars.gates import REFUSED, Gate
from rayetl.engines.spark import native
from rayetl.engines.spark.exchange import from_file, sink_for_spark
from rayetl.engines.spark.failing import told_plainly as told_by_spark
from rayetl.names import BAD
from rayetl.plan.nodes import Plan, SourceNode, with_row
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Sources:
    """Reads sources. `gates` hold what was counted and refused at those with malformed records; `counts` how
    many rows the others have. `rejects` is where refused records are kept, `None` to count them only."""

    def __init__(self, spark: SparkSession, plan: Plan, work: Path, rejects: Path | None) -> None:
        self._spark = spark
        self._plan = plan
        self._work = work
        self._rejects = rejects
        self.gates: dict[str, Gate] = {}
        self.counts: dict[str, int] = {}

    def read(self, needed: Sequence[str]) -> dict[str, DataFrame]:
        """Every source among `needed`. Raises `SourceError`."""
        nodes = [node for node in self._plan.sources if node.id in set(needed)]
        found: dict[str, DataFrame] = {}
        for node in nodes:
            if native.reads_alike(node.scan):
                found[node.id] = self._native(node, node.scan)
        ours = [node for node in nodes if node.id not in found]
        self._hand_over(ours)
        return found | {node.id: self._handed(node) for node in ours}

    def _native(self, node: SourceNode, scan: FilesScan) -> DataFrame:
        counted = count_rows(scan)
        assert counted is not None
        self.counts[node.id] = counted
        with told_by_spark(self._plan, node.id):
            return native.read(self._spark, scan, position=node.carries_row)

    def _handed(self, node: SourceNode) -> DataFrame:
        with told_by_spark(self._plan, node.id):
            return from_file(self._spark, self._path(node), _handed_schema(node))

    def _path(self, node: SourceNode) -> Path:
        return self._work / f"source-{node.id}.parquet"

    def _hand_over(self, nodes: Sequence[SourceNode]) -> None:
        sinks = [sink_for_spark(self._rows(node), self._path(node)) for node in nodes]
        with told_plainly(self._plan, lambda: [node.id for node in nodes]):
            pl.collect_all(sinks)
        for node in nodes:
            if node.id in self.gates:
                self.gates[node.id].close()
            else:
                written = pl.scan_parquet(self._path(node), glob=False).select(pl.len())
                self.counts[node.id] = int(written.collect().item())

    def _rows(self, node: SourceNode) -> pl.LazyFrame:
        names = list(handed_on(node))
        if not isinstance(node.scan, FilesScan):
            return Batches().scan(node.id, node.scan)
        frame = scan_files(node.scan, position=node.reads_positions, malformed=node.reads_reasons)
        if not node.reads_reasons:
            return frame.select(names)
        keeps = self._rejects is not None and node.scan.mode != "drop"
        gate = Gate((), self._rejects / node.id if keeps and self._rejects else None)
        self.gates[node.id] = gate
        return gate.passing(frame.with_columns(pl.col(BAD).is_not_null().alias(REFUSED)), names)


def _handed_schema(node: SourceNode) -> Schema:
    return with_row(node.schema) if node.carries_row else node.schema
