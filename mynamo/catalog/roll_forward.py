"""Rolling forward: finishing changes of tables and indexes on all shards, whatever dies in between.

Every step that a change recorded in the catalog still needs is taken on every shard, each of them
idempotent. Whoever finds a change half done (the next writer that a definition guard refuses, or a
writer worker on its rounds) rolls it forward.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from mynamo.catalog import sql
from mynamo.catalog.catalog import TABLE_NAMES
from mynamo.catalog.changes import CLOSED
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import raise_slot_guard
from mynamo.catalog.incarnation import NOTE_LOST
from mynamo.catalog.intents import delete_intents_of
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.stream_shards import begin_stream_shards
from mynamo.catalog.tables import Table
from mynamo.errors import ShardUnavailable
from mynamo.runtime.tasks import in_thread


@in_thread
def roll_forward(cluster: Cluster, table_id: int) -> None:
    """Finish whatever change of a table's definition is not finished yet.

    What can be done on the shards that answer is done.

    Raises:
        ShardUnavailable: a shard does not answer; call again.
        ShardNotConfigured: a member is not in the configuration of this process, which leaves it
            to others.
    """
    with cluster.catalog.lock():
        table = cluster.refresh().tables.get(table_id)
        cluster.check_complete()
        if table is None or (is_complete(table) and _is_known_everywhere(cluster, table)):
            return
        if table.status == "DELETING":
            _roll_forward_drop(cluster, table)
        else:
            roll_forward_definition(cluster, table)
        cluster.refresh()


def is_complete(table: Table) -> bool:
    """Whether nothing is left to do, as far as the catalog knows."""
    stream = table.latest_stream
    return (
        table.status == "ACTIVE"
        and table.live_indexes == table.indexes
        and (stream is None or stream.status in ("ENABLED", "DISABLED"))
    )


def _is_known_everywhere(cluster: Cluster, table: Table) -> bool:
    read = ("SELECT version FROM mynamo_fence WHERE id = %s", (table.id,))
    return all(shard.run(read)[0].rows == ((table.version,),) for shard in cluster.shards.values())


@in_thread
def roll_forward_shard(cluster: Cluster, shard: DynamoDBShard) -> None:
    """Bring the definitions of a shard that is new, or went back in time, up to the catalog's; safe
    to repeat.

    Tables and indexes that it lacks are made, empty, and it is recorded that it has lost changes;
    also if an index is ACTIVE whose backfill has not ended here. What it has and the catalog has
    dropped stays there unused. If it went back to before transactions over several shards were
    enabled, that is done again here.

    Raises:
        ShardUnavailable: the shard or the catalog does not answer.
    """
    with cluster.catalog.lock():
        tables = [t for t in cluster.refresh().tables.values() if t.status != "DELETING"]
        names, guards, unfinished = shard.run(
            TABLE_NAMES,
            ("SELECT id, version FROM mynamo_fence", ()),
            ("SELECT index_id FROM mynamo_backfill WHERE finished = 0", ()),
        )
        there = {name for (name,) in names.rows}
        versions = dict(guards.rows)
        for table in tables:
            _create_on(shard, table, there)
            if versions.get(table.id, 0) < table.version:
                _raise_guard_on(shard, table, _INSERT_GUARD)
        there_are = cluster.snapshot.tables
        gone = {s.table_id for s in cluster.snapshot.streams if s.table_id not in there_are}
        for table_id in sorted(gone):  # so that their streams end
            shard.run((_INSERT_GUARD, (CLOSED, table_id)))
        waiting = {index_id for (index_id,) in unfinished.rows}
        active = {i.id for table in tables for i in table.live_indexes if i.status == "ACTIVE"}
        if waiting & active:
            shard.run(NOTE_LOST)
    raise_slot_guard(cluster, shard)


def roll_forward_definition(cluster: Cluster, table: Table) -> None:
    """Take the remaining steps of a table's and its indexes' changes on all shards.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    dropping = [index for index in table.indexes if index.status == "DELETING"]

    def drop(shard: DynamoDBShard) -> None:
        for index in dropping:
            shard.run(
                (f"DROP TABLE IF EXISTS {sql.index_table(index)}", ()),
                ("DELETE FROM mynamo_backfill WHERE index_id = %s", (index.id,)),
            )

    on_every_shard(cluster, lambda shard: _create_on(shard, table, _names_on(shard)))
    guard = _INSERT_GUARD if table.status == "CREATING" else _RAISE_GUARD
    on_every_shard(cluster, partial(_raise_guard_on, table=table, statement=guard))
    # Nobody writes to the dropped indexes any more, but for indexers that have not heard
    # of it, and they cope with a missing table.
    on_every_shard(cluster, drop)
    for index in dropping:
        cluster.catalog.forget_index(index.id)
    if table.status == "CREATING":
        cluster.catalog.activate_table(table.id)
    for stream in cluster.snapshot.streams:
        if stream.table_id != table.id:
            continue
        if stream.status == "ENABLING":
            begin_stream_shards(cluster, stream)
            cluster.catalog.settle_stream(stream.id, "ENABLING", "ENABLED")
        elif stream.status == "DISABLING":
            cluster.catalog.settle_stream(stream.id, "DISABLING", "DISABLED")


def _names_on(shard: DynamoDBShard) -> set[str]:
    return {name for (name,) in shard.run(TABLE_NAMES)[0].rows}


def _create_on(shard: DynamoDBShard, table: Table, there: Collection[str]) -> None:
    """Make what a shard lacks of a table. One that lacks what is not new has gone back in time.

    Args:
        there: names of the tables that it has.
    """
    creating = {sql.main_table(table.id): sql.create_main(table)}
    creating |= {sql.index_table(index): sql.create_index(index) for index in table.live_indexes}
    missing = [(statement, ()) for name, statement in creating.items() if name not in there]
    if missing:
        shard.run(*missing)
        if table.status != "CREATING":
            shard.run(NOTE_LOST)


def _raise_guard_on(shard: DynamoDBShard, table: Table, statement: str) -> None:
    """Refuse writes that know an older definition, and have new indexes backfilled.

    This waits for the writes that know the old definition and are about to commit. Rows that exist
    by then are what to backfill.
    """
    creating = [index for index in table.indexes if index.status == "CREATING"]
    shard.run(
        ("BEGIN", ()),
        (statement, (table.version, table.id)),
        *(("INSERT IGNORE INTO mynamo_backfill (index_id, table_id) VALUES (%s, %s)",
           (i.id, table.id)) for i in creating),
        ("COMMIT", ()),
    )  # fmt: skip


def _roll_forward_drop(cluster: Cluster, table: Table) -> None:
    names = [sql.main_table(table.id), *(sql.index_table(index) for index in table.indexes)]

    def close_guard(shard: DynamoDBShard) -> None:
        # No write knows this version; this waits for those about to commit. The row stays,
        # so that nobody who wakes up late can open the guard again.
        shard.run(
            (_INSERT_GUARD, (CLOSED, table.id)),
            ("DELETE FROM mynamo_backfill WHERE table_id = %s", (table.id,)),
            delete_intents_of(table.id),
        )

    def drop(shard: DynamoDBShard) -> None:
        shard.run(*((f"DROP TABLE IF EXISTS {name}", ()) for name in names))

    on_every_shard(cluster, close_guard)
    on_every_shard(cluster, drop)
    cluster.catalog.forget_table(table.id)


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
