"""Whole runs on Spark: every pipeline of these tests runs there, whatever its config says.

What compares plans itself asks for `other`: the engines that must do what the embedded one does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import SparkSession
from services.ray_cluster import ray_cluster

from rayetl import Pipeline
from rayetl.connectors.base import FilesTarget
from rayetl.engines.base import Engine, Job, Measured
from rayetl.engines.polars import PolarsEngine
from rayetl.engines.spark import SparkEngine, sources
from rayetl.plan.splits import cut_files
from tests.conformance.judge import Judge


@dataclass(frozen=True)
class Local:
    """A session of this process in place of one on Ray: the same Spark, up in a second."""

    session: SparkSession
    log: str | None = None

    @contextmanager
    def working(self) -> Iterator[SparkSession]:
        yield self.session

    def spread(self, pipeline: str, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return [work(item) for item in items]


@pytest.fixture(autouse=True)
def on_spark(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be read in several parts is: one for each file."""
    engine = SparkEngine(Local(judge.spark))
    monkeypatch.setattr(Pipeline, "_engine", lambda *_: engine)
    monkeypatch.setattr(sources, "cut_files", lambda scan, size: cut_files(scan, 1))


class BySplits(PolarsEngine):
    """The tasks of a cluster, one for each row group or file where a plan can be cut, and no run around them."""

    name = "ray"

    def __init__(self) -> None:
        self.splits: list[int] = []
        """How many there were in each run."""

    def run(self, job: Job) -> Measured:
        from rayetl.cluster.engine import OnCluster
        from rayetl.cluster.metered import MeteredBoard
        from rayetl.cluster.metrics import Meters
        from rayetl.cluster.tasks import Site

        targets = {
            load: replace(target, parking=f"{target.directory}-parked")
            for load, target in job.targets.items()
            if isinstance(target, FilesTarget)
        }
        site = Site("run", job.plan.name, os.getcwd(), None)
        board = MeteredBoard(Meters(job.plan.name, "run"))
        # Nobody listens to what the tasks report.
        supervisor = SimpleNamespace(note=SimpleNamespace(remote=lambda *_: None))
        engine = OnCluster(board, supervisor, site, job.rejects / "parked", 1)
        measured = engine.run(replace(job, targets=targets))
        self.splits.append(measured.splits.total if measured.splits else 1)
        return measured


@pytest.fixture(scope="package")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster that this process is connected to."""
    with ray_cluster() as address:
        yield address


@pytest.fixture(params=["spark", "ray"])
def other(request: pytest.FixtureRequest) -> Engine:
    """Spark with the session of the judge, and Ray with the cluster that these tests share."""
    if request.param == "spark":
        return SparkEngine(Local(request.getfixturevalue("judge").spark))
    request.getfixturevalue("cluster")
    return BySplits()
