"""Starts workers as forks of a process that is small and ready, so that a kill test costs milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_worker import run

Runner = Callable[..., int]


@pytest.fixture(scope="session")
def fork_server() -> multiprocessing.context.BaseContext:
    """Forks of a process that has everything loaded and has run nothing: the threads of Polars, Arrow and the
    drivers, which a fork would lack, are not started yet."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["fault_worker", "s3_worker", "lake_worker", "database_worker", "command_worker", "frozen"]
    )
    forkserver.ensure_running()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
    return context


@pytest.fixture
def processes(fork_server: multiprocessing.context.BaseContext) -> multiprocessing.context.BaseContext:
    return fork_server


@pytest.fixture
def worker() -> Callable[..., None]:
    """What a process does with its work."""
    return run


@pytest.fixture
def start(processes, worker):
    """Starts a worker and returns its process."""

    def starter(work: Any, at: float = 0.0):
        process = processes.Process(target=worker, args=(work, at))
        process.start()
        return process

    return starter


@pytest.fixture
def execute(start) -> Runner:
    """Runs a worker to its end and returns its exit code."""

    def runner(work: Any) -> int:
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
