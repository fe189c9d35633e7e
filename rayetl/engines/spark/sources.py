"""The sources of a plan as Spark reads them: its own Parquet reader where that agrees with ours, else ours.

Text, Avro and the rows of services are read by the embedded engine, once, malformed records set aside on the
way, and handed over as Parquet. So a record is refused for the same reason and at the same position,
whichever engine runs. A source that can be cut is read by several processes of the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rayetl.connectors.base import FilesScan, Scan
from rayetl.connectors.formats import count_rows
from rayetl.engines.polars.failing import told_plainly
from rayetl.engines.polars.frames import handed_on
from rayetl.engines.spark import native
from rayetl.engines.spark.exchange import Spread, from_files
from rayetl.engines.spark.failing import told_plainly as told_by_spark
from rayetl.engines.spark.measuring import Judged
from rayetl.engines.spark.reading import Done, Part, begin, read
from rayetl.errors import at_step
from rayetl.plan.nodes import Plan, SourceNode, with_row
from rayetl.plan.splits import cut_files
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Sources:
    """Reads sources. `judged` says what was counted and refused at those with malformed records, `kept` where
    their refused records are; `counts` how many rows the other sources have. `rejects` is where refused
    records are kept, `None` to count them only."""

    def __init__(
        self, spark: SparkSession, plan: Plan, work: Path, rejects: Path | None, spread: Spread
    ) -> None:
        self._spark = spark
        self._plan = plan
        self._work = work
        self._rejects = rejects
        self._spread = spread
        self.judged: dict[str, Judged] = {}
        self.kept: dict[str, list[Path]] = {}
        self.counts: dict[str, int] = {}

    def read(self, needed: Sequence[str]) -> dict[str, DataFrame]:
        """Every source among `needed`. Raises `SourceError`."""
        nodes = [node for node in self._plan.sources if node.id in set(needed)]
        found: dict[str, DataFrame] = {}
        for node in nodes:
            if native.reads_alike(node.scan):
                found[node.id] = self._native(node, node.scan)
        ours = [node for node in nodes if node.id not in found]
        with ExitStack() as moments:
            done = self._hand_over({node.id: self._parts(node, moments) for node in ours})
        for node in ours:
            self._note(node, done[node.id])
            found[node.id] = self._handed(node, done[node.id])
        return found

    def _native(self, node: SourceNode, scan: FilesScan) -> DataFrame:
        counted = count_rows(scan)
        assert counted is not None
        self.counts[node.id] = counted
        with told_by_spark(self._plan, node.id):
            return native.read(self._spark, scan, position=node.carries_row)

    def _parts(self, node: SourceNode, moments: ExitStack) -> list[Part]:
        rows, refused = self._work / f"source-{node.id}.parquet", None
        if node.reads_reasons and node.scan.mode != "drop" and self._rejects is not None:
            refused = self._rejects / node.id
        names = handed_on(node)
        return [
            Part(node.id, scan, names, node.reads_positions, node.reads_reasons, rows, refused)
            for scan in self._scans(node, moments)
        ]

    def _scans(self, node: SourceNode, moments: ExitStack) -> Sequence[Scan]:
        if not isinstance(node.scan, FilesScan):
            if node.scan.ranges is None:
                return [node.scan]
            with at_step(node.id):
                return moments.enter_context(node.scan.parts())
        size = self._spark._jsparkSession.sessionState().conf().filesMaxPartitionBytes()
        return [split.scan for split in cut_files(node.scan, size)] or [node.scan]

    def _hand_over(self, parts: Mapping[str, Sequence[Part]]) -> dict[str, Sequence[Done]]:
        """What is one part is read here, all of them at once: to start another process for it takes longer
        than most of them."""
        with told_plainly(self._plan, lambda: list(parts)):
            alone = {name: begin(each[0]) for name, each in parts.items() if len(each) == 1}
            pl.collect_all([begun.sink for begun in alone.values()])
            done: dict[str, Sequence[Done]] = {name: [begun.done()] for name, begun in alone.items()}
        cut = {name: each for name, each in parts.items() if name not in alone}
        return done | {name: self._spread(read, each) for name, each in cut.items()}

    def _note(self, node: SourceNode, done: Sequence[Done]) -> None:
        rows = sum(part.rows for part in done)
        if not node.reads_reasons:
            self.counts[node.id] = rows
            return
        self.judged[node.id] = Judged(rows, sum(part.refused for part in done), ())
        if node.scan.mode != "drop" and self._rejects is not None:
            self.kept[node.id] = [file for part in done for file in part.kept]

    def _handed(self, node: SourceNode, done: Sequence[Done]) -> DataFrame:
        with told_by_spark(self._plan, node.id):
            return from_files(self._spark, [part.file for part in done], _handed_schema(node))


def _handed_schema(node: SourceNode) -> Schema:
    return with_row(node.schema) if node.carries_row else node.schema
