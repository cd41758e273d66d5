"""What a child has of its own after `os.fork()`.

A child inherits its parent's sockets, and its parent's locks as they were: held, for ever, by
threads that the child does not have. So whatever has a socket, a lock, a thread or callers that
wait is noted here, weakly, and is renewed in the child before anything else runs there. It lets
go of the parent's sockets without a word to the server, for the parent goes on using them, and
begins with none.

What the parent's threads were doing at that moment is the parent's. A call in whose midst its own
thread forks (`with shard.session()`, a signal handler) is so too: in the child it fails.
"""

from __future__ import annotations

import mmap
import os
import socket
from contextlib import suppress
from typing import NoReturn, Protocol
from weakref import WeakSet


class Renewed(Protocol):
    """Something that a child must not share with its parent."""

    def renew_after_fork(self) -> None:
        """Begin anew in a child. No other thread runs there yet; locks may be held by none."""


noted: WeakSet[Renewed] = WeakSet()
"""What is renewed in a child."""
_process = os.getpid()
_WIPE_ON_FORK = 18
"""MADV_WIPEONFORK of Linux, which Python does not name."""


def _page() -> mmap.mmap | bytes:
    """Memory whose first byte is 1 until a fork, and 0 in the child, where the system has that: to
    look at it costs a tenth of what it costs to ask for the process's number."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except (AttributeError, OSError, ValueError):
        return b"\0"
    page[0] = 1
    return page


_same = _page()


def note(kept: Renewed) -> None:
    """From now on, have something renewed in children."""
    noted.add(kept)


def check() -> None:
    """Renew everything if this process is a child that Python was not told of.

    Something that forks without Python's knowledge, as C code may, runs none of its hooks.
    """
    if not _same[0] and os.getpid() != _process:
        _renew()


def let_go(inherited: socket.socket) -> None:
    """Close a child's copy of a socket, plain or with TLS, without a word to the other side.

    It has no further use, and whatever else refers to it cannot close another file in its place.
    """
    with suppress(OSError):
        number = inherited.detach()
        if number >= 0:
            os.close(number)


def not_picklable(self: object) -> NoReturn:
    """In place of `__reduce__`: refuse to be sent to another process.

    Raises:
        TypeError: which is what pickle raises too.
    """
    raise TypeError(
        f"a {type(self).__name__} has connections and cannot be pickled: call mynamo.connect() "
        "in the process that needs it; after a fork, a child may use its parent's as it is"
    )


def _renew() -> None:
    global _process, _same
    _process, _same = os.getpid(), _page()
    for kept in list(noted):
        kept.renew_after_fork()


os.register_at_fork(after_in_child=_renew)
