"""Measuring how long a write takes from its acknowledgement to every GSI."""

from __future__ import annotations

import threading
import time

from mynamo.catalog.cluster import Cluster
from mynamo.producer import Receipt
from mynamo.reader.waiting import pending_statement
from mynamo.schemas.events import ConsistencyToken

LOOK_SECONDS = 0.02
MOST_AT_ONCE = 200


class LagProbe:
    """Follows every Nth write until all GSIs have applied it.

    The clock runs from the moment the write was acknowledged to the moment a look at its
    shard, every 20 ms, finds it applied. Writes are chosen by count, not by when the last
    one was done, so a slow phase is not left out.

    Args:
        cluster: to look at.
        every: N.
    """

    def __init__(self, cluster: Cluster, every: int) -> None:
        self.seconds: list[float] = []
        self._cluster = cluster
        self._every = every
        self._seen = 0
        self._waiting: dict[int, dict[int, float]] = {shard: {} for shard in cluster.shards}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def acknowledged(self, receipt: Receipt) -> None:
        """Count a write, from any thread."""
        now = time.monotonic()
        with self._lock:
            self._seen += 1
            if self._seen % self._every == 0:
                token = ConsistencyToken.parse(receipt.token)
                self._waiting[token.shard][token.version] = now

    @property
    def waiting(self) -> int:
        """Followed writes that are not applied yet."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join()

    def quantile(self, share: float) -> float:
        """The lag, in seconds, that this share of the followed writes did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for shard_id in self._waiting:
                self._look(shard_id)

    def _look(self, shard_id: int) -> None:
        with self._lock:
            oldest = sorted(self._waiting[shard_id])[:MOST_AT_ONCE]
        if not oldest:
            return
        rows = self._cluster.shards[shard_id].run(pending_statement(oldest))[0].rows
        now = time.monotonic()
        applied = set(oldest) - {row[0] for row in rows}
        with self._lock:
            for version in applied:
                self.seconds.append(now - self._waiting[shard_id].pop(version))
