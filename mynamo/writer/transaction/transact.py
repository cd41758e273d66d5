"""Transactions: several writes of one request that all happen, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import check_enabled
from mynamo.catalog.shard import DynamoDBShard, pause
from mynamo.errors import (
    ConditionFailed,
    IdempotentParameterMismatch,
    InvalidRequest,
    MynamoError,
    ShardUnavailable,
    TransactionCanceled,
)
from mynamo.writer.outbox.back_pressure import BackPressure
from mynamo.writer.transaction.commit import StaleDefinition
from mynamo.writer.transaction.evaluation import Done, Outcome, Refused, unforeseen
from mynamo.writer.transaction.group_commit import commit_with_others
from mynamo.writer.transaction.request_tokens import RequestToken
from mynamo.writer.transaction.routing import PATIENT_ATTEMPTS, UNFINISHED, catch_up
from mynamo.writer.transaction.write_requests import AllOrNothing, Write, WriteRequest, prepare

MAX_ITEMS = 100
MAX_BYTES = 4 * 1024 * 1024
"""Of the items that are put, by DynamoDB's count."""


@dataclass(frozen=True, slots=True)
class Transacted:
    """A transaction that happened.

    Attributes:
        done: per request; of a check, version 0 and the item as it was found; of a repeated
            request, without items.
        repeated: it had happened before, as its token says.
        answer: what the first attempt's caller wanted to be kept for repetitions.
        shard: number of the shard that has it on disk.
    """

    done: list[Done]
    repeated: bool = False
    answer: bytes = b""
    shard: int = 0


def transact(
    cluster: Cluster,
    requests: Sequence[WriteRequest],
    token: RequestToken | None = None,
    answer: bytes = b"",
) -> Transacted:
    """Do all writes of a request, or none.

    All items must be on one shard.

    Args:
        requests: of up to 100 items, none twice; those of operation CHECK change nothing.
        token: a repetition of the request with the same token happens once.
        answer: kept with the token.

    Raises:
        TransactionCanceled: with a reason per request; nothing was written.
        InvalidRequest: it is no transaction, or its items are on several shards; nothing was
            written.
        IdempotentParameterMismatch: the token was used for another request.
        TransactionInProgress: an earlier attempt with the token is under way.
        TableNotFound: nothing was written.
        ShardUnavailable, IndexBehind: nothing was written.
        WriteOutcomeUnknown: it may have happened.
    """
    if not 0 < len(requests) <= MAX_ITEMS:
        raise InvalidRequest(f"a transaction has 1 to {MAX_ITEMS} items, not {len(requests)}")
    for attempt in range(PATIENT_ATTEMPTS):
        writes = AllOrNothing(_prepared(cluster, requests), token, answer)
        shard = _shard_of(cluster, writes)
        _wait_for_indexes(cluster, shard, writes)
        try:
            outcomes = commit_with_others(cluster, shard, writes)
        except StaleDefinition as failure:
            catch_up(cluster, failure.table_ids, attempt)
            pause(attempt)
            continue
        return _transacted(outcomes, shard, answer)
    raise ShardUnavailable(UNFINISHED)


def _prepared(cluster: Cluster, requests: Sequence[WriteRequest]) -> list[Write]:
    # Looked up once: an item's writes must not be answered by different catalogs.
    tables = {name: cluster.table(name) for name in {request.table for request in requests}}
    writes = []
    reasons: list[MynamoError | None] = []
    for request in requests:
        try:
            writes.append(prepare(cluster, request, tables[request.table]))
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
        raise InvalidRequest("Transaction request cannot include multiple operations on one item")
    if sum(write.size for write in writes) > MAX_BYTES:
        raise InvalidRequest("the items of a transaction have 4 MB together at the most")
    return writes


def _shard_of(cluster: Cluster, writes: Sequence[Write]) -> DynamoDBShard:
    shard, *others = {write.route.shard for write in writes}
    if others:
        check_enabled(cluster)
        raise InvalidRequest(
            "the items of this transaction are on several shards; this version of mynamo has "
            "transactions of items on one shard only"
        )
    return shard


def _wait_for_indexes(cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]) -> None:
    """Raises IndexBehind if an index of a table that is written is beyond its lag limit."""
    limits = cluster.config.limits
    if not (limits.index_events or limits.index_seconds or limits.indexes):
        return
    pressure = BackPressure(limits)
    for write in writes:
        behind = pressure.on(shard, write.table) if write.request.operation != "CHECK" else None
        if behind is not None:
            raise behind


def _transacted(outcomes: Sequence[Outcome], shard: DynamoDBShard, answer: bytes) -> Transacted:
    reasons = [o.error if isinstance(o, Refused) else None for o in outcomes]
    for reason in reasons:
        # The token's, or a failure that is none of the request's.
        if isinstance(reason, IdempotentParameterMismatch) or not isinstance(
            reason, ConditionFailed | InvalidRequest | None
        ):
            raise reason
    if any(reason is not None for reason in reasons):
        raise TransactionCanceled(reasons=reasons)
    done = cast(list[Done], list(outcomes))
    if done[0].repeated:
        return Transacted(done, repeated=True, answer=done[0].answer, shard=shard.id)
    return Transacted(done, answer=answer, shard=shard.id)
