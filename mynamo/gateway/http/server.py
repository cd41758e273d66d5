"""The HTTP server: asyncio's, on uvloop, with the gateway's limits, in a thread.

docs/performance.md compares it with others.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import uvloop

from mynamo.errors import ConfigError
from mynamo.gateway.http.accepting import Acceptor
from mynamo.gateway.http.answering import Answering, Application
from mynamo.gateway.http.connection import Shared
from mynamo.gateway.http.connection_counts import ConnectionCounts
from mynamo.gateway.http.guard import guarded
from mynamo.schemas.gateway_config import LOCALHOST, GatewayConfig, GatewayLimits

log = logging.getLogger(__name__)

GRACE_SECONDS = 15
LAST_WORD_SECONDS = 1.0
_LOOK_SECONDS = 0.01
_DELAYS = 15
BACKLOG = 2048
LOOPBACK = "127.0.0.1"
LOOPBACK_V6 = "::1"
NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
PORTS_TRIED = 20


class HttpServer:
    """Serves an application until it is stopped.

    Args:
        app: what answers.
        listeners: bound and listening, from `listen`; the server closes them.
        limits: what clients may cost.
        tls: for HTTPS.
        counts: with the other processes that have these listeners; None: there are none.
    """

    def __init__(
        self,
        app: Application,
        listeners: Sequence[socket.socket],
        limits: GatewayLimits,
        tls: ssl.SSLContext | None = None,
        counts: ConnectionCounts | None = None,
    ) -> None:
        self._answering = Answering(app, limits)
        self.free_permits = self._answering.free_permits
        """How many more small requests are taken, at this moment; from any thread."""
        self._listeners = list(listeners)
        self._tls = tls
        self._counts = counts
        self._shared = Shared()
        self._connect = guarded(limits, self._answering.answer, self._shared)
        self._told: Callable[[], object] | None = None  # ends the wait in `_serve`
        self.delays: deque[float] = deque([0.0], maxlen=_DELAYS)
        """How late its loop was for its timer of every second, lately; in seconds."""
        self.address = self._listeners[0].getsockname()[:2]
        """Host and port that it listens on; the first, if there are two."""

    def run(self) -> None:
        """Serve, in this thread, until `stop`; then finish what is under way."""
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        finally:
            self._answering.close()

    def stop(self) -> None:
        """Take no more connections, answer what comes on those there are for a moment more, and
        let `run` return; from any thread, more than once.
        """
        self._shared.stopping.set()
        if self._told is not None:
            self._told()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_failure)
        self._answering.start(loop)
        servers = await self._accept(loop)
        await self._until_told(loop)
        for server in servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        connections = self._shared.connections
        for connection in list(connections):
            connection.shutdown()
        await self._until_none_is_open(GRACE_SECONDS)
        for connection in list(connections):
            connection.give_up()
        await self._until_none_is_open(LAST_WORD_SECONDS)
        for connection in list(connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _accept(
        self, loop: asyncio.AbstractEventLoop
    ) -> Sequence[asyncio.AbstractServer | Acceptor]:
        """Take connections, until what this returns is closed."""
        if self._counts is not None:
            return [Acceptor(self._listeners, self._connect, self._shared, self._tls, self._counts)]
        return [
            await loop.create_server(self._connect, sock=one, ssl=self._tls, backlog=BACKLOG)
            for one in self._listeners
        ]

    async def _until_told(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve until `stop`; keep the date meanwhile."""
        told = asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(told.set)

        self._told = tell
        while not self._shared.stopping.is_set():
            self._shared.set_date()
            pause = 1.0 - time.time() % 1.0
            due = loop.time() + pause
            try:
                await asyncio.wait_for(told.wait(), pause)
            except TimeoutError:
                self.delays.append(max(0.0, loop.time() - due))

    async def _until_none_is_open(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        while self._shared.connections and time.monotonic() < ends_at:
            await asyncio.sleep(_LOOK_SECONDS)


def listen(config: GatewayConfig) -> list[socket.socket]:
    """Bind the gateway's address; for "localhost" the one of IPv6 too, where there is IPv6, with
    the same port.

    Raises:
        ConfigError: the port is taken, or the address is not this machine's.
    """
    try:
        if config.host == LOCALHOST:
            listeners = _listen_locally(config.port)
        else:
            infos = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
            family, _, _, _, address = infos[0]
            listeners = [socket.create_server(address, family=family, backlog=BACKLOG)]
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}; choose "
            "another port with --port, or stop what uses it"
        ) from None
    for listener in listeners:
        listener.setblocking(False)
    return listeners


def _listen_locally(port: int) -> list[socket.socket]:
    """Bind both loopback addresses. A port that the system chose may be taken on the second."""
    for _ in range(PORTS_TRIED):
        first = socket.create_server((LOOPBACK, port), backlog=BACKLOG)
        try:
            address = (LOOPBACK_V6, first.getsockname()[1])
            return [first, socket.create_server(address, family=socket.AF_INET6, backlog=BACKLOG)]
        except OSError as error:
            if error.errno in NO_IPV6:
                return [first]
            first.close()
            if port:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free on both loopback addresses")


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
    except OSError as error:  # ssl.SSLError is one
        hint = "" if config.key else "; name the file of its private key too: key = ..."
        raise ConfigError(
            f"gateway: the certificate {config.cert} is of no use: {error}{hint}"
        ) from None
    return context


def _log_failure(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    failure = context.get("exception")
    if isinstance(failure, ConnectionError | ssl.SSLError | TimeoutError):
        return  # clients come and go
    log.error("%s", context.get("message"), exc_info=failure)  # type: ignore[arg-type]
