"""The breaker with leases: who may call, who is the probe, and what a repeated or lost message does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rayetl.errors import CircuitOpen, LoadError, Retryable
from rayetl.resilience.breaker import MOST_LEASES, Breaker, BreakerPolicy, LocalCircuits, guarded

POLICY = BreakerPolicy(failure_threshold=3, reset_timeout=timedelta(seconds=10))

# Seconds added to and taken from a clock come back with a rounding error.
LONGEST = 10 + 1e-9


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("db", POLICY, clock)


def fail(breaker: Breaker, times: int = 3) -> None:
    for each in range(times):
        assert breaker.allow(f"f{each}") == 0
        breaker.report(f"f{each}", ok=False)


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.allow("good")
    breaker.report("good", ok=True)
    fail(breaker, 2)
    assert breaker.status().state == "closed"
    fail(breaker, 1)
    assert breaker.status().state == "open"
    assert breaker.allow("late") == pytest.approx(10)


def test_one_probe_passes_when_the_time_is_over_and_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 9.9
    assert breaker.allow("early") == pytest.approx(0.1)
    clock.now += 0.1
    assert breaker.allow("probe") == 0
    assert breaker.allow("other") > 0
    breaker.report("probe", ok=True)
    assert breaker.status().state == "closed"
    assert breaker.allow("other") == 0


def test_a_failed_probe_opens_it_anew(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    breaker.allow("probe")
    breaker.report("probe", ok=False)
    assert breaker.allow("other") == pytest.approx(10)


def test_a_cancelled_probe_gives_its_lease_to_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    breaker.allow("probe")
    breaker.give_back("probe")
    assert breaker.allow("next") == 0
    assert breaker.allow("third") > 0


def test_a_probe_of_which_nothing_is_heard_is_given_up(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    breaker.allow("lost")
    clock.now += 10
    assert breaker.allow("next") == 0
    breaker.report("lost", ok=True)
    assert breaker.status().state == "half-open"
    breaker.report("next", ok=True)
    assert breaker.memory().leases == ()


def test_what_is_reported_of_a_probe_that_was_given_up_counts_no_more(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    for lease in ("lost", "next"):
        clock.now += 10
        assert breaker.allow(lease) == 0
    breaker.report("next", ok=True)
    breaker.report("lost", ok=False)
    assert (breaker.status().state, breaker.status().failures) == ("closed", 0)


def test_what_was_never_granted_counts_for_nothing(breaker: Breaker) -> None:
    assert breaker.allow("a") == 0
    for lease in ("a", "a", "never granted"):
        breaker.report(lease, ok=False)
    assert breaker.status().failures == 1


def test_asking_and_reporting_twice_changes_nothing(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 2)
    assert breaker.allow("a") == breaker.allow("a") == 0
    breaker.report("a", ok=False)
    breaker.report("a", ok=False)
    assert breaker.status().failures == 3
    clock.now += 10
    assert breaker.allow("probe") == breaker.allow("probe") == 0
    breaker.report("never asked", ok=True)
    assert breaker.status().state == "half-open"


def test_a_call_from_before_it_opened_does_not_decide_about_the_probe(breaker: Breaker, clock: Clock) -> None:
    breaker.allow("slow")
    fail(breaker)
    clock.now += 10
    breaker.allow("probe")
    breaker.report("slow", ok=True)
    assert breaker.status().state == "half-open"


def test_what_another_breaker_knew_goes_on(breaker: Breaker, clock: Clock) -> None:
    breaker.allow("slow")
    fail(breaker)
    clock.now += 10
    assert breaker.allow("probe") == 0
    other = Breaker("db", POLICY, Clock())
    other.recall(breaker.memory(), elapsed=3)
    assert other.allow("probe") == 0, "a lease that was granted is still held"
    assert other.allow("another") == pytest.approx(7)
    other.report("slow", ok=True)
    assert other.status().state == "half-open"
    other.report("probe", ok=True)
    other.report("probe", ok=False)
    assert other.status().state == "closed"


def test_a_clock_that_was_set_back_keeps_nobody_off_for_longer(breaker: Breaker) -> None:
    fail(breaker)
    other = Breaker("db", POLICY, Clock())
    other.recall(breaker.memory(), elapsed=-3600)
    assert other.allow("late") == pytest.approx(10)


def test_the_policy_asked_for_last_counts(breaker: Breaker, clock: Clock) -> None:
    breaker.adopt(BreakerPolicy(failure_threshold=1, reset_timeout=timedelta(seconds=2)))
    fail(breaker, 1)
    assert breaker.allow("late") == pytest.approx(2)


def test_leases_of_the_dead_are_forgotten_one_day(breaker: Breaker) -> None:
    for each in range(3 * MOST_LEASES):
        breaker.allow(f"dead{each}")
    assert len(breaker.memory().leases) == MOST_LEASES
    fail(breaker)
    assert breaker.status().state == "open"


class Machine(RuleBasedStateMachine):
    """Any order of asking, reporting, giving back and waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.held, self.made = Clock(), set(), 0
        self.breaker = Breaker("db", POLICY, self.clock)

    @rule()
    def ask(self) -> None:
        self.made += 1
        lease, before = f"l{self.made}", self.breaker.status()
        wait = self.breaker.allow(lease)
        if before.state == "closed":
            assert wait == 0
        if wait == 0:
            self.held.add(lease)
        else:
            assert wait <= LONGEST

    @precondition(lambda self: self.held)
    @rule(ok=st.booleans(), choice=st.randoms())
    def report(self, ok: bool, choice) -> None:
        lease = choice.choice(sorted(self.held))
        self.held.remove(lease)
        self.breaker.report(lease, ok)

    @precondition(lambda self: self.held)
    @rule(choice=st.randoms())
    def give_back(self, choice) -> None:
        lease = choice.choice(sorted(self.held))
        self.held.remove(lease)
        self.breaker.give_back(lease)

    @rule(elapsed=st.floats(0, 30))
    def it_is_killed_and_another_goes_on(self, elapsed: float) -> None:
        before, memory = self.breaker.status(), self.breaker.memory()
        self.clock = Clock()
        self.breaker = Breaker("db", POLICY, self.clock)
        self.breaker.recall(memory, elapsed)
        after = self.breaker.status()
        assert (after.state, after.failures) == (before.state, before.failures)
        assert after.retry_after == pytest.approx(max(before.retry_after - elapsed, 0))

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def it_never_stays_shut_for_ever(self) -> None:
        assert self.breaker.status().retry_after <= LONGEST


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


def run(circuits: LocalCircuits, error: BaseException | None) -> None:
    with guarded(circuits, ["db", "s3"], POLICY, "lease"):
        if error is not None:
            raise error


def test_guarded_counts_only_faults_that_may_pass_and_only_for_the_endpoint_named(clock: Clock) -> None:
    circuits = LocalCircuits(clock)
    for _ in range(9):
        for error in (LoadError("no such table"), Retryable("a worker was lost"), KeyboardInterrupt()):
            with pytest.raises(type(error)):
                run(circuits, error)
    for _ in range(3):
        with pytest.raises(Retryable):
            run(circuits, Retryable("refused", endpoint="db"))
    with pytest.raises(
        CircuitOpen, match=r"db failed too often and is left alone for another 10\.0 s"
    ) as told:
        run(circuits, None)
    assert told.value.retry_after == pytest.approx(10)
    assert circuits.allow("s3", POLICY, "other") == 0
    clock.now += 10
    run(circuits, None)
    assert circuits.allow("db", POLICY, "again") == 0


def test_a_probe_that_says_nothing_of_its_endpoint_lets_the_next_one_through(clock: Clock) -> None:
    circuits = LocalCircuits(clock)
    for _ in range(3):
        with pytest.raises(Retryable):
            run(circuits, Retryable("refused", endpoint="db"))
    clock.now += 10
    with pytest.raises(LoadError):
        run(circuits, LoadError("no such table"))
    assert circuits.allow("db", POLICY, "next") == 0
