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
from functools import cached_property
from typing import Any

from mynamo.catalog.tables import Table
from mynamo.errors import InvalidExpression
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


@dataclass(frozen=True)
class _Parameters:
    """The parameters of one operation, in the order in which DynamoDB's messages list them.

    Attributes:
        expressions: the new ones.
        legacy: those that they replaced.
        with_values: the expressions that may have value placeholders.
        legacy_names: of those that they replaced.
        names: of all of them, and of the placeholders.
    """

    expressions: tuple[str, ...]
    legacy: tuple[str, ...]
    with_values: tuple[str, ...] = ()

    @cached_property
    def legacy_names(self) -> frozenset[str]:
        """See the class."""
        return frozenset(self.legacy)

    @cached_property
    def names(self) -> frozenset[str]:
        """See the class."""
        return frozenset({
            *self.expressions, *self.legacy, "ExpressionAttributeNames",
            "ExpressionAttributeValues",
        })  # fmt: skip


_CONDITIONAL_WRITE = _Parameters(
    ("ConditionExpression",), ("Expected", "ConditionalOperator"), ("ConditionExpression",)
)
_GET = _Parameters(("ProjectionExpression",), ("AttributesToGet",))
_PARAMETERS = {
    "PutItem": _CONDITIONAL_WRITE,
    "DeleteItem": _CONDITIONAL_WRITE,
    "UpdateItem": _Parameters(
        ("UpdateExpression", "ConditionExpression"),
        ("AttributeUpdates", "Expected", "ConditionalOperator"),
        ("UpdateExpression", "ConditionExpression"),
    ),
    "GetItem": _GET,
    "BatchGetItem": _GET,
    "Query": _Parameters(
        ("ProjectionExpression", "FilterExpression", "KeyConditionExpression"),
        ("AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions"),
        ("FilterExpression", "KeyConditionExpression"),
    ),
    "Scan": _Parameters(
        ("ProjectionExpression", "FilterExpression"),
        ("AttributesToGet", "ScanFilter", "ConditionalOperator"),
        ("FilterExpression",),
    ),
}


def check_not_mixed(operation: str, request: Mapping[str, Any]) -> None:
    """Check that a request has parameters of one kind, and placeholders with expressions only.

    Args:
        operation: such as "UpdateItem"; those without such parameters always pass.
        request: its JSON; a member that is null counts as not given.

    Raises:
        InvalidExpression: it has both kinds, or placeholders and no expression.
    """
    parameters = _PARAMETERS.get(operation)
    if parameters is None:
        return
    if operation == "BatchGetItem":
        for of_one_table in request.get("RequestItems", {}).values():
            _check(parameters, of_one_table)
    else:
        _check(parameters, request)


def _check(parameters: _Parameters, request: Mapping[str, Any]) -> None:
    if parameters.names.isdisjoint(request) or _is_new(parameters, request):
        return
    expressions = _given(request, parameters.expressions)
    legacy = _given(request, parameters.legacy)
    if "KeyConditionExpression" not in expressions and "KeyConditions" in legacy:
        legacy.remove("KeyConditions")  # that go with the other expressions
    if expressions and legacy:
        raise InvalidExpression(
            "Can not use both expression and non-expression parameters in the same request: "
            f"Non-expression parameters: {{{', '.join(legacy)}}} "
            f"Expression parameters: {{{', '.join(expressions)}}}"
        )
    if not expressions and _given(request, ("ExpressionAttributeNames",)):
        raise InvalidExpression(
            "ExpressionAttributeNames can only be specified when using expressions"
        )
    if not parameters.with_values or _given(request, parameters.with_values):
        return
    if _given(request, ("ExpressionAttributeValues",)):
        missing = " and ".join(parameters.with_values)
        raise InvalidExpression(
            "ExpressionAttributeValues can only be specified when using expressions: "
            f"{missing} {'is' if len(parameters.with_values) == 1 else 'are'} null"
        )


def _is_new(parameters: _Parameters, request: Mapping[str, Any]) -> bool:
    """Whether it has no parameter of the old kind, and an expression that takes placeholders."""
    return parameters.legacy_names.isdisjoint(request) and any(
        request.get(name) is not None for name in parameters.with_values
    )


def _given(request: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if request.get(name) is not None]


def check_scalar_keys(table: Table, *expressions: Expression | None) -> None:
    """Refuse document paths into key attributes of the table or of any of its indexes.

    Raises:
        ServiceError: there is one.
    """
    parts = [_divided(each) for each in expressions if each is not None]
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


def _divided(expression: Expression) -> set[str]:
    """The attributes of which an expression names a part, not the whole."""
    divided: set[str] = set()
    if isinstance(expression, Condition):
        for path in expression.predicate.paths():
            if path.rest:
                divided.add(path.name)
        return divided
    divided.update(str(name) for name, part in expression.tree.items() if type(part) is dict)
    for action in _leaves(expression.tree):
        if isinstance(action, Set):
            divided.update(path.name for path in action.operand.paths() if path.rest)
    return divided


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
        found = _legacy(operation, request)
        placeholders = Placeholders.of_wire(
            request.get("ExpressionAttributeNames"), request.get("ExpressionAttributeValues")
        )
        # Never both of one kind; but KeyConditions may come with a FilterExpression.
        if (update := request.get("UpdateExpression")) is not None:
            found.update = parse_update(update, placeholders)
        if (condition := request.get("ConditionExpression")) is not None:
            found.condition = parse_condition(condition, placeholders)
        if (filtered := request.get("FilterExpression")) is not None:
            found.filter = parse_condition(filtered, placeholders, kind="FilterExpression")
        if (projection := request.get("ProjectionExpression")) is not None:
            found.projection = parse_projection(projection, placeholders)
        if (keys := request.get("KeyConditionExpression")) is not None:
            found.key_expression = Condition(bind_condition(keys, placeholders, KIND))
        if placeholders.unused_names or placeholders.unused_values:
            placeholders.check_all_used()
        return found


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
