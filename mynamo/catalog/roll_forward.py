"""Rolling forward: finishing changes of tables and indexes on all shards, whatever dies in between.

Every step that a change recorded in the catalog still needs is taken on every shard, each of them
idempotent. Whoever finds a change half done (the next writer that a definition guard refuses, or a
writer worker on its rounds) rolls it forward.
"""

from __future__ import annotations

from collections.abc import Callable

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import ShardUnavailable
from mynamo.runtime.tasks import in_thread


@in_thread
def roll_forward(cluster: Cluster, table_id: int) -> None:
    """Finish whatever change of a table's definition is not finished yet.

    What can be done on the shards that answer is done.

    Raises:
        ShardUnavailable: a shard does not answer; call again.
    """
    with cluster.catalog.lock():
        table = cluster.refresh().tables.get(table_id)
        if table is None or (is_complete(table) and _is_known_everywhere(cluster, table)):
            return
        if table.status == "DELETING":
            _roll_forward_drop(cluster, table)
        else:
            roll_forward_definition(cluster, table)
        cluster.refresh()


def is_complete(table: Table) -> bool:
    """Whether nothing is left to do, as far as the catalog knows."""
    return table.status == "ACTIVE" and table.live_indexes == table.indexes


def _is_known_everywhere(cluster: Cluster, table: Table) -> bool:
    read = ("SELECT version FROM mynamo_fence WHERE id = %s", (table.id,))
    return all(shard.run(read)[0].rows == ((table.version,),) for shard in cluster.shards.values())


def roll_forward_definition(cluster: Cluster, table: Table) -> None:
    """Take the remaining steps of a table's and its indexes' changes on all shards.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    creating = [index for index in table.indexes if index.status == "CREATING"]
    dropping = [index for index in table.indexes if index.status == "DELETING"]

    def create(shard: DynamoDBShard) -> None:
        indexes = ((sql.create_index(index), ()) for index in table.live_indexes)
        shard.run((sql.create_main(table), ()), *indexes)

    def raise_guard(shard: DynamoDBShard) -> None:
        # This waits for the writes that know the old definition and are about to commit;
        # later ones are refused. Rows that exist by now are what to backfill.
        statement = _INSERT_GUARD if table.status == "CREATING" else _RAISE_GUARD
        shard.run(
            ("BEGIN", ()),
            (statement, (table.version, table.id)),
            *(("INSERT IGNORE INTO mynamo_backfill (index_id, table_id) VALUES (%s, %s)",
               (i.id, table.id)) for i in creating),
            ("COMMIT", ()),
        )  # fmt: skip

    def drop(shard: DynamoDBShard) -> None:
        for index in dropping:
            shard.run(
                (f"DROP TABLE IF EXISTS {sql.index_table(index)}", ()),
                ("DELETE FROM mynamo_backfill WHERE index_id = %s", (index.id,)),
            )

    if table.status == "CREATING":
        on_every_shard(cluster, create)
    on_every_shard(cluster, raise_guard)
    # Nobody writes to the dropped indexes any more, but for indexers that have not heard
    # of it, and they cope with a missing table.
    on_every_shard(cluster, drop)
    for index in dropping:
        cluster.catalog.forget_index(index.id)
    if table.status == "CREATING":
        cluster.catalog.activate_table(table.id)


def _roll_forward_drop(cluster: Cluster, table: Table) -> None:
    names = [sql.main_table(table.id), *(sql.index_table(index) for index in table.indexes)]

    def close_guard(shard: DynamoDBShard) -> None:
        # No write knows this version; this waits for those about to commit. The row stays,
        # so that nobody who wakes up late can open the guard again.
        shard.run(
            (_INSERT_GUARD, (_CLOSED, table.id)),
            ("DELETE FROM mynamo_backfill WHERE table_id = %s", (table.id,)),
        )

    def drop(shard: DynamoDBShard) -> None:
        shard.run(*((f"DROP TABLE IF EXISTS {name}", ()) for name in names))

    on_every_shard(cluster, close_guard)
    on_every_shard(cluster, drop)
    cluster.catalog.forget_table(table.id)


_CLOSED = 2**63
_RAISE_GUARD = "UPDATE mynamo_fence SET version = GREATEST(version, %s) WHERE id = %s"
_INSERT_GUARD = (
    "INSERT INTO mynamo_fence (version, id) VALUES (%s, %s)"
    " ON DUPLICATE KEY UPDATE version = GREATEST(version, VALUES(version))"
)


def on_every_shard(cluster: Cluster, step: Callable[[DynamoDBShard], None]) -> None:
    """Take a step on every shard that answers.

    Raises:
        ShardUnavailable: of the first that did not.
    """
    failures = []
    for shard in cluster.shards.values():
        try:
            step(shard)
        except ShardUnavailable as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
