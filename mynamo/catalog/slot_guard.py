"""The slot guard: whoever reads or writes rows of a slot finds out if another shard owns it by now.

Row 0 of a shard's `mynamo_fence` is the epoch of its slots. The catalog decides who owns a slot,
and counts the epoch up; the guard follows. So a slot map may be newer than the guard, but not
older: routing gives a shard, the epoch of its slots, and the least epoch that will do (`since`),
all of one map, and the guard must be between the two:

*   A read gets the guard with its rows or behind them, in the same round trip.
*   A transaction that writes locks the guard shared before its rows (`LOCK_EPOCH`), so whoever
    raises the guard waits for it.

Where it is not, the slot map is read again and the work starts over (`by_newest_slots`). So it
does where the map says that slots are stopped or closed, because they are about to go to another
shard; see `docs/design/resharding.md`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from mynamo.catalog.cluster import Cluster, Owner, RangeStopped, Route
from mynamo.catalog.cluster import SlotsMoved as SlotsMoved
from mynamo.catalog.shard import pause
from mynamo.mysql.pool import Result, Statement
from mynamo.runtime import deadlines

Answer = TypeVar("Answer")

READ_EPOCH: Statement = ("SELECT version FROM mynamo_fence FORCE INDEX (PRIMARY) WHERE id = 0", ())
LOCK_EPOCH: Statement = (f"{READ_EPOCH[0]} LOCK IN SHARE MODE", ())
PATIENCE = 20.0
"""Seconds for which work is begun again, unless its call or its cluster has less."""


def epoch_in(found: Result) -> int | None:
    """What `READ_EPOCH` or `LOCK_EPOCH` gave."""
    return int(found.rows[0][0]) if found.rows else None


def check_epoch(found: int | None, by: Owner | Route) -> None:
    """Compare a shard's guard with what the slot map says of the shard.

    Args:
        found: in the guard.

    Raises:
        SlotsMoved: the map is older than the guard, or the guard is too old for the slots.
    """
    if found is None or not by.since <= found <= by.epoch:
        raise SlotsMoved(
            f"{by.shard.where}: its slots have changed, or change at this moment; try again"
        )


class Waiting:
    """The patience of one call whose work is refused because of its slots.

    Attributes:
        ends_at: when it is over (monotonic).
    """

    def __init__(self, cluster: Cluster) -> None:
        timeout = cluster.config.timeout
        most = PATIENCE if timeout is None else min(PATIENCE, timeout)
        self.ends_at = time.monotonic() + deadlines.left(most)
        self._cluster = cluster
        self._attempts = 0

    def wait(self, refused: SlotsMoved) -> None:
        """Wait until it may be worth while to begin again, by the newest slot map.

        Raises:
            SlotsMoved: the same, once patience is over.
            ShardUnavailable: the catalog does not answer, or the shard of slots that are stopped
                has its share of the requests already.
        """
        if time.monotonic() >= self.ends_at:
            raise refused
        if isinstance(refused, RangeStopped):
            with refused.shard.admission:
                self._cluster.wait_for_other(refused.snapshot, self.ends_at)
            return
        before = self._cluster.snapshot
        if self._cluster.refresh() is before:  # the guard is behind it; or it was read just now
            pause(self._attempts)
            self._attempts += 1


def by_newest_slots(cluster: Cluster, work: Callable[[], Answer]) -> Answer:
    """Do work that routes; if it is refused because of its slots, repeat it by the newest map.

    Raises:
        SlotsMoved: the last one, if slots are moving for longer than the call has patience.
    """
    waiting: Waiting | None = None
    while True:
        try:
            return work()
        except SlotsMoved as failure:
            refused = failure
        waiting = waiting or Waiting(cluster)
        waiting.wait(refused)
