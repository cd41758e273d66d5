"""Write requests: what a caller asks for, prepared for its table and checked against the item.

Conditions and updates are evaluated on the item as it is under its row's lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from mynamo import expressions
from mynamo.catalog.cluster import Cluster, Route
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.errors import ConditionFailed, InvalidItem, InvalidRequest
from mynamo.expressions import Update
from mynamo.runtime.tracing import current_span
from mynamo.schemas.commands import Condition
from mynamo.schemas.expiry import expires_at, is_due
from mynamo.schemas.items import check_size
from mynamo.schemas.values import StoredItem
from mynamo.writer.transaction.request_tokens import RequestToken

FAILED = "The conditional request failed"
"""DynamoDB's message of a ConditionalCheckFailedException."""


@dataclass(slots=True)
class Current:
    """An item as a write finds it, under its row's lock.

    Attributes:
        item: None if there is none.
        version: 0 if there is none.
        in_transaction: a transaction over several shards has an intent on it.
        data: the item as `dump_item` gives it, where that is known.
    """

    item: StoredItem | None
    version: int
    in_transaction: bool = False
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class StillDue:
    """The condition of a deletion by time to live: the item is due.

    Attributes:
        table_id: whose time to live it is; of that name there may be another table by now.
        attribute: that says when the item expires.
        now: seconds since 1970, by the shard's clock.
    """

    table_id: int
    attribute: str
    now: int

    def check_table(self, table: Table) -> None:
        """Refuse to delete items of a table whose time to live is another one by now.

        Raises:
            InvalidRequest: that is so.
        """
        index = table.time_to_live
        if table.id != self.table_id or index is None or index.expiry != self.attribute:
            raise InvalidRequest("the table has no such time to live any more")


AnyCondition = Condition | expressions.Condition | StillDue


def check_condition(condition: AnyCondition | None, current: Current) -> None:
    """Refuse a write whose condition does not hold.

    Raises:
        ConditionFailed: with the item that was found.
        InvalidItem: the condition cannot be evaluated on this item.
    """
    if condition is None:
        return
    if isinstance(condition, expressions.Condition):
        failure = None if condition.holds(current.item) else FAILED
    elif isinstance(condition, StillDue):
        expires = expires_at(current.item or {}, condition.attribute)
        failure = None if is_due(expires, condition.now) else FAILED
    else:
        failure = _failure(condition, current)
    if failure is not None:
        raise ConditionFailed(failure, item=current.item)


def _failure(condition: Condition, current: Current) -> str | None:
    if condition.exists is False and current.item is not None:
        return f"{FAILED}: the item exists"
    if condition.exists and current.item is None:
        return f"{FAILED}: the item does not exist"
    if condition.version is not None and condition.version != current.version:
        found = "another version" if current.item is not None else "no item"
        return f"{FAILED}: version {condition.version} was expected, but there is {found}"
    return None


_KEY_CHANGED = (
    "One or more parameter values were invalid: Cannot update attribute {}. "
    "This attribute is part of the key"
)
_NOT_SCALAR = (
    "Key attributes must be scalars; list random access '[]' and map lookup '.' are not "
    "allowed: IndexKey: {}"
)
_NO_KEY_TYPE = (
    "The update expression attempted to update the secondary index key to unsupported type"
)
_EMPTY_KEY = (
    "One or more parameter values are not valid. The update expression attempted to update a "
    "secondary index key to a value that is not supported. The AttributeValue for a key "
    "attribute cannot contain an empty {} value."
)
_KEY_TYPES = {"S": "string", "B": "binary", "N": "number"}


def check_update(table: Table, update: Update) -> None:
    """Refuse an update for the paths that it changes, whatever the item.

    Raises:
        InvalidItem: it would change a key, or a part of an index's key attribute.
    """
    for name in table.key_names:
        if name in update.names:
            raise InvalidItem(_KEY_CHANGED.format(name))
    for index in table.user_indexes:
        for name in index.key_names:
            if isinstance(update.tree.get(name), dict):
                raise InvalidItem(_NOT_SCALAR.format(name))


def updated(
    table: Table, update: Update | None, old: StoredItem | None, key: StoredItem
) -> StoredItem | None:
    """The item after an update.

    One that only removes makes no item where there is none, nor does it look at its paths and
    operands then (scylladb/scylladb #5862 tells of DynamoDB's exception from "creates it").

    Args:
        update: None changes nothing.
        old: the item before; None if there was none.
        key: what an item is made of that does not exist yet.

    Returns:
        None if there is none before and after.

    Raises:
        InvalidItem: the update does not fit the item, or the result may not be stored.
    """
    if old is None and update is not None and update.only_removes():
        return None
    start = key if old is None else old
    new = start if update is None else update.apply(start)
    try:
        check_size(new)
    except InvalidItem as error:  # of which DynamoDB says the same in other words
        raise InvalidItem(str(error).replace("Item size has", "Item size to update has")) from None
    check_index_keys(table, old or {}, new)
    return new


def check_index_keys(table: Table, old: StoredItem, new: StoredItem) -> None:
    """Refuse new values of index keys that their indexes could not take: also the key of a
    new item, which may be one of an index too. A value that an update leaves alone may be
    older than the index, and is none of the update's business."""
    for index in table.user_indexes:
        there = [name for name in index.key_names if name in new]
        changed = [name for name in there if new[name] != old.get(name)]
        for name in changed:
            _check_key_value(new[name])
        if changed:
            fit = [name for name in there if name in changed or _fits(index, name, new[name])]
            index.check({name: new[name] for name in fit})


def _fits(index: Index, name: str, value: dict[str, object]) -> bool:
    try:
        index.check({name: value})
    except InvalidItem:
        return False
    return True


def _check_key_value(value: dict[str, object]) -> None:
    ((kind, body),) = value.items()
    if kind not in _KEY_TYPES:
        raise InvalidItem(_NO_KEY_TYPE)
    if not body:
        raise InvalidItem(_EMPTY_KEY.format(_KEY_TYPES[kind]))


Operation = Literal["PUT", "DELETE", "UPDATE", "CHECK"]


@dataclass(slots=True)
class WriteRequest:
    """One write, in stored form.

    Attributes:
        table: the table's name.
        operation: PUT replaces the item by `item`; DELETE removes that of `item`'s key;
            UPDATE changes it, creating it if need be and if it does not only remove;
            CHECK demands its condition, and makes no event and no version.
        item: the whole item for PUT, the key alone otherwise.
        update: for UPDATE: the change; None: it only makes sure that there is an item.
        condition: what must hold.
        command_id: 16 bytes, of a queued write: its effect happens once.
        traceparent: of a queued write, if it is traced.
    """

    table: str
    operation: Operation
    item: StoredItem
    update: expressions.Update | None = None
    condition: AnyCondition | None = None
    command_id: bytes | None = None
    traceparent: str | None = None


@dataclass(slots=True)
class Write:
    """A request that knows its table's definition, its row and where that belongs.

    Attributes:
        key: the item's key attributes.
        size: of the item that is put, in bytes; 0 for others.
        traceparent: of the request that it belongs to, if that is traced.
    """

    request: WriteRequest
    table: Table
    row: RowKey
    route: Route
    key: StoredItem
    size: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Deciding:
    """What the deciding shard keeps of a transaction over several shards.

    Attributes:
        transaction_id, generation: as the transaction's intents have them.
        elsewhere: per write of the whole request, in its order: None: it is one of the deciding
            shard's own; else whether it makes an event on its shard.
    """

    transaction_id: bytes
    generation: int
    elsewhere: tuple[bool | None, ...]


class AllOrNothing(tuple[Write, ...]):
    """Writes of one caller, each of another item, that all happen, or none.

    Attributes:
        token: by which a repetition is known.
        generation: of the shard, read before the request's first attempt: with a token they happen
            only while the shard's is this or the next one.
        decision: they are the deciding shard's part of a transaction over several shards, and its
            decision is kept with them. See `shard_steps.commit_decision`.
    """

    token: RequestToken | None
    generation: int
    decision: Deciding | None

    def __new__(
        cls,
        writes: Iterable[Write],
        token: RequestToken | None = None,
        generation: int = 0,
        decision: Deciding | None = None,
    ) -> Self:
        """Args: writes, token, generation, decision: see the class."""
        self = super().__new__(cls, writes)
        self.token = token
        self.generation = generation if decision is None else decision.generation
        self.decision = decision
        return self


def prepare(
    cluster: Cluster, request: WriteRequest, table: Table, snapshot: Snapshot | None = None
) -> Write:
    """Check a request, and route it.

    Args:
        snapshot: the slot map to route by; None: the newest.

    Raises:
        InvalidItem, InvalidRequest: see `check_request`.
        RangeStopped: items of its slot are not written at the moment.
    """
    key = {name: request.item[name] for name in table.key_names if name in request.item}
    row, size = check_request(request, table)
    write = Write(request, table, row, cluster.route(table.id, row.hash, snapshot), key, size)
    span = current_span.get()
    if span is not None:  # a worker's span, which applies many commands, is none of them
        is_command = request.command_id is not None
        write.traceparent = request.traceparent if is_command else span.traceparent
    return write


def check_request(request: WriteRequest, table: Table) -> tuple[RowKey, int]:
    """Check what of a request can be checked without the item that is there.

    Returns:
        The item's key, and the bytes of an item that is put, 0 for others.

    Raises:
        InvalidItem: it could never be applied: its item is too large, its key is not one of
            this table, an index could not take it, or it would change a key.
        InvalidRequest: a check without a condition.
    """
    size = 0
    if request.operation == "PUT":
        size = check_size(request.item)  # before the key, as DynamoDB does
        row = table.key_of(request.item)
        table.check(request.item)
    else:
        row = table.key_only(request.item)
        if isinstance(request.condition, StillDue):
            request.condition.check_table(table)
        if request.operation == "CHECK" and request.condition is None:
            raise InvalidRequest("a check needs a condition")
    if request.update is not None:
        if request.operation != "UPDATE":
            raise InvalidItem(f"an update belongs to UPDATE, not to {request.operation}")
        check_update(table, request.update)
    return row, size


def apply_to(write: Write, current: Current) -> StoredItem | None:
    """The item as it shall be, from the item as it is; None: there is none.

    Raises:
        ConditionFailed: the write must not happen.
        InvalidItem: what would result is not valid.
    """
    request = write.request
    check_condition(request.condition, current)
    if request.operation == "PUT":
        return request.item
    if request.operation == "DELETE":
        return None
    if request.operation == "CHECK":
        return current.item
    return updated(write.table, request.update, current.item, request.item)
