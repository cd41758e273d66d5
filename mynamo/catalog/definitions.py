"""Creating and dropping tables and indexes.

A change is first recorded in the catalog (`begin_...`), from when on it will be finished,
and then *rolled forward* on all shards; see `roll_forward`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mynamo.catalog import enabling, sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.roll_forward import roll_forward
from mynamo.catalog.snapshot import planned_index
from mynamo.catalog.tables import Index, Table
from mynamo.errors import (
    AlreadyExists,
    InvalidRequest,
    InvalidSchema,
    ShardUnavailable,
    TableNotFound,
)
from mynamo.schemas.table import (
    MAX_GLOBAL_INDEXES,
    MAX_LOCAL_INDEXES,
    GlobalIndexSchema,
    IndexSchema,
    LocalIndexSchema,
    TableSchema,
    TimeToLiveSchema,
)
from mynamo.schemas.table_settings import IndexSettings, StreamView, TableSettings


def create_table(
    cluster: Cluster,
    schema: TableSchema,
    settings: TableSettings | None = None,
    stream: StreamView | None = None,
) -> Table:
    """Create a table and its indexes.

    Args:
        settings: by default none is set.
        stream: the view type of its stream; None: it has none.

    Raises:
        AlreadyExists: there is a table of that name; perhaps it is still being deleted.
        ShardUnavailable: a shard does not answer; a writer worker finishes it later.
    """
    roll_forward(cluster, begin_table(cluster, schema, settings, stream).id)
    return cluster.table(schema.name)


def drop_table(cluster: Cluster, name: str) -> None:
    """Drop a table with all its items and indexes.

    Raises:
        TableNotFound: there is none of that name.
        TableProtected: its deletion protection is on.
        ShardUnavailable: a shard does not answer; a writer worker finishes it later.
    """
    roll_forward(cluster, begin_drop_table(cluster, name).id)


def add_index(
    cluster: Cluster,
    table_name: str,
    index: LocalIndexSchema | GlobalIndexSchema,
    settings: IndexSettings | None = None,
) -> Index:
    """Add an index; from the next write on it is kept up, and its backfill can begin.

    Returns:
        The index, whose status is CREATING until it contains every item.

    Raises:
        See `begin_index`.
        ShardUnavailable: a shard does not answer. Either nothing was changed, or a writer
            worker finishes it later: `mynamo table describe` shows whether it is there.
    """
    roll_forward(cluster, begin_index(cluster, table_name, index, settings).table_id)
    return cluster.table(table_name).index(index.name)


def drop_index(cluster: Cluster, table_name: str, index_name: str) -> None:
    """Drop an index.

    Raises:
        TableNotFound, IndexNotFound: there is none of that name.
        ShardUnavailable: a shard does not answer; a writer worker finishes it later.
    """
    roll_forward(cluster, begin_drop_index(cluster, table_name, index_name).id)


def begin_table(
    cluster: Cluster,
    schema: TableSchema,
    settings: TableSettings | None = None,
    stream: StreamView | None = None,
) -> Table:
    """Record a new table, which is CREATING until it is rolled forward.

    Args:
        settings, stream: see `create_table`.

    Raises:
        AlreadyExists: there is a table of that name; perhaps it is still being deleted.
        InvalidRequest: this cluster does not allow streams yet.
        ShardNotConfigured: the configuration lacks a shard; nothing was changed.
    """
    if stream is not None:
        enabling.check_enabled(cluster, enabling.STREAMS)
    cluster.check_complete()
    return _known(cluster, cluster.catalog.add_table(schema, settings, stream))


def begin_drop_table(cluster: Cluster, name: str) -> Table:
    """Record that a table is to be dropped; it is DELETING until that is rolled forward.

    Whether it is protected is decided by the catalog, not by what this process knows.

    Raises:
        TableNotFound: there is none of that name.
        TableProtected: its deletion protection is on.
        ShardNotConfigured: the configuration lacks a shard; nothing was changed.
    """
    table = cluster.refresh().names.get(name)
    cluster.check_complete()
    if table is None:
        raise TableNotFound(f"Requested resource not found: Table: {name} not found")
    cluster.catalog.retire_table(table.id)
    # Somebody else may have rolled it forward by now.
    return cluster.refresh().tables.get(table.id) or replace(table, status="DELETING")


def begin_index(
    cluster: Cluster,
    table_name: str,
    index: IndexSchema,
    settings: IndexSettings | None = None,
) -> Index:
    """Make an index's tables and record it; writes keep it up once that is rolled forward.

    Returns:
        The index, which is CREATING until it contains every item.

    Raises:
        TableNotFound, AlreadyExists, InvalidSchema: nothing was changed.
        InvalidRequest: likewise; see `check_time_to_live`.
        ShardUnavailable: a shard does not answer, or the configuration lacks one, and nothing was
            changed.
    """
    with cluster.catalog.lock():
        cluster.refresh()
        cluster.check_complete()
        table = cluster.table(table_name)
        if isinstance(index, TimeToLiveSchema):
            check_time_to_live(table, index.attribute)
        else:
            check_index_changes(table, added=[index])
        # 1. Its tables, everywhere: once any shard's writes know the index, an indexer may
        #    write to it on any other shard. If one does not answer, no writer has noticed.
        index_id = cluster.catalog.plan_index(table.id, index)
        planned = planned_index(table, index_id, index)
        for shard in cluster.shards.values():
            shard.run((sql.create_index(planned), ()))
        # 2. The definition: from here on it will be finished, whatever happens.
        cluster.catalog.add_index(table.id, index_id, index, settings)
    known = _known(cluster, table.id)
    return next((one for one in known.live_indexes if one.id == index_id), planned)


def begin_drop_index(cluster: Cluster, table_name: str, index_name: str) -> Table:
    """Record that an index is to be dropped; it is DELETING until that is rolled forward.

    Raises:
        TableNotFound, IndexNotFound: there is none of that name.
        ShardNotConfigured: the configuration lacks a shard; nothing was changed.
    """
    cluster.refresh()
    cluster.check_complete()
    table = cluster.table(table_name)
    index = table.index(index_name)
    return begin_dropping(cluster, table, index)


def begin_dropping(cluster: Cluster, table: Table, index: Index) -> Table:
    """Record that an index of a table is to be dropped; see `begin_drop_index`."""
    cluster.catalog.retire_index(table.id, index.id)
    return _known(cluster, table.id)


def finish(cluster: Cluster, table_id: int) -> bool:
    """Settle what was begun.

    Returns:
        Whether every shard answered; if not, a writer worker finishes it later.
    """
    try:
        roll_forward(cluster, table_id)
    except ShardUnavailable:
        return False
    return True


def check_index_changes(
    table: Table,
    added: Iterable[LocalIndexSchema | GlobalIndexSchema] = (),
    dropped: Iterable[str] = (),
) -> None:
    """Check changes of a table's indexes together, by the rules of a new table.

    An index that is dropped by the same changes still holds its name and its place.

    Raises:
        AlreadyExists, IndexNotFound: by name.
        InvalidSchema: the definition that would result breaks a rule.
    """
    for name in dropped:
        table.index(name)
    new = list(added)
    known = {index.name for index in table.indexes}
    for index in new:
        if index.name in known:
            raise AlreadyExists(f"table {table.name} has an index {index.name} already")
    local = [i for i in new if isinstance(i, LocalIndexSchema)]
    global_ = [i for i in new if isinstance(i, GlobalIndexSchema)]
    if len(table.local_indexes) + len(local) > MAX_LOCAL_INDEXES:
        raise InvalidSchema(f"a table may have {MAX_LOCAL_INDEXES} local secondary indexes")
    if len(table.global_indexes) + len(global_) > MAX_GLOBAL_INDEXES:
        raise InvalidSchema(f"a table may have {MAX_GLOBAL_INDEXES} global secondary indexes")
    schema = schema_of(table).model_dump()
    schema["local_indexes"] = (*schema["local_indexes"], *(i.model_dump() for i in local))
    schema["global_indexes"] = (*schema["global_indexes"], *(i.model_dump() for i in global_))
    TableSchema.parse(schema)


def check_time_to_live(table: Table, attribute: str) -> None:
    """Refuse to enable what is enabled.

    Raises:
        InvalidRequest: the table has time to live, or had it a moment ago, in DynamoDB's words.
    """
    index = table.time_to_live
    if index is not None and index.expiry == attribute:
        raise InvalidRequest("TimeToLive is already enabled")
    if index is not None:
        raise other_attribute(index)
    if any(each.kind == "TTL" for each in table.indexes):  # it is being deleted
        raise InvalidRequest(
            "Time to live has been modified multiple times within a fixed interval"
        )


def other_attribute(index: Index) -> InvalidRequest:
    """That a table's items expire by another attribute than the one that was named."""
    return InvalidRequest(
        "TimeToLive is active on a different AttributeName: current AttributeName is "
        f"{index.expiry}"
    )


def _known(cluster: Cluster, table_id: int) -> Table:
    """A table as it now is in the catalog.

    Raises:
        TableNotFound: somebody else has dropped it by now, and that is rolled forward.
    """
    table = cluster.refresh().tables.get(table_id)
    if table is None:
        raise TableNotFound("Requested resource not found: the table is gone")
    return table


def schema_of(table: Table) -> TableSchema:
    """The definition of a table as its user would write it, without what is being dropped."""
    return TableSchema(
        name=table.name,
        hash_key=table.hash_key,
        sort_key=table.sort_key,
        local_indexes=tuple(
            LocalIndexSchema(name=i.name, sort_key=i.sort_keys[0], projection=i.projection)
            for i in table.local_indexes
        ),
        global_indexes=tuple(
            GlobalIndexSchema(
                name=i.name, hash_key=i.hash_keys, sort_key=i.sort_keys, projection=i.projection
            )
            for i in table.global_indexes
        ),
    )
