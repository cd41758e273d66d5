"""Work that is done by tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mynamo.runtime.tasks import Scheduler


def spawn(at: Scheduler, work: Callable[[], Any]) -> asyncio.Future[Any]:
    """Have some work done by a task."""
    arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done() -> None:
        try:
            arrived.set_result(work())
        except Exception as failure:
            arrived.set_exception(failure)

    at.spawn(done)
    return arrived
