"""`Throttle`: doing things no faster than was asked for."""

from __future__ import annotations

import threading
import time

_CREDIT = 0.1
"""Seconds of the past that still count: doing the things takes time too."""


class Throttle:
    """Holds threads back so that together they do so many things a second: read rows, copy rows,
    delete items.

    Args:
        rate: of them, per second; None: as fast as they can.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, count: int) -> float:
        """Seconds to rest after so many."""
        if not self._rate or not count:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now - _CREDIT, self._free_at) + count / self._rate
            return max(0.0, self._free_at - now)

    def pay(self, count: int, stop: threading.Event) -> None:
        """Rest after so many.

        Args:
            stop: ends the rest.
        """
        stop.wait(self.spend(count))
