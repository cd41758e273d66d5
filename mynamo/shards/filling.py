"""How far the filling of a new index has come."""

from __future__ import annotations

from dataclasses import dataclass

from mynamo.shards.cluster import Cluster
from mynamo.shards.keys import SLOTS, slot_of
from mynamo.shards.tables import Index


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the filling of an index has come.

    Attributes:
        fraction: of the table's key space, 0 to 1.
        rows: items put into the index.
        skipped: items whose key attributes are not fit for the index.
        finished: every shard's items have been read; a GSI may still be catching up.
    """

    fraction: float
    rows: int
    skipped: int
    finished: bool


def progress(cluster: Cluster, index: Index) -> Progress:
    """How far the filling of an index has come."""
    slots_done = rows = skipped = 0
    finished = True
    for shard in cluster.shards.values():
        found = shard.run(
            ("SELECT after_hash, rows_done, rows_skipped, finished FROM mynamo_backfill"
             " WHERE index_id = %s", (index.id,))
        )[0].rows  # fmt: skip
        if not found:
            finished = False  # the shard has not heard of the index yet
            continue
        after_hash, done, left_out, shard_finished = found[0]
        rows, skipped = rows + done, skipped + left_out
        finished = finished and bool(shard_finished)
        reached = SLOTS if shard_finished else slot_of(after_hash) if after_hash else -1
        slots_done += sum(
            max(0, min(owned.last, reached) - owned.first + 1)
            for owned in cluster.snapshot.slots
            if owned.shard_id == shard.id
        )
    return Progress(slots_done / SLOTS, rows, skipped, finished)
