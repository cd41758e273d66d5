"""Placeholders: their form, their order of checks, and those that nothing used."""

from __future__ import annotations

from typing import Any

import pytest

from mynamo.errors import InvalidExpression
from mynamo.expressions import Placeholders, parse_condition, parse_projection

ONE = {"N": "1"}
NAMES = "ExpressionAttributeNames"
VALUES = "ExpressionAttributeValues"


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        ({}, {"x": ONE}, f"{NAMES} must not be empty"),
        (None, {}, f"{VALUES} must not be empty"),
        ({"x": "a"}, {"x": ONE}, f'{VALUES} contains invalid key: Syntax error; key: "x"'),
        ({"x": "a"}, {}, f'{NAMES} contains invalid key: Syntax error; key: "x"'),
        ({"#": "a"}, None, f'{NAMES} contains invalid key: Syntax error; key: "#"'),
        ({"#a-b": "a"}, None, f'{NAMES} contains invalid key: Syntax error; key: "#a-b"'),
        ({"#é": "a"}, None, f'{NAMES} contains invalid key: Syntax error; key: "#é"'),
        (
            {"": "a"},
            None,
            f"{NAMES} contains invalid key: The expression attribute map contains an empty key;",
        ),
        (
            {"#" + "a" * 255: "a"},
            None,
            f"{NAMES} contains invalid key: The expression attribute map contains a key that is "
            "too long; size of key: 256",
        ),
        (
            None,
            {":" + "a" * 255: ONE},
            f"{VALUES} contains invalid key: The expression attribute map contains a key that is "
            "too long;",
        ),
        (
            {"#a": "", "b": "x"},
            None,
            f'{NAMES} contains invalid key: Syntax error; key: "b"',
        ),
        ({"#a": ""}, None, f"{NAMES} contains invalid value: Empty attribute name for key #a"),
        (
            {"#a": "é" * 32768},
            None,
            f"{NAMES} contains invalid value: Attribute name is too large, must be less than "
            "65536 bytes for key #a",
        ),
        (
            {"#a": "x\ud800"},
            None,
            f"{NAMES} contains invalid value: Strings must be valid Unicode: found a lone "
            "surrogate for key #a",
        ),
        (
            {"#a": ""},
            {":a": ONE, ":b": {"SS": []}},
            f"{VALUES} contains invalid value: One or more parameter values were invalid: "
            "An string set  may not be empty for key :b",
        ),
        (
            None,
            {":a": {"N": "1" * 39}},
            f"{VALUES} contains invalid value: Attempting to store more than 38 significant "
            "digits in a Number for key :a",
        ),
    ],
)
def test_what_is_refused(
    names: dict[str, str] | None, values: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(InvalidExpression) as caught:
        Placeholders.of_wire(names, values)
    assert str(caught.value) == message


def test_values_from_outside_become_canonical() -> None:
    given = {":n": {"N": "1.00"}, ":s": {"SS": ["b", "a"]}}
    placeholders = Placeholders.of_wire(None, given)
    assert placeholders.values == {":n": ONE, ":s": {"SS": ["a", "b"]}}
    assert given[":s"] == {"SS": ["b", "a"]}


def test_keys_of_255_bytes_are_taken() -> None:
    long = "#" + "a" * 254
    assert parse_projection(long, Placeholders({long: "a"})).names == {"a"}


def test_what_was_used_in_any_expression_counts() -> None:
    placeholders = Placeholders({"#a": "a", "#b": "b"}, {":n": ONE})
    parse_condition("#a = :n", placeholders)
    parse_projection("#b", placeholders)
    placeholders.check_all_used()


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (
            None,
            {":a": ONE, ":n": ONE},
            f"Value provided in {VALUES} unused in expressions: keys: {{:a}}",
        ),
        (
            # As they lie in a hash map of Java.
            {"#b": "x", "#c": "x"},
            {":a": ONE},
            f"Value provided in {NAMES} unused in expressions: keys: {{#c, #b}}",
        ),
        (
            dict.fromkeys(
                ["#foo", "#bar", "#longer_name", "#x1", "#x2", "#ABC", "#zz9", "#k"], "x"
            ),
            None,
            f"Value provided in {NAMES} unused in expressions: keys: "
            "{#bar, #foo, #longer_name, #zz9, #k, #x1, #x2, #ABC}",
        ),
    ],
)
def test_what_nothing_used_is_refused(
    names: dict[str, str] | None, values: dict[str, Any] | None, message: str
) -> None:
    placeholders = Placeholders(names, values)
    parse_condition("a = b" if not values or ":n" not in values else "a = :n", placeholders)
    with pytest.raises(InvalidExpression) as caught:
        placeholders.check_all_used()
    assert str(caught.value) == message


def test_what_an_undefined_one_is_answered_with() -> None:
    with pytest.raises(InvalidExpression, match="attribute name used in the document path"):
        parse_condition("#a = b", Placeholders())
    with pytest.raises(InvalidExpression, match="attribute value used in expression"):
        parse_condition("b = :a", Placeholders())
