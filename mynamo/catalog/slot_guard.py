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
from contextlib import suppress
from typing import TypeVar

from mynamo.catalog.cluster import Cluster, Owner, RangeStopped, Route
from mynamo.catalog.cluster import SlotsMoved as SlotsMoved
from mynamo.catalog.moves import take_back
from mynamo.catalog.shard import pause
from mynamo.catalog.snapshot import SlotMove
from mynamo.errors import MynamoError
from mynamo.mysql.pool import Result, Statement
from mynamo.runtime import deadlines
from mynamo.runtime.tasks import in_thread

Answer = TypeVar("Answer")

READ_EPOCH: Statement = ("SELECT version FROM mynamo_fence FORCE INDEX (PRIMARY) WHERE id = 0", ())
LOCK_EPOCH: Statement = (f"{READ_EPOCH[0]} LOCK IN SHARE MODE", ())
PATIENCE = 20.0
"""Seconds for which work is begun again, unless its call or its cluster has less."""
TAKE_BACK_AFTER = 2.0
"""Seconds of waiting for one attempt to switch slots, after which whoever waits takes it back."""


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
        self._waits_for: tuple[int, int] | None = None
        self._since = 0.0

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
            self._take_back(refused.move)
            return
        before = self._cluster.snapshot
        if self._cluster.refresh() is before:  # the guard is behind it; or it was read just now
            pause(self._attempts)
            self._attempts += 1

    def _take_back(self, move: SlotMove) -> None:
        """End an attempt that the call has waited for too long, if this process may do that. A
        later attempt, or one that has succeeded, is left alone."""
        now = time.monotonic()
        if self._waits_for != (move.id, move.attempt):
            self._waits_for, self._since = (move.id, move.attempt), now
        elif now - self._since >= TAKE_BACK_AFTER:
            self._since = now
            with suppress(MynamoError):  # a reader has no right to; others have
                in_thread(take_back)(self._cluster.catalog, move)


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
