"""What UpdateTable changes besides indexes: billing, capacity, protection, class, stream."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mynamo.gateway.errors import invalid
from mynamo.gateway.key_schemas import wrong
from mynamo.gateway.new_tables import encryption, new_stream, warm_index
from mynamo.gateway.throughput import (
    changed_capacity,
    index_capacity,
    on_demand,
    table_capacity,
    warm_of,
    warmed,
)
from mynamo.schemas.settings import Capacity, IndexSettings, Stream, TableSettings

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
    if "StreamSpecification" in request:
        changed = changed.with_(stream=_stream(changed.stream, request["StreamSpecification"]))
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


def _stream(current: Stream, specification: Request) -> Stream:
    wanted = new_stream(specification)
    if wanted.enabled and current.enabled:
        raise invalid("Table already has an enabled stream")
    if not wanted.enabled and not current.enabled:
        raise invalid("Table has no stream to disable")
    # The label of a stream that is over stays: its ARN is the table's latest one.
    return wanted if wanted.enabled else Stream(label=current.label)
