"""Reading items by their keys: one round trip to each shard, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mynamo.reader.queries import Get, Got
from mynamo.schemas.items import item_size, load_item
from mynamo.shards import sql
from mynamo.shards.cluster import Cluster
from mynamo.shards.pool import Statement
from mynamo.shards.shard import DynamoDBShard
from mynamo.shards.tables import RowKey

_Place = tuple[int, RowKey]
"""A table's id, and where an item lies in it."""


def get_each(cluster: Cluster, gets: Sequence[Get]) -> list[Got]:
    """Read items by key, of one table or several.

    Returns:
        What was there, in the order of `gets`.

    Raises:
        TableNotFound: there is no such table.
        InvalidItem: a key is not one of its table.
        MissingTable: the catalog's knowledge of a table is outdated.
        ShardUnavailable: a shard does not answer.
    """
    places: list[_Place] = []
    for get in gets:
        table = cluster.table(get.table)
        places.append((table.id, table.key_only(get.key)))
    found: dict[_Place, bytes] = {}
    for shard, wanted in _by_shard(cluster, places).items():
        results = shard.run(*(item_statement(*each) for each in wanted.items()))
        for table_id, result in zip(wanted, results, strict=True):
            found.update({(table_id, RowKey(h, s)): data for h, s, data in result.rows})
    return [_got(get, found.get(place)) for get, place in zip(gets, places, strict=True)]


def item_statement(table_id: int, keys: Iterable[RowKey]) -> Statement:
    """The items with these keys; ORs of ANDs, which both servers make ranges of."""
    keys = list(keys)
    each = " OR ".join(["(hash = %s AND sort = %s)"] * len(keys))
    statement = (
        f"SELECT hash, sort, item FROM {sql.main_table(table_id)} FORCE INDEX (PRIMARY)"
        f" WHERE {each}"
    )
    return statement, [part for key in keys for part in key]


def _by_shard(
    cluster: Cluster, places: Iterable[_Place]
) -> dict[DynamoDBShard, dict[int, list[RowKey]]]:
    wanted: dict[DynamoDBShard, dict[int, list[RowKey]]] = {}
    for table, key in dict.fromkeys(places):
        wanted.setdefault(cluster.shard_of(key.hash), {}).setdefault(table, []).append(key)
    return wanted


def _got(get: Get, data: bytes | None) -> Got:
    if data is None:
        return Got(None, 0)
    item = load_item(data)
    return Got(item if get.projection is None else get.projection.of(item), item_size(item))
