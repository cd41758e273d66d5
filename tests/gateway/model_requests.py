"""What DynamoDB refuses about a request that it can tell from the table's definition."""

from __future__ import annotations

from typing import Any, TypeAlias

from tests.gateway.model_checks import check_condition, check_numbers, check_paths
from tests.gateway.model_expressions import Wrong
from tests.gateway.model_operations import Read, Table
from tests.gateway.model_values import Item, Value, order, size_of

Key: TypeAlias = tuple[Any, ...]
Reason: TypeAlias = tuple[str, str | None, Item | None]
"""Why an entry cancels a transaction: code, message (None where the model is not sure of the words,
or there is none), item."""

INVALID = "One or more parameter values were invalid: "


class Refused(Exception):  # noqa: N818
    """An error answer.

    Args:
        message: None where the model is not sure of the words.
        item: that a failed condition shows.
        reasons: of a transaction that is cancelled.
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        item: Item | None = None,
        reasons: list[Reason] | None = None,
    ) -> None:
        super().__init__(code, message)
        self.reasons = reasons
        self.code = code
        self.message = message
        self.item = item


def invalid(message: str | None = None) -> Refused:
    return Refused("ValidationException", message)


def sure(error: Wrong) -> str | None:
    """The message, where the model has all of DynamoDB's words for it."""
    text = str(error)
    whole = ("The provided expression refers", "The document path", INVALID)
    return text if text.startswith((*whole, "An operand in the update")) else None


def check_projection(paths: Any) -> None:
    try:
        check_paths(paths or [])
    except Wrong as error:
        raise invalid(sure(error)) from None


def checked_key(table: Table, item: Item, whole: bool = False) -> Key:
    """The key of an item. Raises Refused if it is none of this table.

    Args:
        whole: the item is a whole item, not a key alone.
    """
    if not whole and set(item) != set(table.keys):
        raise invalid("The provided key element does not match the schema")
    for name in table.keys:
        expected = table.types[name]
        if name not in item:
            raise invalid(f"{INVALID}Missing the key {name} in the item")
        kind = item[name][0]
        if kind != expected:
            raise invalid(
                f"{INVALID}Type mismatch for key {name} expected: {expected} actual: {kind}"
                if whole
                else "The provided key element does not match the schema"
            )
        if not fits_key(item[name], expected, is_hash=name == table.hash):
            raise invalid(_empty_key(item[name], f"Key: {name}"))
    return tuple(item[name][1] for name in table.keys)


def check_index_keys(table: Table, item: Item) -> None:
    """Raises Refused if an index key attribute of an item has the wrong type or is empty."""
    wrong = []
    for index in table.indexes:
        for name in index.keys:
            value, kind = item.get(name), table.types[name]
            if value and not fits_key(value, kind, is_hash=name == index.hash):
                wrong.append(
                    _empty_key(value, f"IndexName: {index.name}, IndexKey: {name}")
                    if value[0] == kind
                    else f"{INVALID}Type mismatch for Index Key {name} Expected: {kind} "
                    f"Actual: {value[0]} IndexName: {index.name}"
                )
    if wrong:
        raise invalid(wrong[0] if len(wrong) == 1 else None)


def _empty_key(value: Value, where: str) -> str | None:
    if size_of(value):
        return None
    secondary = "A value specified for a secondary index key is not supported. "
    return (
        f"One or more parameter values are not valid. {secondary if 'Index' in where else ''}"
        "The AttributeValue for a key attribute cannot contain an empty "
        f"{'string' if value[0] == 'S' else 'binary'} value. {where}"
    )


def fits_key(value: Value, kind: str, *, is_hash: bool) -> bool:
    """Whether a value may be that of a key attribute: of its type, neither empty nor too long."""
    if value[0] != kind:
        return False
    return kind == "N" or 0 < size_of(value) <= (2048 if is_hash else 1024)


def check_read(read: Read) -> None:
    """Raises Refused for what a Query or Scan never takes."""
    table, index = read.table, read.index
    try:
        check_numbers([read.filter, read.conditions, read.start])
        check_condition(read.filter)
    except Wrong as error:
        raise invalid(sure(error)) from None
    check_projection(read.paths)
    if read.consistent and index and not index.is_local:
        raise invalid()
    if read.conditions is not None:
        _check_key_conditions(table, index.keys if index else table.keys, read.conditions)
    if index and index.included is not None and not index.is_local:
        known = {*table.keys, *index.keys, *index.included}
        if read.select == "ALL_ATTRIBUTES" or {path[0] for path in read.paths or []} - known:
            raise invalid()
    if read.select == "ALL_PROJECTED_ATTRIBUTES" and index is None:
        raise invalid()
    if read.paths is not None and read.select not in (None, "SPECIFIC_ATTRIBUTES"):
        raise invalid()
    if read.paths is None and read.select == "SPECIFIC_ATTRIBUTES":
        raise invalid()


def _check_key_conditions(table: Table, keys: tuple[str, ...], conditions: Any) -> None:
    if sorted(name for name, _, _ in conditions) not in (sorted(keys), [keys[0]]):
        raise invalid()
    for name, sign, values in conditions:
        if name == keys[0] and sign != "=":
            raise invalid()
        kind = table.types[name]
        if not all(fits_key(value, kind, is_hash=name == keys[0]) for value in values):
            raise invalid()
        if sign == "begins_with" and table.types[name] == "N":
            raise invalid()
        if sign == "between" and order(values[1]) < order(values[0]):
            raise invalid()
