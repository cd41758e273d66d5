"""What a process counts of its work, whether or not anybody asks for it.

To count costs a lock and an addition: it is done where work is done in batches, or has failed, and
nowhere on the way of a single read or write. `mynamo.metrics` shows the numbers.
"""

from __future__ import annotations

import threading
from typing import Literal

from mynamo.runtime import forks

Counted = Literal[
    "backfill_rows",
    "commit_lookups",
    "dead_letters_written",
    "expiry_deleted_items",
    "indexer_batches",
    "indexer_early_events",
    "indexer_events",
    "indexer_known_events",
    "indexer_lost_events",
    "indexer_seconds",
    "queued_writes_done",
    "relay_batches",
    "relay_events",
    "relay_leases_taken",
    "relay_seconds",
    "retries",
    "shard_away",
    "stream_records",
    "transaction_aborts",
    "transaction_conflicts",
    "transaction_waits",
]
"""Names of metrics, without `mynamo_` before and `_total` behind them."""

Series = tuple[Counted, tuple[str, ...]]
"""What is counted, and the values of its labels."""


class Counters:
    """Numbers by name and labels. Safe to share between threads."""

    def __init__(self) -> None:
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin at nothing: what was counted is the parent's work."""
        self._lock = threading.Lock()
        self._numbers: dict[Series, float] = {}

    def add(self, name: Counted, amount: float = 1, *labels: object) -> None:
        """Count so much more.

        Args:
            labels: values of the metric's labels, in their order.
        """
        series = (name, tuple(map(str, labels)))
        with self._lock:
            self._numbers[series] = self._numbers.get(series, 0) + amount

    def put(self, name: Counted, number: float, *labels: object) -> None:
        """Say what it is at the moment; see `add`."""
        with self._lock:
            self._numbers[name, tuple(map(str, labels))] = number

    def all(self) -> dict[Series, float]:
        """All numbers of this moment."""
        with self._lock:
            return dict(self._numbers)


counters = Counters()
"""Of this process, for all clusters that it has open."""
