"""Transactions in the model: what is refused, what is cancelled and why, and what happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.gateway.model_capacity import Units, read_units, together, write_units
from tests.gateway.model_checks import (
    check_condition,
    check_keys_stay,
    check_numbers,
    check_update,
)
from tests.gateway.model_expressions import Unsure, Wrong, holds, projected
from tests.gateway.model_operations import Get, Table, Transact, TransactGet, Write
from tests.gateway.model_requests import (
    Key,
    Reason,
    Refused,
    check_index_keys,
    check_projection,
    checked_key,
    invalid,
    sure,
)
from tests.gateway.model_values import Item

if TYPE_CHECKING:
    from tests.gateway.model import Model

FAILED = "The conditional request failed"
NONE: Reason = ("None", None, None)


def transact(model: Model, transaction: Transact) -> None:
    """Carry out TransactWriteItems. Raises Refused."""
    writes = transaction.writes
    for write in writes:
        try:
            check_numbers([write.item, write.condition, write.actions])
            check_condition(write.condition)
            check_update(write.actions, old_style=False)
        except Wrong as error:
            raise invalid(sure(error)) from None
    keys = _keys([(write.table, write) for write in writes])
    olds = [model.rows(w.table).get(key) for w, key in zip(writes, keys, strict=True)]
    reasons = [_reason(write, old) for write, old in zip(writes, olds, strict=True)]
    news = [_made(model, write, old) for write, old in zip(writes, olds, strict=True)]
    for n, new in enumerate(news):
        if isinstance(new, Refused):
            if reasons[n] != NONE:
                raise Unsure("which comes first, the condition or the update")
            raise _cancelled_by(n, len(writes), new)
    if any(reason != NONE for reason in reasons):
        raise cancelled(reasons)
    model.consumed = {}
    for write, key, old, new in zip(writes, keys, olds, news, strict=True):
        assert not isinstance(new, Refused)
        units = twice(write_units(write.table, old, new))
        model.consumed[write.table.name] = together(model.consumed.get(write.table.name, {}), units)
        model.store(write.table, key, new)


def transact_get(model: Model, transaction: TransactGet) -> list[Item | None]:
    """What TransactGetItems finds. Raises Refused."""
    for get in transaction.gets:
        try:
            check_numbers(get.key)
        except Wrong as error:
            raise invalid(sure(error)) from None
        check_projection(get.paths)
    keys = _keys([(get.table, get) for get in transaction.gets])
    items = [model.rows(g.table).get(key) for g, key in zip(transaction.gets, keys, strict=True)]
    model.consumed = reading(model, [(get.table, get.key) for get in transaction.gets])
    return [
        None if item is None else projected(get.paths, item) or None
        for get, item in zip(transaction.gets, items, strict=True)
    ]


def reading(model: Model, places: Sequence[tuple[Table, Item]]) -> dict[str, Units]:
    """What it costs to read items in a transaction, as they are now."""
    consumed: dict[str, Units] = {}
    for table, item in places:
        units = twice({"": read_units([model.peek(table, item)], True)})
        consumed[table.name] = together(consumed.get(table.name, {}), units)
    return consumed


def twice(units: Units) -> Units:
    """As a transaction counts: the table's units double, those of indexes as they are."""
    return units | {"": 2 * units[""]}


def _keys(entries: Sequence[tuple[Table, Write | Get]]) -> list[Key]:
    """The items' keys. Raises Refused if one is none of its table, or two are the same."""
    keys: list[Key] = []
    wrong: list[Refused | None] = []
    for table, entry in entries:
        try:
            keys.append(_key(table, entry))
            wrong.append(None)
        except Refused as error:
            if error.message is None:
                raise Unsure("what comes first of several things that are wrong") from None
            if error.message.startswith("One or more parameter values are not valid"):
                raise  # an empty key
            wrong.append(error)
    for position, refused in enumerate(wrong):
        if refused is not None:
            raise _cancelled_by(position, len(wrong), refused)
    names = [(table.name, key) for (table, _), key in zip(entries, keys, strict=True)]
    if any(name in names[:n] for n, name in enumerate(names)):
        raise invalid("Transaction request cannot include multiple operations on one item")
    return keys


def _key(table: Table, entry: Write | Get) -> Key:
    if isinstance(entry, Get):
        return checked_key(table, entry.key)
    whole = entry.kind == "PutItem"
    key = checked_key(table, entry.item, whole)
    if whole:
        check_index_keys(table, entry.item)
    try:
        check_keys_stay(entry.actions, table.keys)
    except Wrong as error:
        raise invalid(str(error)) from None
    return key


def _reason(write: Write, old: Item | None) -> Reason:
    if write.condition is None or holds(write.condition, old or {}):
        return NONE
    return "ConditionalCheckFailed", FAILED, old if write.show_old else None


def _made(model: Model, write: Write, old: Item | None) -> Item | Refused | None:
    if write.kind == "ConditionCheck":
        return old
    try:
        return model.written(write, old)
    except Refused as error:
        return error


def _cancelled_by(position: int, count: int, error: Refused) -> Refused:
    """By the first entry that is not valid; nothing is said of the others."""
    reasons = [NONE] * count
    reasons[position] = ("ValidationError", error.message, None)
    return cancelled(reasons)


def cancelled(reasons: list[Reason]) -> Refused:
    """A transaction's error, with a reason for each entry."""
    codes = ", ".join(code for code, _, _ in reasons)
    message = (
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    )
    return Refused("TransactionCanceledException", message, reasons=reasons)
