"""The operations of the differential test as requests."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.gateway.model_operations import BatchGet, BatchWrite, Get, Operation, Read, Write
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
            return operation.kind, _write(operation, Rendering(choices))
        case Get():
            return "GetItem", _get(operation, Rendering(choices))
        case BatchGet():
            return "BatchGetItem", _batch_get(operation, choices)
        case BatchWrite():
            return "BatchWriteItem", _batch_write(operation)
    name = "Query" if operation.conditions is not None else "Scan"
    return name, _read(operation, Rendering(choices))


def _write(write: Write, rendering: Rendering) -> Request:
    condition = rendering.condition(write.condition) if write.condition else None
    update = rendering.update(write.actions) if write.actions else None
    request: Request = {
        "TableName": write.table.name,
        "Item" if write.kind == "PutItem" else "Key": item_to_wire(write.item),
        "ReturnValues": write.returns,
        **rendering.parameters(ConditionExpression=condition, UpdateExpression=update),
    }
    if write.show_old:
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return request


def _get(get: Get, rendering: Rendering) -> Request:
    return {
        "TableName": get.table.name,
        "Key": item_to_wire(get.key),
        "ConsistentRead": get.consistent,
        **rendering.parameters(ProjectionExpression=rendering.projection(get.paths)),
    }


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
    key_condition = None
    if read.conditions is not None:
        request["ScanIndexForward"] = read.forward
        key_condition = rendering.key_condition(read.conditions)
    return request | rendering.parameters(
        KeyConditionExpression=key_condition,
        FilterExpression=rendering.condition(read.filter) if read.filter else None,
        ProjectionExpression=rendering.projection(read.paths),
    )
