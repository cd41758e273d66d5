"""Transactions over several shards: what they do on one shard, each in a local transaction.

T3.  `prepare_on`, on every shard but the deciding one: evaluate on the locked rows; mark them, or
     insert placeholders; keep an intent for each. A crash before its commit: nothing happened.
     After it: the intents stay until somebody resolves them.
T4.  `commit_decision`, on the deciding shard: evaluate and write its own items, keep COMMITTED and
     the request token. Its commit is the moment at which the transaction happens.
T5.  `apply_on`: turn the intents of a committed transaction into items, with their events and LSI
     rows, and delete them. A crash before the commit: nothing happened; it may be repeated.
     `release_on`, of one that will never be committed: delete them, and leave the items as they
     are. Likewise.

Group commit: concurrent steps of one process on one shard share a local transaction (see
`step_commit`). They are in batches of their own, beside those of `group_commit`, and wait for no
mutexes of rows: T5 may have to free a row for whom another caller of this process waits. If a batch
fails, or has waited for long for a row that somebody else holds, each step of it goes by itself,
and so do all steps on the shard for the next seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from mynamo.catalog.cluster import Cluster, RangeStopped, Route
from mynamo.catalog.intents import Transaction, intents_in, read_transaction_intents
from mynamo.catalog.shard import DynamoDBShard, PerShard, note_retry, retry
from mynamo.catalog.slot_guard import READ_EPOCH, SlotsMoved, check_epoch, epoch_in
from mynamo.catalog.tables import Table
from mynamo.errors import MynamoError, WriteOutcomeUnknown
from mynamo.runtime import deadlines
from mynamo.runtime.batching import Batcher, Entry
from mynamo.runtime.tasks import in_thread
from mynamo.writer.transaction.catching_up import CatchingUp
from mynamo.writer.transaction.commit import CAREFUL_FOR, MENDS, StaleDefinition, places_of
from mynamo.writer.transaction.evaluation import Outcome
from mynamo.writer.transaction.statements import LockedRow
from mynamo.writer.transaction.step_commit import (
    AnswerLost,
    AnyStep,
    Applied,
    Decide,
    Decided,
    Finish,
    Prepare,
    Step,
    run_steps,
)
from mynamo.writer.transaction.write_requests import AllOrNothing, Write

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

MAX_ROWS = 400
MAX_BYTES = 2 * 1024 * 1024
"""Of items in one local transaction of several steps."""
LONG = 0.5
"""Seconds: a batch that takes longer has waited for a lock that is held for long."""


def prepare_on(
    cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write], transaction: Transaction
) -> list[Outcome]:
    """T3. It is tried again as long as it is certain that nothing was placed.

    Args:
        writes: those of one shard, each of another item.

    Returns:
        One outcome per write. All `Done`, with version 0: their intents are placed. Else nothing
        is, and those that are refused say why: `ItemInTransaction` among others.

    Raises:
        StaleDefinition, ShardUnavailable, InternalError: nothing is placed.
        AnswerLost: intents may be placed, also later.
    """
    step = Prepare(
        places=places_of(writes), size=_size_of(writes), writes=writes, transaction=transaction
    )
    return _do(cluster, shard, step)


def commit_decision(cluster: Cluster, shard: DynamoDBShard, writes: AllOrNothing) -> Decided:
    """T4. It is tried again as long as it is certain that nothing was decided.

    Args:
        writes: those of the deciding shard, with their `decision`.

    Raises:
        TransactionAborted, GenerationOver: nothing was written, and never will be.
        StaleDefinition, ShardUnavailable, InternalError: nothing was written.
        AnswerLost: T6 says what became of it.
        WriteOutcomeUnknown: the thread that did this for several was interrupted.
    """
    return _do(cluster, shard, _decide(writes, is_trial=False))


def evaluate_on_decider(cluster: Cluster, shard: DynamoDBShard, writes: AllOrNothing) -> Decided:
    """As `commit_decision` for a transaction that was refused elsewhere, to name every reason, and
    see whether the request has happened before. Nothing is written, whatever it finds."""
    return _do(cluster, shard, _decide(writes, is_trial=True))


def _decide(writes: AllOrNothing, is_trial: bool) -> Decide:
    return Decide(places=places_of(writes), size=_size_of(writes), writes=writes, is_trial=is_trial)


def _size_of(writes: Sequence[Write]) -> int:
    return sum([write.size for write in writes])


def apply_on(
    cluster: Cluster,
    shard: DynamoDBShard,
    transaction_id: bytes,
    writes: Sequence[Write] = (),
    seconds: float | None = None,
) -> list[Applied]:
    """T5, of all intents that a committed transaction has on a shard. It may be repeated.

    Intents of tables that are being dropped are left alone; they go with their tables.

    Args:
        writes: of the transaction on this shard, which saves a round trip; none: its intents are
            looked up. If their items have moved, the intents have too, and are applied there.
        seconds: for which to try by itself; None: as long as the shard's timeout.

    Returns:
        What was done here. What somebody else has applied is missing, and also what an attempt of
        this call has applied whose answer was lost.

    Raises:
        ShardUnavailable: some of it may have to be applied yet.
        CorruptData: a stored item is not what mynamo wrote; nothing was applied.
    """
    traceparent = writes[0].traceparent if writes else None
    finishing = _Finishing(cluster, shard, transaction_id, True, traceparent)
    return _finish(finishing, writes, seconds)


def release_on(
    cluster: Cluster,
    shard: DynamoDBShard,
    transaction_id: bytes,
    writes: Sequence[Write] = (),
    seconds: float | None = None,
) -> None:
    """Take away all intents that a transaction has on a shard, which will never be committed.

    It may be repeated. Intents of tables that are being dropped are left alone.

    Args:
        writes, seconds: as in `apply_on`.

    Raises:
        ShardUnavailable: some of them may be there yet.
    """
    _finish(_Finishing(cluster, shard, transaction_id, applies=False), writes, seconds)


@dataclass(frozen=True, slots=True)
class _Finishing:
    """The intents of one transaction on one shard, which are to be applied or released.

    Attributes:
        traceparent: see `Finish`.
    """

    cluster: Cluster
    shard: DynamoDBShard
    transaction_id: bytes
    applies: bool
    traceparent: str | None = None

    def at(self, routes: Mapping[LockedRow, Route], size: int = 0) -> Finish | None:
        """The step; None: there is nothing to do.

        Args:
            routes: of its places, all to this shard.
            size: of their items, in bytes.
        """
        tables: dict[int, Table] = {}
        for table_id in {table_id for table_id, _ in routes}:
            table = self.cluster.table_by_id(table_id)
            if table is not None and table.status != "DELETING":
                tables[table_id] = table
        places = sorted(place for place in routes if place[0] in tables)
        if not places:
            return None
        return Finish(
            places=places,
            size=size,
            transaction_id=self.transaction_id,
            routes=routes,
            tables=tables,
            applies=self.applies,
            traceparent=self.traceparent,
        )

    def look_up(self) -> Finish | None:
        """The step for all intents that are there, but for those on slots that the shard does not
        own: it may have some of before a move, or of a move that is under way.

        Raises:
            RangeStopped: some wait for their slots.
            SlotsMoved: the slot map is older than the shard's.
        """
        cluster, shard, snapshot = self.cluster, self.shard, self.cluster.snapshot
        result, guard = shard.run(read_transaction_intents(self.transaction_id), READ_EPOCH)
        found = [(intent.table_id, intent.row) for intent in intents_in(result)]
        own = [place for place in found if snapshot.shard_ids[place[1].slot] == shard.id]
        if len(own) < len(found):
            check_epoch(epoch_in(guard), cluster.owner_of_all(shard, snapshot))
        return self.at({place: cluster.route(place[0], place[1].hash, snapshot) for place in own})

    def finish(self) -> list[Applied]:
        """Do it, by itself."""
        step = self.look_up()
        return [] if step is None else _run_alone(self.cluster, self.shard, step)


def _finish(finishing: _Finishing, writes: Sequence[Write], seconds: float | None) -> list[Applied]:
    if writes:
        routes = {(write.table.id, write.row): write.route for write in writes}
        step = finishing.at(routes, _size_of(writes))
        if step is None:
            return []
        try:
            found = _with_others(finishing.cluster, finishing.shard, step)
        except StaleDefinition:
            found = None
        if found is not None:
            return found
    return _finish_alone(finishing, writes, seconds)


@in_thread
def _finish_alone(
    finishing: _Finishing, writes: Sequence[Write], seconds: float | None
) -> list[Applied]:
    if seconds is None:
        return _finish_by_newest(finishing, writes)
    return deadlines.until(time.monotonic() + seconds, lambda: _finish_by_newest(finishing, writes))


def _finish_by_newest(finishing: _Finishing, writes: Sequence[Write]) -> list[Applied]:
    """On the shard, and where the items of writes have moved."""
    cluster, since = finishing.cluster, time.monotonic()
    catching_up: CatchingUp | None = None
    while True:
        shards = {finishing.shard, *(cluster.shard_of(write.row.hash) for write in writes)}
        table_ids: set[int] = set()
        stopped = None
        try:
            return [
                applied
                for shard in shards
                for applied in retry(
                    replace(finishing, shard=shard).finish,
                    patience=shard.timeout,
                    mends=MENDS,
                    since=since,
                )
            ]
        except StaleDefinition as failure:
            table_ids = failure.table_ids
        except RangeStopped as failure:
            stopped = failure
        except SlotsMoved:
            pass
        catching_up = catching_up or CatchingUp(cluster)
        catching_up.wait(table_ids, stopped)


# -- One step, with others or by itself ------------------------------------------------------------


def _do(cluster: Cluster, shard: DynamoDBShard, step: Step[Answer]) -> Answer:
    found = _with_others(cluster, shard, step)
    return _alone(cluster, shard, step) if found is None else found


@in_thread
def _alone(cluster: Cluster, shard: DynamoDBShard, step: Step[Answer]) -> Answer:
    return retry(lambda: _run_alone(cluster, shard, step), patience=shard.timeout, mends=MENDS)


def _run_alone(cluster: Cluster, shard: DynamoDBShard, step: Step[Answer]) -> Answer:
    run_steps(cluster, shard, [cast(AnyStep, step)])
    if isinstance(step.answer, MynamoError):
        raise step.answer
    return cast(Answer, step.answer)


@dataclass(frozen=True, slots=True)
class _Request:
    """A step, and where to."""

    cluster: Cluster
    shard: DynamoDBShard
    step: AnyStep


_Entry = Entry[_Request, object]


class _OfShard:
    """The batcher of a shard, one per process. It knows its shard from its callers only, and so
    ends with it.

    Attributes:
        alone_until: until when each step goes by itself (monotonic).
    """

    def __init__(self) -> None:
        self.alone_until = 0.0
        self.batcher: Batcher[_Request, object] = Batcher(
            self._run, max_running=1, max_count=MAX_ROWS, max_size=MAX_BYTES,
            name="transaction step",
        )  # fmt: skip

    def _run(self, callers: list[_Entry]) -> None:
        first = callers[0].request
        callers = [caller for caller in callers if caller.request.cluster is first.cluster]
        began = time.monotonic()
        try:
            run_steps(first.cluster, first.shard, [caller.request.step for caller in callers])
        except MynamoError as failure:
            log.debug("%d steps go on by themselves: %s", len(callers), failure)
            if isinstance(failure, MENDS):
                note_retry(failure)
        except BaseException:
            for caller in callers[1:]:
                step = caller.request.step
                step.answer = step.answer or _interrupted(caller.request)
            raise
        finally:
            if time.monotonic() - began > LONG:
                self.alone_until = time.monotonic() + CAREFUL_FOR
            for caller in callers:
                caller.answer = caller.request.step.answer


def _interrupted(request: _Request) -> MynamoError | None:
    """What a step hears whose batch was interrupted by something else than a failure."""
    message = f"{request.shard.where}: the thread that wrote for several was interrupted"
    if isinstance(request.step, Prepare):
        return AnswerLost(message)
    if isinstance(request.step, Decide):
        return WriteOutcomeUnknown(f"{message}; read the items to see whether they were written")
    return None


batches_of = PerShard(lambda _: _OfShard()).of


def _with_others(cluster: Cluster, shard: DynamoDBShard, step: Step[Answer]) -> Answer | None:
    """Do a step in a batch. Returns None if it must be done by itself."""
    own = batches_of(shard)
    if time.monotonic() < own.alone_until:
        return None
    request = _Request(cluster, shard, cast(AnyStep, step))
    return cast("Answer | None", own.batcher.submit(_Entry(request, len(step.places), step.size)))
