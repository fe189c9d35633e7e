"""Work at many items by processes of the cluster, for an engine that knows nothing of Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import cloudpickle
import ray

from rayetl.cluster.board import INTERVAL
from rayetl.cluster.engine import ATTEMPTS, outcome
from rayetl.cluster.handover import offered
from rayetl.cluster.tasks import Site, do_packed
from rayetl.observability.logs import context

T = TypeVar("T")
R = TypeVar("R")


def spread(pipeline: str, work: Callable[[T], R], items: Sequence[T], at_once: int) -> list[R]:
    """What `work` makes of each of `items`, in their order, by up to `at_once` processes at a time.

    An item whose process died is done by another one. They take no processor from anybody: who calls this
    waits, and so do the executors that hold them all. Raises what the work raises, and `RunError` where its
    processes die again and again, once nothing is under way any more.
    """
    try:
        packed = [cloudpickle.dumps((work, item)) for item in items]
    except TypeError:
        # Passwords that stand in the config leave this process for no other one.
        return [work(item) for item in items]
    task = ray.remote(do_packed).options(
        num_cpus=0, max_retries=ATTEMPTS, scheduling_strategy="SPREAD", name=f"{pipeline} part"
    )
    waiting, flying, done = list(enumerate(packed))[::-1], dict[Any, int](), dict[int, R]()
    with offered() as secrets:
        site = Site(str(context().get("run", "")), pipeline, os.getcwd(), secrets)
        try:
            while waiting or flying:
                while waiting and len(flying) < at_once:
                    number, item = waiting.pop()
                    flying[task.remote(item, site)] = number
                for reference in ray.wait(list(flying), num_returns=1, timeout=INTERVAL)[0]:
                    done[flying.pop(reference)] = outcome(reference)
        except Exception:
            # Cancelled in the moment in which it ends, a task takes this process with it (Ray 2.60). What an
            # interrupt leaves under way ends with the process.
            ray.wait(list(flying), num_returns=len(flying))
            raise
    return [done[number] for number in range(len(items))]
