"""Batches: which requests share one, and that no request is left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from mynamo.runtime.batching import Batcher, BatcherPerKey, Entry
from tests.waiting import eventually


class HeldBatches:
    """A batcher whose every batch is held until the test lets it go on.

    Attributes:
        batches: the requests of each batch.
    """

    def __init__(self, gather: float = 0.0, **limits: int) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Semaphore(0)
        self.fails: Callable[[list[int]], BaseException | None] = lambda request: None
        chosen: dict[str, Any] = {"max_running": 1, "max_count": 10, "max_size": 1_000} | limits
        self.batcher: Batcher[int, int] = Batcher(self._run_together, **chosen, gather=gather)
        self.pool = ThreadPoolExecutor(50)

    def _run_together(self, entries: Sequence[Entry[int, int]]) -> None:
        request = [entry.request for entry in entries]
        self.batches.append(request)
        assert self.go.acquire(timeout=20)
        failure = self.fails(request)
        if failure is not None:
            raise failure
        for entry in entries:
            if entry.request >= 0:
                entry.answer = entry.request * 2

    def ask(self, number: int, count: int = 1, size: int = 1) -> Future[int | None]:
        """Let a thread ask, and wait until it is under way or waits."""
        before = len(self.batches) + self.batcher.waiting
        future = self.pool.submit(self.batcher.submit, Entry(number, count, size))
        eventually(lambda: len(self.batches) + self.batcher.waiting > before)
        return future


def test_the_first_runs_at_once_and_the_others_together() -> None:
    held = HeldBatches()
    futures = [held.ask(number) for number in range(5)]
    assert held.batches == [[0]]
    held.go.release(2)
    assert [future.result(20) for future in futures] == [0, 2, 4, 6, 8]
    assert held.batches == [[0], [1, 2, 3, 4]]
    assert (held.batcher.batches, held.batcher.rows) == (2, 5)


def test_several_may_be_under_way() -> None:
    held = HeldBatches(max_running=2)
    futures = [held.ask(number) for number in range(2)]
    assert held.batches == [[0], [1]]
    held.go.release(2)
    assert [future.result(20) for future in futures] == [0, 2]


@pytest.mark.parametrize(
    ("count", "size", "batches"),
    [(4, 1, [[0], [1, 2], [3, 4], [5]]), (1, 300, [[0], [1, 2, 3], [4, 5]]), (99, 1, None)],
)
def test_requests_beyond_the_limits_run_later(
    count: int, size: int, batches: list[list[int]] | None
) -> None:
    held = HeldBatches()
    futures = [held.ask(number, count, size) for number in range(6)]
    held.go.release(6)
    assert [future.result(20) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert held.batches == (batches or [[number] for number in range(6)])


def test_a_request_without_an_answer_must_run_alone() -> None:
    held = HeldBatches()
    held.go.release()
    assert held.ask(-1).result(20) is None


def test_an_answer_may_be_an_exception_of_ones_own() -> None:
    def run(entries: Sequence[Entry[int, int]]) -> None:
        for entry in entries:
            entry.answer = ValueError(str(entry.request))

    batcher: Batcher[int, int] = Batcher(run, max_running=1, max_count=10, max_size=1_000)
    with pytest.raises(ValueError, match=r"^7$"):
        batcher.submit(Entry(7, 1, 1))


def ask_soon(held: HeldBatches, *numbers: int) -> list[Future[int | None]]:
    """Let threads ask."""
    return [held.pool.submit(held.batcher.submit, Entry(number, 1, 1)) for number in numbers]


def a_batch_of_four(held: HeldBatches) -> None:
    """The first of them waits for the caller of the request before it, which asks again."""
    futures = [held.ask(number) for number in range(4)]
    held.go.release(2)
    assert futures[0].result(20) == 0
    futures += ask_soon(held, 4)
    assert [future.result(20) for future in futures] == [0, 2, 4, 6, 8]
    assert held.batches == [[0], [1, 2, 3, 4]]


def test_a_batch_waits_for_as_many_as_the_one_before_it_had() -> None:
    held = HeldBatches(gather=60.0)
    a_batch_of_four(held)
    futures = ask_soon(held, 5)
    eventually(lambda: held.batcher.gathering)
    futures += [held.ask(number) for number in (6, 7)]
    assert len(held.batches) == 2
    futures += ask_soon(held, 8)
    held.go.release()
    assert [future.result(20) for future in futures] == [10, 12, 14, 16]
    assert held.batches[2:] == [[5, 6, 7, 8]]


def test_a_request_that_came_while_a_batch_ran_waits_for_the_callers_of_that_batch() -> None:
    held = HeldBatches(gather=60.0)
    a_batch_of_four(held)
    futures = ask_soon(held, 0, 1, 2, 3)
    eventually(lambda: len(held.batches) == 3)
    behind = held.ask(10)
    held.go.release()
    assert [future.result(20) for future in futures] == [0, 2, 4, 6]
    eventually(lambda: held.batcher.gathering)  # five are expected
    futures = [held.ask(number) for number in range(11, 14)]
    assert len(held.batches) == 3
    futures += ask_soon(held, 14)
    held.go.release()
    assert [future.result(20) for future in (behind, *futures)] == [20, 22, 24, 26, 28]
    assert [len(batch) for batch in held.batches[3:]] == [5]


def test_callers_that_do_not_come_are_not_waited_for_long() -> None:
    held = HeldBatches(gather=0.5)
    a_batch_of_four(held)
    futures = ask_soon(held, 5)
    eventually(lambda: held.batches[2:] == [[5]])
    held.go.release()
    assert futures[0].result(20) == 10


@pytest.mark.parametrize("limits", [{"max_count": 4}, {"max_size": 4}])
def test_a_batch_that_is_full_waits_for_nobody(limits: dict[str, int]) -> None:
    """Callers that are answered would not fit into it, whether they come again or not."""
    held = HeldBatches(gather=60.0, **limits)
    futures = [held.ask(number) for number in range(9)]
    held.go.release(3)
    assert [future.result(20) for future in futures] == [2 * number for number in range(9)]
    assert held.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]


def test_few_are_not_waited_for() -> None:
    held = HeldBatches(gather=60.0)
    futures = [held.ask(number) for number in range(3)]
    held.go.release(2)
    assert [future.result(20) for future in futures] == [0, 2, 4]
    assert held.batches == [[0], [1, 2]]
    held.go.release()
    assert held.ask(5).result(20) == 10


class Interrupted(BaseException):
    """As KeyboardInterrupt."""


def test_a_leader_that_is_interrupted_hands_over() -> None:
    held = HeldBatches()
    held.fails = lambda request: Interrupted() if request == [0] else None
    futures = [held.ask(number) for number in range(3)]
    held.go.release(2)
    assert isinstance(futures[0].exception(20), Interrupted)
    assert [future.result(20) for future in futures[1:]] == [2, 4]


def test_the_others_of_an_interrupted_batch_are_not_left_waiting() -> None:
    held = HeldBatches()
    held.fails = lambda request: Interrupted() if request == [1, 2] else None
    futures = [held.ask(number) for number in range(3)]
    held.go.release(3)
    assert futures[0].result(20) == 0
    assert isinstance(futures[1].exception(20), Interrupted)
    assert futures[2].result(20) is None
    assert held.ask(3).result(20) == 6


class InterruptedLock:
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
    held = HeldBatches()
    first = held.ask(0)
    late: list[Future[int | None]] = []

    def meanwhile() -> None:
        late.append(held.ask(2))
        if chosen:
            held.go.release()
            first.result(20)

    me: Entry[int, int] = Entry(1, 1, 1)
    me.ready = InterruptedLock(meanwhile)  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        held.batcher.submit(me)
    held.go.release(3)
    assert first.result(20) == 0
    assert late[0].result(20) == 4
    assert held.ask(3).result(20) == 6
    assert held.batches == [[0], [2], [3]]


class InterruptedWait:
    """The lock of a leader that is interrupted while its batch gathers."""

    def acquire(self, timeout: float = -1) -> bool:
        """The wait for others has a time."""
        if timeout >= 0:
            raise Interrupted
        return True

    def release(self) -> None:
        """Nobody waits."""


def test_a_leader_that_is_interrupted_while_its_batch_gathers_hands_over() -> None:
    held = HeldBatches(gather=60.0)
    a_batch_of_four(held)
    me: Entry[int, int] = Entry(5, 1, 1)
    me.ready = InterruptedWait()  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        held.batcher.submit(me)
    held.go.release()
    assert held.ask(6).result(20) == 12


def test_keys_have_batchers_of_their_own_while_somebody_uses_them() -> None:
    held = {"a": HeldBatches(), "b": HeldBatches()}
    made = iter(held.values())
    batchers: BatcherPerKey[str, int, int] = BatcherPerKey(lambda: next(made).batcher)
    with ThreadPoolExecutor(4) as threads:

        def ask(key: str, number: int) -> Future[int | None]:
            before = batchers.callers
            future = threads.submit(batchers.submit, key, Entry(number, 1, 1))
            eventually(lambda: batchers.callers > before)
            return future

        first = ask("a", 1)
        eventually(lambda: held["a"].batches)
        others = [ask("a", 2), ask("a", 3)]
        eventually(lambda: held["a"].batcher.waiting == 2)
        stranger = ask("b", 9)
        held["b"].go.release()
        assert stranger.result(20) == 18
        assert not first.done()
        assert len(batchers) == 1
        held["a"].go.release(2)
        assert [future.result(20) for future in (first, *others)] == [2, 4, 6]
    assert held["a"].batches == [[1], [2, 3]]
    assert len(batchers) == 0


def test_who_waits_may_join_a_batch_that_runs() -> None:
    begun, go = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def run(entries: list[Entry[int, int]]) -> None:
        begun.set()
        assert go.wait(20)
        batcher.join(entries)
        batches.append([entry.request for entry in entries])
        for entry in entries:
            entry.answer = entry.request * 2

    batcher: Batcher[int, int] = Batcher(run, max_running=1, max_count=3, max_size=100)
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(batcher.submit, Entry(0, 1, 1))]
        assert begun.wait(20)
        for number in (1, 2, 3):
            futures.append(threads.submit(batcher.submit, Entry(number, 1, 1)))
            eventually(lambda wanted=number: batcher.waiting == wanted)  # type: ignore[misc]
        go.set()
        assert [future.result(20) for future in futures] == [0, 2, 4, 6]
    assert batches == [[0, 1, 2], [3]]
