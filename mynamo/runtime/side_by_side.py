"""The same work for several things at once: one that takes long delays no other."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from mynamo.runtime.tasks import in_thread

Each = TypeVar("Each")
Answer = TypeVar("Answer")


def side_by_side(
    what: str, work: Callable[[Each], Answer], things: Collection[Each]
) -> list[Answer]:
    """Do some work for each thing, in a thread of its own if there are several.

    Args:
        what: the threads' name.
        work: has the call's deadline.

    Returns:
        The answers, in the order of the things.
    """
    if len(things) < 2:
        return [work(each) for each in things]
    return _in_threads(what, work, things)


@in_thread
def _in_threads(
    what: str, work: Callable[[Each], Answer], things: Collection[Each]
) -> list[Answer]:
    with ThreadPoolExecutor(len(things), what) as threads:
        contexts = [copy_context() for _ in things]  # which have the call's deadline
        return list(threads.map(lambda context, each: context.run(work, each), contexts, things))
