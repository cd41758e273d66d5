"""The expressions of a request, or the parameters that they replaced, as one kind of object.

    expressions = Expressions.of("UpdateItem", request)
    expressions.update, expressions.condition

The order of the checks is DynamoDB's: the old parameters; placeholders as such; each
expression by itself, in the order update, condition, filter, projection, key condition;
placeholders that none of them uses. Whether a request mixes old and new parameters is known
before its values are looked at, so callers ask `check_not_mixed` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mynamo.catalog.tables import Table
from mynamo.expressions import (
    Condition,
    KeyCondition,
    Placeholders,
    Projection,
    Update,
    parse_condition,
    parse_projection,
    parse_update,
)
from mynamo.expressions.actions import Set
from mynamo.expressions.conditions import bind_condition
from mynamo.expressions.key_conditions import KIND
from mynamo.expressions.legacy import (
    condition_of_expected,
    condition_of_filter,
    key_conditions_of,
    projection_of_attributes,
    update_of_attribute_updates,
)
from mynamo.gateway.service_errors import invalid

Expression = Condition | Projection | Update


def check_scalar_keys(table: Table, *expressions: Expression | None) -> None:
    """Refuse document paths into key attributes of the table or of any of its indexes.

    Raises:
        ServiceError: there is one.
    """
    parts = [set() if each is None else set(_divided(each)) for each in expressions]
    if not any(parts):
        return
    keys = {"Key": table.key_names}
    keys |= {"IndexKey": tuple(name for index in table.indexes for name in index.key_names)}
    for divided in parts:
        for kind, names in keys.items():
            for name in names:
                if name in divided:
                    raise invalid(
                        "Key attributes must be scalars; list random access '[]' and map lookup "
                        f"'.' are not allowed: {kind}: {name}"
                    )


def _divided(expression: Expression) -> Iterator[str]:
    """The attributes of which an expression names a part, not the whole."""
    if isinstance(expression, Condition):
        yield from (path.name for path in expression.predicate.paths() if path.rest)
        return
    yield from (str(name) for name, part in expression.tree.items() if type(part) is dict)
    for action in _leaves(expression.tree):
        if isinstance(action, Set):
            yield from (path.name for path in action.operand.paths() if path.rest)


def _leaves(tree: dict[Any, Any]) -> Iterator[Any]:
    for branch in tree.values():
        if type(branch) is dict:
            yield from _leaves(branch)
        else:
            yield branch


Request = Mapping[str, Any]

_KINDS = frozenset({
    "UpdateExpression", "ConditionExpression", "FilterExpression", "ProjectionExpression",
    "KeyConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues",
    "ConditionalOperator", "KeyConditions", "Expected", "QueryFilter", "ScanFilter",
    "AttributeUpdates", "AttributesToGet",
})  # fmt: skip
"""All parameters that say something of what is read here."""
_FILTERS = {"Query": "QueryFilter", "Scan": "ScanFilter"}


@dataclass(slots=True)
class Expressions:
    """What a request says by way of expressions; None where it says nothing.

    Attributes:
        key_conditions: of KeyConditions.
        key_expression: a KeyConditionExpression. What it says of keys is `key_conditions_in`
            it, to be asked when all expressions are read: DynamoDB speaks first of whatever
            is wrong with those as expressions.
    """

    update: Update | None = None
    condition: Condition | None = None
    filter: Condition | None = None
    projection: Projection | None = None
    key_conditions: tuple[KeyCondition, ...] | None = None
    key_expression: Condition | None = None

    @classmethod
    def of(cls, operation: str, request: Request) -> Expressions:
        """Read them from a request.

        Args:
            operation: such as "UpdateItem"; of BatchGetItem "GetItem", with the part of the
                request for one table.
            request: its JSON.

        Raises:
            InvalidExpression, InvalidItem: DynamoDB's message.
        """
        if _KINDS.isdisjoint(request):
            return cls()
        old = _legacy(operation, request)
        placeholders = Placeholders.of_wire(
            request.get("ExpressionAttributeNames"), request.get("ExpressionAttributeValues")
        )
        new = _parsed(request, placeholders)
        placeholders.check_all_used()
        # Never both of one kind; but KeyConditions may come with a FilterExpression.
        return cls(
            update=new.update or old.update,
            condition=new.condition or old.condition,
            filter=new.filter or old.filter,
            projection=new.projection or old.projection,
            key_conditions=old.key_conditions,
            key_expression=new.key_expression,
        )


def _parsed(request: Request, placeholders: Placeholders) -> Expressions:
    update = request.get("UpdateExpression")
    condition = request.get("ConditionExpression")
    filter_ = request.get("FilterExpression")
    projection = request.get("ProjectionExpression")
    keys = request.get("KeyConditionExpression")
    parsed = Expressions()
    if update is not None:
        parsed.update = parse_update(update, placeholders)
    if condition is not None:
        parsed.condition = parse_condition(condition, placeholders)
    if filter_ is not None:
        parsed.filter = parse_condition(filter_, placeholders, kind="FilterExpression")
    if projection is not None:
        parsed.projection = parse_projection(projection, placeholders)
    if keys is not None:
        parsed.key_expression = Condition(bind_condition(keys, placeholders, KIND))
    return parsed


def _legacy(operation: str, request: Request) -> Expressions:
    connective = request.get("ConditionalOperator")
    filter_kind = _FILTERS.get(operation)
    translated = Expressions()
    if "KeyConditions" in request:
        translated.key_conditions = key_conditions_of(request["KeyConditions"])
    if filter_kind is None and ("Expected" in request or connective is not None):
        translated.condition = condition_of_expected(request.get("Expected"), connective)
    if filter_kind is not None and (filter_kind in request or connective is not None):
        translated.filter = condition_of_filter(request.get(filter_kind), connective, filter_kind)
    if "AttributeUpdates" in request:
        translated.update = update_of_attribute_updates(request["AttributeUpdates"])
    if "AttributesToGet" in request:
        translated.projection = projection_of_attributes(request["AttributesToGet"])
    return translated
