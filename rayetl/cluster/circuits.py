"""Circuit breakers as actors: one for each endpoint, shared by all runs of a cluster, whoever submits them.

An actor writes down what it knows in the cluster's own store before it answers. Killed, it is started again,
by Ray or by the next run that asks, and goes on from there: an open circuit stays open, a lease that was
granted is still held, a report that was counted is not counted again.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import field
from typing import Any

import ray
from ray import exceptions as faults
from ray.experimental import internal_kv as store

from rayetl.cluster.metrics import show_breaker
from rayetl.cluster.names import NAMESPACE, breaker_name
from rayetl.errors import Retryable
from rayetl.observability.logs import get_logger
from rayetl.records import dataclass
from rayetl.resilience.breaker import Breaker, BreakerPolicy, BreakerStatus

_LOG = get_logger(__name__)

_PATIENCE = 20.0
"""Seconds that a breaker may take to answer, in which it may die and be started again."""


class LastingBreaker:
    """The breaker of an endpoint, which outlives its process."""

    def __init__(self, endpoint: str) -> None:
        self._breaker = Breaker(endpoint, BreakerPolicy())
        self._key = breaker_name(endpoint)
        if written := store._internal_kv_get(self._key, namespace=NAMESPACE):
            # Only breakers write here.
            policy, memory, then = pickle.loads(written)
            self._breaker.adopt(policy)
            self._breaker.recall(memory, time.time() - then)

    def allow(self, policy: BreakerPolicy, lease: str) -> float:
        self._breaker.adopt(policy)
        wait = self._breaker.allow(lease)
        self._write()
        return wait

    def report(self, lease: str, ok: bool) -> None:
        self._breaker.report(lease, ok)
        self._write()

    def give_back(self, lease: str) -> None:
        self._breaker.give_back(lease)
        self._write()

    def status(self) -> BreakerStatus:
        return self._breaker.status()

    def _write(self) -> None:
        written = pickle.dumps((self._breaker.policy, self._breaker.memory(), time.time()))
        store._internal_kv_put(self._key, written, overwrite=True, namespace=NAMESPACE)
        show_breaker(self._breaker.status())


@dataclass(slots=True)
class SharedCircuits:
    """The breakers of the cluster that this process is connected to."""

    _actors: dict[str, Any] = field(default_factory=dict)

    def allow(self, endpoint: str, policy: BreakerPolicy, lease: str) -> float:
        try:
            return float(self._ask(endpoint, lambda actor: actor.allow.remote(policy, lease)))
        except faults.RayError as error:
            raise Retryable(
                f"the circuit breaker of {endpoint} does not answer ({type(error).__name__})",
                hint="is the cluster out of memory? its actor is listed in the dashboard",
            ) from error

    def report(self, endpoint: str, lease: str, ok: bool) -> None:
        self._tell(endpoint, lambda actor: actor.report.remote(lease, ok))

    def give_back(self, endpoint: str, lease: str) -> None:
        self._tell(endpoint, lambda actor: actor.give_back.remote(lease))

    def _tell(self, endpoint: str, call: Callable[[Any], Any]) -> None:
        """The run has its outcome by now: a breaker that cannot be told does not change it."""
        try:
            self._ask(endpoint, call)
        except faults.RayError as error:
            _LOG.warning("a circuit breaker was not told", endpoint=endpoint, error=type(error).__name__)

    def _ask(self, endpoint: str, call: Callable[[Any], Any]) -> Any:
        """What the actor answers. Asking twice changes nothing, so a lost answer is asked for again."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                if endpoint not in self._actors:
                    self._actors[endpoint] = _actor(endpoint)
                return ray.get(call(self._actors[endpoint]), timeout=max(until - time.monotonic(), 0.1))
            except (faults.RayActorError, faults.GetTimeoutError):
                self._actors.pop(endpoint, None)
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


def _actor(endpoint: str) -> Any:
    """The breaker of an endpoint, started if there is none. It belongs to no run."""
    return (
        ray.remote(LastingBreaker)
        .options(
            name=breaker_name(endpoint),
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
        )
        .remote(endpoint)
    )
