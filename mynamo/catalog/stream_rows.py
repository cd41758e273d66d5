"""Rows of `mynamo_stream_shard`: reading and beginning stream shards, on one shard."""

from __future__ import annotations

import time
from collections.abc import Iterable

from mynamo.catalog import sql
from mynamo.catalog.stream_lineage import StreamShard
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.schemas.stream_records import begun_at, stream_shard_name

COLUMNS = (
    "name, stream_id, parent, generation, first_slot, last_slot, above_seq, end_seq, ended_at,"
    " trimmed_seq"
)
"""What `stream_shards_in` reads."""


def stream_shards_in(found: Result, shard_id: int) -> list[StreamShard]:
    """What a query of `COLUMNS` gave."""
    return [
        StreamShard(
            name.decode(), shard_id, stream_id, None if parent is None else parent.decode(),
            generation, first, last, above, end, ended_at, trimmed,
        )
        for name, stream_id, parent, generation, first, last, above, end, ended_at, trimmed
        in found.rows
    ]  # fmt: skip


def insert_children(
    stream_id: int,
    parent: StreamShard | None,
    generation: int,
    above: int,
    ranges: Iterable[tuple[int, int]],
) -> list[Statement]:
    """Begin stream shards.

    Args:
        parent: None: of a new stream.
        above: the number that their records are above.
        ranges: of slots; one stream shard for each.
    """
    moment = round(time.time() * 1000)
    if parent is not None:
        moment = max(moment, begun_at(parent.name) + 1)
    return [
        ("INSERT INTO mynamo_stream_shard (name, stream_id, parent, generation, first_slot,"
         " last_slot, above_seq, trimmed_seq) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
         (stream_shard_name(moment).encode(), stream_id,
          None if parent is None else parent.name.encode(), generation, first, last, above, above))
        for first, last in ranges
    ]  # fmt: skip


def carry_over(session: Session, last_seq: int) -> None:
    """A2: end all that are open on a shard at the base of its new incarnation, and begin their
    children there, in its transaction: what a backup says of them may be old.

    Args:
        last_seq: the base.
    """
    (found,) = session.run(
        (f"SELECT {COLUMNS} FROM mynamo_stream_shard WHERE end_seq IS NULL FOR UPDATE", ())
    )
    for each in stream_shards_in(found, 0):
        children = insert_children(
            each.stream_id, each, each.generation + 1, last_seq, [(each.first, each.last)]
        )
        session.run(
            (f"UPDATE mynamo_stream_shard SET end_seq = %s, ended_at = {sql.NOW} WHERE name = %s",
             (last_seq, each.name.encode())),
            *children,
        )  # fmt: skip
