"""`Throttle`: doing things no faster than was asked for."""

from __future__ import annotations

import threading
import time


class Throttle:
    """Holds threads back so that together they do so many things a second: read rows, delete items.

    Args:
        rate: of them, per second; None: as fast as they can.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pay(self, count: int, stop: threading.Event) -> None:
        """Wait as long as those that were just done have to last.

        Args:
            stop: ends the waiting.
        """
        if not self._rate or not count:
            return
        with self._lock:
            self._free_at = max(time.monotonic(), self._free_at) + count / self._rate
            pause = self._free_at - time.monotonic()
        stop.wait(pause)
