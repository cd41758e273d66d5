"""Requests that mix expressions with the parameters they replaced, or lack expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mynamo.errors import InvalidExpression

__all__ = ["check_not_mixed"]


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
