"""What a caller asks to be written, and what it becomes once the table is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mynamo import expressions
from mynamo.errors import InvalidItem
from mynamo.schemas.commands import Condition
from mynamo.schemas.sizes import check_size
from mynamo.schemas.values import StoredItem
from mynamo.shards.tables import RowKey, Table
from mynamo.writer.conditions import Current, check_condition
from mynamo.writer.updates import check_update, updated

Operation = Literal["PUT", "DELETE", "UPDATE"]

Change = Callable[[Current], StoredItem | None]
"""From the item as it is to the item as it shall be (None: gone). May run more than once.

Raises:
    ConditionFailed: the write must not happen.
    InvalidItem: what would result is not valid.
"""


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """One write, in stored form.

    Attributes:
        table: the table's name.
        operation: PUT replaces the item by `item`; DELETE removes that of `item`'s key;
            UPDATE changes it, creating it if need be and if it does not only remove.
        item: the whole item for PUT, the key alone otherwise.
        update: for UPDATE: the change; None: it only makes sure that there is an item.
        condition: what must hold.
        command_id: 16 bytes, of a queued write: its effect happens once.
    """

    table: str
    operation: Operation
    item: StoredItem
    update: expressions.Update | None = None
    condition: Condition | expressions.Condition | None = None
    command_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """A request that knows its table's definition and its row.

    Attributes:
        item: the request's: for PUT the whole item.
        size: of the item that is put, in bytes; 0 for others.
    """

    table: Table
    row: RowKey
    key: StoredItem
    item: StoredItem
    change: Change
    command_id: bytes | None
    size: int


def prepare(request: WriteRequest, table: Table) -> Write:
    """Check what of a request can be checked without the item that is there.

    Raises:
        InvalidItem: it could never be applied: its item is too large, its key is not one of
            this table, an index could not take it, or it would change a key.
    """
    size = 0
    if request.operation == "PUT":
        size = check_size(request.item)  # before the key, as DynamoDB does
        row = table.key_of(request.item)
        table.check(request.item)
    else:
        row = table.key_only(request.item)
    if request.update is not None:
        if request.operation != "UPDATE":
            raise InvalidItem(f"an update belongs to UPDATE, not to {request.operation}")
        check_update(table, request.update)
    return Write(
        table=table,
        row=row,
        key=table.key_attributes(request.item),
        item=request.item,
        change=_change(request, table),
        command_id=request.command_id,
        size=size,
    )


def _change(request: WriteRequest, table: Table) -> Change:
    def put(current: Current) -> StoredItem | None:
        check_condition(request.condition, current)
        return request.item

    def delete(current: Current) -> StoredItem | None:
        check_condition(request.condition, current)
        return None

    def update(current: Current) -> StoredItem | None:
        check_condition(request.condition, current)
        return updated(table, request.update, current.item, request.item)

    changes: dict[Operation, Change] = {"PUT": put, "DELETE": delete, "UPDATE": update}
    return changes[request.operation]
