"""What a request touches: actions on resources, with the values of DynamoDB's condition keys.

Each item of a batch or transaction is a touch of its own, so that no item passes by a condition
that the others meet. Source: Service Authorization Reference, "Actions, resources, and condition
keys for Amazon DynamoDB"; Developer Guide, "Using IAM with DynamoDB transactions".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from mynamo.expressions.actions import Set
from mynamo.expressions.key_conditions import KeyCondition, key_conditions_in
from mynamo.expressions.projections import leaves
from mynamo.gateway.arns import stream_arn, stream_of_arn, table_arn, table_of_arn
from mynamo.gateway.context import Context
from mynamo.gateway.operations.request_expressions import Expressions, check_not_mixed
from mynamo.gateway.operations.stream_operations import stream_at
from mynamo.gateway.rights.condition_values import (
    ATTRIBUTES,
    LEADING_KEYS,
    RETURN_VALUES,
    SELECT,
    Request,
    Values,
    attribute_names,
    leading_keys,
    leading_keys_of_item,
    selection,
)
from mynamo.schemas.items import normalise


def _no_values() -> Values:
    return {}


@dataclass(frozen=True, slots=True)
class Touch:
    """One action on one resource.

    Attributes:
        action: without `dynamodb:`.
        resource: its ARN.
        values: what the request says of the action's condition keys. Raises MynamoError or
            ServiceError: the request is not valid, and must not be answered.
        in_effect: the action on a single item that this comes to; a Deny of it counts too.
    """

    action: str
    resource: str
    values: Callable[[], Values] = _no_values
    in_effect: str | None = None


def touched(context: Context, operation: str, request: Request) -> Iterable[Touch]:
    """What a request touches.

    Args:
        request: its JSON, checked by its shape, with names in the place of ARNs.

    Raises:
        ServiceError: it names what is no ARN of this region and account.
        MynamoError: an iterator of a stream is not valid.
    """
    if operation in _OF_TABLES:
        return _of_table(context, operation, request)
    return _OTHERS[operation](context, operation, request)


def tables_touched(context: Context, operation: str, request: Request) -> set[str]:
    """The names of the tables that a request touches; see `touched`."""
    resources = {touch.resource for touch in touched(context, operation, request)}
    names = {each.partition(":table/")[2].partition("/")[0] for each in resources}
    return names - {"", "*"}


_OF_TABLES = frozenset({
    "CreateTable", "DeleteTable", "DescribeContinuousBackups", "DescribeTable",
    "DescribeTimeToLive", "UpdateContinuousBackups", "UpdateTable", "UpdateTimeToLive",
})  # fmt: skip


def _of_table(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    resource = table_arn(context, request["TableName"])
    yield Touch(operation, resource)
    if operation == "CreateTable" and request.get("Tags"):
        yield Touch("TagResource", resource)


def _of_resource(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    name = table_of_arn(context, operation, request["ResourceArn"])
    yield Touch(operation, table_arn(context, name))


def _of_account(_: Context, operation: str, __: Request) -> Iterator[Touch]:
    yield Touch(operation, "*")


def _list_tables(context: Context, operation: str, _: Request) -> Iterator[Touch]:
    yield Touch(operation, table_arn(context, "*"))


def _list_streams(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    yield Touch(operation, stream_arn(context, request.get("TableName", "*"), "*"))


def _of_stream(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    yield Touch(
        operation, stream_arn(context, *stream_of_arn(context, operation, request["StreamArn"]))
    )


def _get_records(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    """The stream is that of the position, whatever ARN the client put before it."""
    stream, _ = stream_at(context, request["ShardIterator"])
    yield Touch(operation, stream_arn(context, stream.table, stream.label))


def _read_item(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    yield _get(context, operation, request["TableName"], request, request["Key"])


def _batch_get(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    for name, part in request["RequestItems"].items():
        for key in part["Keys"]:
            yield _get(context, operation, name, part, key, in_effect="GetItem")


def _transact_get(context: Context, _: str, request: Request) -> Iterator[Touch]:
    for entry in request["TransactItems"]:
        given = entry["Get"]
        yield _get(context, "GetItem", given["TableName"], given, given["Key"])


def _get(
    context: Context,
    action: str,
    name: str,
    given: Request,
    key: Request,
    in_effect: str | None = None,
) -> Touch:
    def values() -> Values:
        check_not_mixed("GetItem", given)
        stored = normalise(key)
        projection = Expressions.of("GetItem", given).projection
        return {
            LEADING_KEYS: leading_keys_of_item(context, name, stored),
            ATTRIBUTES: attribute_names(stored, projection),
            SELECT: selection(given, projection),
        }

    return Touch(action, table_arn(context, name), values, in_effect)


def _write_item(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    subject = "Item" if operation == "PutItem" else "Key"
    yield from _write(context, operation, operation, request, subject)


_ENTRIES = {
    "ConditionCheck": ("ConditionCheckItem", "DeleteItem", "Key"),
    "Put": ("PutItem", "PutItem", "Item"),
    "Delete": ("DeleteItem", "DeleteItem", "Key"),
    "Update": ("UpdateItem", "UpdateItem", "Key"),
}
"""Of a transaction: the action, the operation whose expressions it takes, and its member that has
the item or the key."""


def _transact_write(context: Context, _: str, request: Request) -> Iterator[Touch]:
    for entry in request["TransactItems"]:
        for kind, given in entry.items():
            action, alone, subject = _ENTRIES[kind]
            yield from _write(context, action, alone, given, subject)


def _write(
    context: Context, action: str, alone: str, given: Request, subject: str
) -> Iterator[Touch]:
    """A write of one item, or a check of it.

    It shows the item if its condition fails, where it asks for that; so it must be allowed to
    return all of the old item besides.
    """
    name = given["TableName"]

    def values(returned: str) -> Values:
        check_not_mixed(alone, given)
        item = normalise(given[subject])
        expressions = Expressions.of(alone, given)
        return {
            LEADING_KEYS: leading_keys_of_item(context, name, item),
            ATTRIBUTES: attribute_names(item, expressions.condition, *_of_update(expressions)),
            RETURN_VALUES: (returned,),
        }

    asked = [given.get("ReturnValues", "NONE")]
    if given.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
        asked.append("ALL_OLD")
    for returned in dict.fromkeys(asked):
        yield Touch(action, table_arn(context, name), partial(values, returned))


def _of_update(expressions: Expressions) -> Iterator[Iterable[str]]:
    """Names of the attributes that an update changes, and of those that it reads."""
    update = expressions.update
    if update is not None:
        yield update.names
        for action in leaves(update.tree):
            if isinstance(action, Set):
                yield [path.name for path in action.operand.paths()]


def _batch_write(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    for name, writes in request["RequestItems"].items():
        for write in writes:
            for kind, given in write.items():
                put = kind == "PutRequest"
                item = given["Item" if put else "Key"]
                yield Touch(
                    operation,
                    table_arn(context, name),
                    partial(_values_of_item, context, name, item),
                    in_effect="PutItem" if put else "DeleteItem",
                )


def _values_of_item(context: Context, name: str, item: Request) -> Values:
    stored = normalise(item)
    return {
        LEADING_KEYS: leading_keys_of_item(context, name, stored),
        ATTRIBUTES: attribute_names(stored),
    }


def _read_many(context: Context, operation: str, request: Request) -> Iterator[Touch]:
    """Query and Scan; of a scan there are no leading keys, as it reads all."""
    name, index = request["TableName"], request.get("IndexName")

    def values() -> Values:
        check_not_mixed(operation, request)
        expressions = Expressions.of(operation, request)
        conditions = _key_conditions(expressions)
        found: Values = {
            ATTRIBUTES: attribute_names(
                (condition.name for condition in conditions),
                expressions.projection,
                expressions.filter,
                request.get("ExclusiveStartKey"),
            ),
            SELECT: selection(request, expressions.projection),
        }
        if operation == "Query":
            given = {condition.name: condition.values for condition in conditions}
            found[LEADING_KEYS] = leading_keys(context, name, index, given)
        return found

    resource = table_arn(context, name)
    yield Touch(operation, resource if index is None else f"{resource}/index/{index}", values)


def _key_conditions(expressions: Expressions) -> tuple[KeyCondition, ...]:
    if expressions.key_expression is not None:
        return key_conditions_in(expressions.key_expression.predicate)
    return expressions.key_conditions or ()


_OTHERS: dict[str, Callable[[Context, str, Request], Iterator[Touch]]] = {
    "BatchGetItem": _batch_get,
    "BatchWriteItem": _batch_write,
    "DeleteItem": _write_item,
    "DescribeEndpoints": _of_account,
    "DescribeLimits": _of_account,
    "DescribeStream": _of_stream,
    "GetItem": _read_item,
    "GetRecords": _get_records,
    "GetShardIterator": _of_stream,
    "ListStreams": _list_streams,
    "ListTables": _list_tables,
    "ListTagsOfResource": _of_resource,
    "PutItem": _write_item,
    "Query": _read_many,
    "Scan": _read_many,
    "TagResource": _of_resource,
    "TransactGetItems": _transact_get,
    "TransactWriteItems": _transact_write,
    "UntagResource": _of_resource,
    "UpdateItem": _write_item,
}
COVERED = _OF_TABLES | _OTHERS.keys()
"""Operations whose touches are known; any other would fail."""
