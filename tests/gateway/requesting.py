"""The operations of the differential test as requests."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.gateway.legacy_requests import (
    attribute_updates,
    attributes_to_get,
    key_conditions,
)
from tests.gateway.model_operations import (
    BatchGet,
    BatchWrite,
    Get,
    Operation,
    Read,
    Transact,
    TransactGet,
    Write,
)
from tests.gateway.model_values import item_to_wire
from tests.gateway.rendering import Rendering

Request = dict[str, Any]


def request_of(operation: Operation, choices: Random) -> tuple[str, Request]:
    """An operation's name and request.

    Args:
        choices: of what must not matter, such as which names get placeholders.
    """
    match operation:
        case Write():
            if operation.old_style:
                return operation.kind, _old_write(operation, choices)
            return operation.kind, _write(operation, Rendering(choices))
        case Get():
            return "GetItem", _get(operation, Rendering(choices))
        case BatchGet():
            return "BatchGetItem", _batch_get(operation, choices)
        case BatchWrite():
            return "BatchWriteItem", _batch_write(operation)
        case Transact():
            return "TransactWriteItems", _transact(operation, choices)
        case TransactGet():
            return "TransactGetItems", _transact_get(operation, choices)
    name = "Query" if operation.conditions is not None else "Scan"
    return name, _read(operation, Rendering(choices))


def _write(write: Write, rendering: Rendering) -> Request:
    condition = rendering.condition(write.condition) if write.condition else None
    update = rendering.update(write.actions) if write.actions else None
    parameters = rendering.parameters(ConditionExpression=condition, UpdateExpression=update)
    return _of_write(write) | parameters


def _old_write(write: Write, choices: Random) -> Request:
    request = _of_write(write)
    if write.actions:
        request["AttributeUpdates"] = attribute_updates(write.actions)
    if write.expected:
        request |= {"Expected": write.expected.expected(choices)} | write.expected.operator()
    return request


def _of_write(write: Write) -> Request:
    request: Request = {
        "TableName": write.table.name,
        "Item" if write.kind == "PutItem" else "Key": item_to_wire(write.item),
        "ReturnValues": write.returns,
    }
    if write.show_old:
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return request


def _get(get: Get, rendering: Rendering) -> Request:
    request: Request = {
        "TableName": get.table.name,
        "Key": item_to_wire(get.key),
        "ConsistentRead": get.consistent,
    }
    if get.old_style:
        return request | attributes_to_get(get.paths)
    return request | rendering.parameters(ProjectionExpression=rendering.projection(get.paths))


def _batch_get(batch: BatchGet, choices: Random) -> Request:
    wanted = {}
    for table, keys, paths in batch.wanted:
        rendering = Rendering(choices)
        wanted[table.name] = {
            "Keys": [item_to_wire(key) for key in keys],
            "ConsistentRead": True,
            **rendering.parameters(ProjectionExpression=rendering.projection(paths)),
        }
    return {"RequestItems": wanted}


def _batch_write(batch: BatchWrite) -> Request:
    items: dict[str, list[Request]] = {}
    for table, kind, item in batch.writes:
        inside = {"Item" if kind == "Put" else "Key": item_to_wire(item)}
        items.setdefault(table.name, []).append({f"{kind}Request": inside})
    return {"RequestItems": items}


_ENTRIES = {"PutItem": "Put", "UpdateItem": "Update", "DeleteItem": "Delete"}


def _transact(transaction: Transact, choices: Random) -> Request:
    entries = []
    for write in transaction.writes:
        inside = _write(write, Rendering(choices))
        del inside["ReturnValues"]
        entries.append({_ENTRIES.get(write.kind, write.kind): inside})
    return {"TransactItems": entries, "ClientRequestToken": f"{choices.getrandbits(128):032x}"}


def _transact_get(transaction: TransactGet, choices: Random) -> Request:
    entries = []
    for get in transaction.gets:
        inside = _get(get, Rendering(choices))
        del inside["ConsistentRead"]
        entries.append({"Get": inside})
    return {"TransactItems": entries}


def _read(read: Read, rendering: Rendering) -> Request:
    request: Request = {"TableName": read.table.name}
    if read.index:
        request["IndexName"] = read.index.name
    if read.limit:
        request["Limit"] = read.limit
    if read.select:
        request["Select"] = read.select
    if read.consistent:
        request["ConsistentRead"] = True
    if read.conditions is not None:
        request["ScanIndexForward"] = read.forward
    if read.start is not None:
        request["ExclusiveStartKey"] = item_to_wire(read.start)
    if read.old_style:
        return request | _old_read(read)
    key_condition = rendering.key_condition(read.conditions) if read.conditions else None
    return request | rendering.parameters(
        KeyConditionExpression=key_condition,
        FilterExpression=rendering.condition(read.filter) if read.filter else None,
        ProjectionExpression=rendering.projection(read.paths),
    )


def _old_read(read: Read) -> Request:
    request = attributes_to_get(read.paths)
    if read.conditions is not None:
        request["KeyConditions"] = key_conditions(read.conditions)
    if read.old_filter:
        name = "ScanFilter" if read.conditions is None else "QueryFilter"
        request |= {name: read.old_filter.conditions()} | read.old_filter.operator()
    return request
