"""The HTTP server: one event loop for all clients, bounded threads for their requests.

The parser is httptools (Node's), the loop uvloop; docs/performance.md compares servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Protocol

import uvloop

from mynamo.errors import ConfigError
from mynamo.gateway.http_budget import BodyBudget
from mynamo.gateway.http_connection import LARGE_BODY, LINGER_SECONDS, Connection
from mynamo.gateway.http_messages import Request, Response
from mynamo.schemas.gateway import GatewayConfig, GatewayLimits

log = logging.getLogger(__name__)

LARGE_THREADS = 4
LOOK_SECONDS = 0.5
GRACE_SECONDS = 15.0
BACKLOG = 2048


class Application(Protocol):
    """What answers requests."""

    def answer(self, request: Request) -> Response:
        """Answer a request, in a thread of its own; never raises."""

    def overloaded(self, request: Request) -> Response:
        """Say that there is no thread for a request; must not wait."""


class HttpServer:
    """Serves an application until it is stopped.

    Small requests and large ones (or compressed ones, which may become large) have threads of
    their own, so that a few batches of megabytes do not hold up gets and puts.

    Args:
        app: what answers.
        listener: bound and listening; the server closes it.
        limits: what clients may cost.
        tls: for HTTPS.
    """

    def __init__(
        self,
        app: Application,
        listener: socket.socket,
        limits: GatewayLimits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits
        self.budget = BodyBudget(limits.buffered_bytes)
        self.stopping = False
        self._app = app
        self._listener = listener
        self._tls = tls
        self._connections: dict[Connection, None] = {}
        self._loop = uvloop.new_event_loop()
        self._stop = asyncio.Event()
        self.now = self._loop.time
        self._small = _Threads("gateway", limits.threads, limits.queue)
        self._large = _Threads("gateway-large", LARGE_THREADS, limits.queue)
        self.address = listener.getsockname()[:2]
        """Host and port that it listens on."""

    def run(self) -> None:
        """Serve, in this thread, until `stop`; then finish what is under way."""
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._small.close()
            self._large.close()
            self._loop.close()

    def stop(self) -> None:
        """Take no more requests and let `run` return; from any thread, more than once."""
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._stop.set)

    # What connections call; see `http_connection.Host`.

    def work(self, connection: Connection, request: Request) -> None:
        """Have a request answered."""
        large = len(request.body) > LARGE_BODY or "content-encoding" in request.headers
        threads = self._large if large else self._small

        if not threads.submit(lambda: self._answer(threads, connection, request)):
            response = self._app.overloaded(request)
            self._loop.call_soon(connection.answer, response)

    def opened(self, connection: Connection) -> None:
        """Count a client; with too many of them, the one that was waited for longest goes."""
        self._connections[connection] = None
        if len(self._connections) > self.limits.connections:
            slowest = min(self._connections, key=lambda one: one.deadline)
            slowest.abort()

    def closed(self, connection: Connection) -> None:
        """A client is gone."""
        self._connections.pop(connection, None)

    # Within.

    def _answer(self, threads: _Threads, connection: Connection, request: Request) -> None:
        """In a thread: have the application answer, and the loop send that."""
        try:
            response = self._app.answer(request)
        except Exception:
            log.exception("the application failed")
            response = Response(500, last=True)

        def send() -> None:
            threads.free_place()
            connection.answer(response)

        with contextlib.suppress(RuntimeError):  # the loop has ended: so has the client
            self._loop.call_soon_threadsafe(send)

    async def _serve(self) -> None:
        self._loop.set_exception_handler(_log_failure)
        server = await self._loop.create_server(
            lambda: Connection(self),
            sock=self._listener,
            backlog=BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=self.limits.header_seconds if self._tls else None,
            ssl_shutdown_timeout=LINGER_SECONDS if self._tls else None,
        )
        watching = self._loop.create_task(self._watch())
        await self._stop.wait()
        server.close()
        self.stopping = True
        for connection in list(self._connections):
            connection.drain()
        deadline = self.now() + GRACE_SECONDS
        while self._connections and self.now() < deadline:
            await asyncio.sleep(0.02)
        watching.cancel()
        for connection in list(self._connections):
            connection.abort()

    async def _watch(self) -> None:
        """End connections whose client is too slow; one look for all is cheaper than timers."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self.limits.header_seconds / 4))
            now = self.now()
            for connection in [one for one in self._connections if one.deadline < now]:
                connection.expire()


class _Threads:
    """Threads with a bounded queue; places are counted in the event loop's thread alone."""

    def __init__(self, name: str, threads: int, queued: int) -> None:
        self._free = threads + queued
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], None]) -> bool:
        """Have a job done, which calls `free_place`; False if there is no place for it."""
        if self._free <= 0:
            return False
        self._free -= 1
        self._jobs.put(job)
        return True

    def free_place(self) -> None:
        """A job is done."""
        self._free += 1

    def close(self) -> None:
        """Wait for the jobs that are there, and end."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def listen(config: GatewayConfig) -> socket.socket:
    """Bind the gateway's address.

    Raises:
        ConfigError: the port is taken, or the address is not this machine's.
    """
    try:
        infos = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = infos[0]
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}; choose "
            "another port with --port, or stop what uses it"
        ) from None
    listener.setblocking(False)
    return listener


def tls_context(config: GatewayConfig) -> ssl.SSLContext | None:
    """What HTTPS needs, or None for HTTP.

    Raises:
        ConfigError: the certificate or its key cannot be used.
    """
    if config.cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.cert, config.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"gateway: the certificate {config.cert} is of no use: {error}") from None
    return context


def _log_failure(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    failure = context.get("exception")
    if isinstance(failure, ConnectionError | ssl.SSLError | TimeoutError):
        return  # clients come and go
    log.error("%s", context.get("message"), exc_info=failure)  # type: ignore[arg-type]
