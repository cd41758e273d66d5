"""Group commit: concurrent writes of one process to one shard share a transaction.

A write takes one of these ways to `mynamo.writer.transaction.commit`:

1.  It joins the shard's batch, which waits for nobody's lock. A crash here or later: as `commit`
    says of the transaction; no step of this file is on disk.
2.  If somebody else holds one of its rows, it leaves the batch and joins those of this process who
    write the very same rows; so does one that finds a row's mutex held, without step 1. There is a
    batcher for each such set of rows while somebody waits for it. Its batch waits for the rows'
    locks once, in one transaction, and only once: if the server lets it wait no longer, nothing is
    written, and each caller who has patience left joins the next batch. So whoever came meanwhile
    joins too, and no caller's patience is another one's. A caller whose patience is over is told
    so after this one wait at the latest.
3.  If the transaction of several callers fails in any other way, and not because its outcome is
    unknown, each of them has a transaction of its own: no caller gets another caller's failure.

See `mynamo.runtime.batching` for what a batch is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, PerShard, pause, retry
from mynamo.errors import MynamoError, WriteOutcomeUnknown
from mynamo.runtime.batching import Batcher, BatcherPerKey, Entry
from mynamo.writer.transaction.commit import (
    MENDS,
    commit,
    commit_in_turn,
    commit_together,
    places_of,
    row_mutexes_of,
)
from mynamo.writer.transaction.evaluation import Outcome
from mynamo.writer.transaction.statements import LockedRow
from mynamo.writer.transaction.write_requests import Write

log = logging.getLogger(__name__)

MAX_WRITES = 200
MAX_BYTES = 2 * 1024 * 1024
"""Of items in one transaction of several callers."""
AT_ONCE = 1
"""Transactions of one process at the same time: two would be half as large each, and cost both
sides more than they gain."""


@dataclass(slots=True)
class _Request:
    """One caller's writes, and where to.

    Attributes:
        since: when its patience began (monotonic).
        attempts: how often it has waited for its rows in vain.
    """

    cluster: Cluster
    shard: DynamoDBShard
    writes: Sequence[Write]
    since: float
    attempts: int = 0


_Entry = Entry[_Request, list[Outcome]]
_Batcher = Batcher[_Request, list[Outcome]]


def commit_with_others(
    cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]
) -> list[Outcome]:
    """Commit writes, in their order and together, with those of others.

    Raises:
        See `transaction.commit`.
    """
    with shard.admission:
        own = batcher_of(shard)
        request = _Request(cluster, shard, writes, time.monotonic())
        size = 0
        for write in writes:
            size += write.size
        # A write to an item whose mutex is held waits for that mutex, and must not hold up a batch.
        held = own.mutexes.held_keys
        if not held or not any((write.table.id, write.row) in held for write in writes):
            answer = own.batcher.submit(_Entry(request, len(writes), size))
            if answer is not None:
                return answer
        answer = _wait_with_others(own.waiting, request, size)
        return commit(cluster, shard, writes, request.since) if answer is None else answer


def _wait_with_others(
    waiting: BatcherPerKey[tuple[LockedRow, ...], _Request, list[Outcome]],
    request: _Request,
    size: int,
) -> list[Outcome] | None:
    rows = tuple(places_of(request.writes))

    def note(attempts: int) -> None:
        request.attempts = attempts

    return retry(
        lambda: waiting.submit(rows, _Entry(request, len(request.writes), size)),
        patience=request.shard.timeout,
        mends=MENDS,
        since=request.since,
        between=note,  # the batch has paused for all of its callers
    )


def _commit_batch(callers: Sequence[_Entry]) -> None:
    """Step 1."""
    failure = _commit(callers, commit_together)
    if failure is not None:
        log.debug("%d callers go on by themselves: %s", len(callers), failure)


def _commit_waiting(callers: Sequence[_Entry]) -> None:
    """Step 2."""
    since = min(caller.request.since for caller in callers)
    failure = _commit(
        callers, lambda cluster, shard, writes: commit_in_turn(cluster, shard, writes, since)
    )
    if isinstance(failure, MENDS):
        for caller in callers:
            caller.answer = type(failure)(str(failure))
        pause(callers[0].request.attempts)
    elif failure is not None and len(callers) == 1:
        callers[0].answer = failure


Together = Callable[
    [Cluster, DynamoDBShard, Sequence[Sequence[Write]]], Sequence[list[Outcome] | None]
]


def _commit(callers: Sequence[_Entry], together: Together) -> MynamoError | None:
    """Commit what callers write, and give each its answer.

    Returns:
        Why nothing was written.
    """
    cluster, shard = callers[0].request.cluster, callers[0].request.shard
    callers = [caller for caller in callers if caller.request.cluster is cluster]
    try:
        answers = together(cluster, shard, [caller.request.writes for caller in callers])
    except WriteOutcomeUnknown as failure:  # to try again might do it twice
        for caller in callers:
            caller.answer = WriteOutcomeUnknown(str(failure))
    except MynamoError as failure:
        return failure
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
    return None


class _OfShard:
    """The batchers of a shard, one set per process, and the mutexes of its rows.

    The batchers know their shard from their callers only, and so end with it.

    Attributes:
        batcher: of step 1.
        waiting: of step 2, by the rows that their callers write.
        mutexes: of all rows.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self.batcher = _batcher(_commit_batch)
        self.waiting: BatcherPerKey[tuple[LockedRow, ...], _Request, list[Outcome]] = BatcherPerKey(
            lambda: _batcher(_commit_waiting)
        )
        self.mutexes = row_mutexes_of(shard)


def _batcher(run: Callable[[Sequence[_Entry]], None]) -> _Batcher:
    return Batcher(run, max_running=AT_ONCE, max_count=MAX_WRITES, max_size=MAX_BYTES)


batcher_of = PerShard(_OfShard).of
