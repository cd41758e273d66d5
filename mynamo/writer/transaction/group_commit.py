"""Writes of one process to one shard that meet share a transaction (see `mynamo.runtime.batching`).

Whatever goes wrong with the transaction of several callers, and is not the server's fault, they
find out alone: each tries again by itself, so that no one's failure is another's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.errors import MynamoError, WriteOutcomeUnknown
from mynamo.runtime.batching import Lane, Traveller
from mynamo.runtime.tasks import in_thread
from mynamo.writer.transaction.commit import commit, commit_together
from mynamo.writer.transaction.evaluation import Outcome
from mynamo.writer.transaction.row_mutex import turns_of
from mynamo.writer.transaction.write_requests import Write

log = logging.getLogger(__name__)

MAX_WRITES = 200
MAX_BYTES = 2 * 1024 * 1024
"""Of items in one transaction of several callers."""
LARGE = 256 * 1024
"""Bytes of items that a passenger does not work on in the thread that it shares."""
AT_ONCE = 1
"""Transactions of one process that are under way: two would be half as large each, and cost both
sides more than they gain."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One caller's writes, and where to."""

    cluster: Cluster
    shard: DynamoDBShard
    writes: Sequence[Write]


_Caller = Traveller[_Asked, list[Outcome]]


class WriteLane:
    """The lane of writes to one shard. Safe to share between threads.

    It knows its shard from its callers only, and so ends with it.
    """

    def __init__(self) -> None:
        self.lane: Lane[_Asked, list[Outcome]] = Lane(
            _carry, at_once=AT_ONCE, max_count=MAX_WRITES, max_size=MAX_BYTES
        )

    def commit(
        self, cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]
    ) -> list[Outcome]:
        """Commit writes, in their order and together, with those of others.

        Raises:
            See `transaction.commit`.
        """
        # Who writes an item that others wait for longer than a lane can joins them.
        if not turns_of(shard).any_taken(writes):
            size = sum(write.size for write in writes)
            answer = self.lane.travel(_Caller(_Asked(cluster, shard, writes), len(writes), size))
            if answer is not None:
                return answer
        return commit(cluster, shard, writes)


def _carry(callers: Sequence[_Caller]) -> None:
    cluster, shard = callers[0].asked.cluster, callers[0].asked.shard
    callers = [caller for caller in callers if caller.asked.cluster is cluster]
    writes = [write for caller in callers for write in caller.asked.writes]
    large = sum(write.size for write in writes) > LARGE
    try:
        outcomes = (in_thread(commit_together) if large else commit_together)(
            cluster, shard, writes
        )
    except WriteOutcomeUnknown as failure:  # to try again might do it twice
        for caller in callers:
            caller.answer = WriteOutcomeUnknown(str(failure))
    except MynamoError as failure:
        log.debug("%s: %d writes go alone: %s", shard.where, len(writes), failure)
    except BaseException:
        for caller in callers[1:]:
            caller.answer = WriteOutcomeUnknown(
                f"{shard.where}: the thread that wrote for several was interrupted; "
                "read the item to see whether it was written"
            )
        raise
    else:
        each = iter(outcomes)
        for caller in callers:
            caller.answer = list(islice(each, len(caller.asked.writes)))


lane_of = PerShard(lambda _: WriteLane()).of
"""The lane to a shard, one per process."""
