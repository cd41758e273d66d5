"""Lanes: writes of one process to one shard that meet share a transaction.

A commit costs a shard the same for one row as for a hundred, and a round trip costs the process
the same. So while one transaction is on its way, those who come wait together, and the next
transaction takes all of them. Who finds the lane free goes at once: nobody waits for company.

The thread that goes first carries the others: there are no threads of the lane's own. Whatever
goes wrong with the transaction of several callers, and is not the server's fault, they find out
alone: each tries again by itself, so that no one's failure is another's.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from weakref import WeakKeyDictionary

from mynamo.errors import MynamoError, WriteOutcomeUnknown
from mynamo.shards.cluster import Cluster
from mynamo.shards.shard import DynamoDBShard
from mynamo.writer.evaluation import Outcome
from mynamo.writer.requests import Write
from mynamo.writer.transaction import commit, commit_together
from mynamo.writer.turns import turns_of

log = logging.getLogger(__name__)

MAX_WRITES = 200
MAX_BYTES = 2 * 1024 * 1024
"""Of items in one transaction of several callers."""
AT_ONCE = 2
"""Transactions of one lane that are under way: while one waits for the disk, the next one is
sent."""


@dataclass(slots=True, eq=False)
class _Caller:
    """One caller's writes.

    Attributes:
        size: bytes of their items.
        turn: released when this caller is to go on.
        leads: it is to carry the lane on.
        answer: what came of its writes; None: it must try alone.
    """

    cluster: Cluster
    writes: Sequence[Write]
    size: int
    turn: threading.Lock = field(default_factory=threading.Lock)
    leads: bool = False
    answer: list[Outcome] | MynamoError | None = None

    def fits_beside(self, count: int, size: int) -> bool:
        """Whether its writes fit into a transaction that has so many already."""
        return count + len(self.writes) <= MAX_WRITES and size + self.size <= MAX_BYTES


class Lane:
    """The lane to one shard. Safe to share between threads."""

    def __init__(self, shard: DynamoDBShard) -> None:
        self._shard = shard
        self._turns = turns_of(shard)
        self._lock = threading.Lock()
        self._waiting: deque[_Caller] = deque()
        self._under_way = 0

    def commit(self, cluster: Cluster, writes: Sequence[Write]) -> list[Outcome]:
        """Commit writes, in their order and together, with those of others.

        Raises:
            See `transaction.commit`.
        """
        me = _Caller(cluster, writes, sum(write.size for write in writes))
        # Who writes an item that others wait for longer than a lane can joins them.
        if me.fits_beside(0, 0) and not self._turns.any_taken(writes):
            self._travel(me)
        if me.answer is None:
            return commit(cluster, self._shard, writes)
        if isinstance(me.answer, MynamoError):
            raise me.answer
        return me.answer

    def _travel(self, me: _Caller) -> None:
        with self._lock:
            leads = self._under_way < AT_ONCE
            if leads:
                self._under_way += 1
            else:
                me.turn.acquire()
                self._waiting.append(me)
        if not leads:
            me.turn.acquire()
        if leads or me.leads:
            self._carry(me)

    def _carry(self, me: _Caller) -> None:
        """Commit for this caller and those who wait; then let the next one lead."""
        callers = [me, *self._company(me)]
        try:
            self._commit(callers)
        finally:
            with self._lock:
                leader = self._waiting.popleft() if self._waiting else None
                if leader is None:
                    self._under_way -= 1
                else:
                    leader.leads = True
            if leader is not None:
                leader.turn.release()
            for caller in callers[1:]:
                caller.turn.release()

    def _company(self, me: _Caller) -> list[_Caller]:
        """Those who wait and fit in, in their order."""
        found: list[_Caller] = []
        count, size = len(me.writes), me.size
        with self._lock:
            while self._waiting and self._waiting[0].fits_beside(count, size):
                caller = self._waiting.popleft()
                count += len(caller.writes)
                size += caller.size
                found.append(caller)
        return found

    def _commit(self, callers: Sequence[_Caller]) -> None:
        writes = [write for caller in callers for write in caller.writes]
        try:
            outcomes = commit_together(callers[0].cluster, self._shard, writes)
        except WriteOutcomeUnknown as failure:  # to try again might do it twice
            for caller in callers:
                caller.answer = WriteOutcomeUnknown(str(failure))
        except MynamoError as failure:
            log.debug("%s: %d writes go alone: %s", self._shard.where, len(writes), failure)
        except BaseException:
            for caller in callers[1:]:
                caller.answer = WriteOutcomeUnknown(
                    f"{self._shard.where}: the thread that wrote for several was interrupted; "
                    "read the item to see whether it was written"
                )
            raise
        else:
            each = iter(outcomes)
            for caller in callers:
                caller.answer = list(islice(each, len(caller.writes)))


_lanes: WeakKeyDictionary[DynamoDBShard, Lane] = WeakKeyDictionary()
_making = threading.Lock()


def lane_of(shard: DynamoDBShard) -> Lane:
    """The lane to a shard, one per process."""
    with _making:
        lane = _lanes.get(shard)
        if lane is None:
            lane = _lanes[shard] = Lane(shard)
        return lane
