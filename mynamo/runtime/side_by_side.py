"""Making several calls at the same time, such as one to each shard.

A task makes them as tasks of its own thread (see `mynamo.runtime.tasks`), an ordinary thread in
threads. Each call has the deadline of the one that makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from mynamo.runtime.tasks import Task, current

Answer = TypeVar("Answer")


def side_by_side(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """Make calls, and wait until all have ended.

    Returns:
        Their answers, in their order.

    Raises:
        Exception: of the first call, in their order, that has failed.
    """
    if len(calls) < 2:
        return [call() for call in calls]
    contextual = [partial(copy_context().run, call) for call in calls]
    me = current()
    return _in_threads(contextual) if me is None else _as_tasks(me, contextual)


def _in_threads(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    own, *others = calls
    with ThreadPoolExecutor(len(others), "mynamo-side") as threads:
        running = [threads.submit(call) for call in others]
        return [own(), *(each.result() for each in running)]


def _as_tasks(me: Task, calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    # All of them run in one thread, so that nothing here needs a lock.
    ended: list[Future[Answer]] = [Future() for _ in calls]
    waiting = False

    def make(call: Callable[[], Answer], end: Future[Answer]) -> None:
        try:
            end.set_result(call())
        except BaseException as failure:
            end.set_exception(failure)
        if waiting and all(each.done() for each in ended):
            me.scheduler.wake(me)

    for call, end in list(zip(calls, ended, strict=True))[1:]:
        me.scheduler.spawn(partial(make, call, end))
    make(calls[0], ended[0])
    if not all(each.done() for each in ended):
        waiting = True
        me.wait()
    return [each.result() for each in ended]
