"""One client's connection: from bytes to requests, and their answers back, in order.

It runs in the event loop's thread and never waits. What a client may cost is bounded: the
time for headers, body and answer by deadlines that `HttpServer` watches, their sizes here,
and everybody's bodies together by `BodyBudget`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Protocol, cast

import httptools

from mynamo.gateway.http_budget import BodyBudget
from mynamo.gateway.http_messages import Request, Response, encode
from mynamo.schemas.gateway import GatewayLimits

LARGE_BODY = 64 * 1024
LINGER_SECONDS = 2.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Host(Protocol):
    """What a connection needs of the server that it belongs to."""

    limits: GatewayLimits
    budget: BodyBudget
    stopping: bool

    def now(self) -> float:
        """The event loop's clock, in seconds."""

    def work(self, connection: Connection, request: Request) -> None:
        """Have a request answered: `Connection.answer` is called later, in this thread."""

    def opened(self, connection: Connection) -> None:
        """A client has connected."""

    def closed(self, connection: Connection) -> None:
        """A client's connection has ended."""


class Refused(Exception):  # noqa: N818
    """A request that HTTP alone says no to; the connection ends with the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(asyncio.Protocol):
    """One client.

    Attributes:
        deadline: when, by `Host.now`, the client has been waited for long enough.
        receiving: whether a part of a request is here and the rest is not.
        working: whether a request of it is being answered.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._limits = host.limits
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._paused = False
        self._full = False  # the client does not take its answer
        self._closing = False
        self._deaf = False  # what comes in has no meaning any more
        self._ended = False  # the client said that it sends no more
        self._fresh = False  # the request being received began with the last bytes
        self._method = ""
        self._keep_alive = True
        self.deadline = math.inf
        self.receiving = False
        self.working = False
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head_size = 0
        self._in_body = False
        self._body = bytearray()
        self._framing = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self.deadline = self._host.now() + self._limits.idle_seconds
        self._host.opened(self)

    def connection_lost(self, _: Exception | None) -> None:
        """The client is gone; an answer that is still being worked on has no reader."""
        self._closing = True
        self._host.budget.release(self)
        self._host.closed(self)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes; at most some 256 KB at a time."""
        if self._closing or self._deaf:
            return  # what the client was sending when it was refused
        had_body = len(self._body)
        try:
            self._feed(data)
            if self.receiving and not self._fresh:
                self._check_growth(len(data), had_body)
            self._fresh = False
        except Refused as refused:
            self.refuse(refused.status)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self.refuse(cause.status if isinstance(cause, Refused) else 400)
        except httptools.HttpParserError:
            self.refuse(400)
        if (self.working or self._full) and not self._paused and not self._closing:
            self._paused = True  # pipelined requests wait in the client's and the kernel's buffers
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: it may still wait for its answer."""
        self._ended = True
        busy = self.working or self._full
        return busy and self._transport.can_write_eof()  # TLS knows no half-closed connection

    def pause_writing(self) -> None:
        """The client is slow to take its answer."""
        self._full = True
        self.deadline = self._host.now() + self._limits.answer_seconds

    def resume_writing(self) -> None:
        """It took most of it."""
        self._full = False
        if not self.working:
            self._next()

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._reset()
        self.receiving = self._fresh = True
        if not self.working and not self._full:
            self.deadline = self._host.now() + self._limits.header_seconds

    def on_url(self, url: bytes) -> None:
        """A part of the first line's path and query."""
        self._target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """A header, or after a chunked body a trailer, which means nothing here."""
        value = value or b""
        self._count_head(len(name) + len(value))
        if self._in_body:
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")
        before = self._headers.get(key)
        self._headers[key] = text if before is None else f"{before},{text}"

    def on_headers_complete(self) -> None:
        """What is to come is known."""
        self._in_body = True
        length = self._headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 18:
            raise Refused(400)
        if int(length) > self._limits.body_bytes:
            raise Refused(413)
        expected = self._headers.get("expect")
        if expected is not None:
            if expected.lower() != "100-continue":
                raise Refused(417)
            if not self.working and not self._waiting:
                self._transport.write(CONTINUE)
        if not self.working and not self._full:
            self.deadline = self._host.now() + self._limits.body_seconds

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._body += data
        size = len(self._body)
        if size > self._limits.body_bytes:
            raise Refused(413)
        if size > LARGE_BODY and not self._host.budget.hold(self, size):
            raise Refused(503)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._parser.should_upgrade():
            return  # its body is still to come, see `_feed`
        self.receiving = False
        request = Request(
            self._parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._headers,
            bytes(self._body),
        )
        self._body = bytearray()
        self._waiting.append((request, self._parser.should_keep_alive()))
        if not self.working and not self._full:
            self._next()

    # What the server calls.

    def answer(self, response: Response) -> None:
        """Send what the request that is being worked on is answered."""
        self._host.budget.release(self)
        self.working = False
        if self._closing:
            return
        self.send(response, keep_alive=self._keep_alive and not response.last)
        if not self._closing and not self._full:
            self._next()

    def send(self, response: Response, *, keep_alive: bool) -> None:
        """Write an answer, and end the connection after it if it is not kept."""
        keep_alive = keep_alive and not self._host.stopping
        self._transport.write(
            encode(response, keep_alive=keep_alive, with_body=self._method != "HEAD")
        )
        if not keep_alive:
            self._finish()

    def refuse(self, status: int) -> None:
        """Say no and end the connection; a request that is being worked on is answered first."""
        if self._closing:
            return
        self.receiving = False
        self._body = bytearray()
        self._host.budget.release(self)
        if self.working:  # its answer must not be overtaken; nothing comes after it
            self._deaf = True
            self._keep_alive = False
            self._waiting.clear()
            return
        self._method = ""
        self.send(Response(status), keep_alive=False)

    def expire(self) -> None:
        """The deadline has passed."""
        if self.receiving and not self._closing and not self._full:
            self.refuse(408)
        elif self._closing or self._full:
            self._transport.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def drain(self) -> None:
        """The server stops: end the connection unless a request is under way."""
        if not self.working and not self.receiving and not self._full:
            self._transport.close()

    # Within.

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # A client that offers another protocol (as Java's offers HTTP/2) gets this one:
            # the parser stops after the headers, so a new one reads them without the offer.
            method = self._parser.get_method()
            if method == b"CONNECT":
                raise Refused(400) from None
            offers = {"upgrade", "http2-settings", "expect"}  # Expect was answered already
            kept = [f"{n}: {v}\r\n" for n, v in self._headers.items() if n not in offers]
            head = method + b" " + self._target + b" HTTP/1.1\r\n"
            head += "".join(kept).encode("latin-1")
            self._parser = httptools.HttpRequestParser(self)
            self._feed(head + b"\r\n" + data[int(upgrade.args[0]) :])

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._limits.header_bytes:
            raise Refused(431)

    def _check_growth(self, received: int, had_body: int) -> None:
        """Bound what the parser keeps of a header that does not end, or of chunks' framing."""
        self._framing += max(0, received - max(0, len(self._body) - had_body))
        allowance = len(self._body) if self._in_body else 0
        if self._framing > self._limits.header_bytes + allowance:
            raise Refused(400 if self._in_body else 431)

    def _next(self) -> None:
        if self._waiting:
            request, self._keep_alive = self._waiting.popleft()
            self._method = request.method
            self.working = True
            self.deadline = math.inf
            self._host.work(self, request)
            return
        if self._ended or (self._host.stopping and not self.receiving):
            self._transport.close()
            return
        seconds = self._limits.body_seconds if self.receiving else self._limits.idle_seconds
        self.deadline = self._host.now() + seconds
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _finish(self) -> None:
        """End the connection so that the client can read its answer even if it still sends."""
        self._closing = True
        self._waiting.clear()
        self.deadline = self._host.now() + LINGER_SECONDS
        if self._full:
            self.deadline = self._host.now() + self._limits.answer_seconds
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # over TLS, which says itself that it ends
