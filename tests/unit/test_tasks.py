"""Tasks: they share a thread, wait without it, and their requests share batches."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from mynamo.runtime.batching import Batcher, Entry
from mynamo.runtime.tasks import IDLE, Scheduler, Task, current, in_thread
from tests.tasks import spawn
from tests.waiting import eventually

TIMEOUT = 20.0


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), TIMEOUT))

    return run


@contextmanager
def scheduler() -> Iterator[Scheduler]:
    """Of the loop that runs."""
    made = Scheduler(asyncio.get_running_loop(), helpers=4)
    yield made
    made.close()


class HeldBatches:
    """A batcher whose every batch is held until the test lets it go on.

    Attributes:
        batches: the requests of each batch.
    """

    def __init__(self, gather: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Semaphore(0)
        self.fails = False
        self.batcher: Batcher[int, int] = Batcher(
            self._together, max_running=1, max_count=9, max_size=99, gather=gather
        )

    def _together(self, entries: Sequence[Entry[int, int]]) -> None:
        self.batches.append([entry.request for entry in entries])
        assert in_thread(self.go.acquire)(timeout=TIMEOUT)
        if self.fails:
            raise ValueError("a mistake")
        for entry in entries:
            entry.answer = entry.request * 2

    def ask(self, number: int) -> int | None:
        """Submit a request."""
        return self.batcher.submit(Entry(number, 1, 1))


@in_a_loop
@pytest.mark.parametrize("come", [True, False])
async def test_the_leader_of_a_batch_waits_for_the_callers_of_the_one_before(come: bool) -> None:
    held = HeldBatches(gather=2.0 if come else 0.2)
    held.go.release(9)
    with scheduler() as here:
        await asyncio.gather(*[spawn(here, lambda: held.ask(1)) for _ in range(6)])
        begun = len(held.batches)
        answers = [spawn(here, lambda: held.ask(2))]
        while not held.batcher.gathering:
            await asyncio.sleep(0)
        if come:
            answers += [spawn(here, lambda: held.ask(3)) for _ in range(5)]
        await asyncio.gather(*answers)
    assert held.batches[begun:] == [[2, 3, 3, 3, 3, 3] if come else [2]]


@in_a_loop
async def test_tasks_leave_their_thread_to_one_another() -> None:
    held = HeldBatches()
    with scheduler() as here:
        answers = [spawn(here, lambda n=n: held.ask(n)) for n in range(5)]  # type: ignore[misc]
        assert not any(answer.done() for answer in answers)  # and yet this thread goes on
        held.go.release(2)
        assert await asyncio.gather(*answers) == [0, 2, 4, 6, 8]
    assert [number for batch in held.batches for number in batch] == [0, 1, 2, 3, 4]
    assert len(held.batches) <= 2


@in_a_loop
async def test_tasks_go_on_in_the_thread_of_their_loop() -> None:
    held = HeldBatches()
    held.go.release(9)
    seen: set[int] = set()

    def work() -> None:
        held.ask(1)
        seen.add(threading.get_ident())
        in_thread(lambda: None)()
        seen.add(threading.get_ident())

    with scheduler() as here:
        await asyncio.gather(*(spawn(here, work) for _ in range(9)))
    assert seen == {threading.get_ident()}


@pytest.mark.parametrize("first", ["thread", "task"])
def test_threads_and_tasks_share_a_batcher(first: str) -> None:
    """Whoever comes first, all come through."""

    async def test() -> None:
        held = HeldBatches()
        with scheduler() as here, ThreadPoolExecutor(9) as threads:
            loop = asyncio.get_running_loop()
            answers: list[asyncio.Future[Any]] = []
            for number in range(8):
                if (number % 2 == 0) == (first == "thread"):
                    answers.append(loop.run_in_executor(threads, held.ask, number))
                else:
                    answers.append(spawn(here, lambda n=number: held.ask(n)))  # type: ignore[misc]
                await asyncio.to_thread(
                    eventually, lambda n=number: len(held.batches) + held.batcher.waiting > n
                )
            held.go.release(8)
            assert await asyncio.gather(*answers) == [n * 2 for n in range(8)]

    asyncio.run(asyncio.wait_for(test(), TIMEOUT))


@in_a_loop
async def test_a_failure_of_the_one_who_carries_is_the_leaders() -> None:
    held = HeldBatches()
    held.fails = True
    with scheduler() as here:
        leader = spawn(here, lambda: held.ask(1))
        await asyncio.to_thread(eventually, lambda: held.batches)
        others = [spawn(here, lambda: held.ask(2)), spawn(here, lambda: held.ask(3))]
        held.go.release(2)
        with pytest.raises(ValueError, match="a mistake"):
            await leader
        with pytest.raises(ValueError, match="a mistake"):
            await others[0]
        assert await others[1] is None  # goes alone
        held.fails = False
        held.go.release()
        assert await spawn(here, lambda: held.ask(4)) == 8


@in_a_loop
async def test_what_blocks_is_done_in_a_thread() -> None:
    gate = threading.Event()
    calls: list[int] = []

    @in_thread
    def block(number: int, *, fail: bool = False) -> int:
        calls.append(threading.get_ident())
        assert current() is None
        assert gate.wait(TIMEOUT)
        if fail:
            raise ValueError("no")
        return number

    with scheduler() as here:
        good, bad = spawn(here, lambda: block(7)), spawn(here, lambda: block(8, fail=True))
        assert not good.done()
        gate.set()
        assert await good == 7
        with pytest.raises(ValueError, match="no"):
            await bad
    assert threading.get_ident() not in calls
    assert block(9) == 9
    assert calls[-1] == threading.get_ident()  # without a task there is a thread already


@in_a_loop
async def test_requests_of_the_same_iteration_of_the_loop_share_a_batch() -> None:
    held = HeldBatches()
    held.go.release(9)
    with scheduler() as here:
        answers = [spawn(here, lambda n=n: held.ask(n)) for n in range(5)]  # type: ignore[misc]
        assert await asyncio.gather(*answers) == [0, 2, 4, 6, 8]
    assert held.batches == [[0, 1, 2, 3, 4]]


@in_a_loop
async def test_a_task_that_fails_does_not_stop_the_others() -> None:
    failures: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    waiting: list[Task] = []

    def wait() -> None:
        me = current()
        assert me is not None
        waiting.append(me)
        me.wait()

    def fail() -> None:
        wait()
        raise ValueError("a mistake")

    with scheduler() as here:
        here.spawn(fail)
        others = [spawn(here, wait) for _ in range(3)]
        for task in waiting:  # in one turn of the loop, and the one that fails goes first
            here.wake(task)
        await asyncio.gather(*others)
    assert [str(failure) for failure in failures] == ["a mistake"]


@in_a_loop
async def test_a_task_is_used_again_if_its_work_did_not_fail() -> None:
    made: list[Task | None] = []
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def fail() -> None:
        made.append(current())
        raise ValueError("a mistake")

    with scheduler() as here:
        for _ in range(2):
            await spawn(here, lambda: made.append(current()))
        assert made[1] is made[0]
        together = [spawn(here, lambda: in_thread(lambda: None)()) for _ in range(IDLE + 9)]
        await asyncio.gather(*together)
        with pytest.raises(ValueError, match="a mistake"):
            here.spawn(fail)
        assert await spawn(here, lambda: 7) == 7
        assert len(here.idle) == IDLE - 1
    assert made[2] is not None
    assert made[2].dead


@in_a_loop
async def test_tasks_that_let_others_go_do_not_pile_up() -> None:
    """As the pipelined requests of one connection do."""
    last = asyncio.get_running_loop().create_future()
    parents: set[int] = set()

    with scheduler() as here:

        def work(left: int) -> None:
            me = current()
            assert me is not None
            parents.add(id(me.parent))
            if left:
                here.spawn(lambda: work(left - 1))
            else:
                last.set_result(None)

        here.spawn(lambda: work(3_000))
        await last
    assert len(parents) == 1


def assert_open(opened: bool) -> None:
    """Raises AssertionError."""
    assert opened


def test_a_loop_that_ends_first_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    made: list[Scheduler] = []

    async def leave() -> None:
        made.append(Scheduler(asyncio.get_running_loop(), helpers=1))
        made[0].spawn(lambda: assert_open(in_thread(gate.wait)(TIMEOUT)))

    asyncio.run(leave())
    gate.set()
    with caplog.at_level(logging.DEBUG):
        made[0].close()
    assert "exception" not in caplog.text
