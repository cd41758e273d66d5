"""What the tests of verify, repair and lag share: a table, and damage done by SQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.operations.comparison_statements import IndexRow
from mynamo.producer import Producer
from mynamo.schemas.items import dump_item, to_stored
from mynamo.schemas.keys import hash_of, slot_of
from mynamo.schemas.table import TableSchema

ORDERS = {
    "name": "orders",
    "hash_key": "order_id",
    "sort_key": "line:N",
    "local_indexes": [{"name": "by_price", "sort_key": "price:N"}],
    "global_indexes": [
        {"name": "by_name", "hash_key": "name", "sort_key": "price:N"},
        {
            "name": "by_city",
            "hash_key": "city",
            "projection": {"type": "INCLUDE", "attributes": ["price"]},
        },
    ],
}


def order(number: int, **changes: Any) -> dict[str, Any]:
    """An item of `ORDERS`; every fifth is in no `by_city`, two lines share an order."""
    item: dict[str, Any] = {
        "order_id": f"order-{number // 2}",
        "line": number % 2,
        "name": f"name {number % 3}",
        "price": number,
        "pad": "x" * 50,
    }
    if number % 5:
        item["city"] = f"city {number % 4}"
    return item | changes


def key_of(item: dict[str, Any]) -> dict[str, Any]:
    """The key of an item of `ORDERS`."""
    return {"order_id": item["order_id"], "line": item["line"]}


def fill(cluster: Cluster, items: Iterable[dict[str, Any]]) -> Table:
    """Make the table and put these items into it."""
    table = create_table(cluster, TableSchema.parse(ORDERS))
    with Producer(cluster) as producer:
        for item in items:
            producer.put("orders", item)
    return table


def in_slot(slot: int, prefix: str) -> str:
    """A hash key in a certain slot."""
    return next(
        text
        for number in range(1_000_000)
        if slot_of(hash_of((text := f"{prefix}{number}").encode())) == slot
    )


class Damage:
    """Does by SQL what no code of mynamo does."""

    def __init__(self, cluster: Cluster, table: Table) -> None:
        self.cluster = cluster
        self.table = table

    def index(self, name: str) -> Index:
        """The index of that name."""
        return self.table.index(name)

    def home(self, item: dict[str, Any]) -> tuple[DynamoDBShard, RowKey]:
        """Where an item lies."""
        row = self.table.key_of(to_stored(item))
        return self.cluster.shard_of(row.hash), row

    def location(self, name: str, item: dict[str, Any]) -> tuple[DynamoDBShard, IndexRow]:
        """Where an item's row in a GSI lies."""
        stored = to_stored(item)
        key = self.index(name).key_of(stored)
        assert key is not None
        return self.cluster.shard_of(key.hash), IndexRow(*key, *self.table.key_of(stored))

    def other(self, shard: DynamoDBShard) -> DynamoDBShard:
        """A shard that is not this one."""
        return next(s for s in self.cluster.shards.values() if s is not shard)

    def on_row(self, name: str, item: dict[str, Any], statement: str, *values: Any) -> None:
        """Run `UPDATE {table} SET ...` or `DELETE FROM {table}` on an item's row in a GSI."""
        shard, row = self.location(name, item)
        where = " WHERE index_hash = %s AND index_sort = %s AND hash = %s AND sort = %s"
        query = statement.format(table=sql.index_table(self.index(name))) + where
        assert shard.run((query, (*values, *row)))[0].count == 1

    def insert_row(
        self,
        name: str,
        item: dict[str, Any],
        shard: DynamoDBShard | None = None,
        version: int = 1,
        content: bytes | None = None,
    ) -> None:
        """Put a row into a GSI that the item would have, whether it exists or not."""
        owner, row = self.location(name, item)
        projected = dump_item(self.index(name).project(to_stored(item)))
        table = sql.index_table(self.index(name))
        (shard or owner).run(
            (f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s, %s)",
             (*row, version, projected if content is None else content))
        )  # fmt: skip

    def on_main(self, item: dict[str, Any], statement: str, *values: Any) -> None:
        """Run `UPDATE {table} SET ...` or `DELETE FROM {table}` on an item's main row."""
        shard, row = self.home(item)
        query = statement.format(table=sql.main_table(self.table.id))
        query += " WHERE hash = %s AND sort = %s"
        assert shard.run((query, (*values, *row)))[0].count == 1

    def insert_main(self, item: dict[str, Any], shard: DynamoDBShard | None = None) -> None:
        """Put a main row somewhere, and no index row."""
        owner, row = self.home(item)
        values = (*row, 7, dump_item(to_stored(item)))
        table = sql.main_table(self.table.id)
        (shard or owner).run((f"INSERT INTO {table} VALUES (%s, %s, %s, %s)", values))

    def local(self, item: dict[str, Any], statement: str) -> None:
        """Run a statement with %s for hash, sort in the index and sort, on an item's LSI row."""
        shard, row = self.home(item)
        index = self.index("by_price")
        key = index.key_of(to_stored(item))
        assert key is not None
        query = statement.format(table=sql.index_table(index))
        assert shard.run((query, (row.hash, key.sort, row.sort)))[0].count == 1

    def insert_local(self, item: dict[str, Any]) -> None:
        """Put a row into the LSI that the item would have."""
        self.local(item, "INSERT INTO {table} VALUES (%s, %s, %s)")

    def delete_local(self, item: dict[str, Any]) -> None:
        """Take an item's row out of the LSI."""
        self.local(item, "DELETE FROM {table} WHERE hash = %s AND index_sort = %s AND sort = %s")
