"""Rows of `mynamo_stream_shard`: reading and beginning stream shards, on one shard."""

from __future__ import annotations

import time

from mynamo.catalog import sql
from mynamo.catalog.stream_lineage import StreamShard
from mynamo.mysql.pool import Result, Session
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


INSERT = (
    "INSERT INTO mynamo_stream_shard (name, stream_id, parent, generation, first_slot, last_slot,"
    " above_seq, end_seq, ended_at, trimmed_seq)"
)


def name_of_child(parent: StreamShard | None) -> str:
    """A new name, which is behind the parent's in the order of names."""
    moment = round(time.time() * 1000)
    return stream_shard_name(moment if parent is None else max(moment, begun_at(parent.name) + 1))


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
        session.run(
            (f"UPDATE mynamo_stream_shard SET end_seq = %s, ended_at = {sql.NOW} WHERE name = %s",
             (last_seq, each.name.encode())),
            (f"{INSERT} VALUES (%s, %s, %s, %s, %s, %s, %s, NULL, NULL, %s)",
             (name_of_child(each).encode(), each.stream_id, each.name.encode(),
              each.generation + 1, each.first, each.last, last_seq, last_seq)),
        )  # fmt: skip
