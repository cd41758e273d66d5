"""Expected, AttributeUpdates, KeyConditions and the other parameters before expressions."""

from __future__ import annotations

from typing import Any

import pytest

from mynamo.errors import InvalidExpression, InvalidItem, InvalidRequest
from mynamo.expressions import KeyCondition
from mynamo.expressions.legacy import (
    condition_of_expected,
    condition_of_filter,
    key_conditions_of,
    projection_of_attributes,
    update_of_attribute_updates,
)
from mynamo.gateway.operations.request_expressions import check_not_mixed

Json = dict[str, Any]

VALUES: Json = {
    "hello": {"S": "hello"},
    "a": {"S": "a"},
    "5": {"N": "5"},
    "1": {"N": "1"},
    "bytes a": {"B": "YQ=="},
    "bytes ab": {"B": "YWI="},
    "true": {"BOOL": True},
    "null": {"NULL": True},
    "texts": {"SS": ["a", "b"]},
    "numbers": {"NS": ["1", "2"]},
    "binaries": {"BS": ["YQ==", "Yg=="]},
    "list": {"L": [{"S": "a"}, {"N": "5"}, {"BOOL": True}, {"B": "YQ=="}]},
    "map": {"M": {"k": {"S": "a"}}},
    "nothing": None,
}
PREFIX = "One or more parameter values were invalid: "
COUNT = PREFIX + "Invalid number of argument(s) for the {} ComparisonOperator"
TYPE = PREFIX + "ComparisonOperator {} is not valid for {} AttributeValue type"


def item_with(value: Json | None) -> Json:
    return {"x": value} if value is not None else {}


def of(operator: str, *values: Json) -> Json:
    return {"ComparisonOperator": operator, "AttributeValueList": list(values)}


def holding(condition: Json) -> set[str]:
    """The values for which a filter on the attribute `x` holds."""
    made = condition_of_filter({"x": condition}, None, "ScanFilter")
    assert made.names == {"x"}
    return {name for name, value in VALUES.items() if made.holds(item_with(value))}


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("EQ", ["5"], {"5"}),
        ("EQ", ["texts"], {"texts"}),
        ("EQ", ["map"], {"map"}),
        ("NE", ["map"], set(VALUES) - {"map"}),  # also where there is nothing
        ("LT", ["hello"], {"a"}),
        ("LE", ["hello"], {"a", "hello"}),
        ("GT", ["1"], {"5"}),
        ("GE", ["bytes a"], {"bytes a", "bytes ab"}),
        ("IN", ["5", "1"], {"5", "1"}),
        ("BETWEEN", ["a", "hello"], {"a", "hello"}),
        ("BETWEEN", ["bytes a", "bytes a"], {"bytes a"}),
        ("BEGINS_WITH", ["bytes a"], {"bytes a", "bytes ab"}),
        ("CONTAINS", ["a"], {"a", "texts", "list"}),
        ("CONTAINS", ["5"], {"list"}),
        ("CONTAINS", ["bytes a"], {"bytes a", "bytes ab", "binaries", "list"}),
        ("CONTAINS", ["true"], {"list"}),
        ("NOT_CONTAINS", ["a"], set(VALUES) - {"a", "texts", "list", "nothing"}),
        ("NOT_CONTAINS", ["null"], set(VALUES) - {"nothing"}),
        ("NULL", [], {"nothing"}),
        ("NOT_NULL", [], set(VALUES) - {"nothing"}),
    ],
)
def test_each_operator_means_what_it_means_in_dynamodb(
    operator: str, values: list[str], expected: set[str]
) -> None:
    assert holding(of(operator, *(VALUES[value] for value in values))) == expected


def test_values_are_compared_in_stored_form() -> None:
    assert holding(of("EQ", {"N": "5.0"})) == {"5"}
    assert holding(of("EQ", {"SS": ["b", "a"]})) == {"texts"}


@pytest.mark.parametrize(
    ("operator", "wrong_counts"),
    [
        *[(operator, (0, 2)) for operator in ("EQ", "NE", "LT", "LE", "GT", "GE")],
        *[(operator, (0, 2)) for operator in ("CONTAINS", "NOT_CONTAINS", "BEGINS_WITH")],
        *[(operator, (1, 2)) for operator in ("NULL", "NOT_NULL")],
        ("IN", (0,)),
        ("BETWEEN", (0, 1, 3)),
    ],
)
def test_each_operator_takes_its_number_of_values(
    operator: str, wrong_counts: tuple[int, ...]
) -> None:
    for count in wrong_counts:
        wrong = {"x": of(operator, *[{"S": "a"}] * count)}
        expect(COUNT.format(operator), lambda w=wrong: condition_of_filter(w, None, "QueryFilter"))
        expect(COUNT.format(operator), lambda w=wrong: condition_of_expected(w, None))


@pytest.mark.parametrize(
    ("operators", "types"),
    [
        ("LT LE GT GE IN BETWEEN", "BOOL NULL SS NS BS L M"),
        ("CONTAINS NOT_CONTAINS", "SS NS BS L M"),
        ("BEGINS_WITH", "N BOOL NULL SS NS BS L M"),
    ],
)
def test_operators_refuse_values_of_types_they_cannot_compare(operators: str, types: str) -> None:
    by_type = {kind: value for value in VALUES.values() if value for kind in value}
    for operator in operators.split():
        for kind in types.split():
            count = 2 if operator == "BETWEEN" else 1
            wrong = {"x": of(operator, *[by_type[kind]] * count)}
            expect(TYPE.format(operator, kind), lambda w=wrong: condition_of_expected(w, None))


def expect(message: str, action: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        action()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (of("BETWEEN", {"S": "a"}, {"N": "1"}), "same type"),
        (of("IN", {"S": "a"}, {"N": "1"}), "same type"),
        (of("IN", {"S": "a"}, {"L": []}), "IN is not valid for L"),
        (of("BETWEEN", {"N": "10"}, {"N": "9"}), "lower bound is greater than the upper bound"),
        (of("LT", {"L": []}, {"S": "a"}), "Invalid number of argument"),  # comes before types
        (of("BETWEEN", {"N": "x"}), "numeric"),  # comes before their number
        (of("EQ", {"SS": []}), "may not be empty"),
        (of("LIKE", {"S": "a"}), r"'queryFilter\.x\.member\.comparisonOperator' .* enum value set"),
        ({"AttributeValueList": []}, r"Value null at .* must not be null"),
    ],
)
def test_which_mistake_in_a_condition_is_named_first(condition: Json, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        condition_of_filter({"x": condition}, None, "QueryFilter")


A = {"S": "a"}


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({}, "Value must be provided when Exists is null"),
        ({"Exists": True}, "Value must be provided when Exists is true"),
        ({"Exists": False, "Value": A}, "Value cannot be used when Exists is false"),
        ({"Exists": False, "Value": {}}, "Value cannot be used when Exists is false"),
        (
            {"Value": A, "AttributeValueList": [A]},
            "Value and AttributeValueList cannot be used together",
        ),
        (
            {"Value": {}, "AttributeValueList": [A], "ComparisonOperator": "EQ"},
            "Value and AttributeValueList cannot be used together",
        ),
        (
            {"AttributeValueList": [], "Exists": False},
            "AttributeValueList can only be used with a ComparisonOperator",
        ),
        ({"Exists": True, **of("EQ", A)}, "Exists and ComparisonOperator cannot be used together"),
        (
            {"Exists": False, "ComparisonOperator": "NULL"},
            "Exists and ComparisonOperator cannot be used together",
        ),
        (
            {"ComparisonOperator": "EQ"},
            "Value or AttributeValueList must be used with ComparisonOperator: EQ",
        ),
    ],
)
def test_members_of_expected_that_do_not_fit_each_other(expected: Json, message: str) -> None:
    expect(
        f"{PREFIX}{message} for Attribute: x", lambda: condition_of_expected({"x": expected}, None)
    )


@pytest.mark.parametrize(
    ("expected", "holds_for"),
    [
        ({"Exists": False}, {"nothing"}),
        ({"Value": A}, {"a"}),
        ({"Value": A, "Exists": True}, {"a"}),
        ({"Value": A, "ComparisonOperator": "EQ"}, {"a"}),
        ({"Value": A, "ComparisonOperator": "LE"}, {"a"}),
        ({"ComparisonOperator": "NULL"}, {"nothing"}),
        (of("NOT_NULL"), set(VALUES) - {"nothing"}),
    ],
)
def test_both_forms_of_expected(expected: Json, holds_for: set[str]) -> None:
    condition = condition_of_expected({"x": expected}, None)
    assert {n for n, value in VALUES.items() if condition.holds(item_with(value))} == holds_for


def test_the_first_wrong_attribute_of_expected_is_named() -> None:
    wrong: Json = {"b": {"Exists": True}, "a": {"ComparisonOperator": "EQ"}}
    with pytest.raises(InvalidExpression, match="Exists is true for Attribute: b"):
        condition_of_expected(wrong, "OR")
    with pytest.raises(InvalidExpression, match="ComparisonOperator: EQ for Attribute: a"):
        condition_of_expected(dict(reversed(wrong.items())), "OR")


def test_a_missing_item_is_like_one_without_attributes() -> None:
    assert condition_of_expected({"x": {"Exists": False}}, None).holds(None)
    assert not condition_of_expected({"x": {"Value": A}}, None).holds(None)


def test_conditions_are_combined_by_the_conditional_operator() -> None:
    two = {"x": {"Value": A}, "y": {"Exists": False}}
    half = {"x": {"S": "b"}}
    assert condition_of_expected(two, "OR").holds(half)
    assert not condition_of_expected(two, "AND").holds(half)
    assert not condition_of_expected(two, None).holds(half)
    assert condition_of_expected({}, None).holds(half)


@pytest.mark.parametrize("operator", ["AND", "OR"])
def test_a_conditional_operator_needs_two_conditions(operator: str) -> None:
    none = "ConditionalOperator cannot be used without Filter or Expected"
    one = "ConditionalOperator can only be used when Filter or Expected has two or more elements"
    expect(none, lambda: condition_of_expected(None, operator))
    expect(none, lambda: condition_of_filter({}, operator, "QueryFilter"))
    expect(one, lambda: condition_of_expected({"x": {"Value": A}}, operator))
    expect(one, lambda: condition_of_filter({"x": of("NULL")}, operator, "ScanFilter"))
    # What is wrong inside comes first.
    expect(COUNT.format("EQ"), lambda: condition_of_filter({"x": of("EQ")}, operator, "ScanFilter"))


def test_key_conditions() -> None:
    assert key_conditions_of({"s": of("BETWEEN", {"N": "1"}, {"N": "2.0"}), "h": of("EQ", A)}) == (
        KeyCondition("s", "between", ({"N": "1"}, {"N": "2"})),
        KeyCondition("h", "=", (A,)),
    )
    signs = {"LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "BEGINS_WITH": "begins_with"}
    for operator, sign in signs.items():
        (condition,) = key_conditions_of({"h": of(operator, A)})
        assert condition.operator == sign


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({}, "Conditions can be of length 1 or 2 only"),
        (dict.fromkeys("abcdefghi", of("EQ", A)), "Conditions can be of length 1 or 2 only"),
        ({"h": of("NE", A)}, "Attempted conditional constraint is not an indexable operation"),
        ({"h": of("IN", A, A)}, "Attempted conditional constraint is not an indexable operation"),
        ({"h": of("NE", A, A)}, COUNT.format("NE")),
        ({"h": of("BEGINS_WITH", {"N": "1"})}, TYPE.format("BEGINS_WITH", "N")),
        ({"": of("EQ", A)}, "Empty attribute name"),
    ],
)
def test_wrong_key_conditions(conditions: Json, message: str) -> None:
    expect(message, lambda: key_conditions_of(conditions))


def updated(action: Json, old: Json | None) -> Json | None:
    item = {"id": {"S": "i"}, **item_with(old)}
    before = repr(item)
    new = update_of_attribute_updates({"x": action}).apply(item)
    assert repr(item) == before
    assert new["id"] == {"S": "i"}
    return new.get("x")


@pytest.mark.parametrize(
    ("action", "old", "new"),
    [
        ({"Value": A}, {"N": "1"}, A),
        ({"Action": "PUT", "Value": A}, None, A),
        ({"Action": "DELETE"}, A, None),
        ({"Action": "DELETE"}, None, None),
        ({"Action": "DELETE", "Value": {"SS": ["b", "z"]}}, {"SS": ["a", "b"]}, {"SS": ["a"]}),
        ({"Action": "DELETE", "Value": {"NS": ["1.0"]}}, {"NS": ["1"]}, None),
        ({"Action": "DELETE", "Value": {"BS": ["YQ=="]}}, None, None),
        ({"Action": "ADD", "Value": {"N": "-5"}}, {"N": "5"}, {"N": "0"}),
        ({"Action": "ADD", "Value": {"N": "1.50"}}, None, {"N": "1.5"}),
        (
            {"Action": "ADD", "Value": {"NS": ["2", "1"]}},
            {"NS": ["2", "3"]},
            {"NS": ["1", "2", "3"]},
        ),
        ({"Action": "ADD", "Value": {"SS": ["a"]}}, None, {"SS": ["a"]}),
        ({"Action": "ADD", "Value": {"L": [A]}}, {"L": [A]}, {"L": [A, A]}),
        ({"Action": "ADD", "Value": {"L": [A]}}, None, {"L": [A]}),
    ],
)
def test_attribute_updates(action: Json, old: Json | None, new: Json | None) -> None:
    assert updated(action, old) == new


@pytest.mark.parametrize(
    ("action", "old"),
    [
        ({"Action": "ADD", "Value": {"N": "1"}}, A),
        ({"Action": "ADD", "Value": {"N": "1"}}, {"NS": ["1"]}),
        ({"Action": "ADD", "Value": {"L": []}}, {"SS": ["a"]}),
        ({"Action": "DELETE", "Value": {"SS": ["a"]}}, {"NS": ["1"]}),
        ({"Action": "DELETE", "Value": {"SS": ["a"]}}, {"L": [A]}),
    ],
)
def test_updates_of_another_type(action: Json, old: Json) -> None:
    expect("Type mismatch for attribute to update", lambda: updated(action, old))


def test_sums_are_exact_or_refused() -> None:
    add = {"Action": "ADD", "Value": {"N": "0.1"}}
    with pytest.raises(InvalidItem, match="38 significant digits"):
        updated(add, {"N": "9" * 38})


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({}, "Only DELETE action is allowed when no attribute value is specified"),
        ({"Action": "ADD"}, "Only DELETE action is allowed when no attribute value is specified"),
        ({"Action": "ADD", "Value": A}, "ADD action is not supported for the type STRING"),
        (
            {"Action": "ADD", "Value": {"BOOL": True}},
            "ADD action is not supported for the type BOOLEAN",
        ),
        (
            {"Action": "DELETE", "Value": {"N": "1"}},
            "DELETE action with value is not supported for the type NUMBER",
        ),
        (
            {"Action": "DELETE", "Value": {"L": []}},
            "DELETE action with value is not supported for the type LIST",
        ),
        ({"Value": {"SS": []}}, "An string set  may not be empty"),
    ],
)
def test_wrong_attribute_updates(action: Json, message: str) -> None:
    expect(PREFIX + message, lambda: update_of_attribute_updates({"x": action}))


def test_names_in_attribute_updates_are_no_paths() -> None:
    update = update_of_attribute_updates({"a.b[0]": {"Value": A}, "y": {"Action": "DELETE"}})
    assert update.names == {"a.b[0]", "y"}
    assert update.apply({"y": A}) == {"a.b[0]": A}
    assert update.touched({"y": A, "z": A}) == {"y": A}


def test_attributes_to_get() -> None:
    assert projection_of_attributes(["x", "a.b"]).of({"x": A, "y": A, "a.b": A}) == {
        "x": A,
        "a.b": A,
    }
    expect("AttributesToGet cannot be empty", lambda: projection_of_attributes([]))
    expect("Empty attribute name", lambda: projection_of_attributes([""]))
    expect(
        f"{PREFIX}Duplicate value in attribute name: b",
        lambda: projection_of_attributes(["a", "b", "b", "a"]),
    )


MIXED = (
    "Can not use both expression and non-expression parameters in the same request: "
    "Non-expression parameters: {{{}}} Expression parameters: {{{}}}"
)


@pytest.mark.parametrize(
    ("operation", "legacy", "expressions"),
    [
        ("PutItem", "Expected", "ConditionExpression"),
        ("PutItem", "Expected, ConditionalOperator", "ConditionExpression"),
        ("DeleteItem", "ConditionalOperator", "ConditionExpression"),
        ("UpdateItem", "Expected", "UpdateExpression"),
        (
            "UpdateItem",
            "AttributeUpdates, Expected, ConditionalOperator",
            "UpdateExpression, ConditionExpression",
        ),
        ("GetItem", "AttributesToGet", "ProjectionExpression"),
        ("Query", "KeyConditions", "KeyConditionExpression"),
        ("Query", "QueryFilter", "KeyConditionExpression"),
        (
            "Query",
            "AttributesToGet, QueryFilter, ConditionalOperator, KeyConditions",
            "ProjectionExpression, FilterExpression, KeyConditionExpression",
        ),
        (
            "Scan",
            "AttributesToGet, ScanFilter, ConditionalOperator",
            "ProjectionExpression, FilterExpression",
        ),
    ],
)
def test_old_and_new_parameters_do_not_mix(operation: str, legacy: str, expressions: str) -> None:
    # An empty parameter is a parameter; the request's own order does not matter.
    names = [*reversed(legacy.split(", ")), *reversed(expressions.split(", "))]
    request: Json = {"ExpressionAttributeNames": {}, **{name: {} for name in names}}
    expect(MIXED.format(legacy, expressions), lambda: check_not_mixed(operation, request))
    for kind in (legacy, expressions):
        check_not_mixed(operation, {name: {} for name in kind.split(", ")})


def test_each_table_of_a_batch_is_checked() -> None:
    good = {"Keys": [], "AttributesToGet": ["a"]}
    bad = {**good, "ProjectionExpression": "a"}
    check_not_mixed("BatchGetItem", {"RequestItems": {"one": good}})
    expect(
        MIXED.format("AttributesToGet", "ProjectionExpression"),
        lambda: check_not_mixed("BatchGetItem", {"RequestItems": {"one": good, "two": bad}}),
    )


def test_key_conditions_go_with_other_expressions() -> None:
    check_not_mixed("Query", {"KeyConditions": {}, "FilterExpression": "a"})
    expect(
        MIXED.format("QueryFilter", "FilterExpression"),
        lambda: check_not_mixed(
            "Query", {"KeyConditions": {}, "QueryFilter": {}, "FilterExpression": "a"}
        ),
    )


@pytest.mark.parametrize(
    ("operation", "missing"),
    [
        ("PutItem", "ConditionExpression is null"),
        ("DeleteItem", "ConditionExpression is null"),
        ("UpdateItem", "UpdateExpression and ConditionExpression are null"),
        ("Query", "FilterExpression and KeyConditionExpression are null"),
        ("Scan", "FilterExpression is null"),
    ],
)
def test_placeholders_need_expressions(operation: str, missing: str) -> None:
    names: Json = {"ExpressionAttributeNames": {}}
    values: Json = {"ExpressionAttributeValues": {}}
    of_names = "ExpressionAttributeNames can only be specified when using expressions"
    of_values = f"ExpressionAttributeValues can only be specified when using expressions: {missing}"
    expect(of_names, lambda: check_not_mixed(operation, {**values, **names}))
    expect(of_values, lambda: check_not_mixed(operation, values))
    check_not_mixed(operation, {"ExpressionAttributeNames": None})


def test_placeholders_of_projections() -> None:
    values: Json = {"ProjectionExpression": "a", "ExpressionAttributeValues": {}}
    of_values = "ExpressionAttributeValues can only be specified when using expressions: "
    expect(of_values + "FilterExpression is null", lambda: check_not_mixed("Scan", values))
    check_not_mixed("Scan", {"ProjectionExpression": "#a", "ExpressionAttributeNames": {}})
    expect(
        "ExpressionAttributeNames can only be specified when using expressions",
        lambda: check_not_mixed("GetItem", {"AttributesToGet": [], "ExpressionAttributeNames": {}}),
    )


def test_operations_without_such_parameters_pass() -> None:
    check_not_mixed("DescribeTable", {"ExpressionAttributeNames": {}})
