"""What an update makes of an item, and whether that may be stored."""

from __future__ import annotations

from mynamo.errors import InvalidItem
from mynamo.expressions import Update
from mynamo.schemas.sizes import check_size
from mynamo.schemas.values import StoredItem
from mynamo.shards.tables import Index, Table

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
    for index in table.live_indexes:
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
    _check_indexes(table, old or {}, new)
    return new


def _check_indexes(table: Table, old: StoredItem, new: StoredItem) -> None:
    """Refuse new values of index keys that their indexes could not take: also the key of a
    new item, which may be one of an index too. A value that an update leaves alone may be
    older than the index, and is none of the update's business."""
    for index in table.live_indexes:
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
