"""What a caller asks to be written, and what it becomes once the table is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mynamo.errors import ConditionFailed, InvalidItem
from mynamo.schemas.commands import Condition, WriteCommand
from mynamo.schemas.values import StoredItem
from mynamo.schemas.wire import normalise
from mynamo.shards.tables import RowKey, Table


@dataclass(frozen=True, slots=True)
class Current:
    """An item as a write finds it, under its row's lock.

    Attributes:
        item: None if there is none.
        version: 0 if there is none.
    """

    item: StoredItem | None
    version: int


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
            UPDATE sets and removes attributes of it, creating it if need be.
        item: the whole item for PUT, the key alone otherwise.
        set: for UPDATE: attributes and their new values.
        remove: for UPDATE: names of attributes that go.
        condition: what must hold.
        command_id: 16 bytes, of a queued write: its effect happens once.
    """

    table: str
    operation: Literal["PUT", "DELETE", "UPDATE"]
    item: StoredItem
    set: StoredItem = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    condition: Condition | None = None
    command_id: bytes | None = None


def command_request(command: WriteCommand) -> WriteRequest:
    """The request that a queued write stands for.

    Raises:
        InvalidItem: its item, key or new values are not valid DynamoDB JSON.
    """
    return WriteRequest(
        table=command.table,
        operation=command.operation,
        item=normalise(command.item if command.item is not None else command.key),
        set=normalise(command.set),
        remove=command.remove,
        condition=command.condition,
        command_id=command.command_id.bytes,
    )


@dataclass(frozen=True, slots=True)
class Write:
    """A request that knows its table's definition and its row."""

    table: Table
    row: RowKey
    key: StoredItem
    change: Change
    command_id: bytes | None


def prepare(request: WriteRequest, table: Table) -> Write:
    """Check a request against its table.

    Raises:
        InvalidItem: its key is not one of this table, or it would change a key.
    """
    locate = table.key_of if request.operation == "PUT" else table.key_only
    row = locate(request.item)
    for name in (*request.set, *request.remove):
        if name in table.key_names:
            raise InvalidItem(
                "One or more parameter values were invalid: Cannot update attribute "
                f"{name}. This attribute is part of the key"
            )
    return Write(
        table, row, table.key_attributes(request.item), _change(request), request.command_id
    )


def _change(request: WriteRequest) -> Change:
    condition = request.condition

    def put(current: Current) -> StoredItem | None:
        _check(condition, current)
        return request.item

    def delete(current: Current) -> StoredItem | None:
        _check(condition, current)
        return None

    def update(current: Current) -> StoredItem | None:
        _check(condition, current)
        item = {**(current.item or request.item), **request.set}
        for name in request.remove:
            item.pop(name, None)
        return item

    return {"PUT": put, "DELETE": delete, "UPDATE": update}[request.operation]


def _check(condition: Condition | None, current: Current) -> None:
    if condition is None:
        return
    if condition.exists is False and current.item is not None:
        raise ConditionFailed("The conditional request failed: the item exists")
    if condition.exists and current.item is None:
        raise ConditionFailed("The conditional request failed: the item does not exist")
    if condition.version is not None and condition.version != current.version:
        found = "another version" if current.item is not None else "no item"
        raise ConditionFailed(
            f"The conditional request failed: version {condition.version} was expected, "
            f"but there is {found}"
        )
