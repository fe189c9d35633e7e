"""What runs in the worker processes of the cluster. Importing this imports no engine: how many threads
Polars takes is settled in the environment before it is loaded."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray

from rayetl.cluster.board import Reporter, Work
from rayetl.cluster.handover import adopt
from rayetl.errors import Terminal
from rayetl.observability.logs import bound, configure
from rayetl.records import dataclass

if TYPE_CHECKING:
    from rayetl.cluster.metrics import Meters
    from rayetl.engines.base import Measured
    from rayetl.plan.nodes import Plan


@dataclass(frozen=True, slots=True)
class Site:
    """What the processes of a run share: its id and pipeline, the directory the driver works in, and the
    socket where it gives out secrets, if it has any."""

    run: str
    pipeline: str
    directory: str
    secrets: str | None


@contextmanager
def settled(site: Site, threads: int) -> Iterator[None]:
    """Make this worker process work where the driver does, with `threads` threads, and log the run's id."""
    os.environ.setdefault("POLARS_MAX_THREADS", str(threads))
    adopt(site.secrets)
    configure()
    _enter(site.directory)
    with bound(run=site.run, pipeline=site.pipeline):
        yield


def _enter(directory: str) -> None:
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


def run_split(parking: bytes, number: int, site: Site, supervisor: Any) -> Mapping[str, int]:
    """Do one split of a pickled `Parking` in this worker, with one thread: splits share the processors."""
    with settled(site, 1):
        from rayetl.cluster.metrics import Meters
        from rayetl.engines.polars import PolarsEngine

        meters, parked = Meters(site.pipeline, site.run), pickle.loads(parking)
        measured = parked.do(number, PolarsEngine(), _reporter(number, supervisor, meters))
        meters.worked(measured, parked.splits.parts[number].bytes)
        rows: Mapping[str, int] = measured.staged
        return rows


def run_whole(job: bytes, site: Site, threads: int, supervisor: Any) -> Measured:
    """Run a pickled `Job` in this worker."""
    with settled(site, threads):
        from rayetl.cluster.metrics import Meters
        from rayetl.engines.polars import PolarsEngine

        meters, whole = Meters(site.pipeline, site.run), pickle.loads(job)
        measured = PolarsEngine().run(replace(whole, progress=_reporter(0, supervisor, meters)))
        meters.worked(measured, input_bytes(whole.plan))
        return measured


def do_packed(packed: bytes, site: Site) -> Any:
    """Do a pickled pair of work and item in this worker, with one thread: several items share the
    processors."""
    with settled(site, 1):
        work, item = pickle.loads(packed)
        return work(item)


def _reporter(part: int, supervisor: Any, meters: Meters) -> Reporter:
    """Tells the supervisor that this process works at a part, and then how far it is."""
    supervisor.note.remote(part, {}, here(part))
    return Reporter(lambda rows: supervisor.note.remote(part, rows), each=meters.batch)


def input_bytes(plan: Plan) -> int:
    """Bytes of the files that a plan reads."""
    files = (file for node in plan.sources for file in getattr(node.scan, "files", ()))
    return sum(file.size for file in files)
