"""When a failed attempt is made again: exponential delays with full jitter, below a total deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Self, TypeVar

from pydantic import Field, field_validator, model_validator

from rayetl.errors import Retryable
from rayetl.model import Duration, Model
from rayetl.records import dataclass

T = TypeVar("T")
OnRetry = Callable[[Retryable, int, float], None]
"""Told of the fault, the number of the attempt that failed (from 1) and the seconds until the next."""


class RetryPolicy(Model):
    """How often and how long an operation that may succeed later is tried again."""

    max_attempts: int = Field(
        default=5, ge=1, le=1000, description="Attempts in all; 1 never tries again.", examples=[3]
    )
    initial_delay: Duration = Field(
        default=timedelta(milliseconds=200),
        description="The longest wait before the second attempt; it doubles with each further one. The "
        "wait itself is drawn anew each time between zero and that.",
        examples=["500ms"],
    )
    max_delay: Duration = Field(
        default=timedelta(seconds=30), description="No single wait is longer than this.", examples=["1m"]
    )
    deadline: Duration = Field(
        default=timedelta(minutes=5),
        description="No attempt begins later than this after the first.",
        examples=["10m"],
    )

    @field_validator("initial_delay")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("initial_delay must be longer than nothing; max_attempts: 1 turns retries off")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_delay < self.initial_delay:
            raise ValueError("max_delay is shorter than initial_delay")
        return self

    def ceiling(self, attempt: int) -> float:
        """The longest wait in seconds after attempt `attempt` (from 1) failed."""
        # Past 2**60 the cap has long decided, and a float would overflow.
        grown = self.initial_delay.total_seconds() * 2.0 ** min(attempt - 1, 60)
        return min(self.max_delay.total_seconds(), grown)

    def delay(self, error: BaseException, attempt: int, elapsed: float, draw: float) -> float | None:
        """Seconds to wait after attempt `attempt` (from 1) failed with `error`; `None` to give up.

        `elapsed` seconds have passed since the first attempt began; `draw` is a random number in [0, 1).
        An error that says how long it will last is waited for at least that long.
        """
        if not isinstance(error, Retryable) or attempt >= self.max_attempts:
            return None
        wait = error.retry_after + draw * self.ceiling(attempt)
        return wait if elapsed + wait <= self.deadline.total_seconds() else None


def _silent(error: Retryable, attempt: int, wait: float) -> None:
    del error, attempt, wait


@dataclass(frozen=True, slots=True)
class Retrier:
    """Makes attempts by a policy. `clock` gives seconds and never goes back."""

    policy: RetryPolicy
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random

    def call(self, operation: Callable[[], T], on_retry: OnRetry = _silent) -> T:
        """The result of the first attempt that succeeds. Raises what the last one raised."""
        began, attempt = self.clock(), 1
        while True:
            try:
                return operation()
            except Retryable as error:
                wait = self.policy.delay(error, attempt, self.clock() - began, self.draw())
                if wait is None:
                    raise
                on_retry(error, attempt, wait)
                self.sleep(wait)
                attempt += 1
