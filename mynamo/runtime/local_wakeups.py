"""Wake-ups between processes of one machine: who has made work wakes those who wait for it.

A wake-up is a hint. It may be lost, or come for nothing. Whoever waits looks by itself now and
then, and more often once it has found work without a wake-up: a process on another machine, in
another container or of another user cannot send any. So nothing but the lag depends on them, and a
cluster on several machines has the lag of `ClusterConfig.local_wakeups = false`.

They are datagrams to Unix sockets in a folder of the cluster, which only its user can enter.
"""

from __future__ import annotations

import os
import select
import socket
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

SELDOM = 1.0
"""Seconds from one look to the next while wake-ups come for all work."""
OFTEN = 0.05
"""The same while something has not."""
SOON = 0.005
"""The same right after there was work or a wake-up, where the work may not be visible yet: then
longer and longer."""
OFTEN_FOR = 600.0
"""Seconds for which that is remembered."""
_STOP_SECONDS = 0.5
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_here(host: str) -> bool:
    """Whether a server is on this machine, so that those who use it are likely to be as well."""
    return host in _LOOPBACK


def wake_up(cluster_id: bytes, name: str) -> None:
    """Wake whoever waits for this kind of work; costs microseconds, and never fails."""
    folder = _folder(cluster_id)
    with suppress(OSError):  # nobody waits
        if os.stat(folder).st_uid != os.getuid():
            return
        for each in os.listdir(folder):
            if each.startswith(f"{name}-"):
                _send(folder / each)


def _send(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(b"", str(path))
        except ConnectionRefusedError:  # of a process that was killed
            path.unlink(missing_ok=True)
        except BlockingIOError:  # many wake-ups wait there already
            pass


class LocalWakeUps:
    """Receives the wake-ups for work of one kind. Use by one thread.

    Args:
        name: of the work, as `wake_up` takes it.
        stop: ends any waiting.
        listen: take wake-ups; without them it looks often.
        all_here: those who make work are likely to be on this machine, so that it need not
            look often.
        at_once: work is visible when its wake-up comes.

    Attributes:
        path: of its socket.
        listener: its socket; None: it has none, and looks often.
    """

    def __init__(
        self,
        cluster_id: bytes,
        name: str,
        stop: threading.Event,
        *,
        listen: bool = True,
        all_here: bool,
        at_once: bool,
    ) -> None:
        self.path = _folder(cluster_id) / f"{name}-{uuid.uuid4().hex[:8]}"
        self._stop = stop
        self._all_here = all_here
        self._at_once = at_once
        self._missed = False
        self._often_until = 0.0
        self._pause = SOON
        self.listener: socket.socket | None = None
        if listen:
            with suppress(OSError):  # without a socket it looks often
                self.listener = _listen(self.path)

    def wait(self, found: bool) -> None:
        """Return when there may be work.

        Args:
            found: there was some just now, and all of it was taken; if more of it may not be
                seen yet, this returns at once, to look.
        """
        woken = self.drain()
        if found and self._missed and not woken:
            self._often_until = time.monotonic() + OFTEN_FOR
        self._missed = False
        if found or woken:
            self._pause = SOON
        often = self._is_to_look_often()
        at_once = self._at_once and not often
        if not woken and (at_once or not found):
            pause = SELDOM if at_once else self._pause
            woken = self.sleep(min(pause, OFTEN if often else SELDOM))
            self._missed = not woken and pause >= SELDOM
            self._pause = SOON if woken else 2 * self._pause

    def close(self) -> None:
        """Remove the socket."""
        if self.listener is not None:
            self.listener.close()
            self.path.unlink(missing_ok=True)
            _leave(self.path.parent)

    def _is_to_look_often(self) -> bool:
        silent = not self._all_here or self.listener is None
        return silent or time.monotonic() < self._often_until

    def sleep(self, seconds: float) -> bool:
        """Sleep for so long at most; returns whether it was woken."""
        end = time.monotonic() + seconds
        while not self._stop.is_set() and (left := end - time.monotonic()) > 0:
            if self.listener is None:
                self._stop.wait(left)
            elif select.select([self.listener], (), (), min(left, _STOP_SECONDS))[0]:
                return self.drain()
        return False

    def drain(self) -> bool:
        """Take the wake-ups that wait; returns whether there were any."""
        woken = False
        while self.listener is not None:
            try:
                self.listener.recv(1)
                woken = True
            except BlockingIOError:
                break
        return woken


def relay_wake_ups(shard_id: int) -> str:
    """Name of the wake-ups for changes that were committed on a shard."""
    return f"relay-{shard_id}"


INDEXER_WAKE_UPS = "indexer"
"""Name of the wake-ups for events that were published."""


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.parent.stat().st_uid != os.getuid():
        raise PermissionError(path.parent)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.setblocking(False)
    try:
        listener.bind(str(path))
    except OSError:  # the path is too long, for one
        listener.close()
        _leave(path.parent)
        raise
    return listener


def _leave(folder: Path) -> None:
    """Remove a cluster's folder, unless others wait there too."""
    with suppress(OSError):
        folder.rmdir()


def _folder(cluster_id: bytes) -> Path:
    # A socket's path must be short.
    return Path(tempfile.gettempdir()) / f"mynamo-{os.getuid()}-{cluster_id.hex()[:12]}"
