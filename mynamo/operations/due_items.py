"""How far the deleting of what has expired is behind."""

from __future__ import annotations

from dataclasses import dataclass

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index
from mynamo.errors import ShardUnavailable
from mynamo.mysql.failures import MissingTable
from mynamo.schemas.expiry import due_between, seconds_of, sort_of

MOST_COUNTED = 100_000
"""Due items of one table on one shard; if there are more, so many are reported."""


@dataclass(frozen=True, slots=True)
class DueItems:
    """What has expired and is not deleted yet, of one table on one shard.

    Attributes:
        shard: its number.
        items: how many, at most `MOST_COUNTED`. While slots move some may count twice.
        seconds: since the one that expired first; 0: there is none.
        trouble: why it is not known; empty: it is.
    """

    shard: int
    items: int = 0
    seconds: int = 0
    trouble: str = ""


def due_items(cluster: Cluster, index: Index) -> list[DueItems]:
    """What is due, by shard.

    Args:
        index: of the expiries of a table.
    """
    return [due_items_on(shard, index) for _, shard in sorted(cluster.shards.items())]


def due_items_on(shard: DynamoDBShard, index: Index) -> DueItems:
    """What is due on one shard; see `due_items`."""
    try:
        now = int(shard.run(("SELECT UNIX_TIMESTAMP()", ()))[0].rows[0][0])
        first, behind = due_between(now)
        ((count, earliest),) = shard.run(
            ("SELECT COUNT(*), MIN(index_sort) FROM"
             f" (SELECT index_sort FROM {sql.index_table(index)} FORCE INDEX (by_expiry)"
             " WHERE index_sort >= %s AND index_sort < %s"
             f" ORDER BY index_sort LIMIT {MOST_COUNTED:d}) AS due",
             (sort_of(first), sort_of(behind)))
        )[0].rows  # fmt: skip
    except MissingTable:
        return DueItems(shard.id, trouble="time to live has just been disabled")
    except ShardUnavailable as failure:
        return DueItems(shard.id, trouble=str(failure))
    return DueItems(shard.id, count, now - seconds_of(earliest) if count else 0)
