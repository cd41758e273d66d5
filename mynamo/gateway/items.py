"""PutItem, GetItem, UpdateItem and DeleteItem.

Each function's checks stand in DynamoDB's order: what can be said of the request alone,
then whether there is such a table. Whether key and paths are that table's is for `write`
and the reader to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orjson import Fragment

from mynamo.expressions.legacy import check_not_mixed
from mynamo.gateway.capacity import Consumed, asks_for_capacity, read_units, reported
from mynamo.gateway.errors import invalid
from mynamo.gateway.request_expressions import Expressions
from mynamo.gateway.scalar_keys import check_scalar_keys
from mynamo.gateway.writes import write
from mynamo.reader import Get
from mynamo.schemas.items import check_size, normalise
from mynamo.schemas.sizes import SURELY_FITS
from mynamo.writer import WriteRequest

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service


def put_item(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """PutItem."""
    check_not_mixed("PutItem", request)
    item = normalise(request["Item"])
    _check_return_values(request)
    if call.size > SURELY_FITS:  # whoever writes it checks it too, but later
        check_size(item)
    expressions = Expressions.of("PutItem", request)
    table = service.cluster.table(request["TableName"])
    put = WriteRequest(table.name, "PUT", item, condition=expressions.condition)
    return write(service, call, request, table, put)


def delete_item(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DeleteItem."""
    check_not_mixed("DeleteItem", request)
    key = normalise(request["Key"])
    _check_return_values(request)
    expressions = Expressions.of("DeleteItem", request)
    table = service.cluster.table(request["TableName"])
    delete = WriteRequest(table.name, "DELETE", key, condition=expressions.condition)
    return write(service, call, request, table, delete)


def update_item(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """UpdateItem."""
    check_not_mixed("UpdateItem", request)
    key = normalise(request["Key"])
    expressions = Expressions.of("UpdateItem", request)
    table = service.cluster.table(request["TableName"])
    update = WriteRequest(
        table.name, "UPDATE", key, update=expressions.update, condition=expressions.condition
    )
    return write(service, call, request, table, update)


def get_item(service: Service, request: dict[str, Any], _: Call) -> dict[str, Any]:
    """GetItem."""
    check_not_mixed("GetItem", request)
    key = normalise(request["Key"])
    projection = Expressions.of("GetItem", request).projection
    table = service.cluster.table(request["TableName"])
    check_scalar_keys(table, projection)
    (found,) = service.reader.get_each([Get(table.name, key, projection)])
    answer: dict[str, Any] = {}
    if found.raw is not None:
        answer["Item"] = Fragment(found.raw)
    elif found.item is not None:
        answer["Item"] = found.item
    if asks_for_capacity(request):
        consumed = Consumed(read_units(found.size, bool(request.get("ConsistentRead"))))
        answer |= reported(request, consumed)
    return answer


def _check_return_values(request: Mapping[str, Any]) -> None:
    """Puts and deletes have no use for the kinds that are about what an update changes."""
    if request.get("ReturnValues") not in (None, "NONE", "ALL_OLD"):
        raise invalid("ReturnValues can only be ALL_OLD or NONE")
