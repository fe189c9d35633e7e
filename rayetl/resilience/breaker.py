"""Circuit breakers: an endpoint that keeps failing is left alone for a while, then tried with one probe.

`pybreaker` is the state machine (closed, open, half-open) and counts failures. Everything it would do
around a call is done here instead: it would hold its lock while the call is under way, and it knows only
the wall clock. A caller asks with a lease of its own naming, works without any lock, and reports the
lease. Asking or reporting twice with the same lease changes nothing, which is what an actor needs, whose
methods may run again after a restart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from datetime import timedelta
from typing import Literal, Protocol

import pybreaker
from pydantic import Field, field_validator

from rayetl.errors import CircuitOpen, Retryable
from rayetl.model import Duration, Model
from rayetl.records import dataclass

State = Literal["closed", "open", "half-open"]


class BreakerPolicy(Model):
    """When an endpoint is left alone, and for how long."""

    failure_threshold: int = Field(
        default=5, ge=1, le=10_000, description="Failures in a row that open the circuit.", examples=[3]
    )
    reset_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="How long an open circuit refuses everything before it lets one probe through.",
        examples=["1m"],
    )

    @field_validator("reset_timeout")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("reset_timeout must be longer than nothing")
        return value


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """A breaker as it stands: failures in a row, and seconds until a probe may pass (0 if calls may)."""

    endpoint: str
    state: State
    failures: int
    retry_after: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What a breaker knows, for another one to go on from. `wait`: seconds until a probe may pass, at the
    moment this was made."""

    state: State
    failures: int
    wait: float
    probe: str | None
    leases: tuple[str, ...]


class Failed(Exception):
    """Stands for a reported failure inside the state machine."""


MOST_LEASES = 1_000
"""So many leases are remembered; the oldest belong to runs that were killed and report nothing any more."""


@dataclass(slots=True)
class Breaker:
    """The circuit of one endpoint. `clock` gives seconds and never goes back. Safe for threads."""

    endpoint: str
    policy: BreakerPolicy
    clock: Callable[[], float] = time.monotonic
    _machine: pybreaker.CircuitBreaker = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _leases: dict[str, None] = field(init=False, default_factory=dict)
    _probe: str | None = field(init=False, default=None)
    _until: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        # An opened circuit raises what was reported, not an error of its own; its clock is never asked.
        self._machine = pybreaker.CircuitBreaker(
            fail_max=self.policy.failure_threshold, throw_new_error_on_trip=False
        )

    def allow(self, lease: str) -> float:
        """0.0 if the holder of `lease` may call the endpoint, else the seconds to wait before asking again.

        A granted lease must be reported or returned. A probe of which nothing is heard for the reset
        timeout is given up, and another may pass.
        """
        with self._lock:
            if lease in self._leases:
                return 0.0
            now = self.clock()
            if self._machine.current_state != pybreaker.STATE_CLOSED and not self._take_probe(lease, now):
                return self._until - now
            self._leases[lease] = None
            if len(self._leases) > MOST_LEASES:
                del self._leases[next(iter(self._leases))]
            return 0.0

    def _take_probe(self, lease: str, now: float) -> bool:
        """Make `lease` the probe if one is due; a probe on its way holds all others off."""
        if now < self._until:
            return False
        if self._probe is not None:
            self._leases.pop(self._probe, None)
        self._machine.half_open()
        self._probe = lease
        self._until = now + self.policy.reset_timeout.total_seconds()
        return True

    def report(self, lease: str, ok: bool) -> None:
        """What came of a call. A lease that is not held, or was granted before the circuit opened, is
        passed over: only the probe decides about a half-open circuit."""
        with self._lock:
            if lease not in self._leases:
                return
            del self._leases[lease]
            if self._machine.current_state == pybreaker.STATE_CLOSED or lease == self._probe:
                self._probe = None
                self._note(ok)

    def _note(self, ok: bool) -> None:
        try:
            self._machine.call(_outcome, ok)
        except Failed:
            if self._machine.current_state == pybreaker.STATE_OPEN:
                self._until = self.clock() + self.policy.reset_timeout.total_seconds()

    def give_back(self, lease: str) -> None:
        """Return a lease without a verdict: the call was cancelled, or failed for reasons of its own."""
        with self._lock:
            self._leases.pop(lease, None)
            if lease == self._probe:
                self._probe = None
                self._machine.open()
                self._until = self.clock()

    def adopt(self, policy: BreakerPolicy) -> None:
        """Go by another policy from now on."""
        with self._lock:
            self.policy = policy
            self._machine.fail_max = policy.failure_threshold

    def memory(self) -> Memory:
        """What it knows now."""
        with self._lock:
            return Memory(
                self._machine.current_state,  # type: ignore[arg-type]
                self._machine.fail_counter,
                max(self._until - self.clock(), 0.0),
                self._probe,
                tuple(self._leases),
            )

    def recall(self, memory: Memory, elapsed: float) -> None:
        """Go on from what another breaker knew `elapsed` seconds ago. It keeps nobody off for longer than
        its own policy does: clocks of two machines differ."""
        with self._lock:
            storage = pybreaker.CircuitMemoryStorage(memory.state)
            for _ in range(memory.failures):
                storage.increment_counter()
            self._machine = pybreaker.CircuitBreaker(
                fail_max=self.policy.failure_threshold, throw_new_error_on_trip=False, state_storage=storage
            )
            wait = min(max(memory.wait - elapsed, 0.0), self.policy.reset_timeout.total_seconds())
            self._until = self.clock() + wait
            self._probe = memory.probe
            self._leases = dict.fromkeys(memory.leases)

    def status(self) -> BreakerStatus:
        """The breaker as it stands now."""
        with self._lock:
            state = self._machine.current_state
            wait = 0.0 if state == pybreaker.STATE_CLOSED else max(self._until - self.clock(), 0.0)
            return BreakerStatus(self.endpoint, state, self._machine.fail_counter, wait)  # type: ignore[arg-type]


def _outcome(ok: bool) -> None:
    if not ok:
        raise Failed


class Circuits(Protocol):
    """Who keeps the breakers: this process, or actors that all runs of a cluster share."""

    def allow(self, endpoint: str, policy: BreakerPolicy, lease: str) -> float:
        """As `Breaker.allow`, for the breaker of `endpoint`, which goes by the `policy` of the last call."""

    def report(self, endpoint: str, lease: str, ok: bool) -> None:
        """As `Breaker.report`."""

    def give_back(self, endpoint: str, lease: str) -> None:
        """As `Breaker.give_back`."""


@dataclass(slots=True)
class LocalCircuits:
    """The breakers of this process."""

    clock: Callable[[], float] = time.monotonic
    _breakers: dict[str, Breaker] = field(default_factory=dict)

    def allow(self, endpoint: str, policy: BreakerPolicy, lease: str) -> float:
        found = self._breakers.setdefault(endpoint, Breaker(endpoint, policy, self.clock))
        found.adopt(policy)
        return found.allow(lease)

    def report(self, endpoint: str, lease: str, ok: bool) -> None:
        self._breakers[endpoint].report(lease, ok)

    def give_back(self, endpoint: str, lease: str) -> None:
        self._breakers[endpoint].give_back(lease)


@contextmanager
def guarded(
    circuits: Circuits, endpoints: Sequence[str], policy: BreakerPolicy, lease: str
) -> Iterator[None]:
    """Hold the `lease` on every endpoint while the body runs, and report how it went. Who was killed and
    comes back with the same lease still holds it.

    A `Retryable` that names one of the endpoints counts against that one; any other end of the body says
    nothing about the others. Raises `CircuitOpen` where an endpoint is to be left alone.
    """
    held: set[str] = set()
    try:
        for endpoint in endpoints:
            if wait := circuits.allow(endpoint, policy, lease):
                raise _refused(endpoint, wait)
            held.add(endpoint)
        yield
    except Retryable as error:
        if error.endpoint in held:
            held.remove(error.endpoint)
            circuits.report(error.endpoint, lease, ok=False)
        raise
    else:
        while held:
            circuits.report(held.pop(), lease, ok=True)
    finally:
        for endpoint in held:
            circuits.give_back(endpoint, lease)


def _refused(endpoint: str, wait: float) -> CircuitOpen:
    return CircuitOpen(
        f"{endpoint} failed too often and is left alone for another {wait:.1f} s",
        hint="see to the endpoint; `resilience.circuit_breaker` says how often and how long",
        endpoint=endpoint,
        retry_after=wait,
    )
