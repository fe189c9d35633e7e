"""What runs in the worker processes of the cluster. Importing this imports no engine: how many threads
Polars takes is settled in the environment before it is loaded."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray

from rayetl.cluster.board import Reporter, Work
from rayetl.errors import Terminal

if TYPE_CHECKING:
    from rayetl.engines.base import Measured


def settle(directory: str, threads: int) -> None:
    """Make this worker process work where the driver does, with `threads` threads."""
    os.environ.setdefault("POLARS_MAX_THREADS", str(threads))
    try:
        os.chdir(directory)
    except OSError as error:
        node = ray.util.get_node_ip_address()
        raise Terminal(
            f"the node {node} has no directory {directory}, where the run was started",
            hint="start it in a directory that all nodes share, or use `ray job submit --working-dir .`",
        ) from error


def here(part: int) -> Work:
    """This process, as the one that works at a part."""
    return Work(part, ray.util.get_node_ip_address(), os.getpid())


def run_split(parking: bytes, number: int, directory: str, supervisor: Any) -> Mapping[str, int]:
    """Do one split of a pickled `Parking` in this worker, with one thread: splits share the processors."""
    settle(directory, 1)
    from rayetl.engines.polars import PolarsEngine

    def send(rows: Mapping[str, int]) -> None:
        supervisor.note.remote(number, rows)

    supervisor.note.remote(number, {}, here(number))
    found: Mapping[str, int] = pickle.loads(parking).do(number, PolarsEngine(), Reporter(send))
    return found


def run_whole(job: bytes, directory: str, threads: int, supervisor: Any) -> Measured:
    """Run a pickled `Job` in this worker."""
    settle(directory, threads)
    from dataclasses import replace

    from rayetl.engines.polars import PolarsEngine

    def send(rows: Mapping[str, int]) -> None:
        supervisor.note.remote(0, rows)

    supervisor.note.remote(0, {}, here(0))
    return PolarsEngine().run(replace(pickle.loads(job), progress=Reporter(send)))
