"""UpdateTable: settings, and the GSIs that come, change or go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mynamo.gateway.descriptions import describe
from mynamo.gateway.errors import invalid
from mynamo.gateway.existing import changeable_table
from mynamo.gateway.index_updates import (
    IndexUpdates,
    check_possible,
    created_index,
    index_updates_of,
)
from mynamo.gateway.new_tables import index_settings, refuse_unsupported, warm_index
from mynamo.gateway.setting_updates import changed_settings
from mynamo.schemas.settings import TableSettings
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.shards import definitions
from mynamo.shards.tables import Table

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service

_CHANGES = (
    "ProvisionedThroughput",
    "BillingMode",
    "StreamSpecification",
    "GlobalSecondaryIndexUpdates",
    "SSESpecification",
    "TableClass",
    "DeletionProtectionEnabled",
    "OnDemandThroughput",
    "WarmThroughput",
)
_NOTHING = (
    "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, "
    "GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required"
)

Request = Mapping[str, Any]


def update_table(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """UpdateTable.

    Everything is checked before anything is changed. The index comes first, because what can
    still fail is a shard; the settings are checked again under the lock of the table's row.
    The answer says UPDATING, as DynamoDB's does.
    """
    refuse_unsupported(request)
    if not any(request.get(name) not in (None, []) for name in _CHANGES):
        raise invalid(_NOTHING)
    updates = index_updates_of(request.get("GlobalSecondaryIndexUpdates", ()))
    table = changeable_table(service, request["TableName"])
    check_possible(table, updates)
    since = table.created_at.timestamp()
    change = partial(_changed, request, _kept(table, updates), updates, since)
    settings = change(table.settings)
    schema = _created(request, table, updates)
    described = _change_index(service, table, updates, schema, settings)
    if settings != table.settings:
        changed = service.cluster.catalog.change_settings(table.id, change)
        described = replace(described, settings=_while_updating(table.settings, changed))
    definitions.finish(service.cluster, table.id)
    only_warm = {name for name in _CHANGES if name in request} == {"WarmThroughput"}
    description = describe(service, described, "ACTIVE" if only_warm else "UPDATING")
    if "WarmThroughput" in request:
        description["WarmThroughput"]["Status"] = "UPDATING"
    return {"TableDescription": description}


def _changed(
    request: Request,
    indexes: list[str],
    updates: IndexUpdates,
    since: float,
    settings: TableSettings,
) -> TableSettings:
    return changed_settings(request, settings, indexes, updates.updated, since)


def _while_updating(before: TableSettings, after: TableSettings) -> TableSettings:
    """The settings as the answer has them: the throughput is the old one until the table is
    ACTIVE, unless it is of another billing mode."""
    if before.billing_mode != after.billing_mode:
        return after
    indexes = {
        name: own.model_copy(
            update={"capacity": before.indexes[name].capacity, "warm": before.indexes[name].warm}
        )
        if name in before.indexes
        else own
        for name, own in after.indexes.items()
    }
    return after.with_(capacity=before.capacity, warm=before.warm, indexes=indexes)


def _kept(table: Table, updates: IndexUpdates) -> list[str]:
    gone = updates.deleted["IndexName"] if updates.deleted is not None else None
    return [index.name for index in table.global_indexes if index.name != gone]


def _created(request: Request, table: Table, updates: IndexUpdates) -> GlobalIndexSchema | None:
    if updates.created is None:
        return None
    schema = created_index(table, updates.created, request.get("AttributeDefinitions", ()))
    definitions.check_index_changes(table, added=[schema])
    return schema


def _change_index(
    service: Service,
    table: Table,
    updates: IndexUpdates,
    schema: GlobalIndexSchema | None,
    settings: TableSettings,
) -> Table:
    """Begin to create or delete an index; returns the table as it then is."""
    cluster = service.cluster
    if schema is not None and updates.created is not None:
        own = index_settings(settings.billing_mode, updates.created)
        own = warm_index(settings, own, updates.created)
        definitions.begin_index(cluster, table.name, schema, own)
        return cluster.snapshot.tables[table.id]
    if updates.deleted is not None:
        return definitions.begin_drop_index(cluster, table.name, updates.deleted["IndexName"])
    return table
