"""PutItem, GetItem, UpdateItem and DeleteItem.

Each function's checks stand in DynamoDB's order: what can be said of the request alone,
then whether there is such a table. Whether key and paths are that table's is for `write`
and the reader to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orjson import Fragment

from mynamo.catalog.tables import Table
from mynamo.errors import ConditionFailed
from mynamo.expressions import Condition
from mynamo.gateway.context import Call, Context
from mynamo.gateway.operations.capacity import (
    ASKING,
    Consumed,
    charge_write,
    least_write_units,
    read_units,
    reported,
)
from mynamo.gateway.operations.consistency import answer_tokens, count_writes
from mynamo.gateway.operations.request_expressions import (
    Expressions,
    check_not_mixed,
    check_scalar_keys,
)
from mynamo.gateway.service_errors import ServiceError, invalid
from mynamo.reader import Get
from mynamo.schemas.items import SURELY_FITS, check_size, normalise
from mynamo.schemas.values import StoredItem
from mynamo.writer import Refused, WriteRequest, apply, check_request, returned

_OLD_VALUES = ("NONE", "ALL_OLD")
"""What puts and deletes can return: the other kinds are about what an update changes."""
_COLLECTION_GB = [0.0, 1.0]
"""Item collections have no limit here, so nothing watches how they grow towards one."""


def write(
    context: Context,
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
    use = context.capacity_use(table, "write")
    if use is not None:
        check_request(write_request, table)  # what can never succeed is not tried again
        use.admit(least_write_units(write_request))
    ((shard_id, outcome),) = apply(context.cluster, [write_request])
    if isinstance(outcome, Refused):
        if use is not None and isinstance(outcome.error, ConditionFailed):
            found = outcome.error.item
            use.settle(_consumed(table, found, found).by_bucket())
        raise outcome.error
    count_writes(context, [(table, shard_id, outcome)])
    answer_tokens(context.cluster, call, [(shard_id, outcome)])
    answer: dict[str, Any] = {}
    kind = request.get("ReturnValues", "NONE")
    if kind != "NONE":
        attributes = returned(kind, write_request, outcome)
        if attributes is not None:
            answer["Attributes"] = attributes
    if use is not None or request.get("ReturnConsumedCapacity") in ASKING:
        consumed = _consumed(table, outcome.old, outcome.new)
        answer |= reported(request, consumed)
        if use is not None:
            use.settle(consumed.by_bucket())
    if request.get("ReturnItemCollectionMetrics") == "SIZE":
        for metrics in collection_metrics(table, [write_request.item]):
            answer["ItemCollectionMetrics"] = metrics
    return answer


def _consumed(table: Table, old: StoredItem | None, new: StoredItem | None) -> Consumed:
    """What a write has consumed; one whose condition fails is charged for what it finds."""
    consumed = Consumed()
    charge_write(consumed, table, old, new)
    return consumed


def _check_paths(table: Table, write_request: WriteRequest) -> None:
    """Refuse paths into keys, unless there is something of which DynamoDB speaks first."""
    try:
        condition = write_request.condition
        expression = condition if isinstance(condition, Condition) else None
        check_scalar_keys(table, write_request.update, expression)
    except ServiceError:
        check_request(write_request, table)
        raise


def collection_metrics(table: Table, items: Iterable[StoredItem]) -> list[dict[str, Any]]:
    """ItemCollectionMetrics of the collections that items were written to.

    Only tables with LSIs have item collections, in DynamoDB's sense.
    """
    if not table.local_indexes:
        return []
    name = table.hash_key.name
    collections: list[dict[str, Any]] = []
    for item in items:
        key = {name: item[name]}
        if all(key != other["ItemCollectionKey"] for other in collections):
            collections.append({"ItemCollectionKey": key, "SizeEstimateRangeGB": _COLLECTION_GB})
    return collections


def put_item(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """PutItem."""
    check_not_mixed("PutItem", request)
    item = normalise(request["Item"])
    if request.get("ReturnValues", "NONE") not in _OLD_VALUES:
        raise invalid("ReturnValues can only be ALL_OLD or NONE")
    if call.size > SURELY_FITS:  # whoever writes it checks it too, but later
        check_size(item)
    expressions = Expressions.of("PutItem", request)
    table = context.cluster.table(request["TableName"])
    put = WriteRequest(table.name, "PUT", item, condition=expressions.condition)
    return write(context, call, request, table, put)


def delete_item(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DeleteItem."""
    check_not_mixed("DeleteItem", request)
    key = normalise(request["Key"])
    if request.get("ReturnValues", "NONE") not in _OLD_VALUES:
        raise invalid("ReturnValues can only be ALL_OLD or NONE")
    expressions = Expressions.of("DeleteItem", request)
    table = context.cluster.table(request["TableName"])
    delete = WriteRequest(table.name, "DELETE", key, condition=expressions.condition)
    return write(context, call, request, table, delete)


def update_item(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """UpdateItem."""
    check_not_mixed("UpdateItem", request)
    key = normalise(request["Key"])
    expressions = Expressions.of("UpdateItem", request)
    table = context.cluster.table(request["TableName"])
    update = WriteRequest(
        table.name, "UPDATE", key, update=expressions.update, condition=expressions.condition
    )
    return write(context, call, request, table, update)


def get_item(context: Context, request: dict[str, Any], _: Call) -> dict[str, Any]:
    """GetItem."""
    check_not_mixed("GetItem", request)
    key = normalise(request["Key"])
    projection = Expressions.of("GetItem", request).projection
    table = context.cluster.table(request["TableName"])
    check_scalar_keys(table, projection)
    consistent = bool(request.get("ConsistentRead"))
    use = context.capacity_use(table, "read")
    if use is not None:
        use.admit(read_units(0, consistent))
    (found,) = context.reader.get_each([Get(table.name, key, projection)])
    answer: dict[str, Any] = {}
    if found.raw is not None:
        answer["Item"] = Fragment(found.raw)
    elif found.item is not None:
        answer["Item"] = found.item
    if use is not None or request.get("ReturnConsumedCapacity") in ASKING:
        consumed = Consumed(read_units(found.size, consistent))
        answer |= reported(request, consumed)
        if use is not None:
            use.settle(consumed.by_bucket())
    return answer
