"""Group commit: concurrent writes of one process to one shard share a transaction.

A write takes one of these ways to `mynamo.writer.transaction.commit`:

1.  It joins the shard's batch, which waits for locks, or for none if a wait was long a moment ago.
    A crash here or later: as `commit` says of the transaction; no step of this file is on disk.
2.  If the batch does not wait, and somebody else holds one of its rows, it leaves the batch and
    joins those of this process who write the very same rows. Without step 1 so does one that finds
    a row's mutex held, or whose rows others left such a batch for a moment ago. There is a batcher
    for each such set of rows while somebody waits for it.
    a.  The batch's leader takes the rows' mutexes. A crash here: nothing happened.
    b.  It begins a transaction and waits for the rows' locks, but only once: if the server lets it
        wait no longer, nothing is written, and each caller who has patience left joins the next
        batch. So no caller's patience is another one's; one whose patience is over is told so after
        this one wait at the latest. A crash here: nothing happened.
    c.  Whoever has come meanwhile joins the batch; whoever comes later waits for the next one.
    d.  It evaluates, writes and commits, as `commit` says. A crash before the commit: nothing
        happened; after it: all of it is on disk.
3.  If the transaction of several callers fails in any other way, and not because its outcome is
    unknown, each of them has a transaction of its own: no caller gets another caller's failure.
    But those whose definitions or slots are outdated are all told so: they learn the newest ones
    and come back together.

See `mynamo.runtime.batching` for what a batch is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, PerShard, note_retry, pause, retry
from mynamo.errors import MynamoError, WriteOutcomeUnknown
from mynamo.runtime.batching import Batcher, BatcherPerKey, Entry
from mynamo.writer.transaction.commit import (
    MENDS,
    LockWaits,
    StaleDefinition,
    check_guards,
    commit,
    commit_in_turn,
    commit_together,
    lock_waits_of,
    places_of,
    row_mutexes_of,
)
from mynamo.writer.transaction.evaluation import Outcome
from mynamo.writer.transaction.statements import LockedRow
from mynamo.writer.transaction.write_requests import AllOrNothing, Write

log = logging.getLogger(__name__)

MAX_WRITES = 200
MAX_BYTES = 2 * 1024 * 1024
"""Of items in one transaction of several callers."""
AT_ONCE = 1
"""Transactions of one process at the same time: two would be half as large each, and cost both
sides more than they gain."""
GATHER = 0.003
"""Seconds for which a batch waits at most for the callers of the one before it."""


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


class _Key(NamedTuple):
    """What callers have in common who wait together.

    Attributes:
        cluster: identity of the object.
        looked_up: whether something of theirs is looked up with the locks: they are queued writes,
            or have a request token.
    """

    cluster: int
    looked_up: bool
    rows: tuple[LockedRow, ...]


def _key_of(request: _Request) -> _Key:
    writes = request.writes
    looked_up = any(write.request.command_id for write in writes) or (
        isinstance(writes, AllOrNothing) and writes.token is not None
    )
    return _Key(id(request.cluster), looked_up, tuple(places_of(writes)))


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
        if not (held and any((write.table.id, write.row) in held for write in writes)) and not (
            own.lock_waits.left
            and time.monotonic() < own.lock_waits.careful_until
            and tuple(places_of(writes)) in own.lock_waits.left
        ):
            answer = own.batcher.submit(Entry(request, len(writes), size))
            if answer is not None:
                return answer
        answer = _wait_with_others(own.waiting, request, size)
        return commit(cluster, shard, writes, request.since) if answer is None else answer


def _wait_with_others(
    waiting: BatcherPerKey[_Key, _Request, list[Outcome]], request: _Request, size: int
) -> list[Outcome] | None:
    key = _key_of(request)

    def note(attempts: int) -> None:
        request.attempts = attempts

    return retry(
        lambda: waiting.submit(key, Entry(request, len(request.writes), size)),
        patience=request.shard.timeout,
        mends=MENDS,
        since=request.since,
        between=note,  # the batch has paused for all of its callers
    )


def _commit_batch(lock_waits: LockWaits, callers: Sequence[_Entry]) -> None:
    """Step 1."""
    cluster = callers[0].request.cluster
    careful = time.monotonic() < lock_waits.careful_until
    callers = [caller for caller in callers if caller.request.cluster is cluster]
    failure = _commit(
        callers, lambda cluster, shard, writes: commit_together(cluster, shard, writes, careful)
    )
    if failure is not None:
        log.debug("%d callers go on by themselves: %s", len(callers), failure)
        if isinstance(failure, MENDS):
            note_retry(failure)
        return
    for caller in callers:
        if caller.answer is None:
            lock_waits.note_left(tuple(places_of(caller.request.writes)))


def _commit_waiting(callers: list[_Entry]) -> None:
    """Step 2."""
    since = min(caller.request.since for caller in callers)
    first = callers[0].request
    waiting, key = batcher_of(first.shard).waiting, _key_of(first)

    def join() -> list[Sequence[Write]]:
        begun = len(callers)
        if not key.looked_up:
            waiting.join(key, callers)
        return [caller.request.writes for caller in callers[begun:]]

    failure = _commit(
        callers, lambda cluster, shard, writes: commit_in_turn(cluster, shard, writes, since, join)
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
    try:
        answers = together(cluster, shard, [caller.request.writes for caller in callers])
    except WriteOutcomeUnknown as failure:  # to try again might do it twice
        for caller in callers:
            caller.answer = WriteOutcomeUnknown(str(failure))
    except StaleDefinition as failure:
        if failure.guards is not None:
            _answer_outdated(callers, failure.guards)
        return failure
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


def _answer_outdated(callers: Sequence[_Entry], guards: Mapping[int, int]) -> None:
    """Tell those whose definitions or slots are outdated, at once: so they come back together."""
    for caller in callers:
        try:
            check_guards(caller.request.writes, guards)
        except StaleDefinition as failure:
            caller.answer = failure


class _OfShard:
    """The batchers of a shard, one set per process, and the mutexes of its rows.

    The batchers know their shard from their callers only, and so end with it.

    Attributes:
        lock_waits: what decides whether batches of step 1 wait.
        batcher: of step 1.
        waiting: of step 2, by the rows that their callers write.
        mutexes: of all rows.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self.lock_waits = lock_waits_of(shard)
        self.batcher = _batcher(partial(_commit_batch, self.lock_waits), GATHER)
        self.waiting: BatcherPerKey[_Key, _Request, list[Outcome]] = BatcherPerKey(
            lambda: _batcher(_commit_waiting)
        )
        self.mutexes = row_mutexes_of(shard)


def _batcher(run: Callable[[list[_Entry]], None], gather: float = 0.0) -> _Batcher:
    return Batcher(
        run, max_running=AT_ONCE, max_count=MAX_WRITES, max_size=MAX_BYTES, gather=gather,
        name="group commit",
    )  # fmt: skip


batcher_of = PerShard(_OfShard).of
