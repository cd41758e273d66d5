"""TransactWriteItems and TransactGetItems over DynamoDB's API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Decision
from mynamo.errors import (
    ConditionFailed,
    IdempotentParameterMismatch,
    TransactionCanceled,
    TransactionInProgress,
)
from mynamo.gateway.operations import transact_operations
from mynamo.gateway.operations.consistency import TOKEN_HEADER
from mynamo.gateway.service import Answer, Service
from mynamo.reader import Get, Reader, transact_gets
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import GatewayConfig
from mynamo.schemas.items import from_stored
from mynamo.writer import Done, RequestToken, Transacted, WriteRequest, apply
from mynamo.writer.transaction import meeting
from tests import intents
from tests.gateway.asking import error_of
from tests.gateway.orders import Orders, key, orders
from tests.intents import decide, place

INVALID = "One or more parameter values were invalid: "
NO_KEY = "The provided key element does not match the schema"
TWICE = "Transaction request cannot include multiple operations on one item"
NOT_ONE = "TransactItems can only contain one of Check, Put, Update or Delete"
TOO_LARGE = "Transaction request size cannot exceed 4 MB"
EMPTY = "One or more parameter values are not valid. "
FAILED = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
NONE = {"Code": "None"}


@pytest.fixture
def other(shared_service: Service) -> Orders:
    return orders(shared_service)


def put(table: Orders, item: Any, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table.name, "Item": item} | more}


def delete(table: Orders, of: Any, **more: Any) -> dict[str, Any]:
    return {"Delete": {"TableName": table.name, "Key": of} | more}


def update(table: Orders, of: Any, expression: str = "SET a = b", **more: Any) -> dict[str, Any]:
    return {"Update": {"TableName": table.name, "Key": of, "UpdateExpression": expression} | more}


def check(
    table: Orders, of: Any, condition: str = "attribute_exists(h)", **more: Any
) -> dict[str, Any]:
    asked = {"TableName": table.name, "Key": of, "ConditionExpression": condition}
    return {"ConditionCheck": asked | more}


def get(table: Orders, of: Any, projection: str | None = None, **more: Any) -> dict[str, Any]:
    wanted = {} if projection is None else {"ProjectionExpression": projection}
    return {"Get": {"TableName": table.name, "Key": of} | wanted | more}


MAKE: dict[str, Callable[..., dict[str, Any]]] = {
    "check": check, "put": put, "delete": delete, "update": update,
}  # fmt: skip


def call(table: Orders, operation: str, entries: Sequence[Any], **more: Any) -> Answer:
    body = orjson.dumps({"TransactItems": entries} | more)
    return table.service.call(operation, body, {})


def write(table: Orders, *entries: Any, **more: Any) -> Any:
    """The answer of a transaction that happens."""
    answer = call(table, "TransactWriteItems", entries, **more)
    assert answer.status == 200, answer
    return orjson.loads(answer.body)


def read(table: Orders, *entries: Any, **more: Any) -> Any:
    answer = call(table, "TransactGetItems", entries, **more)
    assert answer.status == 200, answer
    return orjson.loads(answer.body)


def refusal(table: Orders, operation: str, *entries: Any) -> str:
    kind, message = error_of(call(table, operation, entries))
    assert kind == "ValidationException", (kind, message)
    return message


def cancelled(table: Orders, operation: str, *entries: Any, **more: Any) -> list[Any]:
    """The reasons of a transaction that is cancelled."""
    answer = call(table, operation, entries, **more)
    kind, message = error_of(answer)
    assert kind == "TransactionCanceledException", (kind, message)
    reasons: list[Any] = orjson.loads(answer.body)["CancellationReasons"]
    codes = ", ".join(reason["Code"] for reason in reasons)
    assert message == (
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    )
    return reasons


def not_valid(message: str) -> dict[str, str]:
    return {"Code": "ValidationError", "Message": message}


class Writer:
    """In place of the writer: notes what it is asked, and gives what it is told to.

    Attributes:
        asked: the writes of each call, and its token.
        answer: what it gives or raises; None: it applies the writes, one by one.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[list[WriteRequest], RequestToken | None]] = []
        self.answer: Transacted | Exception | None = None

    def __call__(
        self,
        cluster: Cluster,
        requests: Sequence[WriteRequest],
        token: RequestToken | None = None,
        answer: bytes = b"",
    ) -> Transacted:
        self.asked.append(([*requests], token))
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        answers = apply(cluster, requests)
        done = [outcome for _, outcome in answers if isinstance(outcome, Done)]
        return Transacted(done, [shard for shard, _ in answers])


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    instead = Writer()
    monkeypatch.setattr(transact_operations, "transact", instead)
    return instead


# --- what is refused before anything is written -------------------------------------------


def test_each_entry_is_one_action(table: Orders, writer: Writer) -> None:
    both = put(table, key()) | delete(table, key("p", 2))
    for entry in ({}, both):
        assert refusal(table, "TransactWriteItems", put(table, key()), entry) == NOT_ONE
    # It is said before anything of the others.
    assert refusal(table, "TransactWriteItems", put(table, {"h": {}}), {}) == NOT_ONE
    assert writer.asked == []


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("check", {"ConditionExpression": "a ="},
         'Invalid ConditionExpression: Syntax error; token: "<EOF>", near: "="'),
        ("put", {"ExpressionAttributeValues": {":a": {"S": "x"}}},
         "ExpressionAttributeValues can only be specified when using expressions: "
         "ConditionExpression is null"),
        ("put", {"ExpressionAttributeNames": {"#a": "x"}},
         "ExpressionAttributeNames can only be specified when using expressions"),
        ("delete", {"ConditionExpression": "#a = :a"},
         "Invalid ConditionExpression: An expression attribute name used in the document path is "
         "not defined; attribute name: #a"),
        ("update", {"UpdateExpression": "SET a = :a"},
         "Invalid UpdateExpression: An expression attribute value used in expression is not "
         "defined; attribute value: :a"),
        ("update", {"UpdateExpression": "SET a = :a",
                    "ExpressionAttributeValues": {":a": {"S": "x"}, ":b": {"S": "x"}}},
         "Value provided in ExpressionAttributeValues unused in expressions: keys: {:b}"),
        ("put", {"Item": key() | {"a": {}}},
         "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"),
        ("put", {"Item": key() | {"a": {"S": "x" * 409_600}}},
         "Item size has exceeded the maximum allowed size"),
        ("put", {"Item": key("")},
         EMPTY + "The AttributeValue for a key attribute cannot contain an empty string value. "
         "Key: h"),
        ("put", {"Item": key() | {"g": {"S": ""}}},
         EMPTY + "A value specified for a secondary index key is not supported. The "
         "AttributeValue for a key attribute cannot contain an empty string value. IndexName: "
         "global, IndexKey: g"),
        ("delete", {"Key": key("")},
         EMPTY + "The AttributeValue for a key attribute cannot contain an empty string value. "
         "Key: h"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_request_is_no_cancellation(
    table: Orders, writer: Writer, kind: str, more: dict[str, Any], message: str
) -> None:
    entry = MAKE[kind](table, key(), **more)
    assert refusal(table, "TransactWriteItems", put(table, key("p", 2)), entry) == message
    assert writer.asked == []


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        ("put", {"Item": {"h": {"N": "7"}, "r": {"N": "1"}}},
         INVALID + "Type mismatch for key h expected: S actual: N"),
        ("put", {"Item": {"h": {"S": "p"}}}, INVALID + "Missing the key r in the item"),
        ("put", {"Item": key() | {"s": {"S": "x"}, "g": {"S": "x"}}},
         INVALID + "Type mismatch for Index Key s Expected: N Actual: S IndexName: global"),
        ("delete", {"Key": {"h": {"S": "p"}}}, NO_KEY),
        ("check", {"Key": key() | {"a": {"S": "x"}}}, NO_KEY),
        ("update", {"Key": {"h": {"S": "p"}, "r": {"S": "1"}}}, NO_KEY),
        ("update", {"UpdateExpression": "REMOVE r"},
         INVALID + "Cannot update attribute r. This attribute is part of the key"),
        ("update", {"UpdateExpression": "SET g.b = :a",
                    "ExpressionAttributeValues": {":a": {"S": "x"}}},
         "Key attributes must be scalars; list random access '[]' and map lookup '.' are not "
         "allowed: IndexKey: g"),
        ("check", {"ConditionExpression": "attribute_exists(h.b)"},
         "Key attributes must be scalars; list random access '[]' and map lookup '.' are not "
         "allowed: Key: h"),
    ],
)  # fmt: skip
def test_a_key_that_is_not_the_tables_cancels(
    table: Orders, writer: Writer, kind: str, more: dict[str, Any], message: str
) -> None:
    """Only the first one is a reason, and it is one before an item is found twice."""
    wrong = MAKE[kind](table, key(), **more)
    same = put(table, key("p", 2))
    reasons = cancelled(table, "TransactWriteItems", same, wrong, delete(table, {}), same)
    assert reasons == [NONE, not_valid(message), NONE, NONE]
    assert writer.asked == []


def test_no_item_twice(table: Orders, other: Orders, writer: Writer) -> None:
    for first in (put(table, key()), check(table, key()), update(table, key())):
        entries = [first, put(table, key("p", 2)), delete(table, key("p", "1.0"))]
        assert refusal(table, "TransactWriteItems", *entries) == TWICE
    assert writer.asked == []
    write(table, put(table, key()), put(other, key()))  # of another table it is another one
    assert len(writer.asked) == 1


def test_by_name_and_by_arn_it_is_one_item(table: Orders, writer: Writer) -> None:
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{table.name}"
    by_arn = put(table, key(), TableName=arn)
    assert refusal(table, "TransactWriteItems", put(table, key()), by_arn) == TWICE
    answer = write(table, by_arn, ReturnConsumedCapacity="TOTAL")
    assert answer["ConsumedCapacity"][0]["TableName"] == table.name
    assert refusal(table, "TransactGetItems", get(table, key(), TableName=arn + "/x")).startswith(
        "Invalid TableArn"
    )


@pytest.mark.parametrize("operation", ["TransactWriteItems", "TransactGetItems"])
def test_a_table_that_is_not_there_fails_the_request(table: Orders, operation: str) -> None:
    make = put if operation == "TransactWriteItems" else get
    absent = make(table, key(), TableName="absent")
    kind, message = error_of(call(table, operation, [make(table, {"h": {"S": ""}}), absent]))
    assert (kind, message) == ("ResourceNotFoundException", "Requested resource not found")


def test_four_megabytes_of_request(table: Orders, writer: Writer) -> None:
    big = {"S": "x" * 380_000}

    def puts(count: int) -> list[Any]:
        return [put(table, key("p", n) | {"a": big}) for n in range(count)]

    assert refusal(table, "TransactWriteItems", *puts(12)) == TOO_LARGE
    values = {"ExpressionAttributeValues": {":a": big}}
    change = update(table, key("p", 99), "SET a = :a", **values)
    assert refusal(table, "TransactWriteItems", *puts(11), change) == TOO_LARGE
    assert writer.asked == []
    write(table, *puts(11))
    # What is there already does not count.
    write(table, *(delete(table, key("p", n)) for n in range(12)))


# --- what the writer is asked, and what its answers become --------------------------------


def test_what_the_writer_is_asked(table: Orders, other: Orders, writer: Writer) -> None:
    writer.answer = Transacted([Done(0)] * 4, [1] * 4)
    values = {"ExpressionAttributeValues": {":a": {"N": "01"}}}
    write(
        table,
        check(table, key("p", "1.0"), "a = :a", **values),
        put(other, key() | {"a": {"N": "1.50"}}),
        delete(table, key("p", 2), ConditionExpression="attribute_exists(h)"),
        update(table, key("p", 3), "SET a = :a", **values),
    )
    ((asked, token),) = writer.asked
    assert token is None
    assert [(w.table, str(w.operation), w.item) for w in asked] == [
        (table.name, "CHECK", key()),
        (other.name, "PUT", key() | {"a": {"N": "1.5"}}),
        (table.name, "DELETE", key("p", 2)),
        (table.name, "UPDATE", key("p", 3)),
    ]
    assert [w.condition is not None for w in asked] == [True, False, True, False]
    assert [w.update is not None for w in asked] == [False, False, False, True]


def test_request_tokens(table: Orders, writer: Writer) -> None:
    """Equal requests have equal tokens, however their JSON is arranged; others have not."""
    writer.answer = Transacted([Done(0)], [1])
    entry = put(table, key() | {"a": {"N": "1"}, "b": {"S": "x"}})
    turned = {"Put": dict(reversed(entry["Put"].items()))}
    turned["Put"]["Item"] = dict(reversed(entry["Put"]["Item"].items()))
    more = put(table, key() | {"a": {"N": "2"}, "b": {"S": "x"}})
    for one, token, rest in (
        (entry, "one", {}),
        (turned, "one", {}),
        (entry, "one", {"ReturnConsumedCapacity": "TOTAL"}),
        (more, "one", {}),
        (entry, "two", {}),
    ):
        write(table, one, ClientRequestToken=token, **rest)
    tokens = [token for _, token in writer.asked]
    assert all(token and len(token.token) == len(token.request) == 16 for token in tokens)
    first, same, asks_more, other_content, other_token = tokens
    assert first == same == asks_more
    assert first is not None
    assert other_content == RequestToken(first.token, getattr(other_content, "request", b""))
    assert other_content != first
    assert other_token == RequestToken(getattr(other_token, "token", b""), first.request)
    assert other_token != first


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (IdempotentParameterMismatch(), "IdempotentParameterMismatchException"),
        (TransactionInProgress(), "TransactionInProgressException"),
    ],
)
def test_what_the_writer_says_of_tokens(
    table: Orders, writer: Writer, failure: Exception, kind: str
) -> None:
    writer.answer = failure
    answer = call(table, "TransactWriteItems", [put(table, key())], ClientRequestToken="x")
    assert (answer.status, error_of(answer)[0]) == (400, kind)


def test_items_of_failed_conditions_are_shown_to_those_who_ask(
    table: Orders, writer: Writer
) -> None:
    failed = ConditionFailed(item=key())
    writer.answer = TransactionCanceled(reasons=[failed, None, failed, ConditionFailed()])
    asks = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    entries = [
        check(table, key(), **asks),
        put(table, key("p", 2)),
        put(table, key("p", 3)),
        delete(table, key("p", 4), **asks),
    ]
    shown = [FAILED | {"Item": key()}, NONE, FAILED, FAILED]
    assert cancelled(table, "TransactWriteItems", *entries) == shown


G = {"g": {"S": "x"}, "s": {"N": "1"}}
KB = {"S": "x" * 1024}


def test_capacity_counts_twice_for_tables_and_once_for_indexes(
    table: Orders, other: Orders, writer: Writer
) -> None:
    found = key() | {"a": KB}
    writer.answer = Transacted(
        [
            Done(0, found, found),  # checked
            Done(1, None, key("p", 2) | G),
            Done(2, key("p", 3) | {"a": KB}, None),
            Done(3, None, key()),
        ],
        [1] * 4,
    )
    entries = [
        check(table, key()),
        put(table, key("p", 2) | G),
        delete(table, key("p", 3)),
        put(other, key()),
    ]
    total = write(table, *entries, ReturnConsumedCapacity="TOTAL")["ConsumedCapacity"]
    assert total == [
        {"TableName": table.name, "CapacityUnits": 12.0, "WriteCapacityUnits": 12.0},
        {"TableName": other.name, "CapacityUnits": 2.0, "WriteCapacityUnits": 2.0},
    ]
    report = write(table, *entries, ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"][0]
    assert report["Table"] == {"CapacityUnits": 10.0, "WriteCapacityUnits": 10.0}
    one = {"CapacityUnits": 1.0}
    assert report["GlobalSecondaryIndexes"] == {"global": one, "whole": one}


def test_a_repeated_request_costs_reads(table: Orders, writer: Writer) -> None:
    table.put(a={"S": "x" * 5000})
    writer.answer = Transacted([Done(0), Done(0)], [1, 1], repeated=True)
    entries = [put(table, key() | G), delete(table, key("p", 2))]
    answer = write(table, *entries, ReturnConsumedCapacity="INDEXES")
    units = {"CapacityUnits": 6.0, "ReadCapacityUnits": 6.0}
    assert answer["ConsumedCapacity"] == [{"TableName": table.name, "Table": units} | units]
    assert write(table, *entries) == {}


def test_collection_metrics_are_of_what_is_written(
    table: Orders, other: Orders, writer: Writer
) -> None:
    writer.answer = Transacted([Done(0)] * 4, [1] * 4)
    answer = write(
        table,
        check(table, key("c")),
        put(table, key()),
        delete(table, key("p", 2)),
        check(other, key()),
        ReturnItemCollectionMetrics="SIZE",
    )
    metrics = {"ItemCollectionKey": {"h": {"S": "p"}}, "SizeEstimateRangeGB": [0.0, 1.0]}
    assert answer == {"ItemCollectionMetrics": {table.name: [metrics]}}


def test_tokens_of_all_that_was_written(table: Orders, other: Orders, writer: Writer) -> None:
    entries = [put(table, key() | G), put(other, key() | G), delete(table, key("none"))]
    answer = call(table, "TransactWriteItems", entries)
    assert len(answer.headers[TOKEN_HEADER].split(",")) == 3
    writer.answer = Transacted([Done(0)] * 3, [1] * 3, repeated=True)
    assert TOKEN_HEADER not in call(table, "TransactWriteItems", entries).headers


@pytest.mark.parametrize("repeated", [False, True])
def test_own_writes_are_counted_by_stream(
    shared_config: ClusterConfig, writer: Writer, repeated: bool
) -> None:
    """Those of a repeated request too: who answered the first attempt, if anybody did, may have
    died before it counted."""
    with Cluster(shared_config) as cluster:
        service = Service(cluster, GatewayConfig(index_reads="own-writes"))
        table = orders(service)
        done = [Done(0), *([Done(0)] * 3 if repeated else [Done(7), Done(8), Done(0)])]
        writer.answer = Transacted(done, [1] * len(done), repeated=repeated)
        write(
            table,
            check(table, key("c")),
            put(table, key("p")),
            update(table, key("q"), "REMOVE a"),
            delete(table, key("none")),
        )
        definition = cluster.table(table.name)
        changed = [key("p"), key("q"), *([key("none")] if repeated else [])]
        expected = {shard: [0] * cluster.partitions for shard in cluster.shards}
        for each in changed:
            route = cluster.route(definition.id, definition.key_of(each).hash)
            expected[1][route.partition] += 1
        assert service.context.own_writes is not None
        counts = service.context.own_writes._answered.by_stream(definition.id)
        assert counts == expected


# --- reading ------------------------------------------------------------------------------


def test_get(table: Orders, other: Orders) -> None:
    table.put(a={"S": "x"}, b={"M": {"c": {"N": "1"}, "d": {"N": "2"}}})
    table.put(r={"N": "2"})
    other.put(a={"S": "y"})
    answer = read(
        table,
        get(table, key("p", 2)),
        get(table, key(), "#b.c, h", ExpressionAttributeNames={"#b": "b"}),
        get(table, key("p", 3)),
        get(other, key()),
    )
    assert answer == {
        "Responses": [
            {"Item": key("p", 2)},
            {"Item": {"h": {"S": "p"}, "b": {"M": {"c": {"N": "1"}}}}},
            {},
            {"Item": key() | {"a": {"S": "y"}}},
        ]
    }
    # Of an item of which nothing is asked for there is no more than of one that is absent.
    assert read(table, get(table, key(), "absent")) == {"Responses": [{}]}


def test_gets_cost_twice(table: Orders, other: Orders) -> None:
    table.put(a={"S": "x" * 5000})
    entries = [get(table, key(), "h"), get(table, key("p", 2)), get(other, key())]
    answer = read(table, *entries, ReturnConsumedCapacity="INDEXES")
    six = {"CapacityUnits": 6.0, "ReadCapacityUnits": 6.0}
    two = {"CapacityUnits": 2.0, "ReadCapacityUnits": 2.0}
    assert answer["ConsumedCapacity"] == [
        {"TableName": table.name, "Table": six} | six,
        {"TableName": other.name, "Table": two} | two,
    ]


def test_what_gets_are_refused(table: Orders) -> None:
    same = [get(table, key()), get(table, key("p", "1.0"))]
    assert refusal(table, "TransactGetItems", *same) == TWICE
    assert refusal(table, "TransactGetItems", get(table, key(), "a[")).startswith(
        "Invalid ProjectionExpression: Syntax error"
    )
    names = get(table, key(), ExpressionAttributeNames={"#a": "a"})
    assert refusal(table, "TransactGetItems", names) == (
        "ExpressionAttributeNames can only be specified when using expressions"
    )
    assert refusal(table, "TransactGetItems", get(table, key(""))).endswith("value. Key: h")
    wrong = [get(table, key()), get(table, {}), get(table, {"h": {"S": "x"}})]
    assert cancelled(table, "TransactGetItems", *wrong) == [NONE, not_valid(NO_KEY), NONE]


def test_four_megabytes_of_items(table: Orders) -> None:
    for n in range(12):
        table.put(r={"N": str(n)}, a={"S": "x" * 380_000})
    gets = [get(table, key("p", n), "h") for n in range(12)]
    assert refusal(table, "TransactGetItems", *gets) == TOO_LARGE
    assert len(read(table, *gets[:11])["Responses"]) == 11


def on_shards(table: Orders, start: int = 0) -> list[dict[str, Any]]:
    """A key on each shard."""
    cluster = table.service.context.cluster
    definition = cluster.table(table.name)
    found: dict[int, dict[str, Any]] = {}
    for n in range(start, start + 1000):
        candidate = key(f"h{n}")
        found.setdefault(cluster.shard_of(definition.key_of(candidate).hash).id, candidate)
    assert found.keys() == cluster.shards.keys()
    return [*found.values()]


def test_items_of_several_shards(table: Orders, other: Orders) -> None:
    one, two, *_ = on_shards(table)
    write(table, put(table, one | G))
    write(table, put(table, two | G))
    entries = [get(table, two), get(other, one), get(table, one, "g, s")]
    answer = read(table, *entries, ReturnConsumedCapacity="TOTAL")
    assert answer["Responses"] == [{"Item": two | G}, {}, {"Item": G}]
    consumed = {each["TableName"]: each["CapacityUnits"] for each in answer["ConsumedCapacity"]}
    assert consumed == {table.name: 4.0, other.name: 2.0}


def test_a_transaction_that_is_not_applied_is_a_conflict_or_finished(
    table: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transact_gets, "PATIENCE", 0.1)
    cluster = table.service.context.cluster
    one, two, *_ = on_shards(table)
    definition = cluster.table(table.name)
    decider = cluster.shard_of(definition.key_of(one).hash)
    intent = place(cluster, definition, from_stored(two), decider=decider.id)
    entries = [get(table, one), get(table, two)]
    assert read(table, *entries)["Responses"] == [{}, {}]
    decide(decider, intent.transaction_id, Decision.COMMITTED)
    finish_after = transact_gets.RESOLVE_AFTER
    monkeypatch.setattr(transact_gets, "RESOLVE_AFTER", 60.0)
    conflict = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    assert cancelled(table, "TransactGetItems", *entries) == [NONE, conflict]
    assert cancelled(table, "TransactGetItems", entries[1]) == [conflict]
    monkeypatch.setattr(transact_gets, "RESOLVE_AFTER", finish_after)
    monkeypatch.setattr(transact_gets, "PATIENCE", 20.0)
    assert read(table, *entries)["Responses"] == [{}, {"Item": two}]
    assert not intents.placed(cluster, [intent])


def test_an_item_in_a_transaction_is_unprocessed_and_the_rest_of_its_batch_written(
    table: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", 0.1)
    cluster = table.service.context.cluster
    one, two, *_ = on_shards(table)
    place(cluster, cluster.table(table.name), from_stored(two))
    asked = [{"PutRequest": {"Item": each | G}} for each in (one, two)]
    answer = table.ask("BatchWriteItem", RequestItems={table.name: asked})
    assert answer == {"UnprocessedItems": {table.name: [asked[1]]}}
    assert read(table, get(table, one), get(table, two))["Responses"] == [{"Item": one | G}, {}]
    kind, _ = error_of(table.call("BatchWriteItem", RequestItems={table.name: asked[1:]}))
    assert kind == "TransactionConflictException"


def test_a_hundred_items_of_two_tables(table: Orders, other: Orders) -> None:
    for n in range(50):
        table.put(r={"N": str(n)})
    there = [get(table, key("p", n)) for n in range(50)]
    answer = read(table, *there, *(get(other, key("p", n)) for n in range(50)))
    assert answer["Responses"] == [{"Item": key("p", n)} for n in range(50)] + [{}] * 50


def test_the_library_reads_in_transactions(table: Orders, other: Orders) -> None:
    table.put(a={"S": "x"})
    reader = Reader(table.service.context.cluster)
    wanted = [(table.name, {"h": "p", "r": 1}), (other.name, {"h": "p", "r": 1})]
    assert reader.transact_get(wanted) == [{"h": "p", "r": 1, "a": "x"}, None]
    assert reader.transact_get(wanted, projection=["a"])[0] == {"a": "x"}
    assert reader.transact_get([]) == []


@pytest.mark.parametrize(
    ("tables", "control"), [(1, None), (2, None), (1, "gets"), (2, "read committed")]
)
def test_reads_see_all_of_a_transaction_or_nothing(
    table: Orders, other: Orders, tables: int, control: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Controls: one get after another sees halves; so do statements with a snapshot each."""
    service = table.service
    reader = service.context.reader
    places = [(table.name, key()), (other.name if tables == 2 else table.name, key("p", 2))]
    gets = [Get(*place) for place in places]
    if control == "read committed":
        begin = transact_gets._BEGIN
        monkeypatch.setattr(transact_gets, "_BEGIN", (("SELECT 1", ()), ("START TRANSACTION", ())))
        assert len(begin) == len(transact_gets._BEGIN)
    stop = threading.Event()

    def write_both() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            more = {"n": {"N": str(number)}}
            puts = [WriteRequest(name, "PUT", of | more) for name, of in places]
            apply(service.context.cluster, puts)

    writing = threading.Thread(target=write_both)
    writing.start()
    halves, seen = 0, set()
    try:
        for _ in range(2000 if control is None else 200_000):
            if control == "gets":
                items = [reader.get(each.table, each.key) for each in gets]
            else:
                items = [got.item for got in reader.transact_get(gets)]
            numbers = [item["n"]["N"] if item else "" for item in items]
            halves += numbers[0] != numbers[1]
            seen.add(numbers[0])
            if control is not None and halves:
                break
    finally:
        stop.set()
        writing.join()
    assert (halves == 0) == (control is None)
    assert control is not None or len(seen) > 1


# --- end to end ---------------------------------------------------------------------------


def test_all_or_nothing(table: Orders, other: Orders) -> None:
    table.put(a={"N": "1"})
    table.put(r={"N": "2"}, b={"S": "y"})
    one = {":one": {"N": "1"}}
    entries = [
        check(table, key("p", 2)),
        update(table, key(), "ADD a :one", ExpressionAttributeValues=one),
        put(other, key() | G),
        delete(table, key("p", 3)),
    ]
    assert write(table, *entries) == {}
    assert table.get() == key() | {"a": {"N": "2"}}
    assert table.get(r=2) == key("p", 2) | {"b": {"S": "y"}}
    assert other.get() == key() | G
    failing = check(table, key("p", 4), ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert cancelled(table, "TransactWriteItems", *entries, failing) == [NONE] * 4 + [FAILED]
    assert table.get() == key() | {"a": {"N": "2"}}


def test_every_condition_that_failed_is_a_reason(table: Orders) -> None:
    table.put(a={"S": "x"})
    asks = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    absent = "attribute_not_exists(h)"
    entries = [
        put(table, key(), ConditionExpression=absent, **asks),
        put(table, key("p", 2)),
        check(table, key("p", 3), **asks),
        delete(table, key("p", 4), ConditionExpression="attribute_exists(h)"),
        update(table, key("p", 5), "SET a = :a", ConditionExpression=absent,
               ExpressionAttributeValues={":a": {"S": "x"}}),
    ]  # fmt: skip
    found = FAILED | {"Item": key() | {"a": {"S": "x"}}}
    assert cancelled(table, "TransactWriteItems", *entries) == [found, NONE, FAILED, FAILED, NONE]
    assert table.get(r=2) is None


@pytest.mark.parametrize(
    ("expression", "value", "message"),
    [
        ("ADD a :v", {"N": "1"}, "An operand in the update expression has an incorrect data type"),
        ("SET b = absent", None,
         "The provided expression refers to an attribute that does not exist in the item"),
        ("SET c.d = :v", {"N": "1"},
         "The document path provided in the update expression is invalid for update"),
        ("SET b = :v", {"S": "x" * 409_500},
         "Item size to update has exceeded the maximum allowed size"),
        ("SET s = :v", {"S": "x"}, INVALID
         + "Type mismatch for Index Key s Expected: N Actual: S IndexName: global"),
    ],
)  # fmt: skip
def test_an_update_that_does_not_fit_the_item_cancels(
    table: Orders, expression: str, value: Any, message: str
) -> None:
    """Then conditions are no reasons, and of two such updates the first one alone is."""
    table.put(a={"S": "x" * 1000})
    values = {} if value is None else {"ExpressionAttributeValues": {":v": value}}
    wrong = update(table, key(), expression, **values)
    again = update(table, key("p", 2), "SET a = absent")
    failing = check(table, key("p", 3))
    reasons = cancelled(table, "TransactWriteItems", failing, wrong, again)
    assert [reason["Code"] for reason in reasons] == ["None", "ValidationError", "None"]
    assert message in reasons[1]["Message"]


def test_a_request_that_is_sent_again_happens_once(table: Orders) -> None:
    one = {":one": {"N": "1"}}
    add = update(table, key(), "ADD a :one", ExpressionAttributeValues=one)
    more = {"ClientRequestToken": "the-first", "ReturnConsumedCapacity": "TOTAL"}
    units = [write(table, add, **more)["ConsumedCapacity"][0] for _ in range(3)]
    assert table.get() == key() | {"a": {"N": "1"}}
    assert units[0] == {
        "TableName": table.name, "CapacityUnits": 2.0, "WriteCapacityUnits": 2.0,
    }  # fmt: skip
    assert units[1:] == [
        {"TableName": table.name, "CapacityUnits": 2.0, "ReadCapacityUnits": 2.0}
    ] * 2  # fmt: skip
    other = [add, put(table, key("p", 2))]
    kind, _ = error_of(call(table, "TransactWriteItems", other, **more))
    assert kind == "IdempotentParameterMismatchException"
    assert table.get(r=2) is None
    write(table, add, ClientRequestToken="the-second")
    assert table.get() == key() | {"a": {"N": "2"}}


def test_a_request_that_was_cancelled_may_be_sent_again(table: Orders) -> None:
    entries = [check(table, key()), put(table, key("p", 2))]
    again = {"ClientRequestToken": "again"}
    assert cancelled(table, "TransactWriteItems", *entries, **again) == [FAILED, NONE]
    table.put()
    write(table, *entries, **again)
    assert table.get(r=2) == key("p", 2)


def test_a_hundred_items(table: Orders) -> None:
    write(table, *(put(table, key("p", n)) for n in range(100)))
    answer = read(table, *(get(table, key("p", n)) for n in range(100)))
    assert answer["Responses"] == [{"Item": key("p", n)} for n in range(100)]
    write(table, *(delete(table, key("p", n)) for n in range(100)))
    assert table.ask("Scan", Select="COUNT")["Count"] == 0


@pytest.mark.usefixtures("shared_url")  # whose indexer fills GSIs
def test_the_token_of_the_answer_shows_all_items_in_an_index(table: Orders) -> None:
    answer = call(table, "TransactWriteItems", [put(table, key("p", n) | G) for n in range(5)])
    table.tokens.append(answer.headers[TOKEN_HEADER])
    table.caught_up()
    found = table.ask(
        "Query", table.written(), IndexName="whole",
        KeyConditionExpression="g = :g", ExpressionAttributeValues={":g": {"S": "x"}},
    )  # fmt: skip
    assert found["Count"] == 5


def test_a_client_reads_in_transactions(shared_dynamodb: Any, table: Orders) -> None:
    """Over HTTP, where small requests are tasks of the event loop."""
    table.put(a={"S": "x"})
    entries = [get(table, key(), "a"), get(table, key("p", 2))]
    found = shared_dynamodb.transact_get_items(TransactItems=entries)
    assert found["Responses"] == [{"Item": {"a": {"S": "x"}}}, {}]
    with pytest.raises(shared_dynamodb.exceptions.TransactionCanceledException) as caught:
        shared_dynamodb.transact_get_items(TransactItems=[get(table, {})])
    assert caught.value.response["CancellationReasons"] == [not_valid(NO_KEY)]


def test_a_client_writes_in_transactions(shared_dynamodb: Any, table: Orders) -> None:
    """Clients send a token of their own with each request."""
    entries = [put(table, key()), check(table, key("p", 2), "attribute_not_exists(h)")]
    for _ in range(2):
        shared_dynamodb.transact_write_items(TransactItems=entries)
    assert table.get() == key()
    with pytest.raises(shared_dynamodb.exceptions.TransactionCanceledException) as caught:
        shared_dynamodb.transact_write_items(TransactItems=[check(table, key("p", 2))])
    assert caught.value.response["CancellationReasons"] == [FAILED]
    assert caught.value.response["Error"]["Message"].endswith("[ConditionalCheckFailed]")


@pytest.mark.parametrize("shards", [1, 2])
def test_transfers_keep_the_sum(table: Orders, shards: int) -> None:
    """Many at once, over accounts that they share, each by a condition on what is there."""
    if shards == 1:
        keys = [key("p", n) for n in range(4)]
    else:
        keys = [each for start in (0, 1000) for each in on_shards(table, start)[:2]]
    for each in keys:
        table.put(**each, a={"N": "10"})
    stop = threading.Event()
    kinds: set[str] = set()

    def transfer(number: int) -> None:
        for n in range(60 // shards**2):
            here, there = (number + n) % len(keys), (number + n + 1 + n % 3) % len(keys)
            entries = [
                update(table, keys[account], "SET a = a + :n", **condition)
                for account, condition in (
                    (here, {"ExpressionAttributeValues": {":n": {"N": "-1"}, ":z": {"N": "0"}},
                            "ConditionExpression": "a > :z"}),
                    (there, {"ExpressionAttributeValues": {":n": {"N": "1"}}}),
                )
            ]  # fmt: skip
            answer = call(table, "TransactWriteItems", entries)
            if answer.status != 200:
                kinds.add(error_of(answer)[0])

    def total() -> int | None:
        """None: the items are changed all the time."""
        answer = call(table, "TransactGetItems", [get(table, each) for each in keys])
        if answer.status != 200:
            kinds.add(error_of(answer)[0])
            return None
        found = orjson.loads(answer.body)["Responses"]
        return sum(int(each["Item"]["a"]["N"]) for each in found)

    def watch() -> None:
        while not stop.is_set():
            sums.append(total())

    sums: list[int | None] = []
    watching = threading.Thread(target=watch)
    threads = [threading.Thread(target=transfer, args=(n,)) for n in range(6 // shards)]
    for thread in (watching, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    watching.join()
    assert {*sums} <= ({10 * len(keys)} if shards == 1 else {10 * len(keys), None})
    assert total() == 10 * len(keys)
    assert kinds <= {"TransactionCanceledException"}
