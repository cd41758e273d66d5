"""Finding indexes that do not move: events wait for them in Kafka, and none is applied.

That an index is behind does not mean that it stands still: after a load or an outage its oldest
event may be an hour old, and hundreds are applied every second. So it takes two looks. A partition
stands still if a published event has waited in it for `WAITED` seconds, and the progress of its
stream is the same `UNMOVED` seconds later.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

from mynamo.shards import sql
from mynamo.shards.pool import Statement
from mynamo.shards.shard import DynamoDBShard

WAITED = 30.0
"""Seconds, by the shard's clock."""
UNMOVED = 10.0
"""Seconds from one look to the other."""
_PAUSE = 0.5


class Stream(NamedTuple):
    """A shard's events in one partition of `changes`, in which one has waited for long.

    Attributes:
        applied: the last sequence that every index has.
    """

    shard: int
    partition: int
    applied: int


WAITING: Statement = (
    "SELECT part, applied_seq FROM mynamo_stream WHERE last_seq > applied_seq",
    (),
)


def oldest_published(partition: int, applied: int) -> Statement:
    """For how many microseconds a stream's next event has waited, if it has been published."""
    return (
        f"SELECT CAST({sql.NOW} AS SIGNED) - CAST(created AS SIGNED)"
        " FROM mynamo_outbox FORCE INDEX (by_sequence) WHERE seq > %s"
        " AND seq <= (SELECT published_seq FROM mynamo_relay WHERE only_row = 1)"
        " AND part = %s AND feeds = 1 ORDER BY seq LIMIT 1",
        (applied, partition),
    )


def overdue(shard: DynamoDBShard) -> set[Stream]:
    """The streams of a shard in which a published event has waited for long.

    Raises:
        ShardUnavailable: it does not answer.
    """
    waiting = shard.run(WAITING)[0].rows
    if not waiting:
        return set()
    ages = shard.run(*(oldest_published(part, applied) for part, applied in waiting))
    return {
        Stream(shard.id, part, applied)
        for (part, applied), age in zip(waiting, ages, strict=True)
        if age.rows and age.rows[0][0] > WAITED * 1e6
    }


def standing(shards: Iterable[DynamoDBShard], seconds: float | None = None) -> set[Stream]:
    """The streams that stand still; takes time only where an event has waited for long.

    Args:
        seconds: from the first look to the last; None: `UNMOVED`.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    asked = list(shards)
    deadline = time.monotonic() + (UNMOVED if seconds is None else seconds)
    still = _overdue_of(asked)
    while still and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(_PAUSE, left))
        still &= _overdue_of([shard for shard in asked if shard.id in _shards_of(still)])
    return still


def _overdue_of(shards: Iterable[DynamoDBShard]) -> set[Stream]:
    return {stream for shard in shards for stream in overdue(shard)}


def _shards_of(streams: Collection[Stream]) -> set[int]:
    return {stream.shard for stream in streams}


class Standstill:
    """Finds indexes that do not move, for one who looks again and again."""

    def __init__(self) -> None:
        self._since: dict[Stream, float] = {}

    def look(self, shard: DynamoDBShard) -> float:
        """For how many seconds of looking some stream of a shard has stood still; 0: none does.

        Raises:
            ShardUnavailable: it does not answer.
        """
        found, now = overdue(shard), time.monotonic()
        since = {stream: self._since.get(stream, now) for stream in found}
        others = {stream: at for stream, at in self._since.items() if stream.shard != shard.id}
        self._since = others | since
        longest = max((now - at for at in since.values()), default=0.0)
        return longest if longest >= UNMOVED else 0.0
