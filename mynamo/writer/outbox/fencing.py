"""Fencing a shard's new incarnation (steps A3 and A4 of `mynamo.catalog.incarnation`), before it
relays.

Nothing with a number of the new incarnation is published before the fence stands. From then on, an
event of an older incarnation that is still in Kafka changes no index.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import Stream, hold_checkpoints, move_checkpoints
from mynamo.catalog.incarnation import (
    CLEAN,
    FENCING,
    MENDING,
    NOTE_LOST,
    base,
    history,
    incarnation_of,
    set_state,
)
from mynamo.catalog.roll_forward import roll_forward_shard
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.errors import ShardUnavailable
from mynamo.runtime import deadlines

log = logging.getLogger(__name__)

_PATIENCE = 3.0
"""Seconds for which one shard's part is tried again before the relay is told."""
_LOOK_SECONDS = 2.0
"""For which another shard is asked what it has seen."""


def is_behind(cluster: Cluster, shard: DynamoDBShard, last_seq: int) -> int:
    """Whether another shard has seen more of a shard than the shard itself knows of.

    Shards that do not answer are left out.

    Returns:
        0, or the least incarnation whose numbers nobody has seen.
    """
    seen = 0
    for other in cluster.shards.values():
        try:
            ends_at = time.monotonic() + _LOOK_SECONDS
            seen = max(seen, deadlines.until(ends_at, partial(_seen, other, shard.id)))
        except ShardUnavailable as failure:
            log.debug("not asked what it has seen: %s", failure)
    return incarnation_of(seen) + 1 if seen > last_seq else 0


def fence(cluster: Cluster, shard: DynamoDBShard) -> None:
    """Do steps A3 and A4 for all incarnations of a shard that are not fenced yet; safe to repeat.

    A target that does not answer is fenced later. Until then its indexes may take in lost changes,
    which are mended afterwards; what is new fences its own streams there.

    Raises:
        ShardUnavailable: the shard itself or the catalog does not answer, or another shard no
            longer does.
    """
    with shard.session() as session:
        waiting = [each for each in history(session) if each.state == FENCING]
    if not waiting:
        return
    number = waiting[-1].number
    roll_forward_shard(cluster, shard)  # A3
    kept: dict[int, int] = {}
    for each in waiting:
        for part, sequence in each.kept.items():
            kept[part] = min(sequence, kept.get(part, sequence))
    left = [f"shard {shard_id}" for shard_id in cluster.lacking]
    for target in cluster.shards.values():  # A4
        try:
            _fence_on(target, shard, kept, number)
        except ShardUnavailable as failure:
            log.debug("not fenced yet: %s", failure)
            left.append(target.where)
    if left:
        shard.run(NOTE_LOST)
        log.warning("%s: not fenced on %s yet", shard.where, ", ".join(left))
        return
    for target in cluster.shards.values():
        _restart_backfills(cluster, target)
    with shard.session() as session:
        lost = any(each.lost for each in history(session) if each.state == FENCING)
        # As a target, the shard may lack rows that others count as applied.
        mend = lost or (len(cluster.shards) > 1 and _has_global_indexes(cluster))
        for each in waiting:
            set_state(session, each.number, FENCING, MENDING if mend else CLEAN)
    log.warning(
        "%s: incarnation %d is fenced; %s", shard.where, number,
        "its indexes are verified and repaired" if mend else "its indexes have lost nothing",
    )  # fmt: skip


def _seen(other: DynamoDBShard, shard_id: int) -> int:
    """The highest sequence of a shard that another one's indexes contain."""
    with other.session() as session:
        rows = session.run(
            ("SELECT MAX(seq) FROM mynamo_checkpoint WHERE shard = %s", (shard_id,))
        )[0].rows  # fmt: skip
    return int(rows[0][0] or 0)


def _fence_on(
    target: DynamoDBShard, shard: DynamoDBShard, kept: Mapping[int, int], number: int
) -> None:
    streams = [Stream(shard.id, part) for part in sorted(kept)]
    start = base(number)

    def once() -> None:
        with target.session() as session:
            contained = hold_checkpoints(session, streams, ("BEGIN", ()))
            if any(kept[s.partition] < reached < start for s, reached in contained.items()):
                shard.run(NOTE_LOST)  # before the checkpoints move, which show it
            raised = {s: max(start, reached) for s, reached in contained.items()}
            session.run(move_checkpoints(raised), ("COMMIT", ()))

    retry(once, _PATIENCE)


def _restart_backfills(cluster: Cluster, shard: DynamoDBShard) -> None:
    """Begin the backfills of new indexes again: rows that they wrote may be gone."""
    creating = [
        index.id
        for table in cluster.snapshot.tables.values()
        for index in table.global_indexes
        if index.status == "CREATING"
    ]
    if creating:
        shard.run(
            ("UPDATE mynamo_backfill SET after_hash = NULL, after_sort = NULL, finished = 0"
             f" WHERE index_id IN ({sql.placeholders(creating)})", creating)
        )  # fmt: skip


def _has_global_indexes(cluster: Cluster) -> bool:
    return any(table.global_indexes for table in cluster.snapshot.tables.values())
