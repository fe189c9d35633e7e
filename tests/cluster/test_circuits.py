"""Breakers that all runs of a cluster share: what one run learns the others know, also when their actor dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import ray

from rayetl.cluster.circuits import SharedCircuits
from rayetl.cluster.names import NAMESPACE, breaker_name
from rayetl.resilience.breaker import BreakerPolicy, BreakerStatus

POLICY = BreakerPolicy(failure_threshold=2, reset_timeout=timedelta(minutes=5))


@pytest.fixture
def endpoint(cluster: str) -> Iterator[str]:
    """A service that no other test knows."""
    name = f"db {uuid4().hex}"
    yield name
    ray.kill(actor(name))


def actor(endpoint: str) -> Any:
    return ray.get_actor(breaker_name(endpoint), NAMESPACE)


def status(endpoint: str) -> BreakerStatus:
    found: BreakerStatus = ray.get(actor(endpoint).status.remote())
    return found


def pid(endpoint: str) -> int:
    return int(ray.get(actor(endpoint).__ray_call__.remote(lambda _: os.getpid())))


def opened(circuits: SharedCircuits, endpoint: str) -> None:
    for lease in ("a", "b"):
        assert circuits.allow(endpoint, POLICY, lease) == 0
        circuits.report(endpoint, lease, ok=False)


def test_what_one_run_learns_the_others_know(endpoint: str) -> None:
    opened(SharedCircuits(), endpoint)
    assert SharedCircuits().allow(endpoint, POLICY, "c") == pytest.approx(300, abs=20)


def test_a_killed_breaker_still_knows(endpoint: str) -> None:
    circuits = SharedCircuits()
    assert circuits.allow(endpoint, POLICY, "under way") == 0
    opened(circuits, endpoint)
    before, killed = status(endpoint), pid(endpoint)
    os.kill(killed, signal.SIGKILL)
    assert 0 < circuits.allow(endpoint, POLICY, "c") <= before.retry_after
    after = status(endpoint)
    assert pid(endpoint) != killed
    assert (after.state, after.failures) == ("open", before.failures)
    assert circuits.allow(endpoint, POLICY, "under way") == 0, "what was granted is still held"


def test_a_report_that_was_counted_is_not_counted_again(endpoint: str) -> None:
    circuits = SharedCircuits()
    assert circuits.allow(endpoint, POLICY, "a") == 0
    circuits.report(endpoint, "a", ok=False)
    os.kill(pid(endpoint), signal.SIGKILL)
    circuits.report(endpoint, "a", ok=False)
    assert (status(endpoint).state, status(endpoint).failures) == ("closed", 1)


def test_a_breaker_that_was_removed_is_made_again_by_who_asks_next(endpoint: str) -> None:
    circuits = SharedCircuits()
    opened(circuits, endpoint)
    ray.kill(actor(endpoint))
    assert circuits.allow(endpoint, POLICY, "c") > 0


def test_calls_are_answered_while_it_is_killed_again_and_again(endpoint: str) -> None:
    circuits = SharedCircuits()
    patient = BreakerPolicy(failure_threshold=1000)
    for each in range(12):
        assert circuits.allow(endpoint, patient, f"l{each}") == 0
        if each % 4 == 1:
            os.kill(pid(endpoint), signal.SIGKILL)
        circuits.report(endpoint, f"l{each}", ok=False)
    until = time.monotonic() + 20
    while (found := status(endpoint)).failures != 12:
        assert time.monotonic() < until, found
