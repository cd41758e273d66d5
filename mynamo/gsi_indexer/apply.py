"""Applying events to GSI rows: exactly once in effect, by any process and however often.

For each shard that rows go to, one transaction of two round trips:

1.  BEGIN; lock the slot guard shared and compare it with the slot map that the rows were routed
    by, all of a batch by one; lock the checkpoints of the events' streams, in order.  A process
    that was frozen and wakes up late waits here, and then finds that its events are known.
2.  Drop the events that this shard contains already.
3.  Of the others, write the net effect on each row.
4.  Move the checkpoints; log the keys of rows whose slots are moving; COMMIT.  A crash before it:
    nothing happened on this shard; after it: the next process drops these events in step 2.

When all shards are done, the progress is recorded on the shards that the events come
from: from then on the outbox may delete them. A crash before that: they are read again
and dropped in step 2. The progress shares a transaction where possible: that of the rows, if a
stream's rows all go to the stream's own shard, or else that of a later batch's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, wait
from functools import partial
from typing import NamedTuple

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster, Owner
from mynamo.catalog.gsi_rows import (
    GsiRow,
    RowChange,
    Stream,
    delete_row,
    hold_checkpoints,
    move_checkpoints,
    upsert_rows,
)
from mynamo.catalog.move_log import log_gsi_rows
from mynamo.catalog.shard import PASSING, DynamoDBShard, retry
from mynamo.catalog.slot_guard import SlotsMoved
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.tables import Index, Table
from mynamo.errors import MynamoError, ShardUnavailable
from mynamo.mysql.failures import MissingTable
from mynamo.mysql.pool import Statement
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.parts import parts_of
from mynamo.runtime.tracing import carried
from mynamo.schemas.events import ChangeEvent, PlainEvent
from mynamo.schemas.items import dump_item


def changes_of(event: PlainEvent | ChangeEvent, table: Table) -> list[RowChange]:
    """What an event does to the GSIs of its table: at most one row goes and one is
    written per index.

    The outcome depends on the event and the catalog's record of the index alone, not on
    when or by whom it is computed.

    Args:
        table: its definition, at least of the event's schema version.

    Raises:
        InvalidItem: the event's key is not one of this table.
    """
    key = table.key_of(event.keys)
    changes = []
    whole: bytes | None = None
    for index in _indexes_of(event, table):
        before, after = index.key_of(event.old_image), index.key_of(event.new_image)
        # The same key again: the row is overwritten, and must not be deleted.
        if before is not None and before != after:
            changes.append(RowChange(index, GsiRow.of(before, key), event.version, None))
        if after is None or event.new_image is None:
            continue
        if index.projection.type == "ALL":
            whole = whole or dump_item(event.new_image)
            item = whole
        else:
            item = dump_item(index.project(event.new_image))
        changes.append(RowChange(index, GsiRow.of(after, key), event.version, item))
    return changes


def net_effect(changes: Iterable[RowChange]) -> dict[tuple[int, GsiRow], RowChange]:
    """The changes that remain to be written: the last one of each row, by index id and row.

    Args:
        changes: in their order.
    """
    return {(change.index.id, change.row): change for change in changes}


def _indexes_of(event: PlainEvent | ChangeEvent, table: Table) -> list[Index]:
    """The indexes that an event is for.

    An event that is older than an index never touches it. Otherwise one indexer that knows the
    index could apply it, another one that does not know the index yet could apply the next
    event, and the first event's row would stay for ever.
    """
    if event.index_id is not None:
        return [index for index in table.global_indexes if index.id == event.index_id]
    return [index for index in table.global_indexes if index.since <= event.schema_version]


class ShardsFailed(Exception):  # noqa: N818
    """Some shards failed; what the others were to do is done.

    Attributes:
        failures: of each of these, by its number.
    """

    def __init__(self, failures: Mapping[int, MynamoError]) -> None:
        super().__init__(", ".join(map(str, failures.values())))
        self.failures = failures


class ShardsAway(ShardsFailed):
    """They do not answer."""


class TablesMissing(ShardsFailed):
    """They lack an index's physical table."""


PATIENCE = 3.0
"""Seconds for which one shard's transaction is tried again before the caller is told."""
STATEMENT_BYTES = 4 * 1024 * 1024
"""Of values in one round trip; servers take 16 MB and more (max_allowed_packet)."""
_STATEMENT_ROWS = 500


class Effect(NamedTuple):
    """What one event does.

    Attributes:
        stream, sequence: of the event.
        changes: of GSI rows on any shards, in order.
    """

    stream: Stream
    sequence: int
    changes: Sequence[RowChange]


def apply_effects(
    cluster: Cluster,
    snapshot: Snapshot,
    effects: Sequence[Effect],
    pool: Executor,
    *,
    due: Mapping[Stream, int],
    own: Mapping[Stream, int],
) -> dict[Stream, int]:
    """Apply the effects of events to all shards that they concern; safe to repeat.

    Args:
        snapshot: the slot map to route by.
        effects: of each stream, what follows without a gap on what was applied before.
        pool: shards are worked on side by side.
        due: progress that has been made, and is recorded where rows are written anyway.
        own: progress that these effects make, which is recorded where one shard has it all.

    Returns:
        The progress that was recorded.

    Raises:
        ShardsAway: some do not answer; the others are done.
        TablesMissing: an index was dropped, or a shard is damaged; the others are done.
        StatementRefused: MySQL does not take a row; some may have been done.
        SlotsMoved: the slot map has changed; some may have been done. If a row's slot is closed,
            nothing was.
        ShardNotConfigured: nothing was done.
    """
    parts = _by_owner(cluster, snapshot, effects)
    known = {**due, **progress_at_home(own, parts)}
    noted = {
        owner.shard.id: {s: n for s, n in known.items() if s.shard == owner.shard.id}
        for owner in parts
    }
    calls = {
        owner.shard.id: partial(apply_on_shard, owner, part, noted[owner.shard.id])
        for owner, part in parts.items()
    }
    _side_by_side(pool, calls)
    return {stream: n for some in noted.values() for stream, n in some.items()}


def tell_targets(
    cluster: Cluster,
    snapshot: Snapshot,
    reached: Mapping[int, Mapping[Stream, int]],
    pool: Executor,
) -> None:
    """Note in the checkpoints of targets that they have all of streams up to some number, also
    where the last events had no rows for them.

    Args:
        snapshot: the slot map by which they have no rows there.
        reached: by target.

    Raises:
        ShardsAway: some do not answer; the others have noted it.
        SlotsMoved: the slot map has changed; some may have noted it.
    """
    calls = {
        id_: partial(_tell, cluster.owner_of_all(cluster.configured[id_], snapshot), some)
        for id_, some in reached.items()
    }
    _side_by_side(pool, calls)


def _tell(target: Owner, reached: Mapping[Stream, int]) -> None:
    def once() -> None:
        with target.shard.session() as session:
            contained = hold_checkpoints(session, sorted(reached), ("BEGIN", ()), owner=target)
            raised = {stream: max(n, contained[stream]) for stream, n in reached.items()}
            session.run(move_checkpoints(raised), ("COMMIT", ()))

    retry(once, PATIENCE, PASSING)


def record_progress(cluster: Cluster, reached: Mapping[Stream, int], pool: Executor) -> None:
    """Record on the shards of the streams that every index has their events so far.

    Raises:
        ShardsAway: some do not answer; the others have recorded it.
    """
    by_shard: dict[int, dict[Stream, int]] = {}
    for stream, sequence in reached.items():
        by_shard.setdefault(stream.shard, {})[stream] = sequence
    _side_by_side(
        pool,
        {id_: partial(_record, cluster.configured[id_], some) for id_, some in by_shard.items()},
    )


def _side_by_side(pool: Executor, calls: Mapping[int, Callable[[], None]]) -> None:
    """Make each shard's call, in parallel.

    Raises:
        ShardsAway: when all have ended; whatever else failed is found by a repetition without
            these shards.
        TablesMissing: when all have ended, likewise.
        MynamoError: the first failure of another kind, SlotsMoved among them.
    """
    failures: dict[int, BaseException | None] = {}
    if len(calls) == 1:  # without the pool
        ((shard_id, call),) = calls.items()
        try:
            call()
        except MynamoError as failure:
            failures[shard_id] = failure
    else:
        running = {shard_id: pool.submit(carried(call)) for shard_id, call in calls.items()}
        wait(running.values())
        failures |= {shard_id: ended.exception() for shard_id, ended in running.items()}
    failed = {shard_id: one for shard_id, one in failures.items() if one is not None}
    away = {
        shard_id: one
        for shard_id, one in failed.items()
        if isinstance(one, ShardUnavailable) and not isinstance(one, SlotsMoved)
    }
    if away:
        raise ShardsAway(away)
    missing = {shard_id: one for shard_id, one in failed.items() if isinstance(one, MissingTable)}
    if missing:
        raise TablesMissing(missing)
    for one in failed.values():
        raise one


def _record(shard: DynamoDBShard, reached: Mapping[Stream, int]) -> None:
    def once() -> None:
        with shard.session() as session:
            session.run(*_progress(reached))

    retry(once, PATIENCE, PASSING)


def _progress(reached: Mapping[Stream, int]) -> list[Statement]:
    if not reached:
        return []
    return [sql.raise_streams("applied_seq", {s.partition: n for s, n in reached.items()})]


def _by_owner(
    cluster: Cluster, snapshot: Snapshot, effects: Sequence[Effect]
) -> dict[Owner, list[Effect]]:
    """The effects by the shards that they go to, each shard once. Raises RangeStopped if a row's
    slot is closed."""
    owners: dict[int, Owner] = {}
    parts: dict[int, list[Effect]] = {}

    def shard_of(change: RowChange) -> int:
        owner = cluster.owner_of(change.row.index_hash, snapshot)
        owners[owner.shard.id] = owners.get(owner.shard.id, owner).and_of(owner)
        return owner.shard.id

    for effect in effects:
        if len(effect.changes) == 1:
            parts.setdefault(shard_of(effect.changes[0]), []).append(effect)
            continue
        split: dict[int, list[RowChange]] = {}
        for change in effect.changes:
            split.setdefault(shard_of(change), []).append(change)
        for shard_id, changes in split.items():
            parts.setdefault(shard_id, []).append(Effect(effect.stream, effect.sequence, changes))
    return {owners[shard_id]: part for shard_id, part in parts.items()}


def progress_at_home(
    progress: Mapping[Stream, int], parts: Mapping[Owner, Sequence[Effect]]
) -> dict[Stream, int]:
    """The progress of streams whose effects are all on their own shard."""
    targets: dict[Stream, set[int]] = {}
    for owner, part in parts.items():
        for effect in part:
            targets.setdefault(effect.stream, set()).add(owner.shard.id)
    return {stream: n for stream, n in progress.items() if targets.get(stream) == {stream.shard}}


def apply_on_shard(owner: Owner, effects: Sequence[Effect], noted: Mapping[Stream, int]) -> None:
    """Apply the effects that go to one shard: one transaction, steps 1 to 4.

    Args:
        owner: the shard, by the slot map that the effects were routed by.
        noted: progress of the shard's own streams, recorded in the same transaction.

    Raises:
        ShardUnavailable: the shard does not answer.
        MissingTable, StatementRefused, SlotsMoved: see `apply_effects`.
    """
    shard = owner.shard
    streams = sorted({effect.stream for effect in effects})

    def once() -> None:
        with shard.session() as session:
            contained = hold_checkpoints(session, streams, ("BEGIN", ()), owner=owner)  # step 1
            crash_point("apply.1")
            fresh = [e for e in effects if is_fresh(e, contained)]  # step 2
            net = net_effect(change for effect in fresh for change in effect.changes)
            *trips, last = [*_round_trips(list(net.values()))] or [[]]
            for statements in trips:  # step 3
                session.run(*statements)
            crash_point("apply.3")
            reached = {effect.stream: effect.sequence for effect in fresh}
            logged = log_gsi_rows(net.values(), owner.logs)
            session.run(  # and step 4
                *last, *_move_checkpoints(reached), *_progress(noted), *logged, ("COMMIT", ())
            )
            crash_point("apply.4")

    retry(once, PATIENCE, PASSING)


def is_fresh(effect: Effect, contained: Mapping[Stream, int]) -> bool:
    """Whether a shard's GSI tables do not contain an event's effect yet."""
    return effect.sequence > contained[effect.stream]


def _move_checkpoints(reached: Mapping[Stream, int]) -> list[Statement]:
    return [move_checkpoints(reached)] if reached else []


def _round_trips(changes: list[RowChange]) -> Iterator[list[Statement]]:
    """Statements for rows, in the order of their primary keys, as many as fit in each trip."""
    changes.sort(key=lambda change: (change.index.id, change.row))
    for trip in parts_of(_statements(changes), lambda each: each[1], STATEMENT_BYTES):
        yield [statement for statement, _ in trip]


def _statements(changes: Sequence[RowChange]) -> Iterator[tuple[Statement, int]]:
    """Point deletes, and upserts of many rows of one index, each with its size in bytes."""
    together: list[RowChange] = []
    size = 0
    for change in changes:
        if change.item is None:
            yield delete_row(change), 200
            continue
        full = size + len(change.item) > STATEMENT_BYTES or len(together) >= _STATEMENT_ROWS
        if together and (full or together[0].index.id != change.index.id):
            yield upsert_rows(together), size
            together, size = [], 0
        together.append(change)
        size += len(change.item) + 200
    if together:
        yield upsert_rows(together), size
