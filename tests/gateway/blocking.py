"""Finds calls that block the thread of an event loop: blockbuster, and a list of what it found.

While it watches, a blocking function raises `BlockingError` in a thread whose event loop runs, in
coroutines, callbacks and tasks (see `mynamo.runtime.tasks`) alike. The gateway makes an answer or a
line of its log of any exception, so that a test might not see it: each call is also noted here.

blockbuster does not see `with lock:`. The gateway's thread takes locks that way which others hold
for some steps of Python only.
"""

from __future__ import annotations

import linecache
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from blockbuster import BlockBuster, BlockBusterFunction, BlockingError

from mynamo.runtime.local_wakeups import wake_up

MORE = (
    "io.FileIO.readall",
    "io.FileIO.readinto",
    "os.fdatasync",
    "os.fsync",
    "select.poll",  # how `mynamo.mysql.sockets.Wire` waits for a server outside tasks
    "select.select",
    "socket.getaddrinfo",
)
"""Functions that block, beside those which blockbuster knows."""

REPLACED = ("io.BufferedReader.read",)
"""Functions that blockbuster knows and leaves alone here. It looks at nothing in a thread while one
runs that it lets pass, and a task that waits for MySQL in this one lets others run. What reads a
file is found all the same: in `io.FileIO`."""

IMPORTS = ("<frozen importlib._bootstrap_external>", "get_data")
ALLOWED: dict[tuple[str, str], tuple[str, ...]] = {
    # A module that is imported when it is first needed is read once.
    IMPORTS: ("io.FileIO.readall", "io.FileIO.readinto"),
    # The folder is on this machine, and has an entry for each process that waits: a thread would
    # cost a write more than these calls do.
    (wake_up.__code__.co_filename, wake_up.__name__): ("os.stat", "os.listdir", "os.unlink"),
    # The log goes to standard error in `mynamo serve`, which blockbuster allows; here to pytest's
    # file too. Tracebacks of what nobody foresaw have lines of the source.
    (logging.__file__, "emit"): ("io.TextIOWrapper.write", "io.BufferedWriter.write"),
    (linecache.__file__, "updatecache"): ("io.FileIO.readall", "io.FileIO.readinto"),
}
"""File and name of functions that may block the thread nevertheless, and by what."""


class Blocked:
    """The calls that blocked an event loop's thread, as stacks."""

    def __init__(self) -> None:
        self._stacks: list[str] = []

    def note(self) -> None:
        """Note the caller's stack."""
        self._stacks.append("".join(traceback.format_stack()[:-2]))

    def take(self) -> list[str]:
        """What was noted since the last time."""
        taken, self._stacks = self._stacks, []
        return taken


@contextmanager
def watching() -> Iterator[Blocked]:
    """Find blocking calls in all event loops of this process until the block ends."""
    blocked = Blocked()
    before = BlockingError.__init__

    def noted(error: BlockingError, function: str) -> None:
        blocked.note()
        before(error, function)

    buster = BlockBuster()
    for name in REPLACED:
        del buster.functions[name]
    buster.functions |= {name: BlockBusterFunction(None, name) for name in MORE}
    for (file, caller), functions in ALLOWED.items():
        for name in functions:
            buster.functions[name].can_block_in(file, caller)
    with mock.patch.object(BlockingError, "__init__", noted):
        buster.activate()
        try:
            yield blocked
        finally:
            buster.deactivate()
