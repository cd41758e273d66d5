"""Transactions: several writes of one request that all happen, or none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mynamo.catalog.cluster import Cluster, RangeStopped
from mynamo.catalog.enabling import check_enabled
from mynamo.catalog.shard import DynamoDBShard, pause
from mynamo.catalog.slot_guard import SlotsMoved
from mynamo.catalog.snapshot import SlotMove
from mynamo.errors import (
    InvalidRequest,
    MynamoError,
    ShardUnavailable,
    TransactionCanceled,
    TransactionConflict,
)
from mynamo.runtime import deadlines
from mynamo.runtime.counters import counters
from mynamo.schemas.transaction_limits import MAX_ITEMS, MAX_SIZE, SAME_ITEM
from mynamo.writer.outbox.back_pressure import BackPressure
from mynamo.writer.transaction.across_shards import AttemptOver, transact_across
from mynamo.writer.transaction.catching_up import CatchingUp
from mynamo.writer.transaction.commit import StaleDefinition
from mynamo.writer.transaction.evaluation import is_current, not_current, unforeseen
from mynamo.writer.transaction.group_commit import commit_with_others
from mynamo.writer.transaction.meeting import Caller, wait_for
from mynamo.writer.transaction.repeated_requests import repeated
from mynamo.writer.transaction.request_tokens import RequestToken, generation_of
from mynamo.writer.transaction.transacted import Met, Transacted, all_done
from mynamo.writer.transaction.transaction_ids import new_age
from mynamo.writer.transaction.turns import Turn
from mynamo.writer.transaction.write_requests import AllOrNothing, Write, WriteRequest, prepare


def transact(
    cluster: Cluster, requests: Sequence[WriteRequest], token: RequestToken | None = None
) -> Transacted:
    """Do all writes of a request, or none.

    Where its items are on one shard, it is one local transaction; see `across_shards` for several.

    Args:
        requests: of up to 100 items, none twice; those of operation CHECK change nothing.
        token: a repetition of the request with the same token happens once.

    Raises:
        TransactionCanceled: with a reason per request; nothing was written.
        InvalidRequest: it is no transaction, or it is one over several shards in a cluster that
            does not allow them yet; nothing was written.
        IdempotentParameterMismatch: the token was used for another request.
        TransactionInProgress: another attempt with the token is under way.
        TableNotFound: nothing was written.
        ShardUnavailable, IndexBehind: nothing was written.
        WriteOutcomeUnknown: it may have happened, or a repetition of it; or it has, and a part of
            it waits for a shard.
    """
    if not 0 < len(requests) <= MAX_ITEMS:
        raise InvalidRequest(f"a transaction has 1 to {MAX_ITEMS} items, not {len(requests)}")
    call = _Call(cluster, token)
    with call.turn:
        while True:
            try:
                writes = _prepared(cluster, requests)
            except RangeStopped as stopped:
                call.catch_up(set(), stopped)
                continue
            _wait_for_indexes(cluster, writes)
            try:
                return _attempt(cluster, writes, token, call)
            except StaleDefinition as failure:
                call.catch_up(failure.table_ids)
            except (Met, AttemptOver) as failure:
                try:
                    call.wait(failure)
                except TransactionConflict:
                    known = None if token is None else _repeated(cluster, writes, token, call)
                    if known is not None:
                        return known
                    raise failure.cancelled from None


@dataclass(frozen=True, slots=True)
class _Generation:
    """The generation in which a call began.

    Attributes:
        shard: of the first write.
        value: the shard's generation.
        came_by: the last move that brought the first write's slot to the shard; 0: none is known.
    """

    shard: DynamoDBShard
    value: int
    came_by: int


def _came_by(cluster: Cluster, write: Write) -> SlotMove | None:
    """The last move that brought a write's slot to its shard, if the catalog has it yet."""
    moves = cluster.snapshot.moves
    if not moves:
        return None
    slot, shard_id = write.row.slot, write.route.shard.id
    there = [m for m in moves if m.state in ("DONE", "ENDED") and m.target == shard_id]
    return max((m for m in there if m.has(slot)), default=None, key=lambda move: move.id)


class _Call:
    """What one call of `transact` remembers from one attempt to the next.

    Attributes:
        caller: the call, where it meets intents.
        turn: at its items, if it is over several shards.
    """

    def __init__(self, cluster: Cluster, token: RequestToken | None) -> None:
        self.caller = Caller(new_age(), None if token is None else token.token)
        self.turn = Turn()
        self._cluster = cluster
        self._began = time.monotonic()
        self._generation: _Generation | None = None
        self._catching_up: CatchingUp | None = None
        self._over = 0

    def generation_on(self, first: Write) -> int:
        """The shard's generation when the first attempt of this call began: with a token, none is
        made in a later one, since the request may have been repeated and forgotten by then.

        If the first write's slot has moved since, what was committed on the source before the
        switch was there to be copied, if the source's generation was current at the switch. Then
        the attempt goes on with the generation that the target had at the switch.

        Args:
            first: of the writes.

        Raises:
            SlotsMoved: with a token, the first attempt was made on another shard, and nothing more
                is known of it.
            WriteOutcomeUnknown: with a token, it began too long before the switch.
        """
        shard, began = first.route.shard, self._generation
        came = _came_by(self._cluster, first)
        came_id = 0 if came is None else came.id
        if began is None or self.caller.token is None:
            began = _Generation(shard, generation_of(shard), came_id)
        elif began.shard is not shard or began.came_by != came_id:
            if came is None or came.source != began.shard.id or came.generations is None:
                raise SlotsMoved(f"{shard.where}: the items have moved there; try again")
            of_source, of_target = came.generations
            if not is_current(began.value, of_source):
                raise not_current(began.value, of_source)
            began = _Generation(shard, of_target, came_id)
        self._generation = began
        return began.value

    def catch_up(self, table_ids: set[int], stopped: RangeStopped | None = None) -> None:
        """Learn the newest definitions and slots; see `CatchingUp.wait`."""
        self._catching_up = self._catching_up or CatchingUp(self._cluster)
        self._catching_up.wait(table_ids, stopped)

    def wait(self, failure: Met | AttemptOver) -> None:
        """Wait before another attempt.

        Raises:
            TransactionConflict: the call has waited for other transactions for too long.
            ShardUnavailable: it has no time left.
            TransactionInProgress: see `wait_for`.
        """
        if isinstance(failure, Met):
            self.caller.check()
            for shard, place in failure.places:
                wait_for(self._cluster, shard, place, self.caller)
            return
        counters.add("transaction_aborts")
        if failure.aborted:
            self.caller.check()
        elif time.monotonic() - self._began >= failure.patience or deadlines.left(1.0) <= 0:
            raise ShardUnavailable(f"{failure}; nothing was written, try again")
        pause(self._over)
        self._over += 1


def _attempt(
    cluster: Cluster, writes: Sequence[Write], token: RequestToken | None, call: _Call
) -> Transacted:
    shards = [write.route.shard for write in writes]
    if len(set(shards)) > 1:
        check_enabled(cluster)
        generation = call.generation_on(writes[0])
        call.turn.take(writes, call.caller)
        return transact_across(cluster, writes, token, generation, call.caller.age, call.turn)
    generation = 0 if token is None else call.generation_on(writes[0])
    outcomes = commit_with_others(cluster, shards[0], AllOrNothing(writes, token, generation))
    done = all_done(writes, outcomes)
    return Transacted(done, [shard.id for shard in shards], done[0].repeated)


def _repeated(
    cluster: Cluster, writes: Sequence[Write], token: RequestToken, call: _Call
) -> Transacted | None:
    return repeated(cluster, writes, token, call.generation_on(writes[0]))


def _prepared(cluster: Cluster, requests: Sequence[WriteRequest]) -> list[Write]:
    # Looked up once: an item's writes must not be answered by different catalogs.
    tables = {name: cluster.table(name) for name in {request.table for request in requests}}
    snapshot = cluster.snapshot
    writes = []
    reasons: list[MynamoError | None] = []
    for request in requests:
        try:
            writes.append(prepare(cluster, request, tables[request.table], snapshot))
            reasons.append(None)
        except InvalidRequest as error:
            reasons.append(error)
        except MynamoError:
            raise
        except Exception as error:
            raise unforeseen(f"a write to table {request.table}", error) from error
    if any(reasons):
        raise TransactionCanceled(reasons=reasons)
    if len({(write.table.id, write.row) for write in writes}) < len(writes):
        raise InvalidRequest(SAME_ITEM)
    if sum(write.size for write in writes) > MAX_SIZE:
        raise InvalidRequest("the items of a transaction have 4 MB together at the most")
    return writes


def _wait_for_indexes(cluster: Cluster, writes: Sequence[Write]) -> None:
    """Raises IndexBehind if an index of a table that is written is beyond its lag limit."""
    limits = cluster.config.limits
    if not (limits.index_events or limits.index_seconds or limits.indexes):
        return
    pressure = BackPressure(limits)
    for write in writes:
        if write.request.operation != "CHECK":
            behind = pressure.on(write.route.shard, write.table)
            if behind is not None:
                raise behind
