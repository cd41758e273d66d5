"""`Wire`: the socket of a connection to MySQL, for threads and tasks alike.

The driver expects sockets that block their thread. If a task uses this one (see
`mynamo.runtime.tasks`), the task waits and its thread goes on.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING

from mynamo.runtime import forks
from mynamo.runtime.tasks import current

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

BUFFER_BYTES = 64 * 1024


class Wire(io.RawIOBase):
    """A connected socket, plain or with TLS, which from now on belongs to the wire.

    Used by one caller at a time, in whatever thread. It has what PyMySQL uses of a socket, and
    is what it reads from.

    Args:
        connected: the socket.
        seconds: see `settimeout`.
    """

    def __init__(self, connected: socket.socket, seconds: float | None) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._timeout = seconds
        self._asked = False  # what was sent will be answered, but hardly at once
        self.ends_at: float | None = None
        """When to wait no longer (monotonic), however long `settimeout` allows."""

    def settimeout(self, seconds: float | None) -> None:
        """How long it may take until something comes or goes; None: for ever."""
        self._timeout = seconds

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what is there, or what comes next.

        Raises:
            TimeoutError: nothing came in time.
            OSError: the connection is lost.
        """
        if self._asked:
            self._asked = False
            self._wait(select.POLLIN)
        while True:
            try:
                return self._socket.recv_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def sendall(self, data: ReadableBuffer) -> None:
        """Send all of it.

        Raises:
            TimeoutError: the other side takes nothing in time.
            OSError: the connection is lost.
        """
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
        self._asked = True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def let_go(self) -> None:
        """Close a child's copy of its parent's socket, without a word to the other side."""
        forks.let_go(self._socket)

    def _wait(self, event: int) -> None:
        me, seconds = current(), self._timeout
        if self.ends_at is not None:
            left = max(0.0, self.ends_at - time.monotonic())
            seconds = left if seconds is None else min(seconds, left)
        if me is not None:
            ready = me.scheduler.watch(me, self._socket.fileno(), event, seconds)
        else:
            poll = select.poll()
            poll.register(self._socket, event)
            ready = bool(poll.poll(None if seconds is None else seconds * 1000))
        if not ready:
            raise TimeoutError("timed out")
