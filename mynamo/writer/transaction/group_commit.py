"""Group commit: concurrent writes of one process to one shard share a transaction.

See `mynamo.runtime.batching`. A batch waits for nobody's lock: callers whose rows somebody else
holds wait for them alone. If the transaction of several callers fails, and not because of the
server, each of them tries again by itself: no caller gets another caller's failure.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.errors import MynamoError, WriteOutcomeUnknown
from mynamo.runtime.batching import Batcher, Entry
from mynamo.writer.transaction.commit import commit, commit_together, row_mutexes_of
from mynamo.writer.transaction.evaluation import Outcome
from mynamo.writer.transaction.write_requests import Write

log = logging.getLogger(__name__)

MAX_WRITES = 200
MAX_BYTES = 2 * 1024 * 1024
"""Of items in one transaction of several callers."""
AT_ONCE = 1
"""Transactions of one process at the same time: two would be half as large each, and cost both
sides more than they gain."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One caller's writes, and where to."""

    cluster: Cluster
    shard: DynamoDBShard
    writes: Sequence[Write]


_Entry = Entry[_Request, list[Outcome]]


def commit_with_others(
    cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]
) -> list[Outcome]:
    """Commit writes, in their order and together, with those of others.

    Raises:
        See `transaction.commit`.
    """
    with shard.admission:
        own = batcher_of(shard)
        # A write to an item whose mutex is held waits for that mutex, and must not hold up a batch.
        held = own.mutexes.held_keys
        if not held or not any((write.table.id, write.row) in held for write in writes):
            size = 0
            for write in writes:
                size += write.size
            answer = own.batcher.submit(_Entry(_Request(cluster, shard, writes), len(writes), size))
            if answer is not None:
                return answer
        return commit(cluster, shard, writes)


def _commit_batch(callers: Sequence[_Entry]) -> None:
    cluster, shard = callers[0].request.cluster, callers[0].request.shard
    callers = [caller for caller in callers if caller.request.cluster is cluster]
    try:
        answers = commit_together(cluster, shard, [caller.request.writes for caller in callers])
    except WriteOutcomeUnknown as failure:  # to try again might do it twice
        for caller in callers:
            caller.answer = WriteOutcomeUnknown(str(failure))
    except MynamoError as failure:
        log.debug("%s: %d callers go alone: %s", shard.where, len(callers), failure)
    except BaseException:
        for caller in callers[1:]:
            caller.answer = WriteOutcomeUnknown(
                f"{shard.where}: the thread that wrote for several was interrupted; "
                "read the item to see whether it was written"
            )
        raise
    else:
        for caller, answer in zip(callers, answers, strict=True):
            caller.answer = answer


class _OfShard:
    """The batcher of a shard, one per process, and the mutexes of its rows.

    The batcher knows its shard from its callers only, and so ends with it.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self.batcher: Batcher[_Request, list[Outcome]] = Batcher(
            _commit_batch, max_running=AT_ONCE, max_count=MAX_WRITES, max_size=MAX_BYTES
        )
        self.mutexes = row_mutexes_of(shard)


batcher_of = PerShard(_OfShard).of
