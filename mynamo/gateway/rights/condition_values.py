"""The values that DynamoDB's condition keys have for a request, as policies compare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mynamo.errors import NotFound
from mynamo.expressions import Condition, Projection
from mynamo.gateway.context import Context

Request = Mapping[str, Any]
Values = dict[str, Sequence[str]]
"""Of condition keys, by their names in lower case."""

LEADING_KEYS = "dynamodb:leadingkeys"
ATTRIBUTES = "dynamodb:attributes"
SELECT = "dynamodb:select"
RETURN_VALUES = "dynamodb:returnvalues"
RETURN_CONSUMED_CAPACITY = "dynamodb:returnconsumedcapacity"
ENCLOSING_OPERATION = "dynamodb:enclosingoperation"


def leading_keys_of_item(context: Context, table: str, item: Mapping[str, Any]) -> list[str]:
    """As `leading_keys`, of an item or a key of a table."""
    return leading_keys(context, table, None, {name: (value,) for name, value in item.items()})


def leading_keys(
    context: Context,
    table: str,
    index: str | None,
    given: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[str]:
    """The values of the partition key of a table or index, as text.

    Where it is not known which attributes are the key, because there is no such table or index,
    or where they are not given, every value might be one.

    Args:
        given: values of attributes, in stored form: so a number has one spelling only.
    """
    names = _hash_names(context, table, index)
    if not names or not all(name in given for name in names):
        names = tuple(given)
    values = [value for name in names for value in given[name]]
    return [value[kind] for value in values for kind in ("S", "N", "B") if kind in value]


def _hash_names(context: Context, table: str, index: str | None) -> tuple[str, ...]:
    try:
        found = context.cluster.table(table)
        keys = found.hash_keys if index is None else found.index(index).hash_keys
    except NotFound:
        return ()
    return tuple(key.name for key in keys)


def attribute_names(*given: Iterable[str] | Condition | Projection | None) -> list[str]:
    """Top-level attributes that are named somewhere, each once."""
    names: set[str] = set()
    for each in given:
        if isinstance(each, Condition | Projection):
            names |= each.names
        elif each is not None:
            names.update(each)
    return sorted(names)


def selection(given: Request, projection: Projection | None) -> tuple[str]:
    """What a read asks for; what DynamoDB takes it to ask for if it does not say."""
    asked = given.get("Select")
    if asked is None and projection is not None:
        asked = "SPECIFIC_ATTRIBUTES"
    elif asked is None:
        indexed = given.get("IndexName") is not None
        asked = "ALL_PROJECTED_ATTRIBUTES" if indexed else "ALL_ATTRIBUTES"
    return (asked,)


def shared_values(operation: str, request: Request) -> Values:
    """What a request says of condition keys once for all that it touches."""
    values: Values = {}
    if operation in _CONSUMING:
        values[RETURN_CONSUMED_CAPACITY] = (request.get("ReturnConsumedCapacity", "NONE"),)
    if operation in ("TransactGetItems", "TransactWriteItems"):
        values[ENCLOSING_OPERATION] = (operation,)
    return values


_CONSUMING = frozenset({
    "BatchGetItem", "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan",
    "TransactGetItems", "TransactWriteItems", "UpdateItem",
})  # fmt: skip
