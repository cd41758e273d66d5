"""Every change that committed, from the shards themselves: whatever Kafka may lose.

Outbox rows are deleted once nobody needs them. A trigger keeps them for the checkers, in the
transaction that deletes them.
"""

from __future__ import annotations

from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ChangeEvent, complete_event, load_event

SERVER_OPTIONS = ("--log-bin-trust-function-creators=1",)
"""Of the shards: a user without all rights may make a trigger."""
_COLUMNS = "id, seq, previous, part, feeds, item_version, created, payload"


def keep_changes(config: ClusterConfig) -> None:
    """From now on, keep what is deleted from the outboxes."""
    kept = ", ".join(f"OLD.{name}" for name in _COLUMNS.split(", "))
    with Cluster(config) as cluster:
        for shard in cluster.shards.values():
            shard.run(
                (f"CREATE TABLE IF NOT EXISTS kept_outbox AS SELECT {_COLUMNS}"
                 " FROM mynamo_outbox WHERE FALSE", ()),
                ("ALTER TABLE kept_outbox ADD PRIMARY KEY (id)", ()),
                ("CREATE TRIGGER keep_outbox BEFORE DELETE ON mynamo_outbox FOR EACH ROW"
                 f" INSERT INTO kept_outbox ({_COLUMNS}) VALUES ({kept})", ()),
            )  # fmt: skip


def changes(config: ClusterConfig, table: str) -> list[ChangeEvent]:
    """All changes of a table in the order of their versions, since an item's may be on several
    shards. One whose version went back is where its old image does not fit.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    events = []
    with Cluster(config) as cluster:
        for shard in cluster.shards.values():
            rows = shard.run(
                (f"SELECT {_COLUMNS} FROM kept_outbox UNION ALL"
                 f" SELECT {_COLUMNS} FROM mynamo_outbox ORDER BY id", ())
            )[0].rows  # fmt: skip
            # A new incarnation takes an id, with a row that is no change.
            events += [_event(shard.id, row) for row in rows if row[-1]]
    events.sort(key=lambda event: event.version)
    return [event for event in events if event.table == table]


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
