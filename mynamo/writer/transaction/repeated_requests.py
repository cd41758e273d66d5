"""A request with a token that has happened before: what is left of it is done, and it is answered.

Which versions the first attempt made on other shards than the deciding one is not kept. A reader
that waits for the newest change of an item's stream waits for the item's own too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import READ_GENERATION
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.slot_guard import READ_EPOCH, check_epoch, epoch_in
from mynamo.errors import (
    IdempotentParameterMismatch,
    MynamoError,
    ShardUnavailable,
    WriteOutcomeUnknown,
)
from mynamo.mysql.pool import Statement
from mynamo.runtime.side_by_side import side_by_side
from mynamo.writer.transaction.evaluation import Done, is_current, not_current
from mynamo.writer.transaction.request_tokens import (
    CHANGED_ELSEWHERE,
    KeptToken,
    RequestToken,
    kept_tokens,
    look_up,
)
from mynamo.writer.transaction.shard_steps import apply_on
from mynamo.writer.transaction.transacted import Transacted
from mynamo.writer.transaction.write_requests import Write


def repeated(
    cluster: Cluster, writes: Sequence[Write], token: RequestToken, generation: int
) -> Transacted | None:
    """Look a request's token up, and finish what an earlier attempt has committed.

    Before an answer that says that nothing happened this is the last thing to do: an earlier
    attempt may have committed meanwhile, and be the very reason.

    Args:
        generation: of the shard of the first write, when the request's first attempt began.

    Returns:
        None: the request has not happened.

    Raises:
        IdempotentParameterMismatch: the token was used for another request.
        ShardUnavailable: the shard of the token does not answer, or has gone back in time.
        WriteOutcomeUnknown: it has happened, and a part of it waits for a shard; or it has begun so
            long ago that it may have happened and be forgotten.
    """
    route = writes[0].route
    # In this order: a token goes only once its generation and the next one are over.
    found, now, epoch = route.shard.ask(look_up([token.token]), READ_GENERATION, READ_EPOCH)
    check_epoch(epoch_in(epoch), route)
    known = kept_tokens(found).get(token.token)
    if known is None:
        at = int(now.rows[0][0]) if now.rows else 0
        if not is_current(generation, at):
            raise not_current(generation, at)
        return None
    if known.request != token.request:
        raise IdempotentParameterMismatch
    return answer_again(cluster, writes, known)


def answer_again(cluster: Cluster, writes: Sequence[Write], known: KeptToken) -> Transacted:
    """The answer of a request that has happened; see `repeated`.

    Args:
        known: what is kept with its token.

    Raises:
        WriteOutcomeUnknown: a part of it waits for a shard.
    """
    if known.transaction_id is not None:
        decider = writes[0].route.shard
        others = [write for write in writes if write.route.shard is not decider]
        _apply_everywhere(cluster, others, known.transaction_id)
    elsewhere = [
        write for write, made in zip(writes, known.changed, strict=True)
        if made == CHANGED_ELSEWHERE
    ]  # fmt: skip
    try:
        behind = ids_behind(cluster, elsewhere)
    except ShardUnavailable as failure:
        raise waits_for_shard(failure) from None
    done = [
        Done(
            version,
            repeated=True,
            partition=write.route.partition,
            followed_by=behind.get(stream_of(cluster, write), 0),
        )
        for write, version in zip(writes, known.versions(), strict=True)
    ]
    shards = [stream_of(cluster, write)[0] for write in writes]
    return Transacted(done, shards, repeated=True)


def _apply_everywhere(cluster: Cluster, writes: Sequence[Write], transaction_id: bytes) -> None:
    """Apply a committed transaction's intents on the items of writes, where others have not.

    Raises:
        WriteOutcomeUnknown: a shard does not answer.
    """
    parts: dict[DynamoDBShard, list[Write]] = {}
    for write in writes:
        parts.setdefault(write.route.shard, []).append(write)
    try:
        side_by_side(
            [
                partial(apply_on, cluster, shard, transaction_id, some)
                for shard, some in parts.items()
            ]
        )
    except MynamoError as failure:
        raise waits_for_shard(failure) from None


def waits_for_shard(failure: MynamoError) -> WriteOutcomeUnknown:
    """What is said of a committed transaction, a part of which is not applied yet."""
    return WriteOutcomeUnknown(
        f"the transaction is committed, and a part of it waits for a shard ({failure})"
    )


def stream_of(cluster: Cluster, write: Write) -> tuple[int, int]:
    """The shard and partition of a write's event, if somebody else has made it: if the item has
    moved since it was routed, the event is the new shard's, or is applied everywhere."""
    return cluster.shard_of(write.row.hash).id, write.route.partition


def ids_behind(cluster: Cluster, writes: Sequence[Write]) -> Mapping[tuple[int, int], int]:
    """An outbox row for each write of which a change is committed: who waits until indexes have
    the row has the change too.

    It is the last change of the write's stream. The relay numbers what it finds by the order of
    ids, so of those without a number the one with the highest id comes last.

    Returns:
        Ids by shard and partition. A stream that has no change left is missing: all is applied.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    parts: dict[int, set[int]] = {}
    for write in writes:
        shard_id, partition = stream_of(cluster, write)
        parts.setdefault(shard_id, set()).add(partition)
    found: dict[tuple[int, int], int] = {}
    for shard_id, some in parts.items():
        shard = cluster.shards[shard_id]
        # In this order: what is numbered between the two is not above the last number.
        waiting, numbered = shard.ask(_last_unnumbered(sorted(some)), _last_numbered(sorted(some)))
        for result in (numbered, waiting):
            found |= {(shard.id, part): id_ for part, id_ in result.rows}
    return found


def _last_unnumbered(parts: Sequence[int]) -> Statement:
    return (
        "SELECT part, MAX(id) FROM mynamo_outbox FORCE INDEX (by_sequence)"
        f" WHERE {sql.UNNUMBERED} AND feeds = 1 AND part IN ({sql.placeholders(parts)})"
        " GROUP BY part",
        parts,
    )


def _last_numbered(parts: Sequence[int]) -> Statement:
    return (
        "SELECT s.part, o.id FROM mynamo_stream AS s FORCE INDEX (PRIMARY)"
        " STRAIGHT_JOIN mynamo_outbox AS o FORCE INDEX (by_sequence) ON o.seq = s.last_seq"
        f" WHERE s.last_seq > 0 AND s.part IN ({sql.placeholders(parts)})",
        parts,
    )
