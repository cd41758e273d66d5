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

The transactions of S3 and S4 are one packet each, which decides on the server what it does: who
stands still between two steps holds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, pause
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.stream_lineage import (
    Beginning,
    Ending,
    StreamShard,
    is_covered,
    pieces,
    to_begin,
    to_cover,
    to_end,
)
from mynamo.catalog.stream_rows import COLUMNS, INSERT, name_of_child, stream_shards_in
from mynamo.catalog.tables import TableStream
from mynamo.errors import ShardUnavailable
from mynamo.mysql.pool import Statement
from mynamo.runtime.crash_points import crash_point
from mynamo.schemas.stream_records import begun_at

ROLL_AFTER = 4 * 3600.0
"""Seconds for which a stream shard is open at most, as DynamoDB's are: consumers forget those that
began more than two days ago."""
_PATIENCE = 5.0
"""Seconds for which whoever enables a stream waits for slots that are moving, and whoever reads the
stream shards of all shards for a moment without moves."""


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
    """The stream shards of a stream on all shards, by their names: what they were between two moves
    of slots. Two moves during the reading could give a grandchild without its parent.

    Raises:
        ShardUnavailable: a shard does not answer. What others have may mislead then: a child
            without its parent, a parent without its children. Or slots move all the time.
    """
    deadline, attempt = time.monotonic() + _PATIENCE, 0
    while True:
        before = cluster.refresh()
        found = _on_all(cluster, stream_id)
        now = cluster.refresh()
        if (before.slots, before.moves) == (now.slots, now.moves):
            return sorted(found, key=lambda each: each.name)
        if time.monotonic() >= deadline:
            raise ShardUnavailable("slots are moving; try again")
        pause(attempt)
        attempt += 1


def _on_all(cluster: Cluster, stream_id: int | None = None) -> list[StreamShard]:
    cluster.check_complete()
    return [each for s in cluster.shards.values() for each in shards_of(s, stream_id)]


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


def follow_all(cluster: Cluster) -> list[TableStream]:
    """S1 to S4, once, for every stream that there is something to do for; end those that are
    disabled, and what a shard that was restored has of streams that are forgotten.

    Returns:
        The streams for which something is left to do.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    snapshot = cluster.refresh()
    by_stream: dict[int, list[StreamShard]] = {}
    for each in _on_all(cluster):
        by_stream.setdefault(each.stream_id, []).append(each)
    left = []
    for stream in snapshot.streams:
        shards = by_stream.pop(stream.id, [])
        if stream.is_active:
            is_done = _is_settled(snapshot, shards) or follow_slots(cluster, stream)
        else:
            is_done = end_disabled(cluster, stream, shards)
        if not is_done:
            left.append(stream)
    if by_stream:
        known = {stream.id for stream in cluster.refresh().streams}
        for stream_id, shards in by_stream.items():
            if stream_id not in known:
                _end_on(cluster, shards)
    return left


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
        return False  # it was disabled: see `end_disabled`
    busy = _busy(snapshot)
    shards = _on_all(cluster, stream.id)  # S2
    crash_point("stream.2")
    for beginning in to_begin(pieces(snapshot.slots, shards), busy):
        _begin(cluster, beginning, stream, table.version, snapshot.epochs[beginning.shard])
    crash_point("stream.3")
    shards = _on_all(cluster, stream.id)
    for ending in to_end(pieces(snapshot.slots, shards), shards, busy, _old(shards)):
        _end(cluster, ending, snapshot.epochs[ending.ended.shard])
    crash_point("stream.4")
    return _is_settled(snapshot, _on_all(cluster, stream.id))


def _busy(snapshot: Snapshot) -> list[tuple[int, int]]:
    """Slots that are about to go to another shard."""
    return [(move.first, move.last) for move in snapshot.open_moves if move.stops_writes]


def _old(shards: Iterable[StreamShard]) -> list[str]:
    limit = (time.time() - ROLL_AFTER) * 1000
    return [each.name for each in shards if each.is_open and begun_at(each.name) <= limit]


def _is_settled(snapshot: Snapshot, shards: Sequence[StreamShard]) -> bool:
    """Whether the stream shards of a stream that is enabled fit the slot map."""
    return (
        not _busy(snapshot)
        and not _old(shards)
        and is_covered(pieces(snapshot.slots, shards), shards)
    )


_LOCK_EPOCH: Statement = (
    "SELECT version INTO @epoch FROM mynamo_fence FORCE INDEX (PRIMARY) WHERE id = 0"
    " LOCK IN SHARE MODE",
    (),
)
_LOCK_RELAY: Statement = ("SELECT last_seq INTO @last FROM mynamo_relay FOR UPDATE", ())


def _lock(table_id: int) -> tuple[Statement, ...]:
    """Begin, lock the guards shared and then the relay's row, and keep what they say in variables
    of the session."""
    return (
        ("SET @epoch = NULL, @version = NULL, @last = NULL", ()),
        ("BEGIN", ()),
        _LOCK_EPOCH,
        ("SELECT version INTO @version FROM mynamo_fence FORCE INDEX (PRIMARY) WHERE id = %s"
         " LOCK IN SHARE MODE", (table_id,)),
        _LOCK_RELAY,
    )  # fmt: skip


_OVERLAPPING = (
    "SELECT GREATEST(COALESCE(MAX(s.end_seq), 0), COALESCE((SELECT t.trimmed_seq"
    " FROM mynamo_stream_trimmed t WHERE t.stream_id = %s), 0)) AS above,"
    " COALESCE(SUM(s.end_seq IS NULL), 0) AS still_open FROM mynamo_stream_shard s"
    " WHERE s.stream_id = %s AND s.first_slot <= %s AND s.last_slot >= %s"
)
"""What stream shards of a stream have of a range of slots on this shard: up to which number, and
how many of them are open."""


def _begin(
    cluster: Cluster, each: Beginning, stream: TableStream, version: int, epoch: int
) -> None:
    """S3, unless the slot map or the definition is another one by now, or somebody else has."""
    cluster.member(each.shard).run(
        *_lock(stream.table_id),
        (f"{INSERT} SELECT %s, %s, %s, %s, %s, %s, o.above, NULL, NULL, o.above"
         f" FROM ({_OVERLAPPING}) o WHERE o.still_open = 0 AND @epoch = %s AND @version = %s",
         (*_child(each, stream), *_range(each, stream), epoch, version)),
        ("COMMIT", ()),
    )  # fmt: skip


def _child(each: Beginning, stream: TableStream) -> tuple[object, ...]:
    parent = each.parent
    return (
        name_of_child(parent).encode(),
        stream.id,
        None if parent is None else parent.name.encode(),
        1 if parent is None else parent.generation + 1,
        each.first,
        each.last,
    )


def _range(each: Beginning, stream: TableStream) -> tuple[int, ...]:
    return stream.id, stream.id, each.last, each.first


def _end(cluster: Cluster, each: Ending, epoch: int) -> None:
    """S4, unless the slot map is another one by now, or somebody else has."""
    ended = each.ended
    children: list[Statement] = [
        (f"{INSERT} SELECT %s, %s, %s, %s, %s, %s, @last, NULL, NULL, @last FROM mynamo_relay"
         " WHERE @ended = 1",
         (name_of_child(ended).encode(), ended.stream_id, ended.name.encode(), each.generation,
          first, last))
        for first, last in each.children
    ]  # fmt: skip
    cluster.member(ended.shard).run(
        ("SET @epoch = NULL, @last = NULL", ()),
        ("BEGIN", ()),
        _LOCK_EPOCH,
        _LOCK_RELAY,
        (f"{_END} WHERE name = %s AND end_seq IS NULL AND @epoch = %s",
         (ended.name.encode(), epoch)),
        ("SET @ended = ROW_COUNT()", ()),
        *children,
        ("COMMIT", ()),
    )  # fmt: skip


_END = f"UPDATE mynamo_stream_shard SET end_seq = @last, ended_at = {sql.NOW}"


def _end_on(cluster: Cluster, shards: Iterable[StreamShard]) -> None:
    """End stream shards without children."""
    for each in shards:
        if each.is_open:
            cluster.member(each.shard).run(
                ("BEGIN", ()),
                _LOCK_RELAY,
                (f"{_END} WHERE name = %s AND end_seq IS NULL", (each.name.encode(),)),
                ("COMMIT", ()),
            )


def end_disabled(cluster: Cluster, stream: TableStream, shards: Sequence[StreamShard]) -> bool:
    """End the stream shards of a stream that is disabled, on the shards where all of its records
    are written. A shard that has records of slots which it got before anybody did S3 gets a stream
    shard for them, which has ended.

    Args:
        shards: of the stream.

    Returns:
        Whether nothing is left to do.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    if stream.status != "DISABLED":
        return False  # not all shards know of it yet
    snapshot = cluster.refresh()
    is_done = not _busy(snapshot)
    covering = to_cover(pieces(snapshot.slots, shards), _busy(snapshot))
    for shard in cluster.shards.values():
        here = [each for each in shards if each.shard == shard.id and each.is_open]
        lacking = [each for each in covering if each.shard == shard.id]
        if not (here or lacking):
            continue
        if not _has_all_records(shard, stream):
            is_done = False  # in the next round
            continue
        _end_on(cluster, here)
        for each in lacking:
            _cover(shard, each, stream, snapshot.epochs[shard.id])
    return is_done


def _has_all_records(shard: DynamoDBShard, stream: TableStream) -> bool:
    """Whether all writes that knew the stream have committed on a shard, and have their records."""
    guard, highest = shard.run(
        ("SELECT version FROM mynamo_fence WHERE id = %s", (stream.table_id,)),
        ("SELECT COALESCE(MAX(id), 0) FROM mynamo_outbox", ()),
    )
    if not guard.rows or guard.rows[0][0] < (stream.until or 0):
        return False
    (waiting,) = shard.run(
        ("SELECT 1 FROM mynamo_outbox FORCE INDEX (by_sequence)"
         " WHERE seq = 0 AND id <= %s LIMIT 1", (highest.rows[0][0],))
    )  # fmt: skip
    return not waiting.rows


def _cover(shard: DynamoDBShard, each: Beginning, stream: TableStream, epoch: int) -> None:
    """S3 and S4 in one, of a stream that is disabled: if there are records."""
    shard.run(
        *_lock(stream.table_id),
        (f"{INSERT} SELECT %s, %s, %s, %s, %s, %s, o.above, @last, {sql.NOW}, o.above"
         f" FROM ({_OVERLAPPING}) o WHERE o.still_open = 0 AND @epoch = %s AND @version >= %s"
         " AND EXISTS (SELECT 1 FROM mynamo_record r WHERE r.stream_id = %s AND r.seq > o.above"
         " AND r.slot >= %s AND r.slot <= %s)",
         (*_child(each, stream), *_range(each, stream), epoch, stream.until, stream.id,
          each.first, each.last)),
        ("COMMIT", ()),
    )  # fmt: skip


def has_records(cluster: Cluster, stream: TableStream) -> bool:
    """Whether any shard has records or stream shards of a stream.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    cluster.check_complete()
    return any(
        result.rows
        for shard in cluster.shards.values()
        for result in shard.run(
            ("SELECT 1 FROM mynamo_record WHERE stream_id = %s LIMIT 1", (stream.id,)),
            ("SELECT 1 FROM mynamo_stream_shard WHERE stream_id = %s LIMIT 1", (stream.id,)),
        )
    )
