"""Tables with provisioned throughput, as an SDK without retries sees them throttled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client import CollectorRegistry

from mynamo.catalog.cluster import Cluster
from mynamo.gateway.http.server import listen
from mynamo.gateway.provisioned_throughput import CapacityBuckets
from mynamo.gateway.serving import gateway
from mynamo.metrics.request_metrics import RequestMetrics
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import GatewayConfig
from tests.gateway.conftest import client_of
from tests.gateway.raw import running
from tests.waiting import eventually
from tests.workers import pipeline

SECOND = 1_000_000_000
BURST = 300
OF_TABLE = (
    "The level of configured provisioned throughput for the table was exceeded. Consider "
    "increasing your provisioning level with the UpdateTable API."
)
OF_INDEX = (
    "The level of configured provisioned throughput for one or more global secondary indexes of "
    "the table was exceeded. Consider increasing your provisioning level for the "
    "under-provisioned global secondary indexes with the UpdateTable API."
)
EXCEEDED = "ProvisionedThroughputExceededException"
ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/"


class Gateway:
    """A client of a gateway whose clock stands still unless a test moves it.

    Attributes:
        now: in ns.
    """

    def __init__(self) -> None:
        self.now = 1_000_000 * SECOND
        self.client: Any = None
        self.registry = CollectorRegistry()

    def pass_seconds(self, seconds: int) -> None:
        self.now += seconds * SECOND

    def throttled(self, table: str, index: str, access: str) -> float | None:
        labels = {"table": table, "index": index, "access": access}
        return self.registry.get_sample_value("mynamo_throttle_events_total", labels)


@contextmanager
def enforcing(config: ClusterConfig, enforce: bool = True) -> Iterator[Gateway]:
    made = Gateway()
    served = GatewayConfig(port=0, enforce_provisioned_throughput=enforce)
    with (
        Cluster(config) as cluster,
        gateway(
            cluster, served, listen(served), credentials=None,
            metrics=RequestMetrics(made.registry, 10), buckets=CapacityBuckets(lambda: made.now),
        ) as server,
        running(server) as url,
    ):  # fmt: skip
        made.client = client_of(url)
        yield made
        made.client.close()


@pytest.fixture(scope="module")
def served(shared_config: ClusterConfig) -> Iterator[Gateway]:
    with pipeline(shared_config), enforcing(shared_config) as made:
        yield made


def item(key: str, size: int = 0, **more: str) -> dict[str, Any]:
    """An item of some bytes."""
    found = {"id": {"S": key}, **{name: {"S": value} for name, value in more.items()}}
    return {**found, "text": {"S": "x" * size}} if size else found


def units(read: int, write: int) -> dict[str, int]:
    return {"ReadCapacityUnits": read, "WriteCapacityUnits": write}


def make(client: Any, name: str, read: int, write: int, **indexes: tuple[int, int]) -> None:
    """A table, and GSIs of one attribute each."""
    gsis = [
        {
            "IndexName": f"by_{attribute}",
            "KeySchema": [{"AttributeName": attribute, "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
            "ProvisionedThroughput": units(*provisioned),
        }
        for attribute, provisioned in indexes.items()
    ]
    client.create_table(
        TableName=name,
        AttributeDefinitions=[
            {"AttributeName": each, "AttributeType": "S"} for each in ("id", *indexes)
        ],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        ProvisionedThroughput=units(read, write),
        **({"GlobalSecondaryIndexes": gsis} if gsis else {}),
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, str, list[Any]]:
    """Error, message and reasons of a request that is refused."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    answer: dict[str, Any] = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    error = answer["Error"]
    return error["Code"], error["Message"], answer.get("ThrottlingReasons", [])


def reason(what: str, resource: str) -> list[dict[str, str]]:
    return [{"reason": f"{what}ProvisionedThroughputExceeded", "resource": ARN + resource}]


def put(served: Gateway, table: str, count: int, size: int = 1) -> None:
    """Write so many items of so many units."""
    for n in range(count):
        served.client.put_item(TableName=table, Item=item(str(n), size * 1024 - 50))


def test_a_table_is_throttled_beyond_its_burst_and_answers_again(served: Gateway) -> None:
    client = served.client
    make(client, "items", read=1, write=1)
    put(served, "items", 3, size=100)
    one = item("another")
    assert refusal(client.put_item, TableName="items", Item=one) == (
        EXCEEDED, OF_TABLE, reason("TableWrite", "items"),
    )  # fmt: skip
    for call in (client.update_item, client.delete_item):
        assert refusal(call, TableName="items", Key=one)[0] == EXCEEDED
    assert served.throttled("items", "", "write") == 3
    # What can never succeed is not to be tried again.
    wrong = {"id": {"N": "1"}}
    assert refusal(client.put_item, TableName="items", Item=wrong)[0] == "ValidationException"
    assert served.throttled("items", "", "write") == 3

    # What was refused was not written, and reads have units of their own: 25 for 100 KB.
    assert "Item" not in client.get_item(TableName="items", Key=one, ConsistentRead=True)
    for _ in range(12):
        found = client.get_item(
            TableName="items", Key=item("1"), ConsistentRead=True, ReturnConsumedCapacity="TOTAL"
        )
        assert found["ConsumedCapacity"]["CapacityUnits"] == 25
    for call, request in (
        (client.get_item, {"Key": one}),
        (client.scan, {}),
        (
            client.query,
            {
                "KeyConditionExpression": "id = :id",
                "ExpressionAttributeValues": {":id": {"S": "1"}},
            },
        ),
    ):
        assert refusal(call, TableName="items", **request) == (
            EXCEEDED, OF_TABLE, reason("TableRead", "items"),
        )  # fmt: skip
    assert served.throttled("items", "", "read") == 3

    # 301 units of reads were used, and 300 of writes.
    served.pass_seconds(1)
    client.put_item(TableName="items", Item=one)
    assert refusal(client.get_item, TableName="items", Key=one)[0] == EXCEEDED
    served.pass_seconds(1)
    client.get_item(TableName="items", Key=one)
    described = client.describe_table(TableName="items")["Table"]
    assert described["ProvisionedThroughput"]["WriteCapacityUnits"] == 1


def test_a_write_whose_condition_fails_costs_what_it_finds(served: Gateway) -> None:
    make(served.client, "conditions", read=1, write=1)
    put(served, "conditions", 1, size=100)
    new = {"Item": item("0"), "ConditionExpression": "attribute_not_exists(id)"}
    for _ in range(2):
        kind, _, _ = refusal(served.client.put_item, TableName="conditions", **new)
        assert kind == "ConditionalCheckFailedException"
    assert refusal(served.client.put_item, TableName="conditions", **new)[0] == EXCEEDED


def test_a_batch_does_what_there_are_units_for(served: Gateway) -> None:
    client = served.client
    make(client, "batches", read=1, write=1)
    make(client, "roomy", read=100, write=100)
    puts = [{"PutRequest": {"Item": item(str(n), 100 * 1024 - 50)}} for n in range(4)]
    more = [{"PutRequest": {"Item": item(str(n))}} for n in range(4)]
    answer = client.batch_write_item(RequestItems={"batches": puts, "roomy": more})
    assert answer["UnprocessedItems"] == {"batches": puts[3:]}
    answer = client.batch_write_item(RequestItems={"batches": puts[3:], "roomy": more})
    assert answer["UnprocessedItems"] == {"batches": puts[3:]}
    assert refusal(client.batch_write_item, RequestItems={"batches": more}) == (
        EXCEEDED, OF_TABLE, reason("TableWrite", "batches"),
    )  # fmt: skip
    assert served.throttled("batches", "", "write") == 6
    assert client.scan(TableName="roomy", Select="COUNT")["Count"] == 4

    keys = [item(str(n)) for n in range(3)]
    for _ in range(4):
        read = client.batch_get_item(
            RequestItems={"batches": {"Keys": keys, "ConsistentRead": True}}
        )
        assert (len(read["Responses"]["batches"]), read["UnprocessedKeys"]) == (3, {})
    both = {"batches": {"Keys": keys[:2]}, "roomy": {"Keys": keys[:1]}}
    read = client.batch_get_item(RequestItems=both)
    assert read["Responses"]["roomy"] == [keys[0]]
    assert read["UnprocessedKeys"] == {"batches": {"Keys": keys[:2]}}
    assert refusal(client.batch_get_item, RequestItems={"batches": {"Keys": keys}}) == (
        EXCEEDED, OF_TABLE, reason("TableRead", "batches"),
    )  # fmt: skip


def test_a_transaction_is_cancelled_and_says_which_entries_lack_units(served: Gateway) -> None:
    client = served.client
    make(client, "ledger", read=1, write=1)
    make(client, "accounts", read=100, write=100)

    def transact(size: int = 0) -> None:
        client.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": "accounts", "Item": item("a")}},
                {"Put": {"TableName": "ledger", "Item": item("a", size)}},
            ]
        )

    def cancelled(call: Callable[[], Any]) -> list[dict[str, str]]:
        with pytest.raises(ClientError) as caught:
            call()
        answer: dict[str, Any] = caught.value.response
        assert answer["Error"]["Code"] == "TransactionCanceledException"
        reasons: list[dict[str, str]] = answer["CancellationReasons"]
        return reasons

    transact(148 * 1024)  # of which each costs twice
    transact()
    lacking = [{"Code": "None"}, {"Code": "ProvisionedThroughputExceeded", "Message": OF_TABLE}]
    assert cancelled(transact) == lacking
    client.delete_item(TableName="accounts", Key=item("a"))
    assert cancelled(transact) == lacking
    assert "Item" not in client.get_item(TableName="accounts", Key=item("a"))

    def read() -> Any:
        gets = [{"Get": {"TableName": name, "Key": item("a")}} for name in ("accounts", "ledger")]
        return client.transact_get_items(TransactItems=gets)

    for _ in range(150):
        read()
    assert cancelled(read) == lacking


def test_a_gsi_without_units_throttles_its_tables_writes_and_its_own_reads(
    served: Gateway,
) -> None:
    client = served.client
    make(client, "indexed", read=100, write=100, kind=(1, 1), day=(100, 100))
    for n in range(3):  # 100 units for the table, and for each index the item is in
        client.put_item(TableName="indexed", Item=item(str(n), 102_300, kind="k"))
    assert refusal(client.put_item, TableName="indexed", Item=item("not-in-it")) == (
        EXCEEDED, OF_INDEX, reason("IndexWrite", "indexed/index/by_kind"),
    )  # fmt: skip
    assert served.throttled("indexed", "by_kind", "write") == 1

    query = {
        "TableName": "indexed", "IndexName": "by_kind",
        "KeyConditionExpression": "kind = :kind",
        "ExpressionAttributeValues": {":kind": {"S": "k"}},
    }  # fmt: skip
    eventually(lambda: client.scan(TableName="indexed", IndexName="by_day")["Count"] == 0)
    eventually(lambda: client.query(**query, Limit=1, Select="COUNT")["Count"] == 1)
    while True:
        try:
            client.query(**query)
        except ClientError:
            break
    assert refusal(client.query, **query) == (
        EXCEEDED, OF_INDEX, reason("IndexRead", "indexed/index/by_kind"),
    )  # fmt: skip
    assert refusal(client.scan, TableName="indexed", IndexName="by_kind")[0] == EXCEEDED
    client.get_item(TableName="indexed", Key=item("0"))
    client.scan(TableName="indexed", IndexName="by_day")


def test_an_lsi_uses_its_tables_units(served: Gateway) -> None:
    client = served.client
    client.create_table(
        TableName="sorted",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("id", "at", "kind")
        ],
        KeySchema=[
            {"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"},
        ],
        LocalSecondaryIndexes=[
            {
                "IndexName": "by_kind",
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "kind", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        ProvisionedThroughput=units(1, 1),
    )  # fmt: skip
    client.get_waiter("table_exists").wait(TableName="sorted", WaiterConfig={"Delay": 1})
    client.put_item(TableName="sorted", Item=item("1", 102_300, at="1", kind="k"))
    client.put_item(TableName="sorted", Item=item("1", 102_300, at="2"))  # not in the index
    assert refusal(client.put_item, TableName="sorted", Item=item("1", at="3")) == (
        EXCEEDED, OF_TABLE, reason("TableWrite", "sorted"),
    )  # fmt: skip
    query = {
        "TableName": "sorted", "IndexName": "by_kind", "ConsistentRead": True,
        "KeyConditionExpression": "id = :id",
        "ExpressionAttributeValues": {":id": {"S": "1"}},
    }  # fmt: skip
    for _ in range(12):  # of 25 units each
        client.query(**query)
    assert refusal(client.query, **query) == (EXCEEDED, OF_TABLE, reason("TableRead", "sorted"))


def test_other_units_and_on_demand_count_within_seconds(
    served: Gateway, shared_config: ClusterConfig
) -> None:
    """They are changed at another gateway."""
    client = served.client
    make(client, "changing", read=1, write=1)

    def answered() -> bool:
        try:
            client.put_item(TableName="changing", Item=item("a", 102_300))
        except ClientError as error:
            assert error.response["Error"]["Code"] == EXCEEDED  # noqa: PT017
            return False
        return True

    def many_a_second() -> bool:
        served.pass_seconds(1)
        return [answered() for _ in range(9)] == [True] * 9

    while answered():
        pass
    with enforcing(shared_config) as other:
        other.client.update_table(TableName="changing", ProvisionedThroughput=units(1, 1000))
        eventually(many_a_second)
        while answered():
            pass
        other.client.update_table(TableName="changing", BillingMode="PAY_PER_REQUEST")
        eventually(answered)
        assert all(answered() for _ in range(20))
        other.client.update_table(
            TableName="changing", BillingMode="PROVISIONED", ProvisionedThroughput=units(1, 1)
        )
        eventually(lambda: not answered())


def test_nothing_is_throttled_unless_it_is_asked_for(shared_config: ClusterConfig) -> None:
    with enforcing(shared_config, enforce=False) as made:
        make(made.client, "free", read=1, write=1)
        put(made, "free", 10, size=100)
        assert made.throttled("free", "", "write") is None
