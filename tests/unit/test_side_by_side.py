"""Calls that are made at the same time, by threads and by tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mynamo.runtime import deadlines
from mynamo.runtime.side_by_side import side_by_side
from mynamo.runtime.tasks import Scheduler, current, in_thread
from tests.tasks import spawn

TIMEOUT = 20.0


def in_a_task(work: Callable[[], Any]) -> Any:
    async def run() -> Any:
        scheduler = Scheduler(asyncio.get_running_loop(), helpers=4)
        try:
            return await asyncio.wait_for(spawn(scheduler, work), TIMEOUT)
        finally:
            scheduler.close()

    return asyncio.run(run())


@pytest.fixture(params=["thread", "task"])
def made_by(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Makes a call that makes others."""
    return in_a_task if request.param == "task" else lambda work: work()


MadeBy = Callable[[Callable[[], Any]], Any]


def test_they_are_made_at_the_same_time_and_answered_in_order(made_by: MadeBy) -> None:
    meeting = threading.Barrier(3)

    def call(n: int) -> Callable[[], int]:
        def meet() -> int:
            in_thread(meeting.wait)(TIMEOUT)
            return n

        return meet

    assert made_by(lambda: side_by_side([call(n) for n in range(3)])) == [0, 1, 2]


def test_none_one_and_some_that_do_not_wait(made_by: MadeBy) -> None:
    assert made_by(lambda: side_by_side([])) == []
    assert made_by(lambda: side_by_side([lambda: "x"])) == ["x"]
    assert made_by(lambda: side_by_side([lambda: 1] * 4)) == [1] * 4


@pytest.mark.parametrize("failing", [(0,), (2,), (1, 2), (0, 1, 2)])
def test_the_first_failure_is_raised_once_all_have_ended(
    made_by: MadeBy, failing: tuple[int, ...]
) -> None:
    ended: list[int] = []

    def call(n: int) -> Callable[[], None]:
        def fail() -> None:
            in_thread(threading.Event().wait)(0.01 * (3 - n))
            ended.append(n)
            if n in failing:
                raise ValueError(n)

        return fail

    with pytest.raises(ValueError, match=f"^{failing[0]}$"):
        made_by(lambda: side_by_side([call(n) for n in range(3)]))
    assert sorted(ended) == [0, 1, 2]


def test_each_has_the_deadline_of_the_whole(made_by: MadeBy) -> None:
    def work() -> list[float | None]:
        def ends_at() -> float | None:
            in_thread(threading.Event().wait)(0.001)
            return deadlines.end()

        return deadlines.until(5.0, lambda: side_by_side([ends_at] * 3))

    assert made_by(work) == [5.0] * 3
    assert deadlines.end() is None


def test_tasks_share_the_thread_of_their_loop() -> None:
    def call() -> tuple[int, int]:
        in_thread(threading.Event().wait)(0.001)
        return threading.get_ident(), id(current())

    found = in_a_task(lambda: side_by_side([call] * 3))
    assert {thread for thread, _ in found} == {threading.get_ident()}
    assert len({task for _, task in found}) == 3
