"""How far the pipeline from the outbox to the indexes has come."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import incarnation_of
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.sql import UNNUMBERED
from mynamo.mysql.pool import Statement

_SHORTEST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


class Horizon:
    """What had been committed on a shard at one moment, and which of it is not applied yet.

    Args:
        shard: asked now for the newest row of its outbox.

    Raises:
        ShardUnavailable: it does not answer.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self._shard = shard
        self._begin()

    def _begin(self) -> None:
        newest = self._shard.run(("SELECT COALESCE(MAX(id), 0) FROM mynamo_outbox", ()))
        self._newest: int = newest[0].rows[0][0]
        self._goals: dict[int, int] | None = None
        self._unsequenced: set[int] = set()

    def pending(self) -> set[int]:
        """The partitions with events up to then that the indexers have not applied.

        Raises:
            ShardUnavailable: the shard does not answer.
        """
        if self._goals is None or self._unsequenced:
            self._set_goals()
        goals = self._goals or {}
        applied = dict(self._shard.run(_APPLIED)[0].rows)
        if any(incarnation_of(applied.get(p, 0)) > incarnation_of(n) for p, n in goals.items()):
            # The shard has begun a new incarnation: what waited has other numbers now.
            self._begin()
            return set(goals)
        behind = {part for part, goal in goals.items() if applied.get(part, 0) < goal}
        return behind | self._unsequenced

    def _set_goals(self) -> None:
        # In this order: what is sequenced between the two statements counts as unsequenced.
        unsequenced, streams = self._shard.run(
            unsequenced_up_to(self._newest), ("SELECT part, last_seq FROM mynamo_stream", ())
        )
        known = self._goals or {}
        self._unsequenced = {part for (part,) in unsequenced.rows}
        self._goals = known | {
            part: last
            for part, last in streams.rows
            if part not in known and part not in self._unsequenced
        }


def unsequenced_up_to(newest: int) -> Statement:
    """Partitions whose events wait for their number, of the rows up to an id."""
    return (
        "SELECT DISTINCT part FROM mynamo_outbox FORCE INDEX (by_sequence)"
        f" WHERE {UNNUMBERED} AND id <= %s AND feeds = 1",
        (newest,),
    )


_APPLIED: Statement = ("SELECT part, applied_seq FROM mynamo_stream", ())


def wait_until_applied(cluster: Cluster, timeout: float = 30.0) -> bool:
    """Wait until every index contains every write that was committed before this call.

    Args:
        timeout: seconds.

    Returns:
        Whether they do; False: the indexers did not get there in time.

    Raises:
        ShardUnavailable: a shard does not answer.
        ShardNotConfigured: the configuration lacks one, of which nothing is known.
    """
    cluster.refresh()
    cluster.check_complete()
    horizons = [Horizon(shard) for shard in cluster.shards.values()]
    return await_horizons(horizons, time.monotonic() + timeout)


def await_horizons(horizons: Sequence[Horizon], deadline: float) -> bool:
    """Wait until everything before these horizons is applied.

    Args:
        deadline: on the clock `time.monotonic`; each horizon is looked at once at the least.
    """
    waiting = list(horizons)
    attempt = 0
    while waiting := [horizon for horizon in waiting if horizon.pending()]:
        if time.monotonic() >= deadline:
            return False
        doze(attempt, deadline)
        attempt += 1
    return True


def doze(attempt: int, deadline: float) -> None:
    """Pause before asking again: longer each time, and not far beyond the deadline."""
    pause = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 1.3 ** min(attempt, 20))
    time.sleep(max(0.0, min(pause, deadline - time.monotonic())) or _SHORTEST_PAUSE)
