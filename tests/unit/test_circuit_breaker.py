"""The circuit breaker's states, and what answers and failures mean in each."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from mynamo.catalog import shard as shard_module
from mynamo.catalog.shard import OUTAGES, PASSING, SHARE, Admission, retry
from mynamo.errors import ShardUnavailable
from mynamo.mysql import circuit_breaker
from mynamo.mysql.circuit_breaker import ATTEMPT_EVERY, LOOK_AFTER, CircuitBreaker, State
from mynamo.mysql.failures import CircuitOpen, LostConnection

OPENS_AFTER, PROBE_AFTER = 5.0, 1.0
FAILURE = LostConnection("shard 2 does not answer: connection refused")


class Clock:
    """Stands still unless it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(circuit_breaker, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker("shard 2", OPENS_AFTER, PROBE_AFTER)
    clock.now += 1
    return breaker


def state(breaker: CircuitBreaker) -> State:
    """The state, for mypy, which takes it for constant between assertions."""
    return breaker.state


def fail(breaker: CircuitBreaker, clock: Clock, seconds: float = 0.0) -> None:
    """An attempt that takes so long, and fails."""
    began_at = clock.now
    clock.now += seconds
    breaker.failed(began_at, FAILURE)


@pytest.fixture
def opened(breaker: CircuitBreaker, clock: Clock) -> CircuitBreaker:
    fail(breaker, clock)
    fail(breaker, clock, OPENS_AFTER)
    assert state(breaker) is State.OPEN
    return breaker


def test_a_short_outage_does_not_open_it(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(4):
        fail(breaker, clock, 1.2)
        assert state(breaker) is State.CLOSED
    breaker.answered(clock.now)
    clock.now += 0.5
    for _ in range(4):  # another one begins anew
        fail(breaker, clock, 1.2)
        assert state(breaker) is State.CLOSED
    assert not breaker.admit()


def test_two_outages_between_which_nobody_looked_are_two(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, clock)
    clock.now += 60
    fail(breaker, clock)
    assert state(breaker) is State.CLOSED
    fail(breaker, clock, OPENS_AFTER)
    assert state(breaker) is State.OPEN


def test_an_answer_on_another_connection_counts_more(breaker: CircuitBreaker, clock: Clock) -> None:
    """As where a server has no connection to spare, or is slow."""
    for _ in range(10):
        fail(breaker, clock, OPENS_AFTER - 1)
        breaker.answered(clock.now)
    began_at = clock.now
    clock.now += 1
    breaker.answered(clock.now)
    clock.now += 2 * OPENS_AFTER
    breaker.failed(began_at, FAILURE)  # it began before that answer
    assert state(breaker) is State.CLOSED


def test_while_it_is_open_everybody_is_refused(opened: CircuitBreaker, clock: Clock) -> None:
    with pytest.raises(CircuitOpen) as refused:
        opened.admit()
    assert str(refused.value) == f"{FAILURE} (circuit breaker open for 0.0 s, next probe in 1.0 s)"
    with pytest.raises(CircuitOpen):
        opened.check()
    with pytest.raises(CircuitOpen):
        opened.refuse()
    fail(opened, clock, 0.5)
    assert state(opened) is State.OPEN


def test_one_caller_is_the_probe(opened: CircuitBreaker, clock: Clock) -> None:
    clock.now += PROBE_AFTER
    opened.check()
    assert opened.admit()
    for _ in range(3):
        with pytest.raises(CircuitOpen, match="a probe is under way"):
            opened.admit()
    fail(opened, clock, 0.5)
    opened.probe_ended()
    assert state(opened) is State.OPEN
    with pytest.raises(CircuitOpen, match=r"open for 1\.5 s, next probe in 1\.0 s"):
        opened.admit()
    clock.now += PROBE_AFTER
    assert opened.admit()
    opened.answered(clock.now)
    opened.probe_ended()
    assert state(opened) is State.CLOSED
    assert not opened.admit()


@pytest.mark.parametrize("probing", [False, True])
def test_a_late_answer_closes_it(opened: CircuitBreaker, clock: Clock, probing: bool) -> None:
    clock.now += PROBE_AFTER
    began_at = clock.now
    if probing:
        assert opened.admit()
    clock.now += 1
    opened.answered(clock.now)
    assert state(opened) is State.CLOSED
    clock.now += OPENS_AFTER
    opened.failed(began_at, FAILURE)  # the probe's, which nobody needs any more
    opened.probe_ended()
    assert state(opened) is State.CLOSED


def test_opening_and_closing_are_one_line_each(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(20):
        fail(breaker, clock, 1)
    breaker.answered(clock.now)
    breaker.answered(clock.now)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("shard 2: circuit breaker open, after 5.0 s without an answer")
    assert second == ("shard 2: circuit breaker closed: the server answers again, after 15.0 s")


def test_one_at_a_time_tries_to_connect_while_nobody_can(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    for _ in range(3):
        breaker.begin_attempt()
    breaker.end_attempt()
    fail(breaker, clock)
    with pytest.raises(LostConnection, match="connection refused"):
        breaker.begin_attempt()
    clock.now += 2 * ATTEMPT_EVERY
    breaker.begin_attempt()
    for _ in range(3):
        with pytest.raises(LostConnection):
            breaker.begin_attempt()
    breaker.answered(clock.now)
    for _ in range(3):
        breaker.begin_attempt()


def test_one_of_those_who_wait_looks(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.answered(clock.now)
    assert not breaker.begin_look()  # somebody had an answer a moment ago
    clock.now += LOOK_AFTER
    assert breaker.begin_look()
    assert not breaker.begin_look()
    breaker.end_look()
    assert breaker.begin_look()


def test_a_child_has_no_probe(opened: CircuitBreaker, clock: Clock) -> None:
    clock.now += PROBE_AFTER
    assert opened.admit()
    opened.renew_after_fork()
    assert opened.admit()


def test_requests_are_told_at_once_and_work_in_the_background_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard_module, "pause", lambda attempt: None)
    tries = iter(range(100))

    def answered_at_last() -> int:
        if next(tries) < 50:
            raise CircuitOpen
        return 1

    with pytest.raises(CircuitOpen):
        retry(answered_at_last, mends=PASSING)
    assert next(tries) == 1
    assert retry(answered_at_last, mends=OUTAGES) == 1
    assert retry(answered_at_last) == 1


def test_a_shard_has_its_share_of_the_permits_and_leaves_the_rest(
    breaker: CircuitBreaker,
) -> None:
    permits, taken = 80, 0
    shares = [Admission(f"shard {n}", breaker) for n in range(3)]
    for share in shares:
        share.free_permits = lambda: permits - taken

    def fill(share: Admission) -> None:
        nonlocal taken
        while True:
            taken += 1
            try:
                share.__enter__()
            except ShardUnavailable:
                taken -= 1
                return

    fill(shares[0])
    assert shares[0].waiting <= permits * SHARE / (SHARE + 1) + 1
    fill(shares[1])
    taken += 1
    with shares[2]:
        assert shares[2].waiting == 1
    with pytest.raises(ShardUnavailable, match=r"shard 1: \d+ requests wait for it already"):
        shares[1].__enter__()


def test_what_waits_alone_is_never_refused(breaker: CircuitBreaker) -> None:
    share = Admission("shard 1", breaker)
    share.free_permits = lambda: 0
    with share, pytest.raises(ShardUnavailable), share:
        pass
    assert share.waiting == 0


def test_nobody_enters_while_the_breaker_is_open(opened: CircuitBreaker) -> None:
    share = Admission("shard 2", opened)
    with pytest.raises(CircuitOpen), share:
        pass
    assert share.waiting == 0
