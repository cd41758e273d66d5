"""Time to live of tables: a definition, kept as an index of the kind TTL.

From the write on that knows it the expiries are kept up, as an LSI is; `mynamo.writer.expirer`
looks there for what is due, and deletes it once the index is ACTIVE.
"""

from __future__ import annotations

from mynamo.catalog import definitions, enabling
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.roll_forward import roll_forward
from mynamo.catalog.tables import Index, Table
from mynamo.errors import InvalidRequest
from mynamo.schemas.table import TimeToLiveSchema, parse

STATUSES = {"CREATING": "ENABLING", "ACTIVE": "ENABLED", "DELETING": "DISABLING"}
"""DynamoDB's words for the statuses of the index of the expiries."""


def enable(cluster: Cluster, table_name: str, attribute: str) -> Index:
    """Have a table's items deleted once they have expired.

    Args:
        attribute: see `TimeToLiveSchema`.

    Returns:
        The index of the expiries; items are deleted once it is ACTIVE.

    Raises:
        See `begin_enabling`.
        ShardUnavailable: a shard does not answer. Either nothing was changed, or a writer worker
            finishes it later.
    """
    index = begin_enabling(cluster, table_name, attribute)
    roll_forward(cluster, index.table_id)
    return index


def disable(cluster: Cluster, table_name: str) -> None:
    """Have a table's items stay, whatever their time is.

    Raises:
        See `begin_disabling`.
        ShardUnavailable: a shard does not answer; a writer worker finishes it later.
    """
    roll_forward(cluster, begin_disabling(cluster, table_name).id)


def begin_enabling(cluster: Cluster, table_name: str, attribute: str) -> Index:
    """Record that a table's items expire; `definitions.finish` has writes keep that up.

    Args:
        attribute: that says when.

    Returns:
        The index of the expiries; items are deleted once it is ACTIVE.

    Raises:
        TableNotFound, InvalidSchema: nothing was changed.
        InvalidRequest: likewise; see `definitions.check_time_to_live`, or this cluster does not
            allow it yet.
        ShardUnavailable: a shard does not answer, or the configuration lacks one, and nothing was
            changed.
    """
    schema = parse(TimeToLiveSchema, {"attribute": attribute})
    enabling.check_enabled(cluster, enabling.EXPIRY)
    return definitions.begin_index(cluster, table_name, schema)


def begin_disabling(cluster: Cluster, table_name: str, attribute: str | None = None) -> Table:
    """Record that a table's items do not expire any more.

    Args:
        attribute: the one that says when they expire; None: whichever that is.

    Raises:
        TableNotFound: there is none of that name.
        InvalidRequest: it has no time to live, or by another attribute.
        ShardNotConfigured: the configuration lacks a shard; nothing was changed.
    """
    cluster.refresh()
    cluster.check_complete()
    table = cluster.table(table_name)
    index = table.time_to_live
    if index is None:
        raise InvalidRequest("TimeToLive is already disabled")
    if attribute not in (None, index.expiry):
        raise definitions.other_attribute(index)
    return definitions.begin_dropping(cluster, table, index)
