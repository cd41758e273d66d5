"""A table for tests, what its shards hold, and whether that fits together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from mynamo.catalog import definitions, sql
from mynamo.catalog.catalog import MOVES, shard_format
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import MARK
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import RowKey, Table
from mynamo.mysql.pool import ConnectionPool, Session, Statement
from mynamo.schemas.config import ClusterConfig, PoolConfig
from mynamo.schemas.items import load_item
from mynamo.schemas.table import TableSchema

Items = dict[RowKey, tuple[int, dict[str, Any]]]
"""Per item: its version, and itself in stored form."""


def make_table(cluster: Cluster, name: str = "orders", **more: Any) -> Table:
    """A table with hash key `id`, sort key `at`, LSI `by_price` and GSI `by_name`."""
    schema = {
        "name": name,
        "hash_key": "id",
        "sort_key": "at",
        "local_indexes": [{"name": "by_price", "sort_key": "price:N"}],
        "global_indexes": [{"name": "by_name", "hash_key": "name"}],
    }
    return definitions.create_table(cluster, TableSchema.parse(schema | more))


def select(shard: DynamoDBShard, statement: str, *values: Any) -> tuple[tuple[Any, ...], ...]:
    """The rows of a SELECT."""
    return shard.run((statement, values))[0].rows


def everywhere(cluster: Cluster, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a SELECT on all shards."""
    return [row for shard in cluster.shards.values() for row in select(shard, statement, *values)]


def in_catalog(config: ClusterConfig, *statements: str) -> tuple[tuple[Any, ...], ...]:
    """Run statements in the catalog's database; the rows of the last one."""
    pool = ConnectionPool(config.catalog, PoolConfig(), "the catalog")
    try:
        with pool.session() as session:
            return session.run(*((text, ()) for text in statements))[-1].rows
    finally:
        pool.close()


def as_earlier(cluster: Cluster, format_: int = 2) -> None:
    """Make a new cluster one that an earlier release has set up: one of format 2 allows
    transactions of items on one shard only, one of format 3 no moves of slots, one of format 4
    no time to live."""
    in_catalog(
        cluster.config,
        *(["DELETE FROM mynamo_shards"] if format_ < MOVES else []),
        f"UPDATE mynamo_cluster SET format = {format_}, version = version + 1",
    )
    oldest = shard_format(format_)
    everywhere(cluster, f"UPDATE mynamo_format SET oldest = {oldest} WHERE kind = 'shard'")
    cluster.refresh()


def items_of(cluster: Cluster, table: Table) -> Items:
    """Every item of a table, as it is without intents."""
    rows = everywhere(
        cluster,
        f"SELECT hash, sort, version & {MARK - 1:d}, item FROM {sql.main_table(table.id)}"
        " WHERE version > 0 OR item <> ''",
    )
    return {RowKey(h, s): (version, load_item(data)) for h, s, version, data in rows}


def outbox_of(shard: DynamoDBShard, table: Table) -> Iterator[tuple[int, dict[str, Any]]]:
    """The item's version and the payload of every outbox row of a table, by id."""
    rows = select(
        shard,
        "SELECT COALESCE(item_version, id), payload FROM mynamo_outbox"
        " WHERE table_id = %s ORDER BY id",
        table.id,
    )
    return ((version, orjson.loads(payload)) for version, payload in rows)


def damage(cluster: Cluster, table: Table) -> list[str]:
    """What does not fit together between main, LSI and outbox rows.

    The outbox must still have every event since the table was made.
    """
    items = items_of(cluster, table)
    return damaged_local_indexes(cluster, table, items) + _damaged_events(cluster, table, items)


def damaged_local_indexes(cluster: Cluster, table: Table, items: Items) -> list[str]:
    """What does not fit together between main and LSI rows."""
    found = []
    for index in table.indexes_beside:
        wanted = {
            (row.hash, key.sort, row.sort)
            for row, (_, item) in items.items()
            if (key := index.key_of(item))
        }
        rows = everywhere(cluster, f"SELECT hash, index_sort, sort FROM {sql.index_table(index)}")
        found += [f"{index.name} lacks {row}" for row in wanted - set(rows)]
        found += [f"{index.name} has a ghost {row}" for row in set(rows) - wanted]
    return found


def _damaged_events(cluster: Cluster, table: Table, items: Items) -> list[str]:
    found = []
    last: Items = {}
    for shard in cluster.shards.values():
        for version, event in outbox_of(shard, table):
            row = table.key_of(event["keys"])
            before = last.pop(row, (0, None))[1]
            if event["origin"] == "write" and event["old_image"] != before:
                found.append(f"{event['keys']}: event {version} does not follow the one before")
            if event["new_image"] is not None:
                last[row] = (version, event["new_image"])
    found += [f"{items[row][1]} has no event" for row in items.keys() - last.keys()]
    found += [f"{last[row][1]} has an event, but no row" for row in last.keys() - items.keys()]
    found += [
        f"row {items[row]} differs from its last event {last[row]}"
        for row in items.keys() & last.keys()
        if items[row] != last[row]
    ]
    return found


def _without(text: str, words: str) -> str:
    for more in (" SKIP LOCKED", ""):
        text = text.replace(words + more, "")
    return text


def leave_out(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Take some words out of every statement from now on: a negative control. Of a lock, also
    what it says of others' locks."""
    run = Session.run

    def without(self: Session, *statements: Statement) -> Any:
        return run(self, *((_without(text, words), values) for text, values in statements))

    monkeypatch.setattr(Session, "run", without)
