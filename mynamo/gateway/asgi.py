"""The gateway as an ASGI application: whole requests in, their answers out.

The work between is done in threads: the drivers of MySQL and Kafka block.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from mynamo.gateway.http_budget import LARGE_BODY
from mynamo.gateway.http_messages import Request, Response
from mynamo.schemas.gateway import GatewayLimits

log = logging.getLogger(__name__)

LARGE_THREADS = 4

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application(Protocol):
    """What answers requests."""

    def answer(self, request: Request) -> Response:
        """Answer a request, in a thread of its own; never raises."""

    def overloaded(self, request: Request) -> Response:
        """Say that there is no thread for a request; must not wait."""


class Asgi:
    """Has an application answer, in bounded threads.

    Small requests and large ones (or compressed ones, which may become large) have threads of
    their own, so that a few batches of megabytes do not hold up gets and puts.

    Args:
        app: what answers.
        limits: how many requests are worked on, and wait for it.
    """

    def __init__(self, app: Application, limits: GatewayLimits) -> None:
        self._app = app
        self._small = _Threads("gateway", limits.threads, limits.queue)
        self._large = _Threads("gateway-large", LARGE_THREADS, limits.queue)

    def close(self) -> None:
        """Wait for the requests that are worked on, and end the threads."""
        self._small.close()
        self._large.close()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            request = await _received(scope, receive)
            if request is None:
                return
            response = await self._worked_on(request)
        except asyncio.CancelledError:  # the server stops and has waited long enough
            response = Response(503, last=True)
        except Exception:
            log.exception("the application failed")
            response = Response(500, last=True)
        await _answer(response, send)

    async def _worked_on(self, request: Request) -> Response:
        large = len(request.body) > LARGE_BODY or "content-encoding" in request.headers
        threads = self._large if large else self._small
        if threads.places == 0:
            return self._app.overloaded(request)
        return await threads.run(self._app.answer, request)


async def _received(scope: Message, receive: Receive) -> Request | None:
    """A request, whole; None if its client is gone."""
    parts = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message["body"])
        more = message["more_body"]
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    target = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    return Request(scope["method"], target.decode("latin-1"), headers, body)


async def _answer(response: Response, send: Send) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in response.headers.items()
    ]
    headers.append((b"content-length", b"%d" % len(response.body)))
    if response.last:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


class _Threads:
    """Threads with a bounded queue; places are counted in the event loop's thread alone.

    Attributes:
        places: for requests.
    """

    def __init__(self, name: str, threads: int, queued: int) -> None:
        self.places = threads + queued
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[[Request], Response], request: Request) -> Response:
        """Have a request worked on."""
        self.places -= 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, work, request)
        finally:
            self.places += 1

    def close(self) -> None:
        """Wait for what is worked on, and end."""
        self._pool.shutdown()
