"""Constraints on requests, in AWS's words and order."""

from __future__ import annotations

from typing import Any

import pytest

from mynamo.gateway.model.constraints import REQUESTS, check
from mynamo.gateway.model.request_shapes import TABLE_REQUESTS
from mynamo.gateway.service_errors import ServiceError

FAILED = "failed to satisfy constraint: "
NULL = FAILED + "Member must not be null"
PATTERN = FAILED + "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"


def message_of(operation: str, **request: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        check(operation, request)
    assert caught.value.kind == "ValidationException"
    return str(caught.value.message)


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert message_of("GetItem", TableName="a;b") == (
        f"2 validation errors detected: Value 'a;b' at 'tableName' {PATTERN}; "
        f"Value null at 'key' {NULL}"
    )


def test_errors_stand_in_the_order_of_the_model_not_of_the_request() -> None:
    wrong = {"Segment": -1, "Select": "X", "Limit": 0, "TableName": "abc"}
    assert message_of("Scan", **wrong) == (
        f"3 validation errors detected: Value at 'Limit' {FAILED}Member must have value "
        f"greater than or equal to 1; Value 'X' at 'select' {FAILED}Member must satisfy enum value "
        "set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]; "
        f"Value '-1' at 'segment' {FAILED}Member must have value greater than or equal to 0"
    )


@pytest.mark.parametrize(
    ("operation", "request_", "message"),
    [
        ("DescribeTable", {"TableName": "ab"},
         f"Value 'ab' at 'tableName' {FAILED}Member must have length greater than or equal to 3"),
        ("DescribeTable", {"TableName": "a" * 256},
         f"Value '{'a' * 256}' at 'tableName' {FAILED}Member must have length less than or equal "
         "to 255"),
        ("UpdateTable", {"TableName": "abc", "ReplicaUpdates": [{"Create": {}}]},
         f"Value null at 'replicaUpdates.1.member.create.regionName' {NULL}"),
        ("DescribeTable", {"TableName": ""},
         f"Value '' at 'tableName' {FAILED}Member must have length greater than or equal to 1"),
        ("PutItem", {"TableName": "abc", "Item": {}, "ReturnValues": "ALL"},
         f"Value 'ALL' at 'returnValues' {FAILED}Member must satisfy enum value set: "
         "[ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"),
        ("PutItem", {"TableName": "abc", "Item": {}, "ReturnConsumedCapacity": "x"},
         f"Value 'x' at 'returnConsumedCapacity' {FAILED}Member must satisfy enum value set: "
         "[INDEXES, TOTAL, NONE]"),
        ("PutItem",
         {"TableName": "abc", "Item": {}, "Expected": {"a": {"ComparisonOperator": "x"}}},
         f"Value 'x' at 'expected.a.member.comparisonOperator' {FAILED}Member must satisfy enum "
         "value set: [IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, "
         "GE, CONTAINS]"),
        ("GetItem", {"TableName": "abc", "Key": {}, "AttributesToGet": []},
         f"Value '[]' at 'attributesToGet' {FAILED}Member must have length greater than or equal "
         "to 1"),
        ("CreateTable", {"TableName": "abc", "KeySchema": [{"AttributeName": "a"}],
                         "AttributeDefinitions": []},
         f"Value null at 'keySchema.1.member.keyType' {NULL}"),
        ("BatchGetItem", {"RequestItems": {"a.b": {"Keys": [{}] * 101}}},
         f"Value at 'RequestItems.a.b.member.Keys' {FAILED}Member must have length less than or "
         "equal to 100"),
        ("BatchGetItem", {"RequestItems": {"abc": {"Keys": []}}},
         f"Value at 'RequestItems.abc.member.Keys' {FAILED}Member must have length greater than or "
         "equal to 1"),
        ("Query", {"TableName": "abc", "Limit": 0},
         f"Value at 'Limit' {FAILED}Member must have value greater than or equal to 1"),
        ("ListTables", {"Limit": 0},
         f"Value '0' at 'limit' {FAILED}Member must have value greater than or equal to 1"),
        ("BatchGetItem", {"RequestItems": {"": {"Keys": [{}]}}},
         f"Value '{{=KeysAndAttributes(keys=[{{}}], attributesToGet=null, consistentRead=null, "
         "projectionExpression=null, expressionAttributeNames=null)}' at 'requestItems' "
         f"{FAILED}Map keys must satisfy constraint: [Member must have length less than or equal "
         "to 255, Member must have length greater than or equal to 3, Member must satisfy regular "
         "expression pattern: [a-zA-Z0-9_.-]+]"),
        ("BatchGetItem", {"RequestItems": {"abc": {}}},
         f"Value null at 'requestItems.abc.member.keys' {NULL}"),
        ("BatchWriteItem", {"RequestItems": {"abc": []}},
         f"Value '{{abc=[]}}' at 'requestItems' {FAILED}Map value must satisfy constraint: "
         "[Member must have length less than or equal to 25, Member must have length greater than "
         "or equal to 1]"),
        ("BatchWriteItem", {"RequestItems": {"abc": [{"DeleteRequest": {}}]}},
         f"Value null at 'requestItems.abc.member.1.member.deleteRequest.key' {NULL}"),
        ("TransactWriteItems", {"TransactItems": []},
         f"Value '[]' at 'transactItems' {FAILED}Member must have length greater than or equal to "
         "1"),
        ("TransactWriteItems", {"TransactItems": [{"ConditionCheck": {"TableName": "abc",
                                                                      "Key": {}}}]},
         f"Value null at 'transactItems.1.member.conditionCheck.conditionExpression' {NULL}"),
        ("TransactWriteItems", {"TransactItems": [{}], "ClientRequestToken": "x" * 37},
         f"Value '{'x' * 37}' at 'clientRequestToken' {FAILED}Member must have length less than or "
         "equal to 36"),
        ("TransactWriteItems", {"TransactItems": [{}], "ClientRequestToken": ""},
         f"Value '' at 'clientRequestToken' {FAILED}Member must have length greater than or equal "
         "to 1"),
        ("TransactGetItems", {"TransactItems": [{}]},
         f"Value null at 'transactItems.1.member.get' {NULL}"),
        ("UntagResource", {"ResourceArn": "x", "TagKeys": ["", "b"]},
         f"Value '[, b]' at 'tagKeys' {FAILED}Member must satisfy constraint: "
         "[Member must have length less than or equal to 128, Member must have length greater than "
         "or equal to 1]"),
    ],
)  # fmt: skip
def test_wording(operation: str, request_: dict[str, Any], message: str) -> None:
    assert message_of(operation, **request_) == f"1 validation error detected: {message}"


def test_a_good_name_makes_no_other_one_good() -> None:
    for _ in range(2):
        check("DescribeTable", {"TableName": "fine"})
        assert "'fi;ne'" in message_of("DescribeTable", TableName="fi;ne")


def test_structures_are_shown_as_java_shows_them() -> None:
    schema = [{"AttributeName": str(n), "KeyType": "HASH"} for n in range(3)]
    said = message_of("CreateTable", TableName="abc", AttributeDefinitions=[], KeySchema=schema)
    assert "'[KeySchemaElement(attributeName=0, keyType=HASH), KeySchema" in said
    assert said.endswith("Member must have length less than or equal to 2")


def test_a_long_value_is_not_repeated_at_length() -> None:
    assert len(message_of("DescribeTable", TableName="?" * 1_000_000)) < 10_000


@pytest.mark.parametrize("operation", ["TransactGetItems", "TransactWriteItems"])
def test_a_transaction_has_a_hundred_entries_at_most(operation: str) -> None:
    get = {"Get": {"TableName": "abc", "Key": {}}}
    entries = [get if operation == "TransactGetItems" else {}] * 101
    said = message_of(operation, TransactItems=entries)
    assert said.startswith(f"1 validation error detected: Value '[{operation[:-1]}(")
    assert said.endswith(
        f"at 'transactItems' {FAILED}Member must have length less than or equal to 100"
    )
    assert check(operation, {"TransactItems": entries[1:]})["TransactItems"] == entries[1:]


def test_at_most_ten_errors() -> None:
    definitions: list[dict[str, str]] = [{}] * 50
    said = message_of(
        "CreateTable", TableName="abc", AttributeDefinitions=definitions, KeySchema=[]
    )
    assert said.startswith("10 validation errors detected: ")


@pytest.mark.parametrize("operation", sorted(REQUESTS))
def test_what_must_be_there_is_missed(operation: str) -> None:
    required = [
        name for name in REQUESTS[operation].members if name in REQUESTS[operation].required
    ]
    if not required:
        assert check(operation, {}) == {}
        return
    said = message_of(operation)
    if operation in ("BatchGetItem", "BatchWriteItem"):
        assert said == f"The requestItems parameter is required for {operation}"
        assert message_of(operation, RequestItems={}, ReturnConsumedCapacity="x") == said
        return
    if "TableName" in required and operation in TABLE_REQUESTS:
        assert said == "The parameter 'TableName' is required but was not present in the request"
        assert "Value '' at 'tableName'" in message_of(operation, TableName="")
        return
    paths = [f"Value null at '{name[0].lower()}{name[1:]}'" for name in required]
    assert [said.find(path) >= 0 for path in paths] == [True] * len(paths)
    assert sorted(paths, key=said.find) == paths
