"""Catching up: what a process does whose definitions or slots a shard has refused."""

from __future__ import annotations

import logging
import time

from mynamo.catalog.cluster import Cluster, RangeStopped
from mynamo.catalog.roll_forward import roll_forward
from mynamo.catalog.shard import pause
from mynamo.catalog.slot_guard import SlotsMoved, Waiting
from mynamo.errors import ShardUnavailable

log = logging.getLogger(__name__)

UNFINISHED = (
    "the table's definition keeps changing; a change of it may have stopped half-way: "
    "`mynamo writer` finishes it once all shards answer"
)
SLOTS_MOVED = "the slots of a shard keep changing; nothing was written, try again"


class CatchingUp:
    """The patience of one call with shards that refuse what it knows.

    Args:
        cluster: whose catalog is read again.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting = Waiting(cluster)
        self._attempts = 0

    def wait(self, table_ids: set[int], stopped: RangeStopped | None = None) -> None:
        """Learn the newest definitions and slots, and wait until it may be worth while to try
        again; where a shard is behind the catalog, bring it up.

        Args:
            table_ids: of tables whose definitions were refused.
            stopped: why some of the writes wait.

        Raises:
            ShardUnavailable: patience is over, or the catalog does not answer.
        """
        if not table_ids:
            self._waiting.wait(stopped or SlotsMoved(SLOTS_MOVED))
            return
        if time.monotonic() >= self._waiting.ends_at:
            raise ShardUnavailable(UNFINISHED)
        self._learn(table_ids)
        pause(self._attempts)
        self._attempts += 1

    def _learn(self, table_ids: set[int]) -> None:
        before = {i: self._cluster.snapshot.tables.get(i) for i in table_ids}
        snapshot = self._cluster.refresh()
        for table_id in table_ids:
            table = snapshot.tables.get(table_id)
            if table is not None and table == before[table_id] and self._attempts > 0:
                try:
                    roll_forward(self._cluster, table_id)
                except ShardUnavailable as failure:  # what matters is the shard of this write
                    log.debug("a change of table %s is not finished: %s", table.name, failure)
