"""Key conditions: what they are read as, and what DynamoDB does not let them say."""

from __future__ import annotations

from typing import Any

import pytest

from mynamo.errors import InvalidExpression
from mynamo.expressions import KeyCondition, parse_key_condition
from tests.unit.expressing import NAMES, placeholders

VALUES = {"p": "p", "s": "s", "z": "z", "n": 1}
P, S, Z = ({"S": letter} for letter in "psz")


def key_conditions(text: str) -> tuple[KeyCondition, ...]:
    return parse_key_condition(text, placeholders(NAMES, VALUES))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pk = :p", [("pk", "=", P)]),
        (":p = pk AND :s < sk", [("pk", "=", P), ("sk", ">", S)]),
        ("sk <= :s and #a = :p", [("sk", "<=", S), ("a", "=", P)]),
        (":s >= sk", [("sk", "<=", S)]),
        ("(pk = :p) and (sk between :s and :z)", [("pk", "=", P), ("sk", "between", S, Z)]),
        ("pk = :p and begins_with(sk, :s)", [("pk", "=", P), ("sk", "begins_with", S)]),
        ("(pk = :p and (x > :s and y < :z))", [("pk", "=", P), ("x", ">", S), ("y", "<", Z)]),
    ],
)
def test_what_is_read(text: str, found: list[tuple[Any, ...]]) -> None:
    assert key_conditions(text) == tuple(
        KeyCondition(name, operator, tuple(values)) for name, operator, *values in found
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Invalid KeyConditionExpression: The expression can not be empty;"),
        ("pk = ", 'Invalid KeyConditionExpression: Syntax error; token: "<EOF>", near: "= "'),
        ("pk = :p or sk = :s", "Invalid operator used in KeyConditionExpression: OR"),
        ("pk <> :p or sk = :s", "Invalid operator used in KeyConditionExpression: OR"),
        ("pk = :p and (sk = :s or sk = :z)", "Invalid operator used in KeyConditionExpression: OR"),
        ("not pk = :p", "Invalid operator used in KeyConditionExpression: NOT"),
        ("not not pk = :p", "Invalid operator used in KeyConditionExpression: NOT"),
        ("pk <> :p", "Invalid operator used in KeyConditionExpression: <>"),
        ("pk in (:p)", "Invalid operator used in KeyConditionExpression: IN"),
        (
            "pk = :p and contains(sk, :s)",
            "Invalid operator used in KeyConditionExpression: contains",
        ),
        (
            "attribute_exists(pk)",
            "Invalid operator used in KeyConditionExpression: attribute_exists",
        ),
        ("size(pk) = :n", "KeyConditionExpressions cannot contain nested operations"),
        ("pk = size(x)", "KeyConditionExpressions cannot contain nested operations"),
        (
            "begins_with(:s, sk)",
            "Invalid condition in KeyConditionExpression: begins_with operator must have the key "
            "attribute as its first operand",
        ),
        (
            ":s between sk and :z",
            "Invalid condition in KeyConditionExpression: BETWEEN operator must have the key "
            "attribute as its first operand",
        ),
        (
            "pk = sk",
            "Invalid condition in KeyConditionExpression: "
            "Multiple attribute names used in one condition",
        ),
        (
            "sk between :s and x",
            "Invalid condition in KeyConditionExpression: "
            "Multiple attribute names used in one condition",
        ),
        (":s = :s", "Invalid condition in KeyConditionExpression: No key attribute specified"),
        (
            "sk > :s and sk < :z",
            "KeyConditionExpressions must only contain one condition per key",
        ),
        (
            "pk = :p and x.y = :s",
            "KeyConditionExpressions cannot have conditions on nested attributes",
        ),
        (
            "begins_with(sk, :n)",
            "Invalid KeyConditionExpression: Incorrect operand type for operator or function; "
            "operator or function: begins_with, operand type: N",
        ),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        key_conditions(text)
    assert str(caught.value) == message
