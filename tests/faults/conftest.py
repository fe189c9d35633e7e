"""Starts workers as forks of the test process, so that a kill test costs milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_worker import Work, run

Runner = Callable[..., int]


@pytest.fixture(scope="session")
def processes() -> multiprocessing.context.BaseContext:
    return multiprocessing.get_context("fork")


@pytest.fixture
def start(processes):
    """Starts a worker and returns its process."""

    def starter(work: Work, at: float = 0.0):
        process = processes.Process(target=run, args=(work, at))
        process.start()
        return process

    return starter


@pytest.fixture
def execute(start) -> Runner:
    """Runs a worker to its end and returns its exit code."""

    def runner(work: Work) -> int:
        process = start(work)
        process.join(60)
        return process.exitcode

    return runner


@pytest.fixture
def root() -> Iterator[str]:
    """A target in memory where there is such a place: a killed process needs no disk to be dead."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        Path(directory, "out").mkdir()
        yield str(Path(directory, "out", "daily"))
