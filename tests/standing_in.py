"""Standing in for relay and indexers: what they would have done by now, done by SQL.

For tests of reading, which need GSI rows and their progress exactly when they say so.
"""

from __future__ import annotations

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, Table
from mynamo.schemas.items import dump_item, load_item


def catch_up(cluster: Cluster, table_name: str) -> None:
    """Make the GSIs of a table equal the table, and say that every event is applied."""
    fill_global_indexes(cluster, cluster.table(table_name))
    for shard in cluster.shards.values():
        sequence(shard)
        shard.run(("UPDATE mynamo_stream SET applied_seq = last_seq", ()))


def sequence(shard: DynamoDBShard) -> None:
    """Give every event of a shard its sequence, as the relay does; none is applied by it."""
    rows = shard.run(("SELECT id, part FROM mynamo_outbox WHERE seq IS NULL ORDER BY id", ()))[0]
    last = int(shard.run(("SELECT last_seq FROM mynamo_relay", ()))[0].rows[0][0])
    for seq, (event, part) in enumerate(rows.rows, last + 1):
        shard.run(
            ("UPDATE mynamo_outbox SET seq = %s WHERE id = %s", (seq, event)),
            ("UPDATE mynamo_stream SET last_seq = %s WHERE part = %s", (seq, part)),
            ("UPDATE mynamo_relay SET last_seq = %s", (seq,)),
        )


def fill_global_indexes(cluster: Cluster, table: Table) -> None:
    """Make the rows of a table's GSIs anew, from its items."""
    for index in table.global_indexes:
        for shard in cluster.shards.values():
            shard.run((f"DELETE FROM {sql.index_table(index)}", ()))
        for shard in cluster.shards.values():
            main = f"SELECT hash, sort, version, item FROM {sql.main_table(table.id)}"
            for row in shard.run((main, ()))[0].rows:
                _insert(cluster, index, *row)


def _insert(
    cluster: Cluster, index: Index, hash16: bytes, sort: bytes, version: int, data: bytes
) -> None:
    item = load_item(data)
    key = index.key_of(item)
    if key is not None:
        cluster.shard_of(key.hash).run(
            (f"INSERT INTO {sql.index_table(index)} VALUES (%s, %s, %s, %s, %s, %s)",
             (*key, hash16, sort, version, dump_item(index.project(item))))
        )  # fmt: skip
