"""What clients may cost: HTTP with deadlines and bounds.

There is a deadline for a request that begins and does not end and for an answer that is not
taken, and a bound on the sizes of heads and bodies and on the numbers of connections and
pipelined requests. With too many connections a new one takes the place of a client that is slow
to send its request, or else it is refused: a connection that a client keeps for its next request is
not ended for others. What is refused here never reaches the application.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Literal, cast

import httptools

from mynamo.gateway.http.connection import Answer, HttpProtocol, Refused, Shared
from mynamo.gateway.http.messages import BodyBudget, head, refusal
from mynamo.schemas.gateway_config import GatewayLimits

LINGER_SECONDS = 2.0
SLOW_SECONDS = 1.0
"""After which a client that has not sent its request may have to make room."""
PIPELINED = 128


def guarded(limits: GatewayLimits, answer: Answer, shared: Shared) -> Callable[[], GuardedProtocol]:
    """What makes a connection within these limits, for asyncio's `create_server`."""
    budget = BodyBudget(limits.buffered_bytes)
    return lambda: GuardedProtocol(limits, budget, answer, shared)


class GuardedProtocol(HttpProtocol):
    """One client's connection.

    Attributes:
        receiving: whether a part of a request's body is here and the rest is not.
        sending_since: when, by the monotonic clock, the client began to send the request that is
            not whole yet, or connected if it has sent none; infinite where it owes none.
    """

    def __init__(
        self,
        limits: GatewayLimits,
        budget: BodyBudget,
        answer: Answer,
        shared: Shared,
    ) -> None:
        super().__init__(answer, limits.idle_seconds, limits.header_bytes, shared)
        self._limits = limits
        self._budget = budget
        self._part: Literal["head", "body"] | None = None  # of a request, that has begun to come
        self._since = 0.0
        self._body_size = 0
        self._framing = 0  # bytes that were received and are no body's
        self._deaf = False  # what comes in has no meaning any more
        self._late: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None

    @property
    def receiving(self) -> bool:
        """See the class."""
        return self._part == "body"

    @property
    def sending_since(self) -> float:
        """See the class."""
        return self._since if self._part is not None or self.latest is None else math.inf

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; with too many, a slow one makes room or this one is refused."""
        super().connection_made(transport)
        self._since = time.monotonic()
        connections = cast(set[GuardedProtocol], self.shared.connections)
        if len(connections) <= self._limits.connections:
            return
        slowest = min(connections, key=lambda one: one.sending_since)
        if slowest.sending_since < self._since - SLOW_SECONDS:
            connections.discard(slowest)  # it counts no more, though it ends a moment later
            slowest.transport.abort()
        else:
            self._deaf = True
            connections.discard(self)
            self.transport.write(refusal(503, self.shared.date))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; an answer that is still being worked on has no reader."""
        self._enter(None)
        self._budget.release(self)
        if self._untaken:
            self._untaken.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes; at most some 256 KB at a time."""
        if self._deaf:
            return  # what the client was sending when it was refused
        self._resting_since = None
        self._framing += len(data)
        try:
            self._feed(data)
            if self._part and self._framing > self._limits.header_bytes + self._body_size:
                # What the parser keeps of a header that does not end, or of chunks' framing.
                raise Refused(431 if self._part == "head" else 400)
        except Refused as refused:
            self.refuse(refused.status)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.refuse(cause.status if isinstance(cause, Refused) else 400)
        self.go_on()
        if self._part and not self._late:  # most requests come whole and need no timer
            self._set_deadline()

    def eof_received(self) -> bool:
        """The client sends no more: it may still wait for its answer."""
        if self._part or not self._answer_is_due() or not self.transport.can_write_eof():
            return False
        self.end()
        return True

    def pause_writing(self) -> None:
        """The client is slow to take its answer."""
        super().pause_writing()
        self._untaken = self.loop.call_later(self._limits.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It took most of it."""
        super().resume_writing()
        if self._untaken:
            self._untaken.cancel()

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._since = time.monotonic()
        self._body_size = self._framing = 0
        self._enter("head")

    def on_headers_complete(self) -> None:
        """What is to come is known."""
        if self.parser.should_upgrade():
            return  # it comes again without the offer, see `_feed`
        if int(self.headers.get("content-length", 0)) > self._limits.body_bytes:
            raise Refused(413)
        if len(self.pipeline) >= PIPELINED:
            raise Refused(429)
        super().on_headers_complete()
        self._enter("body")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._framing -= len(body)
        self._body_size += len(body)
        if self._body_size > self._limits.body_bytes:
            raise Refused(413)
        if not self._budget.hold(self, self._body_size):
            raise Refused(503)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self.parser.should_upgrade():
            return
        self._enter(None)
        super().on_message_complete()

    # What the server and the base class call.

    def on_response_complete(self) -> None:
        """The answer is written, to our buffer at least."""
        self._budget.release(self)
        self._since = time.monotonic()
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(self._limits.answer_seconds, self.transport.abort)

    def end(self) -> None:
        """End the connection, after the answer that is due."""
        super().end()
        if self.transport.is_closing():
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)  # over TLS closing takes two

    # Within.

    def refuse(self, status: int) -> None:
        """Say no and end the connection; a request that is being worked on is answered first."""
        self._deaf = True
        if self._earlier_answer_is_due():
            self.end()
            return
        if self._part == "body" and self.latest is not None:  # nobody waits for it any more
            self.latest.drop()
        self._enter(None)
        self._budget.release(self)
        self.transport.write(refusal(status, self.shared.date))
        if self.transport.can_write_eof():
            self.transport.write_eof()  # the client can read it even if it still sends
        else:
            self.transport.close()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _feed(self, data: bytes) -> None:
        """Have data parsed.

        The parser stops after the head of a client that offers another protocol (as Java's
        offers HTTP/2). It gets this one: a new parser reads the head without the offer.
        """
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                method = self.parser.get_method()
                if method == b"CONNECT":
                    raise Refused(400) from None
                kept = [
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in self.headers.items()
                    if name != "upgrade"
                ]
                first_line = b"%s %s HTTP/1.1" % (method, self.url)
                data = head(first_line, kept) + data[int(upgrade.args[0]) :]
                self.parser = httptools.HttpRequestParser(self)

    def _enter(self, part: Literal["head", "body"] | None) -> None:
        self._part = part
        if self._late:
            self._late.cancel()
            self._late = None

    def _set_deadline(self) -> None:
        limits = self._limits
        seconds = limits.header_seconds if self._part == "head" else limits.body_seconds
        self._late = self.loop.call_later(seconds, self._is_late)

    def _is_late(self) -> None:
        if self._earlier_answer_is_due():
            self._set_deadline()  # it is not the client who is slow
        else:
            self.refuse(408)

    def _answer_is_due(self) -> bool:
        return self.latest is not None and not self.latest.answered

    def _earlier_answer_is_due(self) -> bool:
        """Whether a request before the one that is coming in is not answered."""
        return bool(self.pipeline) if self._part == "body" else self._answer_is_due()
