"""Queues of records for threads that write them; those of one item come one after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from mynamo.catalog.tables import RowKey
from mynamo.cli.records import Record

Entry = tuple[RowKey, Record]

_LOOK_SECONDS = 0.2
"""Between two looks whether the work was abandoned."""


class RecordQueue:
    """The queue of one thread.

    Args:
        limit: records that may wait.
        abandoned: nothing is to be waited for any more.
    """

    def __init__(self, limit: int, abandoned: threading.Event) -> None:
        self._queue: queue.Queue[Entry | None] = queue.Queue(limit)
        self._abandoned = abandoned
        self._next: Entry | None = None
        """Taken already, for the batch after this one."""
        self._ended = False

    def add(self, entry: Entry | None) -> bool:
        """Take a record, or None for the end; waits while the thread is busy.

        Returns:
            False if the work was abandoned.
        """
        while not self._abandoned.is_set():
            try:
                self._queue.put(entry, timeout=_LOOK_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def batch(self, most: int) -> Sequence[Record]:
        """The next records, of different items each; waits for the first one.

        Returns:
            None at all at the end, and when the work was abandoned.
        """
        found: dict[RowKey, Record] = {}
        entry = self._next or self._wait()
        self._next = None
        while entry is not None:
            row, record = entry
            if row in found:
                self._next = entry
                break
            found[row] = record
            if len(found) == most or self._ended:
                break
            entry = self._at_hand()
        return list(found.values())

    def _wait(self) -> Entry | None:
        while not self._abandoned.is_set() and not self._ended:
            try:
                return self._noted(self._queue.get(timeout=_LOOK_SECONDS))
            except queue.Empty:
                continue
        return None

    def _at_hand(self) -> Entry | None:
        try:
            return self._noted(self._queue.get_nowait())
        except queue.Empty:
            return None

    def _noted(self, entry: Entry | None) -> Entry | None:
        self._ended = entry is None
        return entry
