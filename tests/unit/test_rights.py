"""What requests touch, and that they are refused for it, without a server."""

from __future__ import annotations

import base64
import json
from collections import Counter
from contextlib import suppress
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mynamo.catalog.tables import Table
from mynamo.errors import InvalidExpression, InvalidItem, MynamoError, TableNotFound
from mynamo.gateway.context import Context, Sender, Signer
from mynamo.gateway.http.messages import Peer
from mynamo.gateway.model.constraints import check
from mynamo.gateway.policies.iam_actions import ACTIONS, DESCRIBE_CLUSTER, PREFIX, VERIFY
from mynamo.gateway.policies.policy_decisions import Principal
from mynamo.gateway.policies.policy_documents import parse_policy
from mynamo.gateway.rights.authorization import authorize, authorize_operator
from mynamo.gateway.rights.touched import COVERED, touched
from mynamo.gateway.service import OPERATIONS
from mynamo.gateway.service_errors import ServiceError
from mynamo.reader.streams.positions import Position, dump_iterator
from mynamo.schemas.stream_records import stream_shard_name
from mynamo.schemas.table import KeyAttribute
from tests.gateway.generating import Generator
from tests.gateway.requesting import request_of
from tests.made_up import index_of, table_of

ACCOUNT = "arn:aws:dynamodb:us-east-1:000000000000:"
ORDERS = ACCOUNT + "table/orders"
KEY = {"h": {"S": "ann"}, "s": {"S": "1"}}
BOB = {"h": {"S": "bob"}, "s": {"S": "1"}}


class Tables:
    """A cluster that has some tables.

    Attributes:
        asked: names that were looked up.
    """

    def __init__(self, *tables: Table) -> None:
        self.tables = {table.name: table for table in tables}
        self.asked: list[str] = []

    def table(self, name: str) -> Table:
        self.asked.append(name)
        if name not in self.tables:
            raise TableNotFound
        return self.tables[name]


GSI = index_of("GSI", "g+k:N")
CONTEXT = cast(
    Context,
    SimpleNamespace(
        cluster=Tables(table_of(GSI, index_of("LSI", "h", "a", number=2))),
        region="us-east-1",
        account_id="000000000000",
    ),
)


def valid(operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """As the gateway hands it on."""
    return check(operation, json.loads(json.dumps(request)))


def touches(operation: str, request: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Action (with what it is in effect), resource and values of each."""
    return [
        (
            touch.action + (f"={touch.in_effect}" if touch.in_effect else ""),
            touch.resource.removeprefix(ACCOUNT),
            {name.partition(":")[2]: list(values) for name, values in touch.values().items()},
        )
        for touch in touched(CONTEXT, operation, valid(operation, request))
    ]


def keyed(*leading: str, attributes: str = "h s", **values: str) -> dict[str, Any]:
    return {
        "leadingkeys": list(leading),
        "attributes": attributes.split(),
        **{name: [value] for name, value in values.items()},
    }


ON = {"TableName": "orders"}
VALUES = {"ExpressionAttributeValues": {":v": {"S": "x"}}}


@pytest.mark.parametrize(
    ("operation", "request_", "wanted"),
    [
        ("GetItem", ON | {"Key": KEY},
         [("GetItem", "table/orders", keyed("ann", select="ALL_ATTRIBUTES"))]),
        ("GetItem", ON | {"Key": KEY, "ProjectionExpression": "#a.b[0], c",
                          "ExpressionAttributeNames": {"#a": "x"}},
         [("GetItem", "table/orders",
           keyed("ann", attributes="c h s x", select="SPECIFIC_ATTRIBUTES"))]),
        ("GetItem", ON | {"Key": KEY, "AttributesToGet": ["d"]},
         [("GetItem", "table/orders",
           keyed("ann", attributes="d h s", select="SPECIFIC_ATTRIBUTES"))]),
        ("PutItem", ON | {"Item": KEY | {"a": {"N": "1"}}, "ConditionExpression": "b.c = :v",
                          "ReturnValues": "ALL_OLD"} | VALUES,
         [("PutItem", "table/orders",
           keyed("ann", attributes="a b h s", returnvalues="ALL_OLD"))]),
        ("PutItem", ON | {"Item": KEY, "Expected": {"e": {"Exists": False}}},
         [("PutItem", "table/orders", keyed("ann", attributes="e h s", returnvalues="NONE"))]),
        ("DeleteItem", ON | {"Key": KEY, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"},
         [("DeleteItem", "table/orders", keyed("ann", returnvalues="NONE")),
          ("DeleteItem", "table/orders", keyed("ann", returnvalues="ALL_OLD"))]),
        ("UpdateItem", ON | {"Key": KEY, "UpdateExpression": "SET a = if_not_exists(b, :v), "
                             "c.d = e REMOVE f", "ConditionExpression": "size(g) > :v"} | VALUES,
         [("UpdateItem", "table/orders",
           keyed("ann", attributes="a b c e f g h s", returnvalues="NONE"))]),
        ("UpdateItem", ON | {"Key": KEY, "AttributeUpdates": {"a": {"Action": "DELETE"}}},
         [("UpdateItem", "table/orders", keyed("ann", attributes="a h s", returnvalues="NONE"))]),
        ("BatchGetItem", {"RequestItems": {
            "orders": {"Keys": [KEY, BOB], "ProjectionExpression": "h"},
            "other_table": {"Keys": [KEY]}}},
         [("BatchGetItem=GetItem", "table/orders", keyed("ann", select="SPECIFIC_ATTRIBUTES")),
          ("BatchGetItem=GetItem", "table/orders", keyed("bob", select="SPECIFIC_ATTRIBUTES")),
          ("BatchGetItem=GetItem", "table/other_table",
           keyed("ann", "1", select="ALL_ATTRIBUTES"))]),
        ("BatchWriteItem", {"RequestItems": {"orders": [
            {"PutRequest": {"Item": KEY | {"a": {"NULL": True}}}},
            {"DeleteRequest": {"Key": BOB}}]}},
         [("BatchWriteItem=PutItem", "table/orders", keyed("ann", attributes="a h s")),
          ("BatchWriteItem=DeleteItem", "table/orders", keyed("bob"))]),
        ("TransactGetItems", {"TransactItems": [{"Get": ON | {"Key": KEY}}]},
         [("GetItem", "table/orders", keyed("ann", select="ALL_ATTRIBUTES"))]),
        ("TransactWriteItems", {"TransactItems": [
            {"ConditionCheck": ON | {"Key": KEY, "ConditionExpression": "attribute_exists(a)"}},
            {"Put": ON | {"Item": BOB}},
            {"Update": ON | {"Key": KEY, "UpdateExpression": "REMOVE b"}},
            {"Delete": ON | {"Key": BOB, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}}]},
         [("ConditionCheckItem", "table/orders",
           keyed("ann", attributes="a h s", returnvalues="NONE")),
          ("PutItem", "table/orders", keyed("bob", returnvalues="NONE")),
          ("UpdateItem", "table/orders", keyed("ann", attributes="b h s", returnvalues="NONE")),
          ("DeleteItem", "table/orders", keyed("bob", returnvalues="NONE")),
          ("DeleteItem", "table/orders", keyed("bob", returnvalues="ALL_OLD"))]),
        ("Query", ON | {"KeyConditionExpression": ":v = h AND s > :v", "FilterExpression":
                        "NOT (a = b)"} | VALUES,
         [("Query", "table/orders",
           keyed("x", attributes="a b h s", select="ALL_ATTRIBUTES"))]),
        ("Query", ON | {"KeyConditions": {"h": {"ComparisonOperator": "EQ",
                                                "AttributeValueList": [{"S": "ann"}]}},
                        "QueryFilter": {"a": {"ComparisonOperator": "NULL"}}, "Select": "COUNT"},
         [("Query", "table/orders", keyed("ann", attributes="a h", select="COUNT"))]),
        ("Query", ON | {"IndexName": "index_2", "KeyConditionExpression": "h = :v"} | VALUES,
         [("Query", "table/orders/index/index_2",
           keyed("x", attributes="h", select="ALL_PROJECTED_ATTRIBUTES"))]),
        ("Query", ON | {"IndexName": "index_1", "KeyConditionExpression": "g = :v AND k = :n",
                        "ExclusiveStartKey": {**KEY, "z": {"S": ""}}, "ProjectionExpression": "q",
                        "ExpressionAttributeValues": {":v": {"S": "x"}, ":n": {"N": "01.0"}}},
         [("Query", "table/orders/index/index_1",
           keyed("x", "1", attributes="g h k q s z", select="SPECIFIC_ATTRIBUTES"))]),
        ("Query", ON | {"IndexName": "no_such", "KeyConditionExpression": "a = :v"} | VALUES,
         [("Query", "table/orders/index/no_such",
           keyed("x", attributes="a", select="ALL_PROJECTED_ATTRIBUTES"))]),
        ("Scan", ON | {"FilterExpression": "a = :v"} | VALUES,
         [("Scan", "table/orders", {"attributes": ["a"], "select": ["ALL_ATTRIBUTES"]})]),
        ("Scan", ON | {"IndexName": "index_1", "ScanFilter": {
            "a": {"ComparisonOperator": "NULL"}}},
         [("Scan", "table/orders/index/index_1",
           {"attributes": ["a"], "select": ["ALL_PROJECTED_ATTRIBUTES"]})]),
        ("DescribeTable", ON, [("DescribeTable", "table/orders", {})]),
        ("DeleteTable", ON, [("DeleteTable", "table/orders", {})]),
        ("UpdateTimeToLive", ON | {"TimeToLiveSpecification": {"Enabled": True,
                                                               "AttributeName": "t"}},
         [("UpdateTimeToLive", "table/orders", {})]),
        ("CreateTable", ON | {"KeySchema": [{"AttributeName": "h", "KeyType": "HASH"}],
                              "AttributeDefinitions": [], "Tags": [{"Key": "a", "Value": "b"}]},
         [("CreateTable", "table/orders", {}), ("TagResource", "table/orders", {})]),
        ("TagResource", {"ResourceArn": ORDERS.replace("aws", "aws-cn", 1),
                         "Tags": [{"Key": "a", "Value": "b"}]},
         [("TagResource", "table/orders", {})]),
        ("ListTables", {}, [("ListTables", "table/*", {})]),
        ("DescribeLimits", {}, [("DescribeLimits", "*", {})]),
        ("ListStreams", {}, [("ListStreams", "table/*/stream/*", {})]),
        ("ListStreams", ON, [("ListStreams", "table/orders/stream/*", {})]),
        ("DescribeStream", {"StreamArn": f"{ORDERS}/stream/2026-01-02T03:04:05.678"},
         [("DescribeStream", "table/orders/stream/2026-01-02T03:04:05.678", {})]),
        ("GetShardIterator", {"StreamArn": f"{ORDERS}/stream/2026-01-02T03:04:05.678",
                              "ShardId": "shardId-" + "0" * 20, "ShardIteratorType": "LATEST"},
         [("GetShardIterator", "table/orders/stream/2026-01-02T03:04:05.678", {})]),
    ],
)  # fmt: skip
def test_what_requests_touch(
    operation: str, request_: dict[str, Any], wanted: list[tuple[str, str, dict[str, Any]]]
) -> None:
    assert touches(operation, request_) == wanted


def test_all_operations_are_known() -> None:
    assert OPERATIONS.keys() == COVERED
    transactions = {"TransactGetItems", "TransactWriteItems"}
    assert {PREFIX + operation for operation in OPERATIONS.keys() - transactions} <= ACTIONS


@pytest.mark.parametrize(
    "spelling", [{"N": "1"}, {"N": "1.0"}, {"N": "01"}, {"N": "10e-1"}, {"N": "+1"}]
)
def test_a_number_has_one_spelling(spelling: dict[str, str]) -> None:
    ((_, _, values),) = touches("GetItem", ON | {"Key": {"h": spelling}})
    assert values["leadingkeys"] == ["1"]


def test_an_unknown_table_has_every_value_as_its_key() -> None:
    item = {"a": {"S": "x"}, "b": {"N": "2"}, "c": {"B": "AQ=="}, "d": {"L": []}}
    ((_, _, values),) = touches("PutItem", {"TableName": "other_table", "Item": item})
    assert values["leadingkeys"] == ["x", "2", "AQ=="]


def test_records_are_those_of_the_position_whatever_arn_stands_before_it() -> None:
    stream = SimpleNamespace(table="orders", label="2026-01-02T03:04:05.678")
    found = {7: stream}
    cluster = SimpleNamespace(id=bytes(16), snapshot=SimpleNamespace(stream=found.get))
    context = cast(Context, SimpleNamespace(**{**vars(CONTEXT), "cluster": cluster}))
    position = Position(stream_shard_name(1, 2), 7, 1, 1, 0, 4095, 0, 0)
    iterator = dump_iterator(position, bytes(16))
    for arn in (f"{ORDERS}/stream/{stream.label}", f"{ACCOUNT}table/mine/stream/x", ""):
        request = {"ShardIterator": f"{arn}|1|{iterator}"}
        (touch,) = touched(context, "GetRecords", request)
        assert touch.resource == f"{ORDERS}/stream/{stream.label}"


def sender(*statements: dict[str, Any], address: str = "192.0.2.1", secure: bool = False) -> Sender:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    policy = parse_policy(json.dumps(document), "made-up.json", "ann")
    return Sender(Signer("ann", Principal("ann", (policy,))), Peer(address, secure))


def refusal(sent_by: Sender, operation: str, request: dict[str, Any]) -> str | None:
    """The message of AccessDeniedException; None: it is allowed."""
    try:
        authorize(CONTEXT, sent_by, operation, valid(operation, request))
    except ServiceError as error:
        return error.message if (error.kind, error.status) == ("AccessDeniedException", 400) else ""
    return None


ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
OWN = ALL | {
    "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "${aws:username}"}}
}


def deny(action: str, **condition: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": ORDERS, "Condition": condition}


def test_what_is_said_of_a_refusal() -> None:
    start = (
        "User: arn:aws:iam::000000000000:user/ann is not authorized to perform: "
        f"dynamodb:PutItem on resource: {ORDERS} "
    )
    only_reads = ALL | {"Action": "dynamodb:Get*"}
    put = ON | {"Item": KEY}
    assert refusal(sender(only_reads), "PutItem", put) == (
        start + "because no identity-based policy allows the dynamodb:PutItem action"
    )
    assert refusal(sender(ALL, deny("dynamodb:PutItem")), "PutItem", put) == (
        start + "with an explicit deny in an identity-based policy"
    )
    assert refusal(sender(ALL), "PutItem", put) is None
    with pytest.raises(ServiceError) as caught:
        authorize(CONTEXT, sender(only_reads), "PutItem", put)
    assert caught.value.body() == {
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "Message": caught.value.message,
    }


@pytest.mark.parametrize("key", [KEY, BOB])
def test_no_item_passes_in_company(key: dict[str, Any]) -> None:
    """Whatever stands beside it; a request of one's own items alone passes."""
    cases: list[tuple[str, dict[str, Any]]] = [
        ("BatchGetItem", {"RequestItems": {"orders": {"Keys": [KEY, key]}}}),
        ("BatchWriteItem", {"RequestItems": {"orders": [
            {"PutRequest": {"Item": KEY}}, {"DeleteRequest": {"Key": key}}]}}),
        ("TransactGetItems", {"TransactItems": [{"Get": ON | {"Key": k}} for k in (KEY, key)]}),
        ("TransactWriteItems", {"TransactItems": [
            {"Put": ON | {"Item": KEY}},
            {"ConditionCheck": ON | {"Key": key, "ConditionExpression": "attribute_exists(h)"}}]}),
        ("Query", ON | {"KeyConditionExpression": "h = :h",
                        "ExpressionAttributeValues": {":h": key["h"]}}),
    ]  # fmt: skip
    any_own = ALL | {
        "Condition": {"ForAnyValue:StringEquals": {"dynamodb:LeadingKeys": "${aws:username}"}}
    }
    bobs = {"ForAnyValue:StringEquals": {"dynamodb:LeadingKeys": "bob"}}
    for operation, request in cases:
        for rights in (sender(OWN), sender(any_own), sender(ALL, deny("*", **bobs))):
            assert (refusal(rights, operation, request) is None) is (key is KEY), operation


@pytest.mark.parametrize(
    ("denied", "operation", "request_"),
    [
        ("GetItem", "BatchGetItem", {"RequestItems": {"orders": {"Keys": [KEY]}}}),
        ("PutItem", "BatchWriteItem",
         {"RequestItems": {"orders": [{"PutRequest": {"Item": KEY}}]}}),
        ("DeleteItem", "BatchWriteItem",
         {"RequestItems": {"orders": [{"DeleteRequest": {"Key": KEY}}]}}),
    ],
)  # fmt: skip
def test_a_batch_does_not_pass_by_a_deny(
    denied: str, operation: str, request_: dict[str, Any]
) -> None:
    message = refusal(sender(ALL, deny(f"dynamodb:{denied}")), operation, request_)
    assert message is not None
    assert f"dynamodb:{denied} on resource: {ORDERS} with an explicit deny" in message
    assert refusal(sender(ALL, deny("dynamodb:UpdateItem")), operation, request_) is None


def test_an_old_item_is_not_shown_by_a_failing_condition() -> None:
    limited = sender(ALL | {"Condition": {"StringEquals": {"dynamodb:ReturnValues": "NONE"}}})
    update = ON | {"Key": KEY, "UpdateExpression": "REMOVE a"}
    showing = update | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    assert refusal(limited, "UpdateItem", update) is None
    assert refusal(limited, "UpdateItem", showing) is not None


def test_transactions_can_be_told_from_others() -> None:
    alone = sender(ALL, deny("*", StringEquals={"dynamodb:EnclosingOperation": "TransactGetItems"}))
    assert refusal(alone, "GetItem", ON | {"Key": KEY}) is None
    transaction = {"TransactItems": [{"Get": ON | {"Key": KEY}}]}
    assert refusal(alone, "TransactGetItems", transaction) is not None


@pytest.mark.parametrize(
    ("condition", "address", "secure", "allowed"),
    [
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, "192.0.2.7", False, True),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, "::ffff:192.0.2.7", False, True),
        ({"IpAddress": {"aws:SourceIp": "fe80::/10"}}, "fe80::1%eth0", False, True),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, "198.51.100.7", False, False),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, "", False, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, "192.0.2.7", True, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, "192.0.2.7", False, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01"}}, "192.0.2.7", False, True),
        ({"DateLessThan": {"aws:CurrentTime": "2026-01-01"}}, "192.0.2.7", False, False),
        ({"StringEquals": {"dynamodb:ReturnConsumedCapacity": "NONE"}}, "", False, True),
    ],
)
def test_where_and_when(
    condition: dict[str, Any], address: str, secure: bool, allowed: bool
) -> None:
    sent_by = sender(ALL | {"Condition": condition}, address=address, secure=secure)
    assert (refusal(sent_by, "GetItem", ON | {"Key": KEY}) is None) is allowed


def test_nothing_is_said_of_a_table_that_is_not_there() -> None:
    """Of one whose items are another's no more than of one that does not exist."""
    for name in ("orders", "other_table"):
        for key in (BOB, {"h": {"S": "bob"}}):
            message = refusal(sender(OWN), "GetItem", {"TableName": name, "Key": key})
            assert message is not None
            assert message.endswith(
                "because no identity-based policy allows the dynamodb:GetItem action"
            )


def test_a_table_that_no_policy_names_is_not_looked_up() -> None:
    cluster = Tables()
    context = cast(Context, SimpleNamespace(**{**vars(CONTEXT), "cluster": cluster}))
    named = sender(OWN | {"Resource": f"{ACCOUNT}table/ord*"})
    for name, asked in (("other_table", []), ("orders", ["orders"])):
        with pytest.raises(ServiceError):
            authorize(context, named, "GetItem", {"TableName": name, "Key": BOB})
        assert cluster.asked == asked


@pytest.mark.parametrize(
    ("operation", "wrong", "error"),
    [
        ("GetItem", ON | {"Key": {"h": {"S": "bob", "N": "1"}}}, InvalidItem),
        ("Query", ON | {"KeyConditionExpression": "h = "}, InvalidExpression),
        ("PutItem", ON | {"Item": BOB, "ConditionExpression": "a = :no"}, InvalidExpression),
    ],
)
def test_what_is_not_valid_is_never_answered(
    operation: str, wrong: dict[str, Any], error: type[MynamoError]
) -> None:
    """Although nothing can be said of its keys; and one without rights does not hear of it."""
    with pytest.raises(error):
        authorize(CONTEXT, sender(OWN), operation, valid(operation, wrong))
    assert refusal(sender(deny("*")), operation, wrong) is not None


def fuzzed_context() -> Context:
    """Has the tables of the generator."""
    indexed = table_of(
        index_of("LSI", "p", "l", number=1, name="by_l"),
        index_of("GSI", "g", "h:N", number=2, name="by_g"),
        index_of("GSI", "t:N", None, number=3, name="by_t"),
        sort_key="s:N", name="indexed", hash_key=KeyAttribute(name="p"),
    )  # fmt: skip
    plain = table_of(sort_key=None, name="plain", hash_key=KeyAttribute(name="p", type="B"))
    cluster = Tables(indexed, plain)
    return cast(Context, SimpleNamespace(**{**vars(CONTEXT), "cluster": cluster}))


def only_client(number: int) -> Sender:
    """Who may do everything with a client's items, in tables and the LSI; and not scan."""
    prefix = f"client{number:03}"
    encoded = base64.b64encode(prefix.encode()).decode()
    return sender({
        "Effect": "Allow",
        "NotAction": "dynamodb:Scan",
        "Resource": [f"{ACCOUNT}table/{name}" for name in ("indexed", "plain", "*/index/by_l")],
        "Condition": {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"{prefix}*", f"{encoded}*"]}
        },
    })  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_random_requests_are_for_their_own_client_alone(seed: int) -> None:
    """Whatever parameters they have, old and new: each is refused to another client."""
    context = fuzzed_context()
    generator = Generator(seed, 1, lambda table, key: None)
    senders = {client: only_client(client) for client in (1, 2)}
    counts = Counter[str]()
    for n in range(300):
        operation, request = request_of(generator.operation(), Random(f"{seed}/{n}"))
        for client, sent_by in senders.items():
            try:
                authorize(context, sent_by, operation, valid(operation, request))
                outcome = "allowed"
            except ServiceError as error:
                outcome = error.kind
            except MynamoError:
                outcome = "invalid"
            counts[f"{client} {outcome}"] += 1
    assert counts["2 allowed"] == 0
    assert counts["1 allowed"] > 200


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ({"Action": "mynamo:*", "Resource": "*"}, {"orders", "others", "cluster"}),
        ({"Action": "*", "Resource": "*"}, {"orders", "others", "cluster"}),
        ({"Action": "mynamo:*", "Resource": ORDERS}, {"orders"}),
        ({"Action": "mynamo:Verify", "Resource": "*"}, {"orders", "others"}),
        ({"Action": "mynamo:DescribeCluster", "Resource": "*"}, {"cluster"}),
        ({"Action": "dynamodb:*", "Resource": "*"}, set()),
        ({"NotAction": "mynamo:*", "Resource": "*"}, set()),
    ],
)
def test_what_operators_may_do(statement: dict[str, Any], allowed: set[str]) -> None:
    text = json.dumps({"Statement": {"Effect": "Allow", **statement}})
    signer = Signer("ann", Principal("ann", (parse_policy(text, "p", "ann"),)))
    sender = Sender(signer, Peer("192.0.2.1", False))
    found = set()
    for name, action, table in (
        ("orders", VERIFY, "orders"), ("others", VERIFY, "others"),
        ("cluster", DESCRIBE_CLUSTER, None),
    ):  # fmt: skip
        with suppress(ServiceError):
            authorize_operator(CONTEXT, sender, action, table)
            found.add(name)
    assert found == allowed
    authorize_operator(CONTEXT, Sender(Signer("root"), Peer("", False)), VERIFY, "orders")
