"""TransactWriteItems and TransactGetItems: several items of any tables, all or none, at one moment.

Each function's checks stand in DynamoDB's order: what can be said of the request alone, entry by
entry; whether there are such tables; then keys and index keys. What is wrong with those cancels
the transaction, with a reason per entry, unless a key is empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from orjson import Fragment

from mynamo.catalog.tables import EmptyKey, RowKey, Table
from mynamo.errors import InvalidItem, MynamoError, TransactionCanceled
from mynamo.expressions import Condition
from mynamo.gateway.context import Call, Context, Sender
from mynamo.gateway.operations.capacity import (
    ASKING,
    IN_TRANSACTION,
    Consumed,
    charge_write,
    least_write_units,
    read_units,
    reported_all,
)
from mynamo.gateway.operations.consistency import answer_tokens, count_streams
from mynamo.gateway.operations.item_operations import collection_metrics
from mynamo.gateway.operations.request_expressions import (
    Expression,
    Expressions,
    check_not_mixed,
    check_scalar_keys,
)
from mynamo.gateway.provisioned_throughput import Access, CapacityUse
from mynamo.gateway.service_errors import ServiceError, invalid
from mynamo.reader import Get, Got
from mynamo.schemas.items import check_size, item_size, normalise
from mynamo.schemas.transaction_limits import MAX_SIZE, SAME_ITEM
from mynamo.writer import (
    Done,
    Operation,
    RequestToken,
    Transacted,
    WriteRequest,
    check_request,
    transact,
)

_TOO_LARGE = "Transaction request size cannot exceed 4 MB"
_NOT_ONE_ACTION = "TransactItems can only contain one of Check, Put, Update or Delete"


@dataclass(frozen=True, slots=True)
class _Action:
    """A kind of entry.

    Attributes:
        operation: what it is to the writer.
        alone: the operation whose expressions it takes.
        subject: its member that has the item or the key.
    """

    operation: Operation
    alone: str
    subject: str


_ACTIONS = {
    "ConditionCheck": _Action("CHECK", "DeleteItem", "Key"),
    "Put": _Action("PUT", "PutItem", "Item"),
    "Delete": _Action("DELETE", "DeleteItem", "Key"),
    "Update": _Action("UPDATE", "UpdateItem", "Key"),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry's item lies.

    Attributes:
        table: by the definition that the entry was checked by.
        row: the item's key.
    """

    table: Table
    row: RowKey


def transact_write_items(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """TransactWriteItems."""
    entries = request["TransactItems"]
    if any(len(entry) != 1 for entry in entries):
        raise invalid(_NOT_ONE_ACTION)
    actions = [next(iter(entry.items())) for entry in entries]
    writes = [_write_of(name, given) for name, given in actions]
    if sum(map(_asked_size, writes, (given for _, given in actions))) > MAX_SIZE:
        raise invalid(_TOO_LARGE)
    places = _places(
        context,
        [write.table for write in writes],
        lambda n, table: _written_row(writes[n], table),
    )
    least = (IN_TRANSACTION * least_write_units(write) for write in writes)
    uses = _admitted(context, "write", places, least)
    transacted = transact(context.cluster, writes, _request_token(request, call.sender))
    _note_writes(context, call, writes, places, transacted)
    answer: dict[str, Any] = {}
    asks = request.get("ReturnConsumedCapacity") in ASKING
    if asks or (uses and not transacted.repeated):
        answer |= _capacity(context, request, writes, places, transacted, uses)
    if request.get("ReturnItemCollectionMetrics") == "SIZE":
        answer |= _metrics(writes, places)
    return answer


def _write_of(name: str, given: Mapping[str, Any]) -> WriteRequest:
    """What an entry asks for, checked as far as no table is needed."""
    action = _ACTIONS[name]
    check_not_mixed(action.alone, given)
    item = normalise(given[action.subject])
    if name == "Put":
        check_size(item)
    expressions = Expressions.of(action.alone, given)
    return WriteRequest(
        given["TableName"],
        action.operation,
        item,
        update=expressions.update,
        condition=expressions.condition,
    )


def _written_row(write: WriteRequest, table: Table) -> RowKey:
    """Check an entry by its table's definition.

    Returns:
        The item's key.

    Raises:
        InvalidItem: it could never be done.
    """
    row, _ = check_request(write, table)
    condition = write.condition if isinstance(write.condition, Condition) else None
    _check_paths(table, write.update, condition)
    return row


def _check_paths(table: Table, *expressions: Expression | None) -> None:
    """Refuse paths into keys. Raises InvalidItem."""
    try:
        check_scalar_keys(table, *expressions)
    except ServiceError as error:
        raise InvalidItem(error.message) from None


def _asked_size(write: WriteRequest, given: Mapping[str, Any]) -> int:
    """What an entry counts towards the limit: what it brings, and not what it finds."""
    values = given.get("ExpressionAttributeValues")
    return item_size(write.item) + (item_size(normalise(values)) if values else 0)


def _places(
    context: Context, names: Sequence[str], row_of: Callable[[int, Table], RowKey]
) -> list[_Place]:
    """Find where the entries' items lie.

    Args:
        names: of their tables.
        row_of: checks an entry, given by its position, and gives its item's key.

    Raises:
        TableNotFound: there is no such table.
        EmptyKey: a key has an empty value.
        TransactionCanceled: an entry could never be done. Only the first one is named.
        ServiceError: two entries are for one item.
    """
    tables = {name: context.cluster.table(name) for name in names}
    places: list[_Place] = []
    reasons: list[MynamoError | None] = [None] * len(names)
    for position, name in enumerate(names):
        try:
            places.append(_Place(tables[name], row_of(position, tables[name])))
        except EmptyKey:
            raise
        except InvalidItem as error:
            reasons[position] = error
    if any(reasons):
        raise TransactionCanceled(reasons=reasons)
    if len({(place.table.id, place.row) for place in places}) < len(places):
        raise invalid(SAME_ITEM)
    return places


Uses = Mapping[str, CapacityUse]
"""What a transaction uses of the capacity units of its tables that are limited, by name."""


def _admitted(
    context: Context, access: Access, places: Sequence[_Place], least: Iterable[float]
) -> Uses:
    """Take the capacity units that a transaction costs at least.

    Args:
        least: of each entry; looked at if any is limited.

    Raises:
        TransactionCanceled: a table has none left; nothing is taken.
    """
    uses: dict[str, CapacityUse] = {}
    refusals: dict[str, MynamoError] = {}
    for name, table in {place.table.name: place.table for place in places}.items():
        use = context.capacity_use(table, access)
        if use is not None:
            uses[name] = use
            refusal = use.refusal()
            if refusal is not None:
                refusals[name] = refusal
    if refusals:
        raise TransactionCanceled(reasons=[refusals.get(place.table.name) for place in places])
    if uses:
        for place, units in zip(places, least, strict=True):
            if place.table.name in uses:
                uses[place.table.name].reserve(units)
    return uses


def _request_token(request: Mapping[str, Any], sender: Sender | None) -> RequestToken | None:
    """By what a repetition is known. How its JSON is arranged does not matter, nor what it wants
    to be told. A user with policies has tokens of its own: it learns nothing of others' requests.
    """
    token = request.get("ClientRequestToken")
    if token is None:
        return None
    content = orjson.dumps(request["TransactItems"], option=orjson.OPT_SORT_KEYS)
    user = ""
    if sender is not None and sender.signer.principal is not None:
        user = f"\0{sender.signer.user}"
    return RequestToken(_hash(f"TransactWriteItems {token}{user}".encode()), _hash(content))


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def _note_writes(
    context: Context,
    call: Call,
    writes: Sequence[WriteRequest],
    places: Sequence[_Place],
    transacted: Transacted,
) -> None:
    """Let reads of GSIs find the writes; see `consistency`.

    What became of a repeated request's first attempt nobody here may have counted, and where its
    versions are not known it has no tokens.
    """
    done: list[tuple[int, Done]] = []
    streams: list[tuple[Table, int, int]] = []
    each = zip(writes, places, transacted.shards, transacted.done, strict=True)
    for write, place, shard_id, outcome in each:
        if write.operation == "CHECK":
            continue
        if outcome.waits_for or not transacted.repeated:
            done.append((shard_id, outcome))
        if outcome.waits_for or transacted.repeated:
            partition = context.cluster.route(place.table.id, place.row.hash).partition
            streams.append((place.table, shard_id, partition))
    count_streams(context, streams)
    answer_tokens(context.cluster, call, done)


def _capacity(
    context: Context,
    request: Mapping[str, Any],
    writes: Sequence[WriteRequest],
    places: Sequence[_Place],
    transacted: Transacted,
    uses: Uses,
) -> dict[str, Any]:
    """ConsumedCapacity, which is taken from the tables' units; of a repeated request that of
    reading its items, for which it takes no more than it took to begin."""
    consumed = {write.table: Consumed() for write in writes}
    if transacted.repeated:
        keys = [place.table.key_attributes(w.item) for w, place in zip(writes, places, strict=True)]
        gets = [Get(write.table, key) for write, key in zip(writes, keys, strict=True)]
        _charge_reads(consumed, gets, context.reader.get_each(gets))
        return reported_all(request, consumed, "ReadCapacityUnits")
    for write, place, outcome in zip(writes, places, transacted.done, strict=True):
        charge_write(consumed[write.table], place.table, outcome.old, outcome.new, IN_TRANSACTION)
    _settle(uses, consumed)
    return reported_all(request, consumed, "WriteCapacityUnits")


def _settle(uses: Uses, consumed: Mapping[str, Consumed]) -> None:
    for name, use in uses.items():
        use.settle(consumed[name].by_bucket())


def _charge_reads(
    consumed: Mapping[str, Consumed], gets: Sequence[Get], found: Sequence[Got]
) -> None:
    for get, got in zip(gets, found, strict=True):
        consumed[get.table].charge(None, IN_TRANSACTION * read_units(got.size, consistent=True))


def _metrics(writes: Sequence[WriteRequest], places: Sequence[_Place]) -> dict[str, Any]:
    """ItemCollectionMetrics of the tables that have LSIs."""
    tables = {place.table.name: place.table for place in places}
    found = {
        name: collection_metrics(
            table,
            (w.item for w in writes if w.table == name and w.operation != "CHECK"),
        )
        for name, table in tables.items()
    }
    found = {name: metrics for name, metrics in found.items() if metrics}
    return {"ItemCollectionMetrics": found} if found else {}


def transact_get_items(context: Context, request: dict[str, Any], _: Call) -> dict[str, Any]:
    """TransactGetItems."""
    gets = [_get_of(entry["Get"]) for entry in request["TransactItems"]]
    places = _places(
        context, [get.table for get in gets], lambda n, table: _read_row(gets[n], table)
    )
    least = [IN_TRANSACTION * read_units(0, consistent=True)] * len(gets)
    uses = _admitted(context, "read", places, least)
    found = context.reader.transact_get(gets)
    stored = sum([len(got.data or b"") for got in found])  # an item is no larger than its JSON
    if stored > MAX_SIZE and sum([got.size for got in found]) > MAX_SIZE:
        raise invalid(_TOO_LARGE)
    answer: dict[str, Any] = {"Responses": [_response(got) for got in found]}
    if uses or request.get("ReturnConsumedCapacity") in ASKING:
        consumed = {get.table: Consumed() for get in gets}
        _charge_reads(consumed, gets, found)
        _settle(uses, consumed)
        answer |= reported_all(request, consumed, "ReadCapacityUnits")
    return answer


def _get_of(given: Mapping[str, Any]) -> Get:
    check_not_mixed("GetItem", given)
    key = normalise(given["Key"])
    return Get(given["TableName"], key, Expressions.of("GetItem", given).projection)


def _read_row(get: Get, table: Table) -> RowKey:
    """As `_written_row`, for an entry that reads."""
    row = table.key_only(get.key)
    _check_paths(table, get.projection)
    return row


def _response(got: Got) -> dict[str, Any]:
    """Empty if there is no such item, or nothing of it was asked for."""
    item = Fragment(got.raw) if got.raw is not None else got.item
    return {"Item": item} if item else {}
