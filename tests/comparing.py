"""Comparing every GSI of a table with what its items say, by plain SQL, reading everything.

Independent of the production code that writes and verifies indexes, but for the encoding
of keys and the routing of hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Index, Table
from mynamo.schemas.items import StoredItem, dump_item, load_item
from mynamo.schemas.keys import encode_key, hash_of_parts, sort_code
from mynamo.schemas.table import KeyAttribute

Rows = dict[tuple[bytes, ...], tuple[int, bytes]]
"""By primary key: version and item."""


def gsi_damage(cluster: Cluster, table_name: str) -> list[str]:
    """A line for each row of a GSI that is missing, stale, a ghost or on the wrong shard;
    an empty list when all GSIs of the table are right."""
    cluster.refresh()
    table = cluster.table(table_name)
    items = [
        (hash16, sort, version, load_item(data))
        for _, (hash16, sort, version, data) in _everywhere(
            cluster,
            f"SELECT hash, sort, version % {1 << 62}, item FROM t{table.id} WHERE version > 0",
        )
    ]
    return [
        line for index in table.global_indexes for line in _compare(cluster, table, index, items)
    ]


def gsi_rows(cluster: Cluster, index: Index) -> Rows:
    """All rows of a GSI, from all shards."""
    return {row[:4]: row[4:] for _, row in _everywhere(cluster, _select(index))}


def _compare(
    cluster: Cluster, table: Table, index: Index, items: list[tuple[Any, ...]]
) -> Iterator[str]:
    expected: Rows = {}
    for hash16, sort, version, item in items:
        row_key = _row_key(index, item)
        if row_key is not None:
            expected[(*row_key, hash16, sort)] = (
                version,
                dump_item(_projected(table, index, item)),
            )
    found: Rows = {}
    for shard_id, row in _everywhere(cluster, _select(index)):
        if cluster.shard_of(row[0]).id != shard_id:
            yield f"{index.name}: a row is on the wrong shard, {shard_id}: {row}"
        found[row[:4]] = row[4:]
    for key in sorted(expected.keys() | found.keys()):
        if key not in found:
            yield f"{index.name}: missing: {expected[key]}"
        elif key not in expected:
            yield f"{index.name}: ghost: {found[key]}"
        elif found[key] != expected[key]:
            yield f"{index.name}: stale: {found[key]} instead of {expected[key]}"


def _select(index: Index) -> str:
    return (
        "SELECT index_hash, index_sort, hash, sort, version, item"
        f" FROM t{index.table_id}_g{index.id}"
    )


def _everywhere(cluster: Cluster, sql: str) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for shard in cluster.shards.values():
        for row in shard.run((sql, ()))[0].rows:
            yield shard.id, row


def _row_key(index: Index, item: StoredItem) -> tuple[bytes, bytes] | None:
    hash_key = _key_bytes(index.hash_keys, item, 2048)
    sort_key = _key_bytes(index.sort_keys, item, 1024)
    if hash_key is None or sort_key is None:
        return None
    types = [key.type for key in index.sort_keys]
    return hash_of_parts(hash_key), sort_code(types, sort_key, len(types))


def _key_bytes(
    keys: tuple[KeyAttribute, ...], item: StoredItem, longest: int
) -> list[bytes] | None:
    values = [item.get(key.name, {}) for key in keys]
    if any(key.type not in value for key, value in zip(keys, values, strict=True)):
        return None
    parts = [encode_key(key.type, value) for key, value in zip(keys, values, strict=True)]
    return parts if all(parts) and sum(map(len, parts)) <= longest else None


def _projected(table: Table, index: Index, item: StoredItem) -> StoredItem:
    if index.projection.type == "ALL":
        return item
    kept = {*table.key_names, *index.key_names, *index.projection.attributes}
    return {name: value for name, value in item.items() if name in kept}
