"""Reading no faster than was asked for, so that live traffic has the servers to itself."""

from __future__ import annotations

import threading
import time


class Throttle:
    """Holds threads back so that together they read so many rows a second.

    Args:
        rate: rows per second; None: as fast as they can.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pay(self, rows: int, stop: threading.Event) -> None:
        """Wait as long as rows that were just read have to last.

        Args:
            stop: ends the waiting.
        """
        if not self._rate or not rows:
            return
        with self._lock:
            self._free_at = max(time.monotonic(), self._free_at) + rows / self._rate
            pause = self._free_at - time.monotonic()
        stop.wait(pause)
