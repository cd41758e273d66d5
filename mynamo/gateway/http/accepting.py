"""Takes connections from sockets that several processes listen on, each when it is its turn."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence

from mynamo.gateway.http.connection import HttpProtocol, Shared
from mynamo.gateway.http.connection_counts import TICK_SECONDS, ConnectionCounts

log = logging.getLogger(__name__)

REST_SECONDS = 1.0
"""Without taking a connection, after that was not possible (too many open files, say)."""


class Acceptor:
    """Takes connections for one of the processes. In the event loop's thread only.

    It watches the listening sockets only while it is its turn, and takes one connection at a time:
    asyncio's own servers take all that wait, so that one process would get the whole of a burst.

    Args:
        listeners: non-blocking; shared with the other processes.
        connect: makes a connection's protocol.
        shared: what the connections share.
        tls: for HTTPS.
        counts: shared with the other processes.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        connect: Callable[[], HttpProtocol],
        shared: Shared,
        tls: ssl.SSLContext | None,
        counts: ConnectionCounts,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._connect = connect
        self._tls = tls
        self._counts = counts
        self._open: set[HttpProtocol] = set()  # those in TLS's handshake too
        self._beginning: set[asyncio.Task[None]] = set()
        self._watching = False
        self._able_at = 0.0
        self._closed = False
        shared.lost = self._lost
        self._loop.add_reader(counts.woken, self._woken)
        self._tick()

    def close(self) -> None:
        """Take no more connections."""
        self._closed = True
        self._timer.cancel()
        self._loop.remove_reader(self._counts.woken)
        self._counts.leave()
        self._look()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        if self._loop.time() >= self._able_at:
            self._counts.live()
            self._look()

    def _woken(self) -> None:
        self._counts.note_wake()
        self._look()

    def _look(self) -> bool:
        """Watch the sockets if it is this process's turn; returns whether it is."""
        mine = not self._closed and self._counts.is_next()
        if self._watching and not mine:
            self._counts.wake_next()
        self._watch(mine)
        return mine

    def _watch(self, watch: bool) -> None:
        if watch == self._watching:
            return
        self._watching = watch
        for listener in self._listeners:
            if watch:
                self._loop.add_reader(listener, self._accept, listener)
            else:
                self._loop.remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        if not self._look():  # connections have ended elsewhere
            return
        try:
            client, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("no connection can be taken: %s", error)
            self._able_at = self._loop.time() + REST_SECONDS
            self._counts.leave()
            self._watch(False)
            return
        client.setblocking(False)
        protocol = self._connect()
        self._open.add(protocol)
        self._count()
        task = self._loop.create_task(self._begin(client, protocol))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, client: socket.socket, protocol: HttpProtocol) -> None:
        begun = False
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, client, ssl=self._tls)
            begun = True
        except OSError:  # the client went, or TLS with it failed
            client.close()
        finally:
            if not begun:
                self._lost(protocol)

    def _lost(self, protocol: HttpProtocol) -> None:
        self._open.discard(protocol)
        self._count()

    def _count(self) -> None:
        self._counts.note(len(self._open))
        self._look()
