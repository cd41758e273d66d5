"""Reading no faster than was asked for, so that live traffic has the servers to itself.

How far a comparison has come, and how long the rest will take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mynamo.catalog.snapshot import SlotRange
from mynamo.operations.walks import Position, Walk


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


_ITEMS_COST = 6
"""Reading and understanding an item, in rows of an index that are summed up."""
_SURVEY = 0.9
"""The share of the survey; what is left is the comparing row by row."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a comparison is.

    Attributes:
        fraction: done, 0 to 1; never falls.
        rows: read so far by this run.
        seconds: since it began.
        seconds_left: as it looks now; None: too early to say.
    """

    fraction: float
    rows: int
    seconds: float
    seconds_left: float | None

    def __str__(self) -> str:
        rate = self.rows / self.seconds if self.seconds else 0.0
        left = "" if self.seconds_left is None else f", about {_spoken(self.seconds_left)} left"
        return f"{self.fraction:.0%}, {self.rows:,} rows, {rate:,.0f}/s{left}"


OnProgress = Callable[[Progress], None]


class Meter:
    """Adds up the progress of walks. Safe to share between threads.

    Args:
        slots: who owns them: what a shard does not own is nearly always empty.
        on_progress: is called by one thread at a time.
    """

    def __init__(self, slots: Sequence[SlotRange], on_progress: OnProgress | None) -> None:
        self._slots = slots
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._rows = 0
        self._base, self._share = 0.0, _SURVEY
        self._total = 1.0
        self._reached: dict[Walk, float] = {}
        self._highest = 0.0
        self._found_at: float | None = None

    def begin(
        self, walks: Iterable[Walk], cursors: Mapping[str, Position | None], survey: bool
    ) -> None:
        """A round of walks begins, or goes on: some have come far already."""
        self._base, self._share = (0.0, _SURVEY) if survey else (_SURVEY, 0.99 - _SURVEY)
        self._total = 0.0
        self._reached = {}
        for walk in walks:
            self._total += self._weight(walk)
            if walk.name in cursors:
                self._reached[walk] = self._done(walk, cursors[walk.name])
        self._total = self._total or 1.0

    def reached(self, walk: Walk, after: Position | None, rows: int) -> None:
        """A walk came so far, and read so many more rows."""
        if self._on_progress is None:
            return
        with self._lock:
            self._rows += rows
            self._reached[walk] = self._done(walk, after)
            part = sum(self._reached.values()) / self._total
            self._tell(self._base + self._share * min(1.0, part))

    def finish(self) -> None:
        """All is done."""
        with self._lock:
            self._tell(1.0)

    def _tell(self, fraction: float) -> None:
        if self._on_progress is None:
            return
        self._highest = max(self._highest, fraction)
        seconds = time.monotonic() - self._started
        if self._found_at is None:
            self._found_at = self._highest  # what an earlier run did took this one no time
        done = self._highest - self._found_at
        left = None
        if done > 0.005 and seconds > 1:
            left = seconds / done * (1 - self._highest)
        if self._highest >= 1:
            left = 0.0
        self._on_progress(Progress(self._highest, self._rows, seconds, left))

    def _weight(self, walk: Walk) -> float:
        return walk.weight(self._slots) * (1 if walk.index_id else _ITEMS_COST)

    def _done(self, walk: Walk, after: Position | None) -> float:
        if after is None:
            return self._weight(walk)
        low, high, _ = walk.span(None)
        start, now = int.from_bytes(low, "big"), int.from_bytes(after[0], "big")
        end = int.from_bytes(high, "big") if high else 1 << 128
        return self._weight(walk) * (now - start) / (end - start)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
