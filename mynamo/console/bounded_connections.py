"""`BoundedConnection`: what clients may cost who have not signed in. uvicorn itself waits for ever
for the rest of a request, and for a client that does not take its answer."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 256
PER_ADDRESS = 64
"""Connections of one address; people behind one proxy or SSH server share it."""
REQUEST_SECONDS = 15.0
"""In which a request must be whole: since the connection was made, or the last answer was given."""
ANSWER_SECONDS = 60.0
"""In which a client must take its answer."""
_SLOW_SECONDS = 1.0
"""After which a connection without a whole request may have to make room."""


class BoundedLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait for TLS's handshake as long as for a request; asyncio's own
    wait for a minute."""

    async def create_server(self, *given: Any, **options: Any) -> asyncio.Server:
        """See `asyncio`."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = REQUEST_SECONDS
        return await super().create_server(*given, **options)


class BoundedConnection(H11Protocol):
    """A connection that ends when its client is slow. With too many, a new one takes the place of
    the one that owes a request for the longest time, or is refused.

    Attributes:
        owes_since: since when, by the monotonic clock, the client may send its request; infinite
            while it waits for an answer.
    """

    owes_since = inf
    _late: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._look()
        all_of_them = [one for one in self.connections if isinstance(one, BoundedConnection)]
        address = (self.client or ("",))[0]
        same = [one for one in all_of_them if (one.client or ("",))[0] == address]
        for some, most in ((same, PER_ADDRESS), (all_of_them, CONNECTIONS)):
            if len(some) > most:
                slowest = min(some, key=lambda one: one.owes_since)
                is_slow = slowest.owes_since < time.monotonic() - _SLOW_SECONDS
                (slowest if is_slow else self).abort()
                return

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._is_whole()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request came."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """The answer is given; the next request may begin."""
        self._is_whole()
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """The client is slow to take its answer."""
        super().pause_writing()
        self._untaken = self.loop.call_later(ANSWER_SECONDS, self.abort)

    def resume_writing(self) -> None:
        """It took most of it."""
        super().resume_writing()
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def abort(self) -> None:
        """End the connection at once; it counts no more."""
        self.connections.discard(self)
        self.transport.abort()

    def _look(self) -> None:
        """Set the timer of a request that is not whole."""
        cycle = self.cycle
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            self._is_whole()
        elif self._late is None:
            takes = self.transport.get_write_buffer_size() > 0  # the answer before
            seconds = ANSWER_SECONDS if takes else REQUEST_SECONDS
            self._late = self.loop.call_later(seconds, self.abort)
            self.owes_since = time.monotonic()

    def _is_whole(self) -> None:
        self.owes_since = inf
        if self._late is not None:
            self._late.cancel()
            self._late = None
