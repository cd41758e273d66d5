"""UpdateTable: settings, and the GSIs that are created, changed and deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mynamo.catalog import definitions, enabling, table_streams
from mynamo.catalog.tables import Table
from mynamo.gateway.context import Call, Context
from mynamo.gateway.operations.key_schemas import definitions_of, types_in, wrong
from mynamo.gateway.operations.table_descriptions import changeable_table, describe, in_use
from mynamo.gateway.operations.table_operations import (
    encryption,
    index_settings,
    new_global_index,
    refuse_unsupported,
    stream_view,
    warm_index,
)
from mynamo.gateway.operations.throughput import (
    changed_capacity,
    index_capacity,
    on_demand,
    table_capacity,
    warm_of,
    warmed,
)
from mynamo.gateway.service_errors import NOT_FOUND, ServiceError, invalid
from mynamo.schemas.table import MAX_GLOBAL_INDEXES, GlobalIndexSchema
from mynamo.schemas.table_settings import Capacity, IndexSettings, TableSettings

Request = Mapping[str, Any]


def changed_settings(
    request: Request,
    settings: TableSettings,
    indexes: Sequence[str],
    updated: Sequence[Request],
    since: float,
) -> TableSettings:
    """The settings after an update.

    Args:
        settings: before it.
        since: when the table was made, in seconds since 1970.
        indexes: names of the GSIs that the table has and keeps.
        updated: the index updates of the kind Update.

    Raises:
        ServiceError: nothing would change, or what would be is not allowed.
    """
    changed = _with_billing(request, settings, since)
    changed = _with_indexes(changed, settings.billing_mode, indexes, updated)
    now = warm_of(changed, changed)
    warm = warmed(request.get("WarmThroughput"), changed.warm, now, "table")
    changed = changed.with_(warm=warm)
    if "DeletionProtectionEnabled" in request:
        changed = changed.with_(deletion_protection=request["DeletionProtectionEnabled"])
    if request.get("TableClass", changed.table_class) != changed.table_class:
        changed = changed.with_(table_class=request["TableClass"], table_class_at=time.time())
    if "SSESpecification" in request:
        changed = changed.with_(sse=encryption(request["SSESpecification"]))
    return changed


def _with_billing(request: Request, settings: TableSettings, since: float) -> TableSettings:
    mode = request.get("BillingMode", settings.billing_mode)
    switched = mode != settings.billing_mode
    given, capacity = request.get("ProvisionedThroughput"), settings.capacity
    if switched or mode == "PAY_PER_REQUEST":
        capacity = table_capacity(mode, given)
    elif given is not None:
        capacity = changed_capacity(capacity, given, "table")
    at = settings.billing_mode_at
    if switched:  # a table that was made on demand has been so since then
        at = time.time() if mode == "PAY_PER_REQUEST" else at or since
    return settings.with_(
        billing_mode=mode,
        billing_mode_at=at,
        capacity=capacity,
        on_demand=on_demand(mode, request.get("OnDemandThroughput"), settings.on_demand),
    )


def _with_indexes(
    settings: TableSettings,
    mode_before: str,
    indexes: Sequence[str],
    updated: Sequence[Request],
) -> TableSettings:
    mode, actions = settings.billing_mode, {action["IndexName"]: action for action in updated}
    if mode != mode_before:
        _check_switched(mode, indexes, actions)
        for name in indexes:  # on demand nothing is provisioned; else every index says how much
            settings = settings.with_index(name, _with_capacity(settings, name, Capacity()))
    for name, action in actions.items():
        settings = settings.with_index(name, _updated(settings, name, action))
    return settings


def _check_switched(mode: str, indexes: Sequence[str], actions: Mapping[str, Request]) -> None:
    if mode == "PAY_PER_REQUEST":
        return
    silent = [n for n in indexes if "ProvisionedThroughput" not in actions.get(n, {})]
    if silent:
        raise wrong(f"ProvisionedThroughput must be specified for index: {','.join(silent)}")


def _updated(settings: TableSettings, name: str, action: Request) -> IndexSettings:
    mode, current = settings.billing_mode, settings.of_index(name)
    given = action.get("ProvisionedThroughput")
    if len(action) == 1:
        raise wrong(
            "One of ProvisionedThroughput, OnDemandThroughput and WarmThroughput must be "
            f"specified for index: {name}"
        )
    if given is None:
        capacity = current.capacity
    elif mode == "PAY_PER_REQUEST" or current.capacity.read == 0:  # none so far
        capacity = index_capacity(mode, given, name)
    else:
        capacity = changed_capacity(current.capacity, given, f"index {name}")
    demand = on_demand(mode, action.get("OnDemandThroughput"), current.on_demand)
    own = IndexSettings(capacity=capacity, on_demand=demand, warm=current.warm)
    return warm_index(settings, own, action)


def _with_capacity(settings: TableSettings, name: str, capacity: Capacity) -> IndexSettings:
    return settings.of_index(name).model_copy(update={"capacity": capacity})


def _stream_change(context: Context, table: Table, request: Request) -> Callable[[], object] | None:
    """What begins to enable or disable the table's stream; None: nothing of the kind is asked for.

    Raises:
        ServiceError: it is enabled or disabled already.
        InvalidRequest: this cluster does not allow streams yet.
    """
    specification = request.get("StreamSpecification")
    if specification is None:
        return None
    view = stream_view(specification)
    if view is None:
        if table.stream is None:
            raise invalid("Table has no stream to disable")
        return partial(table_streams.begin_disabling, context.cluster, table.name)
    if table.stream is not None:
        raise invalid("Table already has an enabled stream")
    enabling.check_enabled(context.cluster, enabling.STREAMS)
    return partial(table_streams.begin_enabling, context.cluster, table.name, view)


Action = Mapping[str, Any]

_KINDS = ("Update", "Create", "Delete")
_ONE_AT_A_TIME = (
    "Subscriber limit exceeded: Only 1 online index can be created or deleted "
    "simultaneously per table"
)


@dataclass(frozen=True, slots=True)
class IndexUpdates:
    """The updates of one request, by what they do. At most one of them creates or deletes."""

    created: Action | None
    deleted: Action | None
    updated: tuple[Action, ...]


def index_updates_of(given: Sequence[Mapping[str, Action]]) -> IndexUpdates:
    """Sort a request's updates.

    Raises:
        ServiceError: one is none or two of the three; two are about one index; or more than
            one creates or deletes.
    """
    actions: list[tuple[str, Action]] = []
    for each in given:
        kinds = [kind for kind in _KINDS if kind in each]
        if not kinds:
            names = ", ".join(f"GlobalSecondaryIndexUpdate.{kind}" for kind in _KINDS)
            raise wrong(f"One of {names} must not be null")
        if len(kinds) > 1:
            raise wrong("Only one of Update, Create and Delete is allowed in one index update")
        actions.append((kinds[0], each[kinds[0]]))
    _check_names([action["IndexName"] for _, action in actions])
    created = [action for kind, action in actions if kind == "Create"]
    deleted = [action for kind, action in actions if kind == "Delete"]
    if len(created) + len(deleted) > 1:
        raise _too_many()
    return IndexUpdates(
        created=created[0] if created else None,
        deleted=deleted[0] if deleted else None,
        updated=tuple(action for kind, action in actions if kind == "Update"),
    )


def _check_names(names: list[str]) -> None:
    seen: set[str] = set()  # a request may have a great many of them
    for name in names:
        if name in seen:
            raise wrong(
                "Only one global secondary index update per index is allowed simultaneously. "
                f"Index: {name}"
            )
        seen.add(name)


def check_possible(table: Table, updates: IndexUpdates) -> None:
    """Check updates against the indexes that the table has.

    Raises:
        ServiceError: an index is missing, is there already, or is not to be disturbed now.
    """
    known = {index.name: index for index in table.indexes if index.kind == "GSI"}
    for action in updates.updated:
        index = known.get(action["IndexName"])
        if index is None:
            raise invalid(f"The table does not have the specified index: {action['IndexName']}")
        if index.status == "DELETING":
            raise in_use(f"Index is being deleted: {index.name}")
    if updates.created is not None:
        _check_creation(table, updates.created["IndexName"])
    if updates.deleted is not None:
        index = known.get(updates.deleted["IndexName"])
        if index is None:
            raise ServiceError("ResourceNotFoundException", NOT_FOUND)
        if index.status == "DELETING":
            raise in_use(f"Index is being deleted: {index.name}")
        _check_alone(table, but=index.name)


def _check_creation(table: Table, name: str) -> None:
    if any(index.name == name for index in table.indexes):
        raise invalid("Attempting to create an index which already exists")
    _check_alone(table, but=name)
    if len(table.global_indexes) >= MAX_GLOBAL_INDEXES:
        raise wrong(
            f"GlobalSecondaryIndex count exceeds the per-table limit of {MAX_GLOBAL_INDEXES}"
        )


def _check_alone(table: Table, but: str) -> None:
    """DynamoDB creates and deletes one index at a time; a half-made one may be deleted."""
    there = (index for index in table.indexes if index.kind != "TTL")
    if any(index.status != "ACTIVE" and index.name != but for index in there):
        raise _too_many()


def _too_many() -> ServiceError:
    return ServiceError("LimitExceededException", _ONE_AT_A_TIME)


def created_index(
    table: Table, index: Action, given: Sequence[Mapping[str, str]]
) -> GlobalIndexSchema:
    """The definition of the index to be created.

    Args:
        given: the request's AttributeDefinitions; those of the index's keys must be there, also
            where the table has them, and cannot be changed.

    Raises:
        ServiceError: it breaks a rule, or contradicts the table's definitions.
    """
    types, known = definitions_of(given), types_in(table)
    for name, kind in known.items():
        if types.get(name, kind) != kind:
            raise wrong(f"The type of an attribute that is part of a key cannot change: {name}")
    return new_global_index(index, types)


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


def update_table(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """UpdateTable.

    Everything is checked before anything is changed. The index comes first, because what can
    still fail is a shard; the settings are checked again under the lock of the table's row.
    The answer says UPDATING, as DynamoDB's does.
    """
    refuse_unsupported(request)
    if not any(request.get(name) not in (None, []) for name in _CHANGES):
        raise invalid(_NOTHING)
    updates = index_updates_of(request.get("GlobalSecondaryIndexUpdates", ()))
    table = changeable_table(context, request["TableName"])
    check_possible(table, updates)
    since = table.created_at.timestamp()
    change = partial(_changed, request, _kept(table, updates), updates, since)
    settings = change(table.settings)
    change_stream = _stream_change(context, table, request)
    schema = _created(request, table, updates)
    described = _change_index(context, table, updates, schema, settings)
    if settings != table.settings:
        changed = context.cluster.catalog.change_settings(table.id, change)
        described = replace(described, settings=_while_updating(table.settings, changed))
    if change_stream is not None:
        change_stream()
        now = context.cluster.snapshot.tables.get(table.id, described)
        described = replace(described, latest_stream=now.latest_stream)
    definitions.finish(context.cluster, table.id)
    only_warm = {name for name in _CHANGES if name in request} == {"WarmThroughput"}
    description = describe(context, described, "ACTIVE" if only_warm else "UPDATING")
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
    context: Context,
    table: Table,
    updates: IndexUpdates,
    schema: GlobalIndexSchema | None,
    settings: TableSettings,
) -> Table:
    """Begin to create or delete an index; returns the table as it then is."""
    cluster = context.cluster
    if schema is not None and updates.created is not None:
        own = index_settings(settings.billing_mode, updates.created)
        own = warm_index(settings, own, updates.created)
        definitions.begin_index(cluster, table.name, schema, own)
        return cluster.snapshot.tables[table.id]
    if updates.deleted is not None:
        return definitions.begin_drop_index(cluster, table.name, updates.deleted["IndexName"])
    return table
