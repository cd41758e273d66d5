"""How far a comparison is, and how long the rest takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mynamo.catalog.snapshot import SlotRange
from mynamo.operations.scan_parts import Position, ScanPart

_ITEMS_COST = 6
"""Reading and understanding an item, in rows of an index that are summed up."""
_SURVEY = 0.9
"""The share of the checksum pass; the rest is the comparing row by row."""


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
    """Adds up the progress of parts. Safe to share between threads.

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
        self._reached: dict[ScanPart, float] = {}
        self._highest = 0.0
        self._found_at: float | None = None

    def begin(
        self,
        scan_parts: Iterable[ScanPart],
        cursors: Mapping[str, Position | None],
        checksum_pass: bool,
    ) -> None:
        """A round of parts begins, or goes on: some have come far already."""
        self._base, self._share = (0.0, _SURVEY) if checksum_pass else (_SURVEY, 0.99 - _SURVEY)
        self._total = 0.0
        self._reached = {}
        for scan_part in scan_parts:
            self._total += self._weight(scan_part)
            if scan_part.name in cursors:
                self._reached[scan_part] = self._done(scan_part, cursors[scan_part.name])
        self._total = self._total or 1.0

    def reached(self, scan_part: ScanPart, after: Position | None, rows: int) -> None:
        """A part came so far, and read so many more rows."""
        if self._on_progress is None:
            return
        with self._lock:
            self._rows += rows
            self._reached[scan_part] = self._done(scan_part, after)
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

    def _weight(self, scan_part: ScanPart) -> float:
        return scan_part.weight(self._slots) * (1 if scan_part.index_id else _ITEMS_COST)

    def _done(self, scan_part: ScanPart, after: Position | None) -> float:
        if after is None:
            return self._weight(scan_part)
        low, high, _ = scan_part.span(None)
        start, now = int.from_bytes(low, "big"), int.from_bytes(after[0], "big")
        end = int.from_bytes(high, "big") if high else 1 << 128
        return self._weight(scan_part) * (now - start) / (end - start)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
