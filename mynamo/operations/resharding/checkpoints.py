"""M10: the last rows of a range, its intents, and checkpoints that fit them.

A shard's checkpoints say up to which event of each stream its GSI rows are. Those of the source
speak for the rows of the range, those of the target for its own. Where the two differ, the events
between are applied on the target, to its own rows and to those that it gets; then its checkpoints
speak for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import RowChange, Stream, delete_row, move_checkpoints, upsert_rows
from mynamo.catalog.intents import (
    IS_ITEM,
    Intent,
    delete_intents,
    insert_intents,
    intents_in,
)
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import SlotMove
from mynamo.gsi_indexer.apply import changes_of, net_effect
from mynamo.mysql.pool import Session, Statement
from mynamo.operations.resharding.ranges import Range, held, tables_of
from mynamo.runtime.parts import parts_of
from mynamo.schemas.events import complete_event, read_event
from mynamo.schemas.keys import slot_of
from mynamo.writer.transaction.statements import (
    LockedRow,
    delete_rows,
    insert_placeholders,
    mark,
    unmark,
)

MOST_EVENTS = 5000
"""Between two checkpoints; more take too long for a switch."""

CHECKPOINTS: Statement = (
    "SELECT shard, part, seq FROM mynamo_checkpoint FORCE INDEX (PRIMARY)"
    " ORDER BY shard, part FOR UPDATE",
    (),
)


class SwitchTooLong(Exception):  # noqa: N818
    """The switch has to wait for something, and is taken back; the message says for what."""


def bring_together(cluster: Cluster, move: SlotMove) -> None:
    """M10 b and c.

    Raises:
        SwitchTooLong: too much lies between the checkpoints.
        NoLongerMover: another mover has the range.
        ShardUnavailable: a shard does not answer; or indexers hold a checkpoint for long.
    """
    with _both(cluster, move) as (source, target):
        contained = {
            number: {Stream(*stream): seq for *stream, seq in session.run(CHECKPOINTS)[0].rows}
            for number, session in sorted(((move.source, source), (move.target, target)))
        }
        of_source, of_target = contained[move.source], contained[move.target]
        different = {
            stream: (of_source.get(stream, 0), of_target.get(stream, 0))
            for stream in of_source.keys() | of_target.keys()
            if of_source.get(stream, 0) != of_target.get(stream, 0)
        }
        if different:
            statements = _applied(cluster, move, _events_between(cluster, different))
            reached = {stream: max(both) for stream, both in sorted(different.items())}
            target.run(*statements, move_checkpoints(reached))
        _copy_intents(cluster, move, source, target)
        target.run(("COMMIT", ()))
        source.run(("COMMIT", ()))


@contextmanager
def _both(cluster: Cluster, move: SlotMove) -> Iterator[tuple[Session, Session]]:
    """Transactions on both shards, the target's behind the fences of the range's slots."""
    with (
        held(cluster.shards[move.target], move) as (target, _),
        cluster.shards[move.source].session() as source,
    ):
        source.run(("BEGIN", ()))
        yield source, target


Row = Sequence[Any]


def _events_between(
    cluster: Cluster, different: Mapping[Stream, tuple[int, int]]
) -> list[tuple[DynamoDBShard, int, Row]]:
    """The outbox rows between checkpoints, in the order of their streams: the stream's shard and
    partition with each.

    Raises:
        SwitchTooLong: they are too many, or some are missing.
    """
    events: list[tuple[DynamoDBShard, int, Row]] = []
    applied: dict[int, dict[int, int]] = {}
    for stream, both in sorted(different.items()):
        shard = cluster.shards.get(stream.shard)
        if shard is None:
            continue  # a shard that was removed: all of its events are applied
        if stream.shard not in applied:
            applied[stream.shard] = dict(
                shard.run(("SELECT part, applied_seq FROM mynamo_stream", ()))[0].rows
            )
        after = max(min(both), applied[stream.shard].get(stream.partition, 0))
        if after >= max(both):
            continue
        rows = shard.run(
            ("SELECT id, seq, previous, item_version, created, payload FROM mynamo_outbox"
             " FORCE INDEX (by_sequence) WHERE seq > %s AND seq <= %s AND part = %s AND feeds = 1"
             f" ORDER BY seq LIMIT {MOST_EVENTS + 1:d}", (after, max(both), stream.partition))
        )[0].rows  # fmt: skip
        events += [(shard, stream.partition, row) for row in rows]
        if len(events) > MOST_EVENTS:
            raise SwitchTooLong("the indexers of the two shards are too far apart")
        for row in rows:
            if row[2] > after:
                raise SwitchTooLong(
                    f"{shard.where}: event {row[2]}, which one of the two shards has not applied, "
                    "is gone from the outbox"
                )
            after = row[1]
    return events


def _applied(
    cluster: Cluster, move: SlotMove, events: Sequence[tuple[DynamoDBShard, int, Row]]
) -> list[Statement]:
    """What events do to GSI rows that the target owns or gets."""
    range_, owners = Range.of(move), cluster.snapshot.owners
    changes: list[RowChange] = []
    for shard, partition, (id_, seq, previous, item_version, created, payload) in events:
        event = read_event(
            complete_event(
                payload,
                shard=shard.id,
                outbox_id=id_,
                version=id_ if item_version is None else item_version,
                partition=partition,
                sequence=seq,
                previous=previous,
                feeds=True,
                committed_at=created,
            )
        )
        table = cluster.table_by_id(event.table_id, at_least=event.schema_version)
        if table is None or table.status == "DELETING":
            continue
        for change in changes_of(event, table):
            hash16 = change.row.index_hash
            if range_.has(hash16) or owners[slot_of(hash16)].shard_id == move.target:
                changes.append(change)
    net = sorted(net_effect(changes).values(), key=lambda each: (each.index.id, each.row))
    statements = [delete_row(change) for change in net if change.item is None]
    by_index: dict[int, list[RowChange]] = {}
    for change in net:
        if change.item is not None:
            by_index.setdefault(change.index.id, []).append(change)
    for some in by_index.values():
        for part in parts_of(some, lambda each: len(each.item or b"") + 200, 1024 * 1024):
            statements.append(upsert_rows(part))
    return statements


_INTENTS = "table_id, hash, sort, transaction_id, decider, generation, action, item, token"


def _copy_intents(cluster: Cluster, move: SlotMove, source: Session, target: Session) -> None:
    """The intents of the range, with marks and placeholders, in place of those that an earlier
    attempt has left."""
    tables = {table.id for table in tables_of(cluster)}
    where, values = Range.of(move).within("hash")
    query: Statement = (f"SELECT {_INTENTS} FROM mynamo_intent WHERE {where}", values)
    old, new = (
        [one for one in intents_in(session.run(query)[0]) if one.table_id in tables]
        for session in (target, source)
    )
    if old:
        places = _places(old)
        placeholders = [place for place in places if not _is_there(target, place)]
        target.run(
            *unmark(places),
            *(delete_rows(placeholders) if placeholders else []),
            delete_intents(old),
        )
    if new:
        places = _places(new)
        absent = [place for place in places if not _is_there(target, place)]
        target.run(
            *mark([place for place in places if place not in absent]),
            *(insert_placeholders(absent) if absent else []),
            insert_intents(new),
        )


def _places(intents: Sequence[Intent]) -> list[LockedRow]:
    return sorted({(intent.table_id, intent.row) for intent in intents})


def _is_there(session: Session, place: LockedRow) -> bool:
    """Whether the target has an item there, and not only a placeholder."""
    table_id, row = place
    (found,) = session.run(
        (f"SELECT 1 FROM {sql.main_table(table_id)} FORCE INDEX (PRIMARY)"
         f" WHERE hash = %s AND sort = %s AND {IS_ITEM}", row)
    )  # fmt: skip
    return bool(found.rows)
