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

from mynamo.catalog import sql
from mynamo.catalog.gsi_rows import Stream, next_published
from mynamo.catalog.shard import DynamoDBShard
from mynamo.mysql.pool import Statement

WAITED = 30.0
"""Seconds, by the shard's clock."""
UNMOVED = 10.0
"""Seconds from one look to the other."""
PAUSE = 0.5
"""Seconds between two looks."""


class Waiting(NamedTuple):
    """A stream in which a published event has waited for long.

    Attributes:
        applied: the last sequence that every index has.
    """

    stream: Stream
    applied: int


BEHIND: Statement = (
    "SELECT part, applied_seq FROM mynamo_stream WHERE last_seq > applied_seq",
    (),
)
"""The streams of a shard that have events which some index has not."""
_AGE = f"CAST({sql.NOW} AS SIGNED) - CAST(created AS SIGNED)"
"""Of a row in the outbox, in microseconds."""


def overdue(shard: DynamoDBShard) -> set[Waiting]:
    """The streams of a shard in which a published event has waited for long.

    Raises:
        ShardUnavailable: it does not answer.
    """
    behind = [Waiting(Stream(shard.id, part), at) for part, at in shard.run(BEHIND)[0].rows]
    if not behind:
        return set()
    ages = shard.run(*(next_published(_AGE, one.stream, one.applied) for one in behind))
    return {
        one
        for one, age in zip(behind, ages, strict=True)
        if age.rows and age.rows[0][0] > WAITED * 1e6
    }


def standing(shards: Iterable[DynamoDBShard], seconds: float | None = None) -> set[Waiting]:
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
        time.sleep(min(PAUSE, left))
        still &= _overdue_of([shard for shard in asked if shard.id in _shards_of(still)])
    return still


def _overdue_of(shards: Iterable[DynamoDBShard]) -> set[Waiting]:
    return {one for shard in shards for one in overdue(shard)}


def _shards_of(waiting: Collection[Waiting]) -> set[int]:
    return {one.stream.shard for one in waiting}


class Standstill:
    """Finds indexes that do not move, for one who looks at a shard again and again.

    Args:
        shard: whose events they wait for.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self._shard = shard
        self._since: dict[Waiting, float] = {}

    def look(self) -> float:
        """For how many seconds of looking some stream of the shard has stood still; 0: none does.

        Raises:
            ShardUnavailable: it does not answer.
        """
        now = time.monotonic()
        self._since = {one: self._since.get(one, now) for one in overdue(self._shard)}
        longest = max((now - at for at in self._since.values()), default=0.0)
        return longest if longest >= UNMOVED else 0.0
