"""From the event loop to whatever answers requests, and back.

Small requests for items are tasks of the event loop (see `mynamo.runtime.tasks`): they
cost little but the waiting. All others that wait for a server have threads: the drivers of MySQL
and Kafka block.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from mynamo.gateway.http.messages import LARGE_BODY, Request, Response
from mynamo.runtime.tasks import Scheduler
from mynamo.schemas.gateway_config import GatewayLimits

log = logging.getLogger(__name__)

LARGE_THREADS = 4
HEALTH_QUEUE = 64
"""Health checks that wait: one answer is for all that ask within a second."""
RUN_AS_TASKS = {"DynamoDBStreams_20120810.GetRecords"} | frozenset(
    f"DynamoDB_20120810.{operation}"
    for operation in (
        "BatchWriteItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "TransactGetItems",
        "TransactWriteItems",
        "UpdateItem",
    )
)
"""Targets of the requests that run as tasks."""

Done = Callable[[Response], None]
"""Takes the answer to a request, in the event loop's thread."""


class Application(Protocol):
    """What answers requests."""

    def answer(self, request: Request) -> Response:
        """Answer a request, in a thread of its own or as a task; never raises."""

    def at_once(self, request: Request) -> Response | None:
        """The answer to a request, if that needs no waiting; must not wait."""

    def overloaded(self, request: Request) -> Response:
        """The answer to a request for which there is no permit; must not wait."""


class Answering:
    """Has an application answer, a bounded number of requests at a time.

    Small requests and large ones (or compressed ones, which may become large) have threads of
    their own, so that a few batches of megabytes do not hold up gets and puts. So have health
    checks, which must be answered when nothing else is. What needs no waiting, as the greeting
    that load balancers ask for, is answered in the event loop, however many requests there are.

    Args:
        app: what answers.
        limits: how many requests are worked on, and wait for it.
    """

    def __init__(self, app: Application, limits: GatewayLimits) -> None:
        self._app = app
        self._helpers = limits.threads + limits.queue  # every request may have to wait alone
        self._loop: asyncio.AbstractEventLoop
        self._scheduler: Scheduler
        self._small = _Threads("gateway", limits.threads, limits.queue)
        self._large = _Threads("gateway-large", LARGE_THREADS, limits.queue)
        self._health = _Threads("gateway-health", 1, HEALTH_QUEUE)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say where requests come from, and answers go to."""
        self._loop = loop
        self._scheduler = Scheduler(loop, self._helpers)

    def answer(self, request: Request, done: Done) -> None:
        """Have a request worked on, and `done` called. In the event loop's thread only."""
        if request.method != "POST":
            response = self._app.at_once(request)
            if response is not None:
                self._loop.call_soon(done, response)
                return
        threads = self._threads_for(request)
        if threads.permits == 0:
            self._loop.call_soon(done, self._app.overloaded(request))
            return
        threads.permits -= 1
        if threads is self._small and request.headers.get("x-amz-target") in RUN_AS_TASKS:
            self._scheduler.spawn(lambda: _hand_over(threads, done, self._answer(request)))
        else:
            threads.pool.submit(self._work, threads, request, done)

    def close(self) -> None:
        """Wait for the requests that are worked on; nobody waits any more for those that wait."""
        for threads in (self._small, self._large, self._health):
            threads.pool.shutdown(cancel_futures=True)
        self._scheduler.close()

    def free_permits(self) -> int:
        """How many more small requests are taken, at this moment; from any thread."""
        return self._small.permits

    def _threads_for(self, request: Request) -> _Threads:
        if request.method != "POST":
            return self._health
        large = len(request.body) > LARGE_BODY or "content-encoding" in request.headers
        return self._large if large else self._small

    def _work(self, threads: _Threads, request: Request, done: Done) -> None:
        response = self._answer(request)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its clients with it
            self._loop.call_soon_threadsafe(_hand_over, threads, done, response)

    def _answer(self, request: Request) -> Response:
        try:
            return self._app.answer(request)
        except Exception:
            log.exception("the application failed")
            return Response(500, last=True)


class _Threads:
    """Threads with a bounded queue.

    Attributes:
        permits: for how many requests more there is room; counted in the event loop's thread only.
        pool: the threads.
    """

    def __init__(self, name: str, threads: int, queued: int) -> None:
        self.permits = threads + queued
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)


def _hand_over(threads: _Threads, done: Done, response: Response) -> None:
    threads.permits += 1
    done(response)
