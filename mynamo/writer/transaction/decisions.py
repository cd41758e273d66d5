"""Step T7 of a transaction over several shards: decisions that nobody needs any more are deleted.

Each step may be done any number of times, by any number of workers at once. Counting up the
generations, by which rows go, is in `request_tokens`.

T7. Of each shard, as the deciding one:
    a.  ABORTED that is two generations old: T4 of such a transaction is refused anyway.
    b.  COMMITTED, as long after it as tokens are kept, so that a failover of another shard, which
        brings intents back, finds it. All shards are asked first whether they have intents of it;
        after COMMITTED no new ones come. If a shard does not answer, or slots are moving, it stays.
        A crash before the deletion: it is done again.
"""

from __future__ import annotations

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import (
    forget_aborted,
    forget_committed,
    read_committed,
    which_have_intents,
)
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.slot_guard import READ_EPOCH, epoch_in
from mynamo.mysql.pool import Statement
from mynamo.runtime.crash_points import crash_point
from mynamo.writer.transaction.request_tokens import Generation

COMMITTED_AT_ONCE = 1000


def forget_old_aborted(generation: Generation, most: int) -> Statement:
    """T7a.

    Args:
        generation: the shard's.
        most: rows.
    """
    return forget_aborted(generation.now - 2, most)


def forget_old_committed(cluster: Cluster, shard: DynamoDBShard, generation: Generation) -> bool:
    """T7b, of `COMMITTED_AT_ONCE` decisions at the most.

    Args:
        generation: the shard's.

    Returns:
        Whether there may be more to delete right away.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    found = shard.run(read_committed(generation.forgotten, COMMITTED_AT_ONCE))[0].rows
    ids = [transaction_id for (transaction_id,) in found]
    if not ids:
        return False
    needed = _needed(cluster, ids)
    if needed is None:
        return False
    gone = [each for each in ids if each not in needed]
    if gone:
        shard.run(forget_committed(gone))
        crash_point("transact.7")
    return bool(gone) and len(ids) == COMMITTED_AT_ONCE


def _needed(cluster: Cluster, ids: list[bytes]) -> set[bytes] | None:
    """Those of which some shard has intents; None: slots are moving, or the configuration lacks a
    shard, so this process cannot say."""
    if cluster.lacking:
        return None
    epochs = cluster.snapshot.epochs
    needed: set[bytes] = set()
    for shard in cluster.shards.values():
        intents, guard = shard.ask(which_have_intents(ids), READ_EPOCH)
        if epoch_in(guard) != epochs.get(shard.id):
            return None
        needed |= {transaction_id for (transaction_id,) in intents.rows}
    return needed
