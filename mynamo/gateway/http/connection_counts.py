"""Which of several processes takes the next connection.

The requests of one process share round trips and commits, so few connections belong in one process;
many need more cores than one. The next connection is for the first process that has fewer than
`ENOUGH` of them, and where all have as many, for the one with the fewest.
"""

from __future__ import annotations

import mmap
import os
import time
from contextlib import suppress

ENOUGH = 24
"""Connections that fill the batches of one process. On two cores, two processes with 8 connections
each answer fewer requests than one with 16; with 24 and 8 they answer more than one with 32."""
TICK_SECONDS = 0.1
"""From one sign of life of a process to the next."""
SILENT_SECONDS = 0.35
"""After so long without one, a process is passed over: it is dead or frozen. If it was only slow,
two of them take connections for a moment, which harms nothing."""
_WORD = 8


class ConnectionCounts:
    """Counts of open connections and signs of life, in memory that the processes share.

    Make it before the processes are forked. Each writes words of its own, a word as a whole, so
    that no lock is needed, and none that dies or freezes can hold up another.

    Args:
        processes: how many there are.
    """

    def __init__(self, processes: int) -> None:
        memory = memoryview(mmap.mmap(-1, 2 * processes * _WORD)).cast("Q")
        self._open = memory[:processes]
        self._alive = memory[processes:]  # when, in ns of the monotonic clock; 0: takes none
        self._wakes = [os.pipe() for _ in range(processes)]
        for ends in self._wakes:
            for end in ends:
                os.set_blocking(end, False)
        self._me = 0

    def become(self, process: int) -> None:
        """Say which of the processes this one is, from 0 on; the connections of the one whose
        place it takes are gone.
        """
        self._me = process
        self.leave()
        self.note(0)

    def note(self, connections: int) -> None:
        """So many are open here."""
        self._open[self._me] = connections

    def live(self) -> None:
        """Give a sign of life: connections may come here from now on."""
        self._alive[self._me] = time.monotonic_ns()

    def leave(self) -> None:
        """Take no more part, until the next sign of life."""
        self._alive[self._me] = 0

    def is_next(self) -> bool:
        """Whether the next connection is for this process."""
        return self._next() == self._me

    def wake_next(self) -> None:
        """Wake the process whose turn it is: it may have waited for that."""
        with suppress(BlockingIOError):  # it has not looked yet
            os.write(self._wakes[self._next()][1], b".")

    @property
    def woken(self) -> int:
        """What can be read once another process has passed the turn on to this one."""
        return self._wakes[self._me][0]

    def note_wake(self) -> None:
        """Forget that this process was woken."""
        with suppress(BlockingIOError):
            os.read(self.woken, 4096)

    def _next(self) -> int:
        heard_since = time.monotonic_ns() - int(SILENT_SECONDS * 1e9)
        fewest, found = -1, self._me  # who is alone goes on
        for process, connections in enumerate(self._open):
            if process != self._me and self._alive[process] < heard_since:
                continue
            if connections < ENOUGH:
                return process
            if fewest < 0 or connections < fewest:
                fewest, found = connections, process
        return found
