"""Stream shards on the shards: what there are, and the steps S1 to S4 that follow the slot map.

The protocol is `docs/design/streams.md`. All steps are idempotent, and any number of processes may
take them: whoever enables a stream, a mover behind its switch, and the rounds of writer workers.

S1. Read the newest slot map. Slots that are about to move wait.
S2. Read the stream shards of all shards; find the ranges that lack one on their owner, and the
    newest one that has them, which is the parent.  A crash here, or after S1: nothing happened.
S3. Begin the child on the owner, in one transaction that holds the shard's slot guard, which must
    be just as in the map, the table's definition guard, and the relay's row.  A crash after it: the
    parent is open, and has a child; consumers read it on until somebody does S4.
S4. End what lies on a shard that does not own all of its slots, once these are covered where they
    are, and what has been open for long; with children for the slots that stay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, pause, retry
from mynamo.catalog.stream_lineage import (
    Beginning,
    Ending,
    StreamShard,
    is_covered,
    pieces,
    to_begin,
    to_end,
)
from mynamo.catalog.stream_rows import COLUMNS, insert_children, stream_shards_in
from mynamo.catalog.tables import TableStream
from mynamo.errors import ShardUnavailable
from mynamo.mysql.pool import Session, Statement
from mynamo.runtime.crash_points import crash_point
from mynamo.schemas.stream_records import begun_at

ROLL_AFTER = 4 * 3600.0
"""Seconds for which a stream shard is open at most, as DynamoDB's are: consumers forget those that
began more than two days ago."""
_PATIENCE = 5.0
"""Seconds for which whoever enables a stream waits for slots that are moving."""

_LOCK_RELAY: Statement = ("SELECT last_seq FROM mynamo_relay FOR UPDATE", ())


def shards_of(shard: DynamoDBShard, stream_id: int | None = None) -> list[StreamShard]:
    """The stream shards that a shard has.

    Args:
        stream_id: those of this stream; None: of all streams.

    Raises:
        ShardUnavailable: the shard does not answer.
    """
    where, values = ("", ()) if stream_id is None else (" WHERE stream_id = %s", (stream_id,))
    (found,) = shard.run((f"SELECT {COLUMNS} FROM mynamo_stream_shard{where}", values))
    return stream_shards_in(found, shard.id)


def all_shards_of(cluster: Cluster, stream_id: int) -> list[StreamShard]:
    """The stream shards of a stream on all shards, by their names.

    Raises:
        ShardUnavailable: a shard does not answer. What others have may mislead then: a child
            without its parent, a parent without its children.
    """
    cluster.check_complete()
    found = [each for s in cluster.shards.values() for each in shards_of(s, stream_id)]
    return sorted(found, key=lambda each: each.name)


def begin_stream_shards(cluster: Cluster, stream: TableStream) -> None:
    """S1 to S4 until a stream has all of its stream shards.

    Raises:
        ShardUnavailable: a shard does not answer, or slots are moving for too long. A writer worker
            goes on with it.
    """
    deadline, attempt = time.monotonic() + _PATIENCE, 0
    while not follow_slots(cluster, stream):
        if time.monotonic() >= deadline:
            raise ShardUnavailable(
                f"the stream of table {stream.table} is still {stream.status}, because slots are "
                "moving; a writer worker goes on with it"
            )
        pause(attempt)
        attempt += 1


def follow_slots(cluster: Cluster, stream: TableStream) -> bool:
    """S1 to S4, once, for a stream that is enabled.

    Returns:
        Whether nothing is left to do.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    snapshot = cluster.refresh()  # S1
    table = snapshot.tables.get(stream.table_id)
    if table is None or table.stream is None or table.stream.id != stream.id:
        return True  # it was disabled
    busy = [(move.first, move.last) for move in snapshot.open_moves if move.stops_writes]
    shards = all_shards_of(cluster, stream.id)  # S2
    crash_point("stream.2")
    begun = [
        _begin(cluster, each, stream, table.version, snapshot.epochs[each.shard])
        for each in to_begin(pieces(snapshot.slots, shards), busy)
    ]
    crash_point("stream.3")
    if begun:
        shards = all_shards_of(cluster, stream.id)
    limit = (time.time() - ROLL_AFTER) * 1000
    old = [each.name for each in shards if each.is_open and begun_at(each.name) <= limit]
    ended = [
        _end(cluster, each, snapshot.epochs[each.ended.shard])
        for each in to_end(pieces(snapshot.slots, shards), shards, busy, old)
    ]
    crash_point("stream.4")
    if ended:
        shards = all_shards_of(cluster, stream.id)
    return (
        not busy
        and all(begun)
        and all(ended)
        and is_covered(pieces(snapshot.slots, shards), shards)
    )


def _begin(
    cluster: Cluster, each: Beginning, stream: TableStream, version: int, epoch: int
) -> bool:
    """S3. Returns whether the child is there; False: by another slot map or definition."""
    shard = cluster.member(each.shard)

    def once() -> bool:
        with shard.session() as session:
            if not _lock(session, epoch, stream.table_id, version):
                session.rollback()
                return False
            found, trimmed = session.run(
                (f"SELECT {COLUMNS} FROM mynamo_stream_shard WHERE stream_id = %s", (stream.id,)),
                ("SELECT trimmed_seq FROM mynamo_stream_trimmed WHERE stream_id = %s",
                 (stream.id,)),
            )  # fmt: skip
            there = [
                one
                for one in stream_shards_in(found, shard.id)
                if one.overlaps(each.first, each.last)
            ]
            if any(one.is_open for one in there):  # somebody else has begun it
                session.rollback()
                return True
            above = max([one.end or 0 for one in there] + [row[0] for row in trimmed.rows] + [0])
            generation = 1 if each.parent is None else each.parent.generation + 1
            session.run(
                *insert_children(
                    stream.id, each.parent, generation, above, [(each.first, each.last)]
                ),
                ("COMMIT", ()),
            )
        return True

    return retry(once)


def _end(cluster: Cluster, each: Ending, epoch: int) -> bool:
    """S4. Returns whether it has ended; False: by another slot map."""
    shard = cluster.member(each.ended.shard)

    def once() -> bool:
        with shard.session() as session:
            if not _lock(session, epoch):
                session.rollback()
                return False
            last_seq = _end_now(session, [each.ended])
            children: list[Statement] = []
            if last_seq is not None:
                children = insert_children(
                    each.ended.stream_id, each.ended, each.generation, last_seq, each.children
                )
            session.run(*children, ("COMMIT", ()))
        return True

    return retry(once)


def end_disabled(cluster: Cluster, stream: TableStream) -> bool:
    """End the stream shards of a stream that is disabled, on the shards where all of its records
    are written.

    Returns:
        Whether nothing is left of the stream on any shard, so that the catalog may forget it.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    left = False
    for shard in cluster.shards.values():
        there = shards_of(shard, stream.id)
        if any(each.is_open for each in there):
            _end_disabled_on(shard, stream, there)
        left = left or bool(there)
    return not left


def _end_disabled_on(
    shard: DynamoDBShard, stream: TableStream, there: Sequence[StreamShard]
) -> None:
    guard, highest = shard.run(
        ("SELECT version FROM mynamo_fence WHERE id = %s", (stream.table_id,)),
        ("SELECT COALESCE(MAX(id), 0) FROM mynamo_outbox", ()),
    )
    until = stream.until or 0
    if not guard.rows or guard.rows[0][0] < until or not _are_numbered(shard, highest.rows[0][0]):
        return  # in the next round

    def once() -> None:
        with shard.session() as session:
            session.run(("BEGIN", ()), _LOCK_RELAY)
            _end_now(session, [each for each in there if each.is_open])
            session.run(("COMMIT", ()))

    retry(once)


def _are_numbered(shard: DynamoDBShard, highest: int) -> bool:
    """Whether all changes up to an id have their numbers, and so their records."""
    rows = shard.run(
        ("SELECT 1 FROM mynamo_outbox FORCE INDEX (by_sequence)"
         " WHERE seq = 0 AND id <= %s LIMIT 1", (highest,))
    )[0].rows  # fmt: skip
    return not rows


def _lock(session: Session, epoch: int, table_id: int | None = None, version: int = 0) -> bool:
    """Begin, lock the guards shared and then the relay's row; returns whether the guards are just
    these."""
    ids = (0,) if table_id is None else (0, table_id)
    _, guards, _ = session.run(
        ("BEGIN", ()),
        ("SELECT id, version FROM mynamo_fence FORCE INDEX (PRIMARY)"
         f" WHERE id IN ({sql.placeholders(ids)}) ORDER BY id LOCK IN SHARE MODE", ids),
        _LOCK_RELAY,
    )  # fmt: skip
    found = dict(guards.rows)
    return found.get(0) == epoch and (table_id is None or found.get(table_id) == version)


def _end_now(session: Session, shards: Sequence[StreamShard]) -> int | None:
    """End stream shards at the last number, in a transaction that holds the relay's row.

    Returns:
        That number; None: somebody else has ended them.
    """
    names = [each.name.encode() for each in shards]
    done, relay = session.run(
        ("UPDATE mynamo_stream_shard SET end_seq = (SELECT last_seq FROM mynamo_relay),"
         f" ended_at = {sql.NOW} WHERE name IN ({sql.placeholders(names)}) AND end_seq IS NULL",
         names),
        ("SELECT last_seq FROM mynamo_relay", ()),
    )  # fmt: skip
    return int(relay.rows[0][0]) if done.count else None
