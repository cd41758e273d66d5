"""Requests that are not what JSON types they should be: SerializationException, by AWS's words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest

from mynamo.gateway.model.constraints import REQUESTS, check
from mynamo.gateway.model.types import parse
from mynamo.gateway.service_errors import ServiceError

MAP = (
    "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810."
)
CLASS = "Unrecognized collection type class com.amazonaws.dynamodb.v20120810."
STARTS = "Start of structure or map found where not expected."


def message_of(operation: str, body: bytes) -> str | None:
    """The text of the SerializationException that a request is refused with."""
    with pytest.raises(ServiceError) as caught:
        check(operation, parse(body))
    assert caught.value.kind == "SerializationException"
    return caught.value.message


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b'"text"', b"1", b"{} x", b'{"TableName":NaN}', b'{"TableName":"\xff"}',
     b'{"TableName":"\\ud800"}', b"{'a':1}", b'{"Key":' + b"[" * 5000 + b"]" * 5000 + b"}",
     b"[" * 100_000],
    ids=lambda body: body[:20].decode("latin-1"),
)  # fmt: skip
def test_what_is_not_json_has_no_text(body: bytes) -> None:
    assert message_of("GetItem", body) is None


def test_a_list_at_the_top() -> None:
    assert message_of("GetItem", b"[]") == "Start of list found where not expected"


@pytest.mark.parametrize(
    ("operation", "request_", "message"),
    [
        ("GetItem", {"TableName": 1}, "NUMBER_VALUE cannot be converted to String"),
        ("GetItem", {"TableName": 1.5}, "DECIMAL_VALUE cannot be converted to String"),
        ("GetItem", {"TableName": True}, "TRUE_VALUE cannot be converted to String"),
        ("GetItem", {"TableName": False}, "FALSE_VALUE cannot be converted to String"),
        ("GetItem", {"TableName": {}}, STARTS),
        ("GetItem", {"TableName": []}, "Unrecognized collection type class java.lang.String"),
        ("GetItem", {"ConsistentRead": 1}, "NUMBER_VALUE cannot be converted to Boolean"),
        ("GetItem", {"ConsistentRead": "true"}, "Unexpected token received from parser"),
        ("GetItem", {"ConsistentRead": {}}, STARTS),
        ("GetItem", {"AttributesToGet": "a"}, "Unexpected field type"),
        ("GetItem", {"AttributesToGet": {}}, STARTS),
        ("GetItem", {"AttributesToGet": [1]}, "NUMBER_VALUE cannot be converted to String"),
        ("GetItem", {"Key": "a"}, "Unexpected field type"),
        ("GetItem", {"Key": []}, MAP + "AttributeValue>"),
        ("GetItem", {"Key": {"a": "b"}}, "Unexpected value type in payload"),
        ("GetItem", {"Key": {"a": []}}, CLASS + "AttributeValue"),
        ("GetItem", {"Key": {"a": {"S": 1}}}, "NUMBER_VALUE cannot be converted to String"),
        ("GetItem", {"Key": {"a": {"N": 1}}}, "NUMBER_VALUE cannot be converted to String"),
        ("GetItem", {"Key": {"a": {"BOOL": "x"}}}, "Unexpected token received from parser"),
        ("GetItem", {"Key": {"a": {"NULL": 0}}}, "NUMBER_VALUE cannot be converted to Boolean"),
        ("GetItem", {"Key": {"a": {"B": 1}}}, "NUMBER_VALUE cannot be converted to ByteBuffer"),
        ("GetItem", {"Key": {"a": {"B": [1]}}}, "Start of list found where not expected"),
        ("GetItem", {"Key": {"a": {"B": "abc"}}},
         "Base64 encoded length is expected a multiple of 4 bytes but found: 3"),
        ("GetItem", {"Key": {"a": {"L": {}}}}, STARTS),
        ("GetItem", {"Key": {"a": {"L": [1]}}}, "Unexpected value type in payload"),
        ("GetItem", {"Key": {"a": {"M": []}}}, MAP + "AttributeValue>"),
        ("GetItem", {"Key": {"a": {"M": {"x": {"L": [{"S": 1}]}}}}},
         "NUMBER_VALUE cannot be converted to String"),
        ("GetItem", {"Key": {"a": {"SS": "x"}}}, "Unexpected field type"),
        ("GetItem", {"Key": {"a": {"NS": [1]}}}, "NUMBER_VALUE cannot be converted to String"),
        ("Scan", {"Limit": "1"}, "STRING_VALUE cannot be converted to Integer"),
        ("Scan", {"Limit": True}, "TRUE_VALUE cannot be converted to Integer"),
        ("Scan", {"Limit": 2**31}, "NUMBER_VALUE cannot be converted to Integer"),
        ("CreateTable", {"ProvisionedThroughput": 1}, "Unexpected value type in payload"),
        ("CreateTable", {"ProvisionedThroughput": []}, CLASS + "ProvisionedThroughput"),
        ("CreateTable", {"ProvisionedThroughput": {"ReadCapacityUnits": "1"}},
         "STRING_VALUE cannot be converted to Long"),
        ("CreateTable", {"KeySchema": ["a"]}, "Unexpected value type in payload"),
        ("BatchWriteItem", {"RequestItems": []},
         "Unrecognized collection type java.util.Map<java.lang.String, "
         "java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>>"),
        ("PutItem", {"Expected": {"a": {"Exists": "x"}}}, "Unexpected token received from parser"),
    ],
)  # fmt: skip
def test_wrong_types(operation: str, request_: dict[str, Any], message: str) -> None:
    assert message_of(operation, orjson.dumps(request_)) == message


def test_types_are_checked_before_constraints() -> None:
    body = b'{"TableName":"?","Key":{"a":{"M":{"b":{"S":1}}}}}'
    assert message_of("GetItem", body) == "NUMBER_VALUE cannot be converted to String"


@pytest.mark.parametrize("operation", sorted(REQUESTS))
@pytest.mark.parametrize("value", [1, 1.5, True, "x", [], {}, [[]], {"a": []}, [None], {"a": None}])
def test_no_member_takes_a_wrong_type_by_surprise(operation: str, value: Any) -> None:
    """Whatever stands in whichever member, it is refused properly, or it is of the right type."""
    for name in REQUESTS[operation].members:
        with suppress(ServiceError):
            assert check(operation, {name: value}).keys() <= {name}


def test_what_is_unknown_or_null_counts_as_absent() -> None:
    given = {
        "TableName": "abc",
        "Foo": 1,
        "Key": {"a": {"S": "x", "N": None, "Z": [1]}, "b": None, "c": {"L": [None]}},
        "ConsistentRead": None,
    }
    assert check("GetItem", given) == {
        "TableName": "abc",
        "Key": {"a": {"S": "x"}, "b": {}, "c": {"L": [{}]}},
    }


def test_a_null_in_a_set_is_of_a_right_type_and_yet_wrong() -> None:
    with pytest.raises(ServiceError) as caught:
        check("GetItem", {"TableName": "abc", "Key": {"a": {"SS": ["x", None]}}})
    assert (caught.value.kind, caught.value.message) == (
        "ValidationException",
        "One or more parameter values were invalid: "
        "An string set may not have a null string as a member",
    )


def test_the_last_of_two_members_of_a_name_counts() -> None:
    body = b'{"TableName":"abc","Key":{},"TableName":"def"}'
    assert check("GetItem", parse(body))["TableName"] == "def"


def test_decimals_are_cut_off() -> None:
    assert check("Scan", {"TableName": "abc", "Limit": 1.9})["Limit"] == 1


def test_values_nested_deeper_than_an_item_may_be_are_left_to_its_reader() -> None:
    body = b'{"TableName":"abc","Key":{"a":' + b'{"L":[' * 500 + b"]}" * 500 + b"}}"
    assert check("GetItem", parse(body))["TableName"] == "abc"
