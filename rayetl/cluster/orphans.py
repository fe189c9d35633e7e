"""Runs whose driver was killed: Ray takes a moment to end them, and until then they hold their locks."""

from __future__ import annotations

import time
from collections.abc import Callable

import ray
from ray import exceptions as faults

from rayetl.cluster.names import NAMESPACE, RUN, run_name
from rayetl.cluster.tasks import Site

PATIENCE = 10.0
"""Seconds to wait for a run whose driver does not ask; one that is still there after that has the locks."""


def let_orphans_end(site: Site, go_on: Callable[[], None]) -> None:
    """Wait until no other run of the pipeline is left whose driver is gone. `go_on` is called now and then,
    and may raise. A driver asks five times a second; a run whose driver does is not waited for: its locks
    decide."""
    began = time.monotonic()
    asked = {run: count for run in _others(site) if (count := _asked(run, site.pipeline)) is not None}
    while asked:
        go_on()
        now = {run: _asked(run, site.pipeline) for run in asked}
        asked = {run: count for run, count in asked.items() if now[run] == count}
        if time.monotonic() - began > PATIENCE:
            return
        time.sleep(0.05)


def _others(site: Site) -> list[str]:
    names = [named["name"] for named in ray.util.list_named_actors(all_namespaces=True)]
    return [name for name in names if name.startswith(RUN) and name != run_name(site.run)]


def _asked(name: str, pipeline: str) -> int | None:
    """How often the driver of a run of `pipeline` has asked; `None` where there is no such run."""
    try:
        beat: tuple[str, int] = ray.get(ray.get_actor(name, NAMESPACE).beat.remote(), timeout=1)
    except (ValueError, faults.RayError):
        return None
    return beat[1] if beat[0] == pipeline else None
