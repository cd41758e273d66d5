"""`StoredReader`: items by key, by index, or all of them, in stored form.

A reading is repeated by the newest catalog if the one that this process knows is outdated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.slot_guard import by_newest_slots
from mynamo.errors import TableNotFound
from mynamo.expressions import Projection
from mynamo.mysql.failures import MissingTable
from mynamo.reader.batch_gets import get_each
from mynamo.reader.read_page import read_by_key
from mynamo.reader.read_requests import Get, Got, Query, Scan, StoredPage
from mynamo.reader.transact_gets import Resolve, transact_get
from mynamo.schemas.values import StoredItem

Answer = TypeVar("Answer")


def by_newest_catalog(
    cluster: Cluster, tables: Iterable[str], read: Callable[[], Answer]
) -> Answer:
    """Read; if the catalog's knowledge is outdated, read it again and repeat.

    Args:
        tables: their names, for the message.

    Raises:
        TableNotFound: one is being created or dropped at this moment.
        SlotsMoved: slots are being moved for longer than some seconds.
    """
    try:
        return by_newest_slots(cluster, read)
    except MissingTable:
        cluster.refresh()
    try:
        return by_newest_slots(cluster, read)
    except MissingTable:
        names = ", ".join(dict.fromkeys(tables))
        raise TableNotFound(
            f"table {names}, or its index, is being dropped at this moment"
        ) from None


class StoredReader:
    """Reads items in stored form, in DynamoDB's terms. Safe to share between threads.

    Pages are DynamoDB's: `limit` counts the items that are read, and a page that it ends
    has a `last_key`, whether there is anything behind it or not. So are the messages of
    what is refused, and the order of the checks.

    Args:
        cluster: where from.
        resolve: finishes transactions that `transact_get` meets; None: others do.
    """

    def __init__(self, cluster: Cluster, resolve: Resolve | None = None) -> None:
        self._cluster = cluster
        self._resolve = resolve

    def get(
        self, table: str, key: StoredItem, projection: Projection | None = None
    ) -> StoredItem | None:
        """Read an item by its key, from the one shard that has it.

        Returns:
            What the projection shows of it, or None if there is no such item.

        Raises:
            TableNotFound: there is no such table.
            InvalidItem: it is not a key of the table.
            ShardUnavailable: the shard does not answer.
        """
        return self.get_each([Get(table, key, projection)])[0].item

    def get_many(
        self, table: str, keys: Iterable[StoredItem], projection: Projection | None = None
    ) -> list[StoredItem | None]:
        """Read items of one table, in the order of their keys; see `get_each`."""
        return [got.item for got in self.get_each([Get(table, key, projection) for key in keys])]

    def get_each(self, gets: Sequence[Get]) -> list[Got]:
        """Read items by key, of any tables, with one round trip to each shard they are on.

        Returns:
            What was there, with its size, in the order of `gets`.

        Raises:
            See `get`.
        """
        tables = [get.table for get in gets]
        return by_newest_catalog(self._cluster, tables, lambda: get_each(self._cluster, gets))

    def transact_get(self, gets: Sequence[Get]) -> list[Got]:
        """Read items by key, of any tables and from any shards, all as of one moment.

        Returns:
            What was there, with its size, in the order of `gets`.

        Raises:
            InvalidRequest: one is named twice.
            TransactionCanceled: they kept changing; see `transact_gets.transact_get`.
            MynamoError: see `get`.
        """
        tables = [get.table for get in gets]
        return by_newest_catalog(
            self._cluster, tables, lambda: transact_get(self._cluster, gets, self._resolve)
        )

    def query(self, query: Query) -> StoredPage:
        """Read items of one hash key, in the order of the sort key, from one shard.

        Raises:
            TableNotFound, IndexNotFound: there is no such table or index.
            IndexNotReady: the index is still being backfilled.
            InvalidItem, InvalidRequest, InvalidToken: what is asked for is not valid.
            ConsistencyTimeout: the index did not apply the awaited writes in time.
            ShardUnavailable: the shard does not answer.
        """
        return by_newest_catalog(
            self._cluster, [query.table], lambda: read_by_key(self._cluster, query)
        )

    def scan(self, scan: Scan) -> StoredPage:
        """Read items of a table or an index, or of one segment, from all shards.

        Raises:
            See `query`.
        """
        return by_newest_catalog(
            self._cluster, [scan.table], lambda: read_by_key(self._cluster, scan)
        )
