"""What transactions may leave behind on shards for a while, and not for ever."""

from __future__ import annotations

import time

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import MARK
from mynamo.catalog.shard import DynamoDBShard
from mynamo.schemas.config import ClusterConfig

_PAUSE = 0.5
_SHOWN = 5


def leftovers(cluster: Cluster) -> list[str]:
    """The intents, marks and placeholders that are there, in words.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    tables = list(cluster.refresh().names.values())
    found = []
    for shard in cluster.shards.values():
        found += _intents(shard)
        for table in tables:
            rows = shard.run(
                (
                    f"SELECT version, HEX(hash), HEX(sort) FROM {sql.main_table(table.id)}"
                    f" WHERE version = 0 OR version >= %s LIMIT {_SHOWN}",
                    (MARK,),
                )
            )[0].rows
            found += [
                f"{shard.where}, {table.name} {hash_} {sort}: "
                + ("a placeholder" if version == 0 else f"a mark on version {version - MARK}")
                for version, hash_, sort in rows
            ]
    return found


def _intents(shard: DynamoDBShard) -> list[str]:
    rows = shard.run(
        (
            "SELECT table_id, HEX(hash), HEX(sort), HEX(transaction_id), decider, action"
            f" FROM mynamo_intent LIMIT {_SHOWN}",
            (),
        )
    )[0].rows
    return [
        f"{shard.where}, table {table_id} {hash_} {sort}: an intent of {transaction}, decided on "
        f"shard {decider}, action {action}"
        for table_id, hash_, sort, transaction, decider, action in rows
    ]


def wait_until_none(config: ClusterConfig, seconds: float) -> list[str]:
    """Wait until nothing is left; returns what is when the time is over."""
    deadline = time.monotonic() + seconds
    with Cluster(config) as cluster:
        while (found := leftovers(cluster)) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
    return found
