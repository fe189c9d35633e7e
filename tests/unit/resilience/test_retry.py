"""The retry policy under every clock, chance and fault: it ends, in time, and never retries in vain."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from rayetl.errors import CircuitOpen, LoadError, Retryable, Terminal
from rayetl.resilience.retry import Retrier, RetryPolicy

SECONDS = st.floats(min_value=1e-6, max_value=1e5, allow_nan=False)


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    first, longest = sorted(draw(st.tuples(SECONDS, SECONDS)))
    assume(timedelta(seconds=first))
    return RetryPolicy(
        max_attempts=draw(st.integers(1, 50)),
        initial_delay=timedelta(seconds=first),
        max_delay=timedelta(seconds=longest),
        deadline=timedelta(seconds=draw(st.floats(0, 1e6))),
    )


class World:
    """A clock that only sleeping and working move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def attempts(policy: RetryPolicy, error: BaseException, draws: list[float], work: float = 0.0):
    """The world after a call that always fails, how often it was made, and when each attempt began."""
    world, began, chances = World(), [], iter(draws * 60)

    def fails() -> None:
        began.append(world.now)
        world.now += work
        raise error

    retrier = Retrier(policy, lambda: world.now, world.sleep, lambda: next(chances))
    with pytest.raises(type(error)):
        retrier.call(fails)
    return world, began


DRAWS = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5)


@given(policies(), DRAWS, st.floats(0, 100))
def test_it_always_ends_within_its_attempts_and_its_deadline(policy, draws, work) -> None:
    world, began = attempts(policy, Retryable("x"), draws, work)
    assert 1 <= len(began) <= policy.max_attempts
    assert len(world.slept) == len(began) - 1
    assert began[-1] <= policy.deadline.total_seconds() * (1 + 1e-12)


@given(policies(), DRAWS)
def test_delays_stay_within_their_bounds(policy, draws) -> None:
    world, _ = attempts(policy, Retryable("x"), draws)
    for attempt, slept in enumerate(world.slept, start=1):
        assert 0 <= slept <= policy.ceiling(attempt) <= policy.max_delay.total_seconds()
        assert policy.ceiling(attempt) <= policy.initial_delay.total_seconds() * 2.0**attempt


@given(
    policies(), DRAWS, st.sampled_from([Terminal("x"), LoadError("x"), ValueError("x"), KeyboardInterrupt()])
)
def test_what_is_not_retryable_is_never_tried_again(policy, draws, error) -> None:
    world, began = attempts(policy, error, draws)
    assert began == [0.0]
    assert world.slept == []


@given(policies(), DRAWS, st.floats(0.01, 1e4))
def test_an_error_that_says_how_long_is_waited_for_so_long(policy, draws, wait) -> None:
    world, _ = attempts(policy, CircuitOpen("x", endpoint="e", retry_after=wait), draws)
    assert all(slept >= wait for slept in world.slept)


def test_jitter_is_full_and_the_ceiling_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(initial_delay=timedelta(seconds=1), max_delay=timedelta(seconds=5), max_attempts=9)
    assert [policy.ceiling(attempt) for attempt in range(1, 6)] == [1, 2, 4, 5, 5]
    assert policy.delay(Retryable("x"), 3, 0.0, 0.0) == 0
    assert policy.delay(Retryable("x"), 3, 0.0, 0.5) == 2
    assert policy.ceiling(10_000) == 5


def test_success_after_failures_is_the_result_and_each_failure_is_told() -> None:
    world, told, left = World(), [], [Retryable("one"), Retryable("two")]

    def works_at_last() -> str:
        if left:
            raise left.pop(0)
        return "done"

    policy = RetryPolicy(initial_delay=timedelta(seconds=1))
    retrier = Retrier(policy, lambda: world.now, world.sleep, lambda: 0.5)
    assert retrier.call(works_at_last, lambda *each: told.append((each[0].message, *each[1:]))) == "done"
    assert told == [("one", 1, 0.5), ("two", 2, 1.0)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"initial_delay": "0s"},
        {"initial_delay": "2s", "max_delay": "1s"},
        {"deadline": "-1s"},
        {"initial_delay": 3},
    ],
)
def test_policies_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        RetryPolicy.model_validate(wrong)
