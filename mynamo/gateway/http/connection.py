"""HTTP/1.1 on one connection: whole requests in, their answers out, in the order they came.

Parsed by httptools, on transports of asyncio. A general server (ASGI) passes every request through
a task and messages of its own, which costs more than all the rest of HTTP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache, partial

import httptools

from mynamo.gateway.http.messages import NOBODY, STATUS_LINES, Peer, Request, Response

LAST_REQUEST_SECONDS = 0.2
"""How long a connection is open still when the server stops: for a request that is on its way."""
COPIED_BYTES = 64 * 1024
"""From here on a body is written by itself, which costs more than to copy a small one."""

Answer = Callable[[Request, Callable[[Response], None]], None]
"""Takes a request, and what takes its answer, later and in the same thread."""


class Refused(Exception):  # noqa: N818
    """A request that HTTP alone says no to; the connection ends with the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class Exchange:
    """A request and its answer.

    Attributes:
        keep_alive: whether the connection goes on after it.
        invite: the client waits to be asked for the body.
        whole: the request is here.
        begun: it is being worked on.
        answered: the answer is written.
        dropped: nobody waits for the answer any more.
    """

    method: str
    target: str
    headers: dict[str, str]
    keep_alive: bool
    invite: bool
    body: list[bytes] = field(default_factory=list)
    whole: bool = False
    begun: bool = False
    answered: bool = False
    dropped: bool = False

    def request(self, peer: Peer) -> Request:
        """The request, once it is whole."""
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body = []
        return Request(self.method, self.target, self.headers, body, peer)

    def drop(self) -> None:
        """Nobody waits for the answer any more; what came of the body is free at once."""
        self.dropped = True
        self.body = []


class Shared:
    """What the connections of one server share.

    Attributes:
        connections: all that are open.
        stopping: set once the server stops: answers from then on are a connection's last.
        date: the header of every answer, as bytes with its line end.
        lost: called with each connection that has ended.
    """

    def __init__(self) -> None:
        self.connections: set[HttpProtocol] = set()
        self.stopping = threading.Event()
        self.lost: Callable[[HttpProtocol], object] = _forget
        self.set_date()

    def set_date(self) -> None:
        """Make the date that of now; the server calls it every second."""
        self.date = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()


class HttpProtocol(asyncio.Protocol):
    """One client's connection.

    Args:
        answer: what answers requests.
        idle_seconds: see `GatewayLimits`.
        header_bytes: likewise.
        shared: what the connections of one server share.

    Attributes:
        latest: the exchange whose request came last, or is coming.
        current: the one whose answer is next.
        pipeline: those whose turn comes later.
        headers: of the request that is coming; after its head those of its trailer, which mean
            nothing here.
    """

    def __init__(
        self,
        answer: Answer,
        idle_seconds: float,
        header_bytes: int,
        shared: Shared,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.shared = shared
        self.transport: asyncio.Transport
        self.latest: Exchange | None = None
        self.current: Exchange | None = None
        self.pipeline: deque[Exchange] = deque()
        self.url = b""
        self.headers: dict[str, str] = {}
        self._answer = answer
        self._idle_seconds = idle_seconds
        self._idle: asyncio.TimerHandle | None = None  # one for many rests: timers cost
        self._resting_since: float | None = None
        self._header_bytes = header_bytes
        self._header_room = 0  # what the request's head may still have of them
        self._reading = True
        self._held: Response | None = None  # until the client takes what was written before
        self._writing = True
        self._peer = NOBODY

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        self.transport = transport
        name = transport.get_extra_info("peername")
        secure = transport.get_extra_info("sslcontext") is not None
        self._peer = Peer(name[0] if name else "", secure)
        self.shared.connections.add(self)
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; an answer that is still being worked on has no reader."""
        self.shared.connections.discard(self)
        self.pipeline.clear()
        if self.current:
            self.current.drop()
        if self._idle is not None:
            self._idle.cancel()
        del self.parser  # which refers to this
        self.shared.lost(self)

    def pause_writing(self) -> None:
        """The client is slow to take its answer."""
        self._writing = False

    def resume_writing(self) -> None:
        """It took most of it."""
        self._writing = True
        if self._held is not None and self.current is not None:
            held, self._held = self._held, None
            self._write(self.current, held)

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self.url = b""
        self.headers = {}
        self._header_room = self._header_bytes

    def on_url(self, url: bytes) -> None:
        """A part of the first line's path and query."""
        self._header_room -= len(url)
        if self._header_room < 0:
            raise Refused(431)
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or one of a trailer."""
        self._header_room = room = self._header_room - len(name) - len(value)
        if room < 0:
            raise Refused(431)
        known = _header_name(name)
        text = value.decode("latin-1").strip(" \t")
        headers = self.headers
        headers[known] = f"{headers[known]},{text}" if known in headers else text

    def on_headers_complete(self) -> None:
        """What is to come is known."""
        parser, headers = self.parser, self.headers
        self.latest = exchange = Exchange(
            parser.get_method().decode("ascii"),
            "/" if self.url == b"/" else _target(self.url),
            headers,
            parser.should_keep_alive() and parser.get_http_version() != "1.0",
            "expect" in headers and headers["expect"].lower() == "100-continue",
        )
        self.headers = {}
        if self.current is None:
            self.current = exchange
        else:
            self._pause_reading()
            self.pipeline.append(exchange)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.latest is not None:
            self.latest.body.append(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self.latest is not None:
            self.latest.whole = True

    # What the server calls.

    def shutdown(self) -> None:
        """The server stops."""
        if self.latest is None or self.latest.answered:
            self.loop.call_later(LAST_REQUEST_SECONDS, self.end)
        else:
            self.end()

    def give_up(self) -> None:
        """The server stops and has waited long enough for what is due."""
        if self.current is not None:
            self._take(self.current, Response(503, last=True))

    # Within.

    def end(self) -> None:
        """End the connection, after the answer that is due."""
        if self.latest is None or self.latest.answered:
            self.transport.close()
        else:
            self.latest.keep_alive = False

    def go_on(self) -> None:
        """Do what the current request asks for by now."""
        exchange = self.current
        if exchange is None or exchange.begun or exchange.dropped:
            return
        if exchange.invite:
            exchange.invite = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if exchange.whole:
            exchange.begun = True
            self._answer(exchange.request(self._peer), partial(self._take, exchange))

    def on_response_complete(self) -> None:
        """The answer is written, to our buffer at least."""
        self.current = None
        if self.transport.is_closing():
            return
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()
        if self.pipeline:
            self.current = self.pipeline.popleft()
            self.go_on()
        else:
            self._rest()

    def _rest(self) -> None:
        self._resting_since = self.loop.time()
        if self._idle is None:
            self._idle = self.loop.call_later(self._idle_seconds, self._end_rest)

    def _end_rest(self) -> None:
        """End the connection, unless something came since the timer was set."""
        self._idle = None
        if self._resting_since is None:
            return
        left = self._resting_since + self._idle_seconds - self.loop.time()
        if left > 0:
            self._idle = self.loop.call_later(left, self._end_rest)
        else:
            self.end()

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.transport.pause_reading()

    def _take(self, exchange: Exchange, response: Response) -> None:
        """An answer is there."""
        if exchange.dropped or exchange.answered:
            return
        if self._writing:
            self._write(exchange, response)
        else:
            self._held = response

    def _write(self, exchange: Exchange, response: Response) -> None:
        last = response.last or not exchange.keep_alive or self._is_last()
        headers = response.headers
        headers["content-length"] = str(len(response.body))
        if last:
            headers["connection"] = "close"
        # Values are ours, or a client's that the parser let pass: without control characters.
        lines = "\r\n".join(map(": ".join, headers.items()))
        answer = b"%s%s%s\r\n\r\n" % (
            STATUS_LINES[response.status],
            self.shared.date,
            lines.encode("latin-1", "replace"),
        )
        body = b"" if exchange.method == "HEAD" else response.body
        if len(body) < COPIED_BYTES:
            self.transport.write(answer + body)
        else:
            self.transport.write(answer)
            self.transport.write(body)
        exchange.answered = True
        if last:
            self.transport.close()
        self.on_response_complete()

    def _is_last(self) -> bool:
        """Whether the server stops and no request waits for its answer behind this one's."""
        return self.shared.stopping.is_set() and not self.pipeline


def _forget(_: HttpProtocol) -> None:
    """Nobody counts connections."""


@lru_cache(maxsize=256)  # clients have few
def _header_name(name: bytes) -> str:
    return name.lower().decode("latin-1")


def _target(url: bytes) -> str:
    """Path and query. Raises what the parser makes a refusal of if there is no path."""
    parsed = httptools.parse_url(url)
    path, query = parsed.path.decode("ascii"), parsed.query
    return f"{path}?{query.decode('latin-1')}" if query else path
