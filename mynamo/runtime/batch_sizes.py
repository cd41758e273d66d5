"""How large a batch may be, so that its transaction is short however fast the server is."""

from __future__ import annotations


class BatchSize:
    """The number of rows of the next batch, which adapts to the time that batches take.

    A batch that was full and took less than half of the time doubles it; one that took longer
    than the time halves it.

    Args:
        least: rows.
        most: rows.
        seconds: that a batch should take at the most.

    Attributes:
        rows: of the next batch at the most.
    """

    def __init__(self, least: int, most: int, seconds: float) -> None:
        self._least = least
        self._most = most
        self._seconds = seconds
        self.rows = least

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a batch.

        Args:
            rows: that it had.
            seconds: that it took.
        """
        if seconds > self._seconds:
            self.rows = max(self._least, self.rows // 2)
        elif rows >= self.rows and seconds < self._seconds / 2:
            self.rows = min(self._most, self.rows * 2)
