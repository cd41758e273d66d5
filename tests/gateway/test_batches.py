"""BatchGetItem and BatchWriteItem over DynamoDB's API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import permutations, product
from typing import Any
from unittest import mock

import orjson
import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import MynamoError, ShardUnavailable, WriteOutcomeUnknown
from mynamo.gateway.operations import batch_operations
from mynamo.gateway.operations.consistency import TOKEN_HEADER
from mynamo.gateway.service import Answer, Service
from mynamo.mysql.pool import Session
from mynamo.writer import Outcome
from mynamo.writer.transaction import group_commit, routing
from mynamo.writer.transaction.write_requests import Write
from tests.gateway.asking import error_of
from tests.gateway.orders import Orders, key, orders

INVALID = "One or more parameter values were invalid: "
DUPLICATES = "Provided list of item keys contains duplicates"
NO_KEY = "The provided key element does not match the schema"
SEVERAL = (
    "Supplied AttributeValue has more than one datatypes set, "
    "must contain exactly one of the supported datatypes"
)


@pytest.fixture
def other(shared_service: Service) -> Orders:
    return orders(shared_service)


def put(item: Any) -> dict[str, Any]:
    return {"PutRequest": {"Item": item}}


def delete(of: Any) -> dict[str, Any]:
    return {"DeleteRequest": {"Key": of}}


def call(service: Service, operation: str, items: Any, **more: Any) -> Answer:
    return service.call(operation, orjson.dumps({"RequestItems": items} | more), {})


def ask(service: Service, operation: str, items: Any, **more: Any) -> Any:
    answer = call(service, operation, items, **more)
    assert answer.status == 200, answer
    return orjson.loads(answer.body)


def refusal(service: Service, operation: str, items: Any) -> str:
    kind, message = error_of(call(service, operation, items))
    assert kind == "ValidationException", (kind, message)
    return message


@contextmanager
def unavailable(service: Service, *shard_ids: int) -> Iterator[None]:
    """Shards of the cluster do not answer."""
    with ExitStack() as stack:
        for number in shard_ids:
            refusal = ShardUnavailable(f"shard {number} does not answer")
            shard = service.context.cluster.shards[number]
            stack.enter_context(mock.patch.object(shard, "session", side_effect=refusal))
        yield


def by_shard(table: Orders, count: int) -> dict[int, list[dict[str, Any]]]:
    """Keys on each of the shards."""
    cluster = table.service.context.cluster
    keys: dict[int, list[dict[str, Any]]] = {shard: [] for shard in cluster.shards}
    definition = cluster.table(table.name)
    for n in range(1000):
        candidate = key(f"h{n}")
        there = keys[cluster.shard_of(definition.key_of(candidate).hash).id]
        if len(there) < count:
            there.append(candidate)
    assert all(len(there) == count for there in keys.values())
    return keys


# --- what they do ------------------------------------------------------------------------


def test_write_and_get(table: Orders, other: Orders) -> None:
    service = table.service
    items = [key("p", n) | {"a": {"N": str(n)}, "b": {"S": "b"}} for n in range(5)]
    table.put(r={"N": "9"})
    answer = call(
        service, "BatchWriteItem",
        {table.name: [*map(put, items), delete(key("p", 9))], other.name: [put(items[0])]},
    )  # fmt: skip
    assert orjson.loads(answer.body) == {"UnprocessedItems": {}}
    assert len(answer.headers[TOKEN_HEADER].split(",")) == 7
    keys = [key("p", n) for n in (3, 9, 1)]
    wanted = {
        table.name: {"Keys": keys, "ConsistentRead": True},
        other.name: {
            "Keys": [key("p", 0), key("p", 1)],
            "ProjectionExpression": "#a",
            "ExpressionAttributeNames": {"#a": "a"},
        },
    }
    assert ask(service, "BatchGetItem", wanted) == {
        "Responses": {table.name: [items[3], items[1]], other.name: [{"a": {"N": "0"}}]},
        "UnprocessedKeys": {},
    }


def test_boto3_in_batches(table: Orders, shared_dynamodb: Any) -> None:
    """What boto3 makes of batches and pages: its own loops come to an end, with everything."""
    numbers = range(60)
    for start in range(0, 60, 20):
        writes = [put(key("p", n) | {"a": {"S": "x" * 100}}) for n in numbers[start : start + 20]]
        shared_dynamodb.batch_write_item(RequestItems={table.name: writes})
    keys = [key("p", n) for n in numbers]
    got = shared_dynamodb.batch_get_item(RequestItems={table.name: {"Keys": keys}})
    assert [int(item["r"]["N"]) for item in got["Responses"][table.name]] == list(numbers)
    for operation, condition in (
        ("query", {"KeyConditions": {"h": {"ComparisonOperator": "EQ",
                                           "AttributeValueList": [{"S": "p"}]}}}),
        ("scan", {}),
    ):  # fmt: skip
        pages = shared_dynamodb.get_paginator(operation).paginate(
            TableName=table.name, PaginationConfig={"PageSize": 7}, **condition
        )
        assert sorted(int(i["r"]["N"]) for page in pages for i in page["Items"]) == list(numbers)


def test_the_tokens_of_a_batch_read_it_from_an_index(table: Orders, shared_url: str) -> None:
    table.put()
    table.caught_up()  # so that the workers have started
    items = [
        key(f"h{n}") | {"g": {"S": "x"}, "s": {"N": str(n)}, "a": {"N": str(n)}} for n in range(10)
    ]
    answer = call(table.service, "BatchWriteItem", {table.name: list(map(put, items))})
    found = table.ask(
        "Query", answer.headers[TOKEN_HEADER], IndexName="global",
        KeyConditionExpression="g = :g", ExpressionAttributeValues={":g": {"S": "x"}},
    )  # fmt: skip
    assert found["Items"] == items


def test_what_is_over_16_mb_is_left(table: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert batch_operations.MAX_ANSWER == 16 * 1024 * 1024
    items = [key("p", n) | {"a": {"S": "x" * 1000}} for n in range(5)]
    ask(table.service, "BatchWriteItem", {table.name: list(map(put, items))})
    monkeypatch.setattr(batch_operations, "MAX_ANSWER", 3100)
    more = {"ProjectionExpression": "#r", "ExpressionAttributeNames": {"#r": "r"}}
    wanted = {"Keys": [key("p", n) for n in range(5)], "ConsistentRead": True} | more
    answer = ask(table.service, "BatchGetItem", {table.name: wanted})
    # Whole items count, not what the projection shows of them.
    assert answer["Responses"] == {table.name: [{"r": {"N": str(n)}} for n in range(3)]}
    left = answer["UnprocessedKeys"]
    assert left == {table.name: wanted | {"Keys": [key("p", 3), key("p", 4)]}}
    rest = ask(table.service, "BatchGetItem", left)
    assert rest["Responses"] == {table.name: [{"r": {"N": "3"}}, {"r": {"N": "4"}}]}
    assert rest["UnprocessedKeys"] == {}


def test_one_round_trip_per_shard(table: Orders) -> None:
    keys = [k for there in by_shard(table, 5).values() for k in there]
    run = Session.run
    with mock.patch.object(Session, "run", autospec=True, side_effect=run) as runs:
        ask(table.service, "BatchGetItem", {table.name: {"Keys": keys}})
    asked = [
        call for call in runs.call_args_list if call.args[1][0].startswith("SELECT t.hash, t.sort")
    ]
    assert len(asked) == len(table.service.context.cluster.shards)
    assert len({id(call.args[0]) for call in asked}) == len(asked)


# --- shards that do not answer -----------------------------------------------------------


def test_reading_from_half_of_the_shards(table: Orders) -> None:
    one, two = by_shard(table, 3).values()
    ask(table.service, "BatchWriteItem", {table.name: [put(k) for k in one + two]})
    request = {table.name: {"Keys": one + two, "AttributesToGet": ["h", "r"]}}
    with unavailable(table.service, 2):
        answer = ask(table.service, "BatchGetItem", request)
    assert answer["Responses"] == {table.name: one}
    assert answer["UnprocessedKeys"] == {table.name: request[table.name] | {"Keys": two}}
    rest = ask(table.service, "BatchGetItem", answer["UnprocessedKeys"])
    assert rest["Responses"] == {table.name: two}


def test_writing_to_half_of_the_shards(table: Orders) -> None:
    one, two = by_shard(table, 3).values()
    with unavailable(table.service, 1):
        written = call(table.service, "BatchWriteItem", {table.name: [put(k) for k in one + two]})
    assert written.status == 200
    left = orjson.loads(written.body)["UnprocessedItems"]
    assert left == {table.name: [put(k) for k in one]}
    assert len(written.headers[TOKEN_HEADER].split(",")) == len(two)
    assert [table.get(k["h"]["S"]) for k in one + two] == [None] * 3 + two
    assert ask(table.service, "BatchWriteItem", left) == {"UnprocessedItems": {}}
    assert [table.get(k["h"]["S"]) for k in one] == one


@pytest.mark.parametrize(
    ("failure", "status"), [(WriteOutcomeUnknown(), 500), (ShardUnavailable(), 200)]
)
def test_what_may_have_happened_is_not_unprocessed(
    table: Orders, monkeypatch: pytest.MonkeyPatch, failure: MynamoError, status: int
) -> None:
    """Of a shard that surely did nothing it is."""
    one, two = by_shard(table, 1).values()
    commit = group_commit.commit_with_others

    def half(cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]) -> list[Outcome]:
        if shard.id == 1:
            raise failure
        return commit(cluster, shard, writes)

    monkeypatch.setattr(routing, "commit_with_others", half)
    answer = call(table.service, "BatchWriteItem", {table.name: [put(k) for k in one + two]})
    assert answer.status == status
    if status == 500:
        assert error_of(answer)[0] == "InternalServerError"


def test_no_shard_answers(table: Orders) -> None:
    keys = [k for there in by_shard(table, 1).values() for k in there]
    with unavailable(table.service, 1, 2):
        for operation, items in (
            ("BatchGetItem", {"Keys": keys}),
            ("BatchWriteItem", [put(k) for k in keys]),
        ):
            answer = call(table.service, operation, {table.name: items})
            assert (answer.status, error_of(answer)[0]) == (503, "ServiceUnavailableException")


# --- what they refuse --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"Keys": [key(), key()]}, DUPLICATES),
        ({"Keys": [key(r="1"), key(r="1.0")]}, DUPLICATES),
        ({"Keys": [{"h": {"S": "p"}}]}, NO_KEY),
        ({"Keys": [key()], "ProjectionExpression": "a", "AttributesToGet": ["a"]},
         "Can not use both expression and non-expression parameters in the same request: "
         "Non-expression parameters: {AttributesToGet} "
         "Expression parameters: {ProjectionExpression}"),
        ({"Keys": [key()], "AttributesToGet": ["a", "a"]},
         f"{INVALID}Duplicate value in attribute name: a"),
        ({"Keys": [key()], "ExpressionAttributeNames": {"#a": "a"}},
         "ExpressionAttributeNames can only be specified when using expressions"),
        ({"Keys": [key(), key()], "ProjectionExpression": "a b"}, DUPLICATES),
    ],
)  # fmt: skip
def test_gets_refused(table: Orders, part: Any, message: str) -> None:
    assert refusal(table.service, "BatchGetItem", {table.name: part}) == message


def test_old_and_new_parameters_for_different_tables(table: Orders, other: Orders) -> None:
    message = refusal(
        table.service, "BatchGetItem",
        {table.name: {"Keys": [key()], "ProjectionExpression": "a"},
         other.name: {"Keys": [key()], "AttributesToGet": ["a"]}},
    )  # fmt: skip
    assert message.startswith("Can not use both expression and non-expression parameters")


@pytest.mark.parametrize(
    ("writes", "message"),
    [
        ([put(key()), delete(key())], DUPLICATES),
        ([delete(key(r="1")), delete(key(r="1.0"))], DUPLICATES),
        ([{}], SEVERAL),
        ([put(key()) | delete(key())], SEVERAL),
        ([put({"h": {"S": "p"}})], f"{INVALID}Missing the key r in the item"),
        ([delete({"h": {"S": "p"}})], NO_KEY),
        ([put(key()), put(key(r=2) | {"l": {"N": "1"}})],
         f"{INVALID}Type mismatch for Index Key l Expected: S Actual: N IndexName: local"),
        ([put(key()), put(key(r=2) | {"a": {"S": "x" * 409_600}})],
         "Item size has exceeded the maximum allowed size"),
    ],
)  # fmt: skip
def test_writes_refused(table: Orders, writes: Any, message: str) -> None:
    assert refusal(table.service, "BatchWriteItem", {table.name: writes}) == message
    assert table.get() is None  # one bad item, and nothing is written


def test_too_many(table: Orders, other: Orders) -> None:
    for operation, most in (("BatchGetItem", 100), ("BatchWriteItem", 25)):
        keys = [key("p", n) for n in range(most // 2 + 1)]
        part: Any = {"Keys": keys} if operation == "BatchGetItem" else list(map(delete, keys))
        message = refusal(table.service, operation, {table.name: part, other.name: part})
        assert message == f"Too many items requested for the {operation} call"


def test_one_table_by_two_names_is_refused(table: Orders) -> None:
    """Else one of the two parts would be lost, after the client heard that it was written."""
    name = table.name
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{name}"
    names = (name, arn, arn.replace("arn:aws:", "arn:aws-cn:"))
    parts: list[tuple[str, Any, Any]] = [
        ("BatchWriteItem", [put(key("p", 1))], [put(key("p", 2))]),
        ("BatchGetItem", {"Keys": [key("p", 1)]}, {"Keys": [key("p", 2)]}),
    ]
    for (operation, one, two), (a, b) in product(parts, permutations(names, 2)):
        message = refusal(table.service, operation, {a: one, b: two})
        assert message == f"Provided list of tables contains duplicates: {name}"
    assert [table.get(r=str(n)) for n in (1, 2)] == [None, None]


@pytest.mark.parametrize(
    ("operation", "missing", "wrong"),
    [
        ("BatchGetItem", {"Keys": [{}]}, {"Keys": [key(), key()]}),
        ("BatchWriteItem", [put({})], [put({"h": {}})]),
    ],
)
def test_the_request_comes_before_the_table(
    table: Orders, operation: str, missing: Any, wrong: Any
) -> None:
    answer = call(table.service, operation, {"nowhere": missing})
    assert error_of(answer) == ("ResourceNotFoundException", "Requested resource not found")
    assert refusal(table.service, operation, {"nowhere": wrong})
