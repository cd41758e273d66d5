"""`LogThrottle`: no more than a line in the log each second, whatever clients do."""

from __future__ import annotations

import threading
import time

EVERY_SECONDS = 1.0
"""Between two lines."""


class LogThrottle:
    """Says which lines to log: the first of each second, for each source of lines by itself.

    Safe to share between threads. A source is remembered for good: make it nothing that clients can
    make up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, int]] = {}  # when it was logged, lines left out since

    def due(self, source: str = "") -> int | None:
        """Ask for a line.

        Returns:
            How many were left out since the last one; None: leave this one out, too.
        """
        now = time.monotonic()
        with self._lock:
            logged_at, left_out = self._known.get(source, (None, 0))
            if logged_at is not None and now - logged_at < EVERY_SECONDS:
                self._known[source] = logged_at, left_out + 1
                return None
            self._known[source] = now, 0
            return left_out
