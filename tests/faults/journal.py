"""Every change that committed, from the shards' outboxes: whatever Kafka may lose."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

from mynamo.errors import Unavailable
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ChangeEvent, complete_event, load_event
from mynamo.shards.cluster import Cluster
from mynamo.shards.shard import DynamoDBShard

_EVERY = 5.0
"""Seconds from one look to the next: much less than the outbox keeps a row."""
_BLIND = 45.0
"""Seconds without a look after which the outbox may have dropped what was never seen."""
_AGAIN = 5_000
"""Ids below the highest one seen that are looked at again: commits come late, and so do
the numbers that the relay gives."""


class Journal:
    """Reads the outboxes of a cluster in a thread of its own, while used as a context.

    A commit that a full disk held up for longer than the outbox keeps rows may be published,
    applied and swept before it is seen here: `[stream]` then misses it wrongly.

    Attributes:
        blind: shards that it could not look at for so long that changes may be missing, and
            for how long, in seconds.

    Args:
        config: of the cluster, past any links that fail.
        table: changes of other tables are left out.
    """

    def __init__(self, config: ClusterConfig, table: str) -> None:
        self._config = config
        self._table = table
        self._events: dict[tuple[int, int], ChangeEvent] = {}
        self._highest: dict[int, int] = {}
        self.blind: dict[int, float] = {}
        self._looked: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="journal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(30)

    def finish(self) -> list[ChangeEvent]:
        """Look for the last time, when nothing writes any more.

        Returns:
            All changes of the table, those of each shard in the order of their ids.

        Raises:
            ShardUnavailable: a shard does not answer.
        """
        self._stop.set()
        self._thread.join(30)
        with Cluster(self._config) as cluster:
            for shard in cluster.shards.values():
                self._look(shard)
        events = (self._events[place] for place in sorted(self._events))
        return [event for event in events if event.table == self._table]

    def _follow(self) -> None:
        with Cluster(self._config) as cluster:
            while not self._stop.wait(_EVERY):
                for shard in cluster.shards.values():
                    try:
                        self._look(shard)
                    except Unavailable:  # it is down now; the outbox waits
                        continue

    def _look(self, shard: DynamoDBShard) -> None:
        after = self._highest.get(shard.id, 0) - _AGAIN
        with shard.session() as session:
            rows = session.run(
                ("SELECT id, seq, previous, part, feeds, item_version, created, payload"
                 " FROM mynamo_outbox WHERE id > %s ORDER BY id", (after,))
            )[0].rows  # fmt: skip
        for row in rows:
            self._events[shard.id, row[0]] = _event(shard.id, row)
            self._highest[shard.id] = max(self._highest.get(shard.id, 0), row[0])
        now = time.monotonic()
        since = now - self._looked.get(shard.id, now)
        if since > _BLIND:
            self.blind[shard.id] = max(since, self.blind.get(shard.id, 0.0))
        self._looked[shard.id] = now


def _event(shard: int, row: tuple[Any, ...]) -> ChangeEvent:
    """As the relay makes it; without a number as yet, it is 1."""
    outbox_id, seq, previous, part, feeds, item_version, created, payload = row
    return load_event(
        complete_event(
            payload,
            shard=shard,
            outbox_id=outbox_id,
            version=outbox_id if item_version is None else item_version,
            partition=part,
            sequence=seq or 1,
            previous=previous or 0,
            feeds=bool(feeds),
            committed_at=created,
        )
    )
