"""One conditional write: from a checked request to its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mynamo.expressions import Condition
from mynamo.gateway.capacity import Consumed, asks_for_capacity, charge_write, reported
from mynamo.gateway.consistency import answer_tokens, count_writes
from mynamo.gateway.errors import ServiceError
from mynamo.gateway.scalar_keys import check_scalar_keys
from mynamo.schemas.values import StoredItem
from mynamo.shards.tables import Table
from mynamo.writer import Refused, WriteRequest, apply, prepare, returned

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service

_COLLECTION_GB = [0.0, 1.0]
"""Item collections have no limit here, so nothing watches how they grow towards one."""


def write(
    service: Service,
    call: Call,
    request: Mapping[str, Any],
    table: Table,
    write_request: WriteRequest,
) -> dict[str, Any]:
    """Apply a write to a table and answer its request.

    Raises:
        ConditionFailed, InvalidItem: nothing was written.
        MynamoError: see `apply`.
    """
    _check_paths(table, write_request)
    ((shard_id, outcome),) = apply(service.cluster, [write_request])
    if isinstance(outcome, Refused):
        raise outcome.error
    count_writes(service, [(table, shard_id, outcome)])
    answer_tokens(service.cluster, call, [(shard_id, outcome)])
    answer: dict[str, Any] = {}
    attributes = returned(request.get("ReturnValues") or "NONE", write_request, outcome)
    if attributes is not None:
        answer["Attributes"] = attributes
    if asks_for_capacity(request):
        consumed = Consumed()
        charge_write(consumed, table, outcome.old, outcome.new)
        answer |= reported(request, consumed)
    metrics = collection_metrics(request, table, [write_request.item])
    if metrics:
        (answer["ItemCollectionMetrics"],) = metrics
    return answer


def _check_paths(table: Table, write_request: WriteRequest) -> None:
    """Refuse paths into keys, unless there is something of which DynamoDB speaks first."""
    try:
        condition = write_request.condition
        expression = condition if isinstance(condition, Condition) else None
        check_scalar_keys(table, write_request.update, expression)
    except ServiceError:
        prepare(write_request, table)
        raise


def collection_metrics(
    request: Mapping[str, Any], table: Table, items: Iterable[StoredItem]
) -> list[dict[str, Any]]:
    """ItemCollectionMetrics of the collections that items were written to.

    Only tables with LSIs have item collections, in DynamoDB's sense.
    """
    if request.get("ReturnItemCollectionMetrics") != "SIZE" or not table.local_indexes:
        return []
    name = table.hash_key.name
    collections: list[dict[str, Any]] = []
    for item in items:
        key = {name: item[name]}
        if all(key != other["ItemCollectionKey"] for other in collections):
            collections.append({"ItemCollectionKey": key, "SizeEstimateRangeGB": _COLLECTION_GB})
    return collections
