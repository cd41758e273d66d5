"""Query and Scan.

The checks that need no table stand here, in DynamoDB's order; those of keys, start keys and
projections, which need one, are the reader's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orjson import Fragment

from mynamo.catalog.tables import Index, Table
from mynamo.errors import InvalidExpression, InvalidItem, TableNotFound
from mynamo.expressions import KeyCondition
from mynamo.expressions.key_conditions import key_conditions_in
from mynamo.gateway.context import Call, Context
from mynamo.gateway.operations.capacity import ASKING, Consumed, read_units, reported
from mynamo.gateway.operations.consistency import asked_tokens
from mynamo.gateway.operations.request_expressions import (
    Expressions,
    check_not_mixed,
    check_scalar_keys,
)
from mynamo.gateway.provisioned_throughput import CapacityUse
from mynamo.gateway.service_errors import invalid
from mynamo.reader import Query, Scan, StoredPage
from mynamo.reader.read_plans import ready_table
from mynamo.schemas.items import normalise
from mynamo.schemas.values import StoredItem

TOKEN_TIMEOUT = 5.0
"""Seconds that a reading waits for an index to apply the writes that its tokens name."""
_START = "The provided starting key is invalid"
_DETECTED = "1 validation error detected: "


def query(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """Query."""
    check_not_mixed("Query", request)
    expressions = Expressions.of("Query", request)
    key_conditions = _key_conditions(context, request, expressions)
    start = _start_key(request)
    # The service puts these into an envelope of Query, and not of Scan.
    _check_select(request, _DETECTED)
    table, index = _table_and_index(context, request, expressions)
    use = _admitted(context, request, table, index)
    _await_own_writes(context, index)
    page = context.reader.query(
        Query(
            **_reading(request, call, expressions, start, "QueryFilter", use),
            key_conditions=key_conditions,
            descending=request.get("ScanIndexForward") is False,
        )
    )
    call.plan = page.plan
    return _answer(request, index, page, use)


def scan(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """Scan."""
    check_not_mixed("Scan", request)
    expressions = Expressions.of("Scan", request)
    start = _start_key(request)
    _check_select(request, "")
    _check_segments(request)
    table, index = _table_and_index(context, request, expressions)
    use = _admitted(context, request, table, index)
    _await_own_writes(context, index)
    page = context.reader.scan(
        Scan(
            **_reading(request, call, expressions, start, "ScanFilter", use),
            segment=request.get("Segment"),
            total_segments=request.get("TotalSegments"),
        )
    )
    call.plan = page.plan
    return _answer(request, index, page, use)


def _key_conditions(
    context: Context, request: Mapping[str, Any], expressions: Expressions
) -> tuple[KeyCondition, ...]:
    """What a query says of keys, in either way."""
    if expressions.key_expression is not None:
        try:
            return key_conditions_in(expressions.key_expression.predicate)
        except InvalidExpression:
            with suppress(TableNotFound):
                _table_and_index(context, request, expressions)  # of which DynamoDB speaks first
            raise
    if expressions.key_conditions is None:
        raise invalid(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified "
            "in the request."
        )
    return expressions.key_conditions


def _start_key(request: Mapping[str, Any]) -> StoredItem | None:
    given = request.get("ExclusiveStartKey")
    try:
        return None if given is None else normalise(given)
    except InvalidItem as error:
        raise invalid(f"{_START}: {error}") from None


def _check_select(request: Mapping[str, Any], envelope: str) -> None:
    """Refuse a Select that contradicts the projection, or lacks the index it is about."""
    select = request.get("Select")
    given = [name for name in ("AttributesToGet", "ProjectionExpression") if request.get(name)]
    if select == "SPECIFIC_ATTRIBUTES" and not given:
        raise invalid(
            f"{envelope}Must specify the AttributesToGet or ProjectionExpression when choosing "
            "to get SPECIFIC_ATTRIBUTES"
        )
    if select not in (None, "SPECIFIC_ATTRIBUTES") and given:
        what = "only the Count" if select == "COUNT" else select
        raise invalid(f"{envelope}Cannot specify the {given[0]} when choosing to get {what}")
    if select == "ALL_PROJECTED_ATTRIBUTES" and request.get("IndexName") is None:
        raise invalid(
            f"{envelope}ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName"
        )


def _check_segments(request: Mapping[str, Any]) -> None:
    segment, total = request.get("Segment"), request.get("TotalSegments")
    if total is not None and segment is None:
        raise invalid(
            "The Segment parameter is required but was not present in the request when "
            "parameter TotalSegments is present"
        )
    if segment is not None and total is None:
        raise invalid(
            "The TotalSegments parameter is required but was not present in the request when "
            "Segment parameter is present"
        )
    if segment is not None and total is not None and segment >= total:
        raise invalid(
            "The Segment parameter is zero-based and must be less than parameter "
            f"TotalSegments: Segment: {segment} is not less than TotalSegments: {total}"
        )


def _table_and_index(
    context: Context, request: Mapping[str, Any], expressions: Expressions
) -> tuple[Table, Index | None]:
    """The table that a request names, and the index, if any.

    Raises:
        TableNotFound, IndexNotFound: there is no such table or index.
        IndexNotReady: the index is still being filled.
        ServiceError: a key is taken for a document.
    """
    table, index = ready_table(context.cluster, request["TableName"], request.get("IndexName"))
    check_scalar_keys(table, expressions.projection, expressions.filter, expressions.key_expression)
    return table, index


def _admitted(
    context: Context, request: Mapping[str, Any], table: Table, index: Index | None
) -> CapacityUse | None:
    """What a page uses of the capacity units of the table or of its GSI; None: it is not limited.

    Raises:
        ThroughputExceeded: no units are left.
    """
    use = context.capacity_use(table, "read")
    if use is not None:
        name = index.name if index is not None and index.kind == "GSI" else None
        use.admit(read_units(0, bool(request.get("ConsistentRead"))), name)
    return use


def _await_own_writes(context: Context, index: Index | None) -> None:
    if context.own_writes is not None and index is not None and index.kind == "GSI":
        context.own_writes.wait(index)


def _reading(
    request: Mapping[str, Any],
    call: Call,
    expressions: Expressions,
    start: StoredItem | None,
    old_filter: str,
    use: CapacityUse | None,
) -> dict[str, Any]:
    """What queries and scans have in common, as the reader takes it."""
    return {
        "table": request["TableName"],
        "index": request.get("IndexName"),
        "filter": expressions.filter,
        "filter_name": old_filter if request.get(old_filter) else "Filter Expression",
        "projection": expressions.projection,
        "select": request.get("Select"),
        "limit": request.get("Limit"),
        "start": start,
        "consistent": bool(request.get("ConsistentRead")),
        "raw": use is None and request.get("ReturnConsumedCapacity") not in ASKING,
        "after": asked_tokens(call) or None,
        "timeout": TOKEN_TIMEOUT,
    }


def _answer(
    request: Mapping[str, Any], index: Index | None, page: StoredPage, use: CapacityUse | None
) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    if request.get("Select") != "COUNT":
        answer["Items"] = page.items or Fragment(b"[%s]" % b",".join(page.raw))
    answer |= {"Count": page.count, "ScannedCount": page.scanned_count}
    if page.last_key is not None:
        answer["LastEvaluatedKey"] = page.last_key
    if use is None and request.get("ReturnConsumedCapacity") not in ASKING:
        return answer
    consistent = bool(request.get("ConsistentRead"))
    consumed = Consumed()
    consumed.charge(index, read_units(page.size, consistent))
    if page.table_size:
        consumed.charge(None, read_units(page.table_size, consistent))
    if use is not None:
        use.settle(consumed.by_bucket())
    return answer | reported(request, consumed)
