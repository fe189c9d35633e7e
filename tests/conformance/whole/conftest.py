"""Whole runs on Spark: every pipeline of these tests runs there, whatever its config says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from pyspark.sql import SparkSession

from rayetl import Pipeline
from rayetl.engines.spark import SparkEngine
from tests.conformance.judge import Judge


@dataclass(frozen=True)
class Local:
    """A session of this process in place of one on Ray: the same Spark, up in a second."""

    session: SparkSession
    log: str | None = None

    @contextmanager
    def working(self) -> Iterator[SparkSession]:
        yield self.session


@pytest.fixture(autouse=True)
def on_spark(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SparkEngine(Local(judge.spark))
    monkeypatch.setattr(Pipeline, "_engine", lambda *_: engine)
