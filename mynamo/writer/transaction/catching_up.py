"""Catching up: what a process does whose definitions or slots a shard has refused."""

from __future__ import annotations

import logging

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.roll_forward import roll_forward
from mynamo.errors import ShardUnavailable

log = logging.getLogger(__name__)

PATIENT_ATTEMPTS = 12
UNFINISHED = (
    "the table's definition keeps changing; a change of it may have stopped half-way: "
    "`mynamo writer` finishes it once all shards answer"
)


def catch_up(cluster: Cluster, table_ids: set[int], attempt: int) -> None:
    """Learn the newest definitions; where the shard is behind the catalog, bring it up."""
    before = {i: cluster.snapshot.tables.get(i) for i in table_ids}
    snapshot = cluster.refresh()
    for table_id in table_ids:
        table = snapshot.tables.get(table_id)
        if table is not None and table == before[table_id] and attempt > 0:
            try:
                roll_forward(cluster, table_id)
            except ShardUnavailable as failure:  # what matters is the shard of this write
                log.debug("a change of table %s is not finished: %s", table.name, failure)
