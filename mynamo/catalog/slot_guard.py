"""The slot guard: whoever reads or writes rows of a slot finds out if another shard owns it by now.

Row 0 of a shard's `mynamo_fence` is the epoch of its slots. A move of slots raises it on the shard
that gives them up before anybody may change them elsewhere, and on the shard that takes them once
it has all of their rows. So routing gives a shard and the epoch of its slots in the same slot map,
and the epoch is compared with the guard, which says that the shard owned the slot at that moment:

*   A read gets the guard with its rows or behind them, in the same round trip.
*   A transaction that writes locks the guard shared before its rows (`LOCK_EPOCH`), so a move waits
    for it.

Where they differ, the slot map is read again and the work starts over (`by_newest_slots`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import pause
from mynamo.errors import ShardUnavailable
from mynamo.mysql.pool import Result, Statement

Answer = TypeVar("Answer")

READ_EPOCH: Statement = ("SELECT version FROM mynamo_fence FORCE INDEX (PRIMARY) WHERE id = 0", ())
LOCK_EPOCH: Statement = (f"{READ_EPOCH[0]} LOCK IN SHARE MODE", ())
_ATTEMPTS = 12
"""With pauses of some three seconds together."""


class SlotsMoved(ShardUnavailable):
    """The slot map has changed, or is about to; nothing was read or written, try again."""


def epoch_in(found: Result) -> int | None:
    """What `READ_EPOCH` or `LOCK_EPOCH` gave."""
    return int(found.rows[0][0]) if found.rows else None


def check_epoch(found: int | None, epoch: int, where: str) -> None:
    """Compare a shard's guard with the epoch of a route.

    Args:
        found: in the guard.
        where: the shard is, for messages.

    Raises:
        SlotsMoved: they differ.
    """
    if found != epoch:
        raise SlotsMoved(f"{where}: its slots have changed, or change at this moment; try again")


def by_newest_slots(cluster: Cluster, work: Callable[[], Answer]) -> Answer:
    """Do work that routes; if a slot guard refuses it, read the slot map again and repeat.

    Raises:
        SlotsMoved: the last one, if slots are being moved for longer than some seconds.
    """
    for attempt in range(_ATTEMPTS - 1):
        try:
            return work()
        except SlotsMoved:
            cluster.refresh()
            pause(attempt)
    return work()
