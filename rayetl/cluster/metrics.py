"""Metrics of runs in Ray's own way: every node serves them to Prometheus, under these names after `ray_`.

Counters stay with a node after the process that counted has ended; gauges are seen while it lives.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ray.util import metrics

from rayetl.engines.base import Measured
from rayetl.observability.report import RunReport
from rayetl.records import dataclass
from rayetl.resilience.breaker import BreakerStatus

_OF_A_RUN = ("pipeline", "run")

COUNTERS = {
    "rayetl_rows_read": ("Rows read, by source; work that had to be done again counts again.", "source"),
    "rayetl_rows_rejected": ("Rows set aside, by the source, step or load that refused them.", "step"),
    "rayetl_rows_loaded": ("Rows committed, by load.", "load"),
    "rayetl_bytes_loaded": ("Bytes committed, by load.", "load"),
    "rayetl_bytes_read": ("Bytes of input files read.", None),
    "rayetl_batches": ("Batches of rows that reached a load.", "load"),
    "rayetl_retries": ("Attempts of the whole run that were made again.", None),
    "rayetl_dead_letters": ("Refused rows stored as dead letters.", None),
    "rayetl_stage_seconds": ("Seconds of wall time, by stage.", "stage"),
}
GAUGES = {
    "rayetl_splits_done": ("Splits of the run that are finished.", _OF_A_RUN),
    "rayetl_splits_total": ("Splits that the run is made of.", _OF_A_RUN),
    "rayetl_breaker_state": ("0 closed, 1 half-open, 2 open.", ("endpoint",)),
}
_STATES = {"closed": 0, "half-open": 1, "open": 2}


@cache
def _counter(name: str) -> Any:
    told, tag = COUNTERS[name]
    return metrics.Counter(name, description=told, tag_keys=(*_OF_A_RUN, *([tag] if tag else [])))


@cache
def _gauge(name: str) -> Any:
    told, tags = GAUGES[name]
    return metrics.Gauge(name, description=told, tag_keys=tags)


@dataclass(frozen=True, slots=True)
class Meters:
    """What one run counts, in whichever of its processes."""

    pipeline: str
    run: str

    def batch(self, load: str) -> None:
        """A batch of rows has reached a load."""
        self._count("rayetl_batches", 1, load)

    def worked(self, measured: Measured, size: int) -> None:
        """A part of `size` bytes went through the plan."""
        self._count("rayetl_bytes_read", size)
        for source, rows in measured.read.items():
            self._count("rayetl_rows_read", rows, source)
        for node, rows in measured.refused.items():
            self._count("rayetl_rows_rejected", rows, node)

    def refused(self, load: str, rows: int) -> None:
        """The store of a load did not take so many rows."""
        self._count("rayetl_rows_rejected", rows, load)

    def stage(self, stage: str, seconds: float) -> None:
        """A stage ended."""
        self._count("rayetl_stage_seconds", seconds, stage)

    def splits(self, done: int, total: int) -> None:
        """So far the run is."""
        tags = {"pipeline": self.pipeline, "run": self.run}
        _gauge("rayetl_splits_done").set(done, tags)
        _gauge("rayetl_splits_total").set(total, tags)

    def ended(self, report: RunReport) -> None:
        """The run is over."""
        self._count("rayetl_retries", report.retries)
        if report.error is None:
            self._count("rayetl_dead_letters", report.rows_rejected)
        for load in report.loads:
            if load.status == "committed":
                self._count("rayetl_rows_loaded", load.rows, load.load)
                self._count("rayetl_bytes_loaded", load.bytes, load.load)

    def _count(self, name: str, amount: float, tagged: str = "") -> None:
        tag = COUNTERS[name][1]
        tags = {"pipeline": self.pipeline, "run": self.run, **({tag: tagged} if tag else {})}
        if amount:
            _counter(name).inc(amount, tags)


def show_breaker(status: BreakerStatus) -> None:
    """Show how a circuit stands."""
    _gauge("rayetl_breaker_state").set(_STATES[status.state], {"endpoint": status.endpoint})
