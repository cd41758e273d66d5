"""Rows of global secondary indexes, and the checkpoints that order who writes them.

A checkpoint is locked before any row that its stream's events lead to is written. So whoever
holds it knows that nobody applies an event of that stream on this shard meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mynamo.catalog import sql
from mynamo.catalog.cluster import Owner
from mynamo.catalog.slot_guard import LOCK_EPOCH, check_epoch, epoch_in
from mynamo.catalog.tables import Index, IndexKey, RowKey
from mynamo.mysql.failures import Contention, DuplicateKey
from mynamo.mysql.pool import Session, Statement


class Stream(NamedTuple):
    """One shard's events in one partition of the `changes` topic."""

    shard: int
    partition: int


class GsiRow(NamedTuple):
    """Identity of a GSI row. Index keys are not unique; with the item's key they are."""

    index_hash: bytes
    index_sort: bytes
    hash: bytes
    sort: bytes

    @classmethod
    def of(cls, place: IndexKey, key: RowKey) -> GsiRow:
        """The row of an item at its place in the index."""
        return cls(place.hash, place.sort, key.hash, key.sort)


@dataclass(frozen=True, slots=True)
class RowChange:
    """One GSI row as it shall be.

    Attributes:
        index: to whose table the row belongs.
        row: which one.
        version: of the item that it shows.
        item: the projected item as stored bytes; None: the row goes.
    """

    index: Index
    row: GsiRow
    version: int
    item: bytes | None


def hold_checkpoints(
    session: Session,
    streams: Sequence[Stream],
    *before: Statement,
    owner: Owner | None = None,
) -> dict[Stream, int]:
    """Lock the checkpoints of streams until the session's transaction ends.

    Args:
        streams: in ascending order, as everybody locks them.
        before: what is run in the same round trip first.
        owner: the session's shard, where rows are routed to it; its slot guard is locked too.

    Returns:
        How far each stream is applied on this shard.

    Raises:
        Contention: others hold them, or were faster to make them.
        SlotsMoved: the slot guard does not fit.
    """
    guard = [] if owner is None else [LOCK_EPOCH]
    results = session.run(*before, *guard, lock_checkpoints(streams))
    if owner is not None:
        check_epoch(epoch_in(results[-2]), owner)
    found = {Stream(*stream): sequence for *stream, sequence in results[-1].rows}
    missing = [stream for stream in streams if stream not in found]
    if missing:  # the stream's first event here; a row of its own is the only lock
        try:
            session.run(*(
                ("INSERT INTO mynamo_checkpoint (shard, part, seq) VALUES (%s, %s, 0)", stream)
                for stream in missing
            ))  # fmt: skip
        except DuplicateKey as faster:
            raise Contention(str(faster)) from None
    return found | dict.fromkeys(missing, 0)


def read_checkpoints(streams: Sequence[Stream]) -> Statement:
    """The checkpoints of streams, in their order."""
    return (
        "SELECT shard, part, seq FROM mynamo_checkpoint FORCE INDEX (PRIMARY)"
        f" WHERE {sql.any_pair('shard', 'part', streams)} ORDER BY shard, part",
        [value for stream in streams for value in stream],
    )


def lock_checkpoints(streams: Sequence[Stream]) -> Statement:
    """Lock the checkpoints of streams, in their order, and no others."""
    statement, values = read_checkpoints(streams)
    return f"{statement} FOR UPDATE", values


def move_checkpoints(reached: Mapping[Stream, int]) -> Statement:
    """Note in checkpoints that are locked how far each stream has come."""
    cases = " WHEN shard = %s AND part = %s THEN %s" * len(reached)
    return (
        "UPDATE mynamo_checkpoint FORCE INDEX (PRIMARY)"
        f" SET seq = CASE{cases} END WHERE {sql.any_pair('shard', 'part', reached)}",
        [value for stream, sequence in reached.items() for value in (*stream, sequence)]
        + [value for stream in reached for value in stream],
    )


def next_published(what: str, stream: Stream, after: int) -> Statement:
    """Of the next event of a stream behind a sequence, if it has been published; on its shard.

    Args:
        what: of its row in the outbox.
    """
    return (
        f"SELECT {what} FROM mynamo_outbox FORCE INDEX (by_sequence) WHERE seq > %s"
        " AND seq <= (SELECT published_seq FROM mynamo_relay WHERE only_row = 1)"
        " AND part = %s AND feeds = 1 ORDER BY seq LIMIT 1",
        (after, stream.partition),
    )


def delete_row(change: RowChange) -> Statement:
    """Delete one GSI row, by its primary key."""
    return (
        f"DELETE FROM {sql.index_table(change.index)}"
        " WHERE index_hash = %s AND index_sort = %s AND hash = %s AND sort = %s",
        change.row,
    )


def upsert_rows(changes: Sequence[RowChange]) -> Statement:
    """Write rows of one index, whether they are there or not."""
    places = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(changes))
    return (
        f"INSERT INTO {sql.index_table(changes[0].index)}"
        f" (index_hash, index_sort, hash, sort, version, item) VALUES {places}"
        " ON DUPLICATE KEY UPDATE version = VALUES(version), item = VALUES(item)",
        [value for c in changes for value in (*c.row, c.version, c.item)],
    )
