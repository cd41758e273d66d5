"""PutItem, GetItem, UpdateItem and DeleteItem: what they do, what they refuse, in which order."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mynamo.gateway.operations.consistency import TOKEN_HEADER
from tests.gateway.asking import error_of
from tests.gateway.orders import Orders, key

INVALID = "One or more parameter values were invalid: "
NOT_VALID = "One or more parameter values are not valid. "
EMPTY = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
NO_KEY = "The provided key element does not match the schema"
SCALARS = (
    "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: "
)
LONG = "x" * 400_000
V = {":v": {"S": "x"}}


# --- what they do ------------------------------------------------------------------------


def test_put_get_delete(table: Orders) -> None:
    item = key() | {"a": {"M": {"x": {"L": [{"N": "1"}, {"B": "YQ=="}]}}}, "t": {"SS": ["b", "c"]}}
    assert table.ask("PutItem", Item=item) == {}
    assert table.get() == item
    assert table.ask("DeleteItem", Key=key()) == {}
    assert table.ask("GetItem", Key=key()) == {}


def test_projections(table: Orders) -> None:
    table.put(a={"L": [{"N": "1"}, {"N": "2"}, {"N": "3"}]}, b={"S": "y"})
    get = {"Key": key()}
    assert table.ask("GetItem", **get, AttributesToGet=["b"]) == {"Item": {"b": {"S": "y"}}}
    named = {"ProjectionExpression": "#a[2], #a[0]", "ExpressionAttributeNames": {"#a": "a"}}
    shown = {"a": {"L": [{"N": "1"}, {"N": "3"}]}}
    assert table.ask("GetItem", **get, **named) == {"Item": shown}
    # The item is there, and the projection finds nothing in it.
    assert table.ask("GetItem", **get, ProjectionExpression="zz") == {"Item": {}}


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("NONE", None),
        ("ALL_OLD", key() | {"a": {"N": "1"}, "b": {"S": "y"}}),
        ("ALL_NEW", key() | {"a": {"N": "2"}, "c": {"S": "x"}}),
        ("UPDATED_OLD", {"a": {"N": "1"}, "b": {"S": "y"}}),
        ("UPDATED_NEW", {"a": {"N": "2"}, "c": {"S": "x"}}),
    ],
)
def test_return_values_of_updates(table: Orders, kind: str, attributes: Any) -> None:
    table.put(a={"N": "1"}, b={"S": "y"})
    answer = table.ask(
        "UpdateItem", Key=key(), UpdateExpression="SET a = a + :one, c = :v REMOVE b",
        ExpressionAttributeValues={":one": {"N": "1"}} | V, ReturnValues=kind,
    )  # fmt: skip
    assert answer == ({} if attributes is None else {"Attributes": attributes})


def test_return_values_of_puts_and_deletes(table: Orders) -> None:
    new = {"Item": key() | {"a": {"N": "2"}}, "ReturnValues": "ALL_OLD"}
    assert table.ask("PutItem", **new) == {}
    assert table.ask("PutItem", **new) == {"Attributes": new["Item"]}
    assert table.ask("DeleteItem", Key=key(), ReturnValues="ALL_OLD") == {"Attributes": new["Item"]}
    assert table.ask("DeleteItem", Key=key(), ReturnValues="ALL_OLD") == {}


def test_an_update_without_changes_makes_an_item(table: Orders) -> None:
    assert table.ask("UpdateItem", Key=key(), ReturnValues="ALL_NEW") == {"Attributes": key()}
    assert table.get() == key()


REMOVALS: list[dict[str, Any]] = [
    {"UpdateExpression": "REMOVE a"},
    {"UpdateExpression": "REMOVE a.b, c[1]"},
    {"UpdateExpression": "DELETE t :t", "ExpressionAttributeValues": {":t": {"SS": ["x"]}}},
    {"UpdateExpression": "REMOVE a DELETE t.u :t",
     "ExpressionAttributeValues": {":t": {"NS": ["1"]}}},
    {"UpdateExpression": "REMOVE g, l", "ConditionExpression": "attribute_not_exists(h)"},
    {"AttributeUpdates": {"a": {"Action": "DELETE"}}},
    {"AttributeUpdates": {"a": {"Action": "DELETE", "Value": {"SS": ["x"]}},
                          "b": {"Action": "DELETE"}},
     "Expected": {"a": {"Exists": False}}},
]  # fmt: skip


@pytest.mark.parametrize("removal", REMOVALS)
def test_an_update_that_only_removes_makes_no_item(table: Orders, removal: Any) -> None:
    for kind in ("NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"):
        answer = table.ask(
            "UpdateItem", Key=key(), **removal, ReturnValues=kind, ReturnConsumedCapacity="INDEXES"
        )
        assert answer.pop("ConsumedCapacity") == {
            "TableName": table.name, "CapacityUnits": 1.0, "Table": {"CapacityUnits": 1.0},
        }  # fmt: skip
        assert answer == {}
    assert table.get() is None
    assert table.ask("Scan")["Count"] == 0
    assert table.ask("Query", IndexName="local", **OF_P)["Count"] == 0


OF_P = {"KeyConditionExpression": "h = :h", "ExpressionAttributeValues": {":h": {"S": "p"}}}


def test_a_removal_of_an_item_that_is_not_there_is_checked_all_the_same(table: Orders) -> None:
    requests: list[tuple[dict[str, Any], str]] = [
        ({"UpdateExpression": "REMOVE r"},
         f"{INVALID}Cannot update attribute r. This attribute is part of the key"),
        ({"UpdateExpression": "REMOVE g.x"}, f"{SCALARS}IndexKey: g"),
        ({"UpdateExpression": "REMOVE a.b SET c = :v", "ExpressionAttributeValues": V},
         "The document path provided in the update expression is invalid for update"),
    ]  # fmt: skip
    for request, message in requests:
        assert table.refusal("UpdateItem", Key=key(), **request) == message
    failed = table.call(
        "UpdateItem",
        Key=key(),
        UpdateExpression="REMOVE a",
        ConditionExpression="attribute_exists(h)",
    )
    assert error_of(failed)[0] == "ConditionalCheckFailedException"
    assert table.get() is None


def test_an_update_that_removes_and_sets_makes_an_item(table: Orders) -> None:
    for clause, made in (("SET c = :v", V[":v"]), ("ADD c :v", {"SS": ["x"]})):
        table.ask(
            "UpdateItem", Key=key(), UpdateExpression=f"REMOVE a {clause}",
            ExpressionAttributeValues={":v": made},
        )  # fmt: skip
        assert table.get() == key() | {"c": made}
        table.ask("DeleteItem", Key=key())
    table.ask("UpdateItem", Key=key(), AttributeUpdates={})
    assert table.get() == key()


def test_what_stands_where_an_element_was_removed(table: Orders) -> None:
    table.put(l2={"L": [{"N": str(each)} for each in range(4)]})
    answer = table.ask(
        "UpdateItem", Key=key(), UpdateExpression="REMOVE l2[1]", ReturnValues="UPDATED_NEW"
    )
    assert answer == {"Attributes": {"l2": {"L": [{"N": "2"}]}}}


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("0e125", None),
        ("-0e-130", None),
        ("0e126", "Number overflow. Attempting to store a number with magnitude larger than "
                  "supported range"),
        ("0e-131", "Number underflow. Attempting to store a number with magnitude smaller than "
                   "supported range"),
        ("1e99999999999",
         "The parameter cannot be converted to a numeric value: 1e99999999999"),
    ],
)  # fmt: skip
def test_zeros_and_exponents(table: Orders, number: str, message: str | None) -> None:
    requests: list[tuple[str, dict[str, Any]]] = [
        ("PutItem", {"Item": key() | {"a": {"N": number}}}),
        ("PutItem", {"Item": key() | {"a": {"L": [{"NS": ["7", number]}]}}}),
        ("PutItem", {"Item": {"h": {"S": "p"}, "r": {"N": number}}}),
        ("GetItem", {"Key": {"h": {"S": "p"}, "r": {"N": number}}}),
        ("UpdateItem", {"Key": key(), "UpdateExpression": "ADD a :n",
                        "ExpressionAttributeValues": {":n": {"N": number}}}),
        ("UpdateItem", {"Key": key(),
                        "AttributeUpdates": {"a": {"Action": "ADD", "Value": {"N": number}}}}),
        ("Scan", {"FilterExpression": "a = :n",
                  "ExpressionAttributeValues": {":n": {"N": number}}}),
    ]  # fmt: skip
    for operation, request in requests:
        table.ask("DeleteItem", Key=key())
        if message is None:
            table.ask(operation, **request)
        else:
            assert message in table.refusal(operation, **request)


def test_old_parameters(table: Orders) -> None:
    table.put(a={"N": "1"}, b={"SS": ["x", "y"]})
    table.ask(
        "UpdateItem", Key=key(),
        AttributeUpdates={
            "a": {"Action": "ADD", "Value": {"N": "2"}},
            "b": {"Action": "DELETE", "Value": {"SS": ["x"]}},
        },
        Expected={"a": {"ComparisonOperator": "LT", "AttributeValueList": [{"N": "2"}]},
                  "c": {"Exists": False}},
        ConditionalOperator="AND",
    )  # fmt: skip
    assert table.get() == key() | {"a": {"N": "3"}, "b": {"SS": ["y"]}}


@pytest.mark.parametrize("operation", ["PutItem", "DeleteItem", "UpdateItem"])
def test_a_failed_condition(table: Orders, operation: str) -> None:
    stored = key() | {"a": {"N": "1"}}
    table.ask("PutItem", Item=stored)
    subject = {"Item" if operation == "PutItem" else "Key": key()}
    condition = {"ConditionExpression": "attribute_not_exists(h)"}
    for more, item in (
        ({}, None),
        ({"ReturnValuesOnConditionCheckFailure": "NONE"}, None),
        ({"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}, stored),
    ):
        answer = table.call(operation, **subject, **condition, **more)
        assert answer.status == 400
        body = orjson.loads(answer.body)
        assert body.pop("__type").endswith("#ConditionalCheckFailedException")
        assert body.pop("message") == "The conditional request failed"
        assert body == ({} if item is None else {"Item": item})
        assert TOKEN_HEADER not in answer.headers
    assert table.get() == stored


def test_every_write_has_a_token(table: Orders) -> None:
    writes: list[tuple[str, dict[str, Any]]] = [
        ("PutItem", {"Item": key()}),
        ("UpdateItem", {"Key": key(), "UpdateExpression": "REMOVE a"}),
        ("DeleteItem", {"Key": key()}),
    ]
    for operation, request in writes:
        assert table.call(operation, **request).headers[TOKEN_HEADER]
    assert TOKEN_HEADER not in table.call("GetItem", Key=key()).headers
    assert len(set(table.tokens)) == 3


# --- what they refuse --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, EMPTY),
        (
            {"S": "x", "N": "1"},
            "Supplied AttributeValue has more than one datatypes set, "
            "must contain exactly one of the supported datatypes",
        ),
        ({"S": "x", "N": "y"}, "The parameter cannot be converted to a numeric value: y"),
        ({"SS": []}, f"{INVALID}An string set  may not be empty"),
        ({"NS": []}, f"{INVALID}An number set  may not be empty"),
        ({"BS": []}, f"{INVALID}Binary sets should not be empty"),
        ({"NS": ["1", "1.0"]}, "Input collection contains duplicates"),
        ({"SS": ["a", "a"]}, f"{INVALID}Input collection [a, a] contains duplicates."),
        ({"NULL": False}, f"{INVALID}Null attribute value types must have the value of true"),
        ({"N": ""}, "The parameter cannot be converted to a numeric value"),
        ({"L": [{"M": {"q": {}}}]}, EMPTY),
    ],
)
def test_values(table: Orders, value: Any, message: str) -> None:
    assert table.refusal("PutItem", Item=key() | {"a": value}) == message
    wrapped = f"ExpressionAttributeValues contains invalid value: {message} for key :v"
    assert wrapped == table.refusal(
        "UpdateItem", Key=key(), UpdateExpression="SET a = :v",
        ExpressionAttributeValues={":v": value},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"h": {"S": "p"}}, NO_KEY),
        (key() | {"a": {"S": "x"}}, NO_KEY),
        ({"h": {"N": "1"}, "r": {"N": "1"}}, NO_KEY),
        (
            key(h=""),
            f"{NOT_VALID}The AttributeValue for a key attribute cannot contain an empty string "
            "value. Key: h",
        ),
        (
            key(h="x" * 2049),
            f"{INVALID}Size of hashkey has exceeded the maximum size limit of2048 bytes",
        ),
    ],
)
@pytest.mark.parametrize("operation", ["GetItem", "DeleteItem", "UpdateItem"])
def test_keys(table: Orders, operation: str, given: Any, message: str) -> None:
    assert table.refusal(operation, Key=given) == message


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"h": {"S": "p"}}, f"{INVALID}Missing the key r in the item"),
        (
            {"h": {"N": "1"}, "r": {"N": "1"}},
            f"{INVALID}Type mismatch for key h expected: S actual: N",
        ),
        (
            key() | {"l": {"N": "1"}},
            f"{INVALID}Type mismatch for Index Key l Expected: S Actual: N IndexName: local",
        ),
        (
            key() | {"g": {"S": ""}, "s": {"N": "1"}},
            f"{NOT_VALID}A value specified for a secondary index key is not supported. The "
            "AttributeValue for a key attribute cannot contain an empty string value. "
            "IndexName: global, IndexKey: g",
        ),
        (key() | {"a": {"S": LONG + LONG}}, "Item size has exceeded the maximum allowed size"),
    ],
)
def test_items(table: Orders, item: Any, message: str) -> None:
    assert table.refusal("PutItem", Item=item) == message


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"UpdateExpression": "SET h = :v"},
            f"{INVALID}Cannot update attribute h. This attribute is part of the key",
        ),
        (
            {"UpdateExpression": "SET h.x = :v"},
            f"{INVALID}Cannot update attribute h. This attribute is part of the key",
        ),
        ({"UpdateExpression": "SET g.x = :v"}, f"{SCALARS}IndexKey: g"),
        (
            {"UpdateExpression": "SET l = :v", "ExpressionAttributeValues": {":v": {"S": ""}}},
            f"{NOT_VALID}The update expression attempted to update a secondary index key to a "
            "value that is not supported. The AttributeValue for a key attribute cannot contain "
            "an empty string value.",
        ),
        (
            {"UpdateExpression": "SET a = :v, b = :v",
             "ExpressionAttributeValues": {":v": {"S": LONG}}},
            "Item size to update has exceeded the maximum allowed size",
        ),
        (
            {"UpdateExpression": "SET a = b + :v", "ExpressionAttributeValues": {":v": {"N": "1"}}},
            "The provided expression refers to an attribute that does not exist in the item",
        ),
        (
            {"UpdateExpression": "SET a.b = :v"},
            "The document path provided in the update expression is invalid for update",
        ),
    ],
)  # fmt: skip
def test_updates(table: Orders, request_: Any, message: str) -> None:
    given = {"Key": key(), "ExpressionAttributeValues": V} | request_
    assert table.refusal("UpdateItem", **given) == message
    assert table.get() is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"ExpressionAttributeNames": {"#a": "a"}},
         "ExpressionAttributeNames can only be specified when using expressions"),
        ({"ExpressionAttributeValues": V},
         "ExpressionAttributeValues can only be specified when using expressions: "
         "UpdateExpression and ConditionExpression are null"),
        ({"UpdateExpression": "REMOVE a", "Expected": {"a": {"Exists": False}}},
         "Can not use both expression and non-expression parameters in the same request: "
         "Non-expression parameters: {Expected} Expression parameters: {UpdateExpression}"),
        ({"UpdateExpression": "REMOVE a", "ExpressionAttributeNames": {}},
         "ExpressionAttributeNames must not be empty"),
        ({"UpdateExpression": "REMOVE a", "ExpressionAttributeValues": {}},
         "ExpressionAttributeValues must not be empty"),
        ({"UpdateExpression": "REMOVE a", "ExpressionAttributeNames": {"a": "b"}},
         'ExpressionAttributeNames contains invalid key: Syntax error; key: "a"'),
        ({"UpdateExpression": "REMOVE #a", "ExpressionAttributeNames": {"#a": ""}},
         "ExpressionAttributeNames contains invalid value: Empty attribute name for key #a"),
        ({"UpdateExpression": "REMOVE a", "ExpressionAttributeValues": {"v": {"S": "x"}}},
         'ExpressionAttributeValues contains invalid key: Syntax error; key: "v"'),
        # Used in one of the expressions is used.
        ({"UpdateExpression": "SET #a = :v", "ConditionExpression": "#b = :w",
          "ExpressionAttributeNames": {"#a": "a", "#b": "b", "#c": "c"},
          "ExpressionAttributeValues": V | {":w": {"S": "x"}}},
         "Value provided in ExpressionAttributeNames unused in expressions: keys: {#c}"),
        ({"UpdateExpression": "SET a = :v", "ConditionExpression": "a = :w",
          "ExpressionAttributeValues": V},
         "Invalid ConditionExpression: An expression attribute value used in expression is not "
         "defined; attribute value: :w"),
    ],
)  # fmt: skip
def test_placeholders(table: Orders, request_: Any, message: str) -> None:
    assert table.refusal("UpdateItem", Key=key(), **request_) == message


def test_duplicate_attributes_to_get(table: Orders) -> None:
    message = table.refusal("GetItem", Key=key(), AttributesToGet=["a", "b", "a"])
    assert message == f"{INVALID}Duplicate value in attribute name: a"


# --- in which order ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("PutItem", {"Item": {"h": {}}}),
        ("PutItem", {"Item": {"a": {"S": LONG + LONG}}}),
        ("PutItem", {"Item": {}, "ReturnValues": "ALL_NEW"}),
        ("PutItem", {"Item": {}, "ConditionExpression": "a b"}),
        ("PutItem", {"Item": {}, "Expected": {"a": {}}}),
        ("GetItem", {"Key": {}, "ProjectionExpression": "a, a"}),
        ("DeleteItem", {"Key": {}, "ReturnValues": "UPDATED_OLD"}),
        ("UpdateItem", {"Key": {}, "UpdateExpression": "SET"}),
        ("UpdateItem", {"Key": {}, "AttributeUpdates": {"a": {}}}),
    ],
)
def test_the_request_comes_before_the_table(table: Orders, operation: str, request_: Any) -> None:
    assert table.refusal(operation, TableName="nowhere", **request_)


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("PutItem", {"Item": {}}),
        ("GetItem", {"Key": {}}),
        ("DeleteItem", {"Key": {}}),
        ("UpdateItem", {"Key": {}, "UpdateExpression": "SET h = h.x"}),
    ],
)
def test_the_table_comes_before_the_key(table: Orders, operation: str, request_: Any) -> None:
    answer = table.call(operation, TableName="nowhere", **request_)
    assert error_of(answer) == ("ResourceNotFoundException", "Requested resource not found")


@pytest.mark.parametrize(
    ("operation", "request_", "message"),
    [
        ("PutItem", {"Item": {"a": {}}, "Expected": {}, "ConditionExpression": "a b"},
         "Can not use both"),
        ("PutItem", {"Item": {"a": {}}, "ReturnValues": "ALL_NEW"}, EMPTY),
        ("PutItem", {"Item": {"a": {"S": LONG + LONG}}, "ReturnValues": "ALL_NEW"},
         "ReturnValues can only be ALL_OLD or NONE"),
        ("PutItem", {"Item": {"a": {"S": LONG + LONG}}, "ConditionExpression": "a b"},
         "Item size has exceeded the maximum allowed size"),
        ("PutItem", {"Item": {}, "ConditionExpression": "attribute_exists(h.x)"},
         f"{INVALID}Missing the key"),
        ("PutItem", {"Item": key() | {"l": {"N": "1"}}, "ConditionExpression": "size(h.x) > r"},
         f"{INVALID}Type mismatch for Index Key l"),
        ("PutItem", {"Item": key(), "ConditionExpression": "attribute_exists(h.x)"},
         f"{SCALARS}Key: h"),
        ("GetItem", {"Key": {}, "ProjectionExpression": "h.x"}, f"{SCALARS}Key: h"),
        ("DeleteItem", {"Key": {}, "ConditionExpression": "attribute_exists(h.x)"}, NO_KEY),
        ("UpdateItem", {"Key": {}, "UpdateExpression": "SET h = h.x"}, NO_KEY),
        ("UpdateItem", {"Key": key(), "UpdateExpression": "SET a = h.x"}, f"{SCALARS}Key: h"),
        ("UpdateItem", {"Key": key(), "UpdateExpression": "SET r = r.x"},
         f"{INVALID}Cannot update attribute r"),
        ("UpdateItem", {"Key": {}, "UpdateExpression": "SET", "ConditionExpression": "a b"},
         "Invalid UpdateExpression: "),
    ],
)  # fmt: skip
def test_the_order_of_checks(table: Orders, operation: str, request_: Any, message: str) -> None:
    assert table.refusal(operation, **request_).startswith(message)
