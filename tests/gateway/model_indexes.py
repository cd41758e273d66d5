"""What secondary indexes hold, and how queries sort it."""

from __future__ import annotations

from typing import Any

from tests.gateway.model_operations import Index, Table
from tests.gateway.model_values import Item, order


def in_index(index: Index, item: Item) -> bool:
    return all(name in item for name in index.keys)


def index_item(table: Table, index: Index, item: Item) -> Item:
    """What an index holds of an item."""
    if index.included is None:
        return item
    names = {*table.keys, *index.keys, *index.included}
    return {name: value for name, value in item.items() if name in names}


def sort_value(table: Table, index: Index | None, item: Item) -> Any:
    """What a query sorts an item by."""
    name = index.sort if index else table.sort
    return order(item[name]) if name else 0
