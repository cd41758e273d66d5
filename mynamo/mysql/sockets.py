"""`Wire`: the socket of a connection to MySQL, for threads and tasks alike.

The driver expects sockets that block their thread. If a task uses this one (see
`mynamo.runtime.tasks`), the task waits and its thread goes on.
"""

from __future__ import annotations

import io
import math
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mynamo.mysql.circuit_breaker import LOOK_AFTER
from mynamo.runtime import forks
from mynamo.runtime.tasks import current

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

BUFFER_BYTES = 64 * 1024
_GATHER = 0.02
"""Seconds for which an answer in parts is waited for as a whole."""


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
        self._least = 1
        self.ends_at: float | None = None
        """When to wait no longer (monotonic), however long `settimeout` allows."""
        self.on_silence: Callable[[], None] | None = None
        """Called by whoever has waited for `LOOK_AFTER` seconds, and again after as many; what it
        raises ends the wait."""

    def settimeout(self, seconds: float | None) -> None:
        """How long it may take until something comes or goes; None: for ever."""
        self._timeout = seconds

    def expect(self, least: int) -> None:
        """Wake the caller for the next answer when it has so many bytes, if it comes in parts.

        A server sends each part as soon as it has it, and each would wake the caller. An answer may
        be shorter, as errors are: it is read a moment later.
        """
        self._least = least

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
            self._wait_for_answer()
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

    def _wait_for_answer(self) -> None:
        least, self._least = self._least, 1
        if least > 1:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            try:
                came = self._comes(select.POLLIN, min(_GATHER, self._seconds_left()))
            finally:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            if came:
                return
        self._wait(select.POLLIN)

    def _wait(self, event: int) -> None:
        seconds = self._seconds_left()
        if self._comes(event, min(seconds, LOOK_AFTER)):
            return
        ends_at = time.monotonic() + seconds - LOOK_AFTER
        while (left := ends_at - time.monotonic()) > 0:
            if self.on_silence is not None:
                self.on_silence()
            if self._comes(event, min(left, LOOK_AFTER)):
                return
        raise TimeoutError("timed out")

    def _seconds_left(self) -> float:
        seconds = math.inf if self._timeout is None else self._timeout
        if self.ends_at is not None:
            seconds = min(seconds, max(0.0, self.ends_at - time.monotonic()))
        return seconds

    def _comes(self, event: int, seconds: float) -> bool:
        me = current()
        if me is not None:
            return me.scheduler.watch(me, self._socket.fileno(), event, seconds)
        poll = select.poll()
        poll.register(self._socket, event)
        return bool(poll.poll(seconds * 1000))
