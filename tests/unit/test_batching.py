"""The lane itself: who goes with whom, and that nobody is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from mynamo.runtime.batching import Batcher, Entry
from tests.waiting import eventually


class Road:
    """A lane whose every journey waits to be let go.

    Attributes:
        journeys: what was asked for, by journey.
    """

    def __init__(self, **limits: int) -> None:
        self.journeys: list[list[int]] = []
        self.go = threading.Semaphore(0)
        self.fails: Callable[[list[int]], BaseException | None] = lambda request: None
        chosen = {"max_running": 1, "max_count": 10, "max_size": 1_000} | limits
        self.batcher: Batcher[int, int] = Batcher(self._run_together, **chosen)
        self.pool = ThreadPoolExecutor(50)

    def _run_together(self, travellers: Sequence[Entry[int, int]]) -> None:
        request = [entry.request for entry in travellers]
        self.journeys.append(request)
        assert self.go.acquire(timeout=20)
        failure = self.fails(request)
        if failure is not None:
            raise failure
        for entry in travellers:
            if entry.request >= 0:
                entry.answer = entry.request * 2

    def ask(self, number: int, count: int = 1, size: int = 1) -> Future[int | None]:
        """Let a thread ask, and wait until it is under way or waits."""
        before = len(self.journeys) + self.batcher.waiting
        future = self.pool.submit(self.batcher.submit, Entry(number, count, size))
        eventually(lambda: len(self.journeys) + self.batcher.waiting > before)
        return future


def test_the_first_goes_at_once_and_the_others_together() -> None:
    road = Road()
    futures = [road.ask(number) for number in range(5)]
    assert road.journeys == [[0]]
    road.go.release(2)
    assert [future.result(20) for future in futures] == [0, 2, 4, 6, 8]
    assert road.journeys == [[0], [1, 2, 3, 4]]


def test_several_may_be_under_way() -> None:
    road = Road(max_running=2)
    futures = [road.ask(number) for number in range(2)]
    assert road.journeys == [[0], [1]]
    road.go.release(2)
    assert [future.result(20) for future in futures] == [0, 2]


@pytest.mark.parametrize(
    ("count", "size", "journeys"),
    [(4, 1, [[0], [1, 2], [3, 4], [5]]), (1, 300, [[0], [1, 2, 3], [4, 5]]), (99, 1, None)],
)
def test_those_who_are_too_many_go_later(
    count: int, size: int, journeys: list[list[int]] | None
) -> None:
    road = Road()
    futures = [road.ask(number, count, size) for number in range(6)]
    road.go.release(6)
    assert [future.result(20) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert road.journeys == (journeys or [[number] for number in range(6)])


def test_who_has_no_answer_is_told_to_go_alone() -> None:
    road = Road()
    road.go.release()
    assert road.ask(-1).result(20) is None


def test_an_answer_may_be_an_exception_of_ones_own() -> None:
    road = Road()

    def together(travellers: Sequence[Entry[int, int]]) -> None:
        for entry in travellers:
            entry.answer = ValueError(str(entry.request))

    road.batcher._run_together = together
    with pytest.raises(ValueError, match=r"^7$"):
        road.batcher.submit(Entry(7, 1, 1))


class Interrupted(BaseException):
    """As KeyboardInterrupt."""


def test_a_leader_that_is_interrupted_hands_over() -> None:
    road = Road()
    road.fails = lambda request: Interrupted() if request == [0] else None
    futures = [road.ask(number) for number in range(3)]
    road.go.release(2)
    assert isinstance(futures[0].exception(20), Interrupted)
    assert [future.result(20) for future in futures[1:]] == [2, 4]


def test_those_whom_an_interrupted_leader_carried_are_not_left_waiting() -> None:
    road = Road()
    road.fails = lambda request: Interrupted() if request == [1, 2] else None
    futures = [road.ask(number) for number in range(3)]
    road.go.release(3)
    assert futures[0].result(20) == 0
    assert isinstance(futures[1].exception(20), Interrupted)
    assert futures[2].result(20) is None
    assert road.ask(3).result(20) == 6


class Turn:
    """A lock that is interrupted while it is waited for."""

    def __init__(self, meanwhile: Callable[[], Any]) -> None:
        self._meanwhile = meanwhile
        self._taken = 0

    def acquire(self) -> None:
        """The second time is the waiting."""
        self._taken += 1
        if self._taken == 2:
            self._meanwhile()
            raise Interrupted

    def release(self) -> None:
        """Nobody waits."""


@pytest.mark.parametrize("chosen", [False, True])
def test_who_is_interrupted_while_waiting_is_not_waited_for(chosen: bool) -> None:
    """Whether it has just been chosen to lead or not."""
    road = Road()
    first = road.ask(0)
    late: list[Future[int | None]] = []

    def meanwhile() -> None:
        late.append(road.ask(2))
        if chosen:
            road.go.release()
            first.result(20)

    me: Entry[int, int] = Entry(1, 1, 1, ready=Turn(meanwhile))  # type: ignore[arg-type]
    with pytest.raises(Interrupted):
        road.batcher.submit(me)
    road.go.release(3)
    assert first.result(20) == 0
    assert late[0].result(20) == 4
    assert road.ask(3).result(20) == 6
    assert road.journeys == [[0], [2], [3]]
