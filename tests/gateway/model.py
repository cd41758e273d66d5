"""A model of DynamoDB: what every operation answers, as simply as can be said.

It holds items in plain dicts and evaluates the generator's trees, not text. Sources: Amazon
DynamoDB Developer Guide and API Reference; order of evaluation and messages were compared
with AWS's own emulator.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.gateway.model_capacity import Units, read_units, together, write_units
from tests.gateway.model_checks import (
    check_condition,
    check_keys_stay,
    check_numbers,
    check_update,
)
from tests.gateway.model_expressions import Tree, Unsure, Wrong, at, holds, projected
from tests.gateway.model_operations import BatchGet, BatchWrite, Get, Table, Write
from tests.gateway.model_requests import (
    Key,
    Refused,
    check_index_keys,
    check_projection,
    checked_key,
    invalid,
    sure,
)
from tests.gateway.model_updates import only_removes, updated
from tests.gateway.model_values import Item

FAILED = "The conditional request failed"


class Model:
    """All tables, each with its items by their keys.

    Attributes:
        items: by table name.
        consumed: capacity units of the last operation, by table name.
    """

    def __init__(self) -> None:
        self.items: dict[str, dict[Key, Item]] = {}
        self.consumed: dict[str, Units] = {}

    def rows(self, table: Table) -> dict[Key, Item]:
        return self.items.setdefault(table.name, {})

    def peek(self, table: Table, key: Item) -> Item | None:
        """The item of a key; None if there is none, or it is no key."""
        return self.rows(table).get(tuple(key.get(name, (None, None))[1] for name in table.keys))

    def write(self, write: Write) -> Item | None:
        """Carry out a write; the answer's Attributes. Raises Refused."""
        try:
            check_numbers([write.item, write.condition, write.actions])
            check_condition(write.condition)
            check_update(write.actions, old_style=write.old_style)
            key = checked_key(write.table, write.item, whole=write.kind == "PutItem")
            check_keys_stay(write.actions, write.table.keys)
        except Wrong as error:
            raise invalid(sure(error)) from None
        rows = self.rows(write.table)
        old = rows.get(key)
        if write.kind == "PutItem":
            check_index_keys(write.table, write.item)
        if write.condition is not None and not holds(write.condition, old or {}):
            raise Refused(
                "ConditionalCheckFailedException", FAILED, old if write.show_old else None
            )
        new = self.written(write, old)
        self.consumed = {write.table.name: self.store(write.table, key, new)}
        return _returned(write, old, new)

    def store(self, table: Table, key: Key, new: Item | None) -> Units:
        rows = self.rows(table)
        units = write_units(table, rows.get(key), new)
        if new is None:
            rows.pop(key, None)
        else:
            rows[key] = new
        return units

    def written(self, write: Write, old: Item | None) -> Item | None:
        if write.kind == "DeleteItem":
            return None
        if write.kind == "PutItem":
            return write.item
        if old is None and only_removes(write.actions):
            return None
        if write.returns == "UPDATED_NEW" and adds_elements(write.actions, old or {}):
            raise Unsure("whether UPDATED_NEW shows an element beyond the end, and where")
        try:
            new = updated(write.actions, old if old is not None else write.item)
        except Wrong as error:
            raise invalid(None if write.old_style else sure(error)) from None
        try:
            check_index_keys(write.table, new)
        except Refused:
            raise invalid() from None  # in other words than of PutItem
        return new

    def get(self, get: Get) -> Item | None:
        _refuse_numbers(get.key)
        check_projection(get.paths)
        item = self.rows(get.table).get(checked_key(get.table, get.key))
        self.consumed = {get.table.name: {"": read_units([item], get.consistent)}}
        return None if item is None else projected(get.paths, item)

    def batch_get(self, batch: BatchGet) -> dict[str, list[Item]]:
        for _, _, paths in batch.wanted:
            check_projection(paths)
        asked = [(table, key) for table, keys, _ in batch.wanted for key in keys]
        _check_batch([(table, key, False) for table, key in asked])
        found: dict[str, list[Item]] = {}
        self.consumed = {}
        for table, keys, paths in batch.wanted:
            items = [self.rows(table).get(checked_key(table, key)) for key in keys]
            self.consumed[table.name] = {"": sum(read_units([item], True) for item in items)}
            found[table.name] = [projected(paths, item) for item in items if item is not None]
        return found

    def batch_write(self, batch: BatchWrite) -> None:
        _check_batch([(table, item, kind == "Put") for table, kind, item in batch.writes])
        self.consumed = {}
        for table, kind, item in batch.writes:
            units = self.store(
                table, checked_key(table, item, kind == "Put"), item if kind == "Put" else None
            )
            self.consumed[table.name] = together(self.consumed.get(table.name, {}), units)


def _refuse_numbers(values: object) -> None:
    try:
        check_numbers(values)
    except Wrong as error:
        raise invalid(sure(error)) from None


def _check_batch(members: Sequence[tuple[Table, Item, bool]]) -> None:
    """Raises Refused if a key or an item (True) does not fit its table, or keys repeat."""
    for _, item, _ in members:
        _refuse_numbers(item)
    wrong: list[Refused] = []
    for table, item, whole in members:
        try:
            checked_key(table, item, whole)
            if whole:
                check_index_keys(table, item)
        except Refused as error:
            wrong.append(error)
    keys = [(table.name, [item.get(name) for name in table.keys]) for table, item, _ in members]
    if any(key in keys[:n] for n, key in enumerate(keys)):
        wrong.append(invalid("Provided list of item keys contains duplicates"))
    if wrong:
        # Which comes first is not for sure, unless all would say the same.
        raise invalid(wrong[0].message if len({str(error) for error in wrong}) == 1 else None)


def adds_elements(actions: Sequence[Tree], item: Item) -> bool:
    """Whether an update adds elements to a list by an index beyond its end."""
    return any(
        action[0] in ("SET", "ADD")
        and isinstance(action[1][-1], int)
        and at(item, action[1]) is None
        for action in actions
    )


def _returned(write: Write, old: Item | None, new: Item | None) -> Item | None:
    """The answer's Attributes; None: it has none."""
    shown: Item | None = None
    match write.returns:
        case "ALL_OLD":
            shown = old
        case "ALL_NEW":
            shown = new
        case "UPDATED_OLD":
            shown = projected([action[1] for action in write.actions], old or {})
        case "UPDATED_NEW":
            shown = projected([action[1] for action in write.actions], new or {})
    return shown or None
