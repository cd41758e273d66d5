"""ConsumedCapacity and ItemCollectionMetrics: DynamoDB's arithmetic."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mynamo.gateway.operations.capacity import read_units
from tests.gateway.orders import Orders, key

KB = {"S": "x" * 1024}
G = {"g": {"S": "x"}, "s": {"N": "1"}}


def consumed(table: Orders, operation: str, **request: Any) -> dict[str, float]:
    """Units by table and index, and in all."""
    answer = table.ask(operation, **request, ReturnConsumedCapacity="INDEXES")
    return flat(table, answer["ConsumedCapacity"])


def flat(table: Orders, report: dict[str, Any]) -> dict[str, float]:
    assert report.pop("TableName") == table.name
    units = {"all": report.pop("CapacityUnits"), "table": report.pop("Table")["CapacityUnits"]}
    local = report.pop("LocalSecondaryIndexes", {})
    overall = report.pop("GlobalSecondaryIndexes", {})
    assert report == {}
    assert set(local) <= {"local"}
    assert set(overall) <= {"global", "whole"}
    return units | {name: each["CapacityUnits"] for name, each in (local | overall).items()}


@pytest.mark.parametrize(
    ("size", "strong", "weak"),
    [(0, 1, 0.5), (1, 1, 0.5), (4096, 1, 0.5), (4097, 2, 1.0), (40960, 10, 5.0)],
)
def test_read_units(size: int, strong: float, weak: float) -> None:
    assert (read_units(size, True), read_units(size, False)) == (strong, weak)


@pytest.mark.parametrize(
    ("old", "new", "units"),
    [
        (None, {}, {"table": 1}),
        (None, {"a": KB}, {"table": 2}),
        ({"a": KB}, {}, {"table": 2}),
        (None, {"l": {"S": "x"}}, {"table": 1, "local": 1}),
        ({"l": {"S": "x"}}, {"l": {"S": "x"}, "a": KB}, {"table": 2}),
        ({"l": {"S": "x"}}, {"l": {"S": "y"}}, {"table": 1, "local": 2}),
        ({"l": {"S": "x"}}, {}, {"table": 1, "local": 1}),
        (None, G, {"table": 1, "global": 1, "whole": 1}),
        (None, {"g": {"S": "x"}}, {"table": 1, "whole": 1}),
        (G, G, {"table": 1}),
        (G, G | {"b": {"S": "y"}}, {"table": 1, "whole": 1}),
        (G | {"a": KB}, G, {"table": 2, "global": 2, "whole": 2}),
        (G | {"a": KB}, G | {"g": {"S": "y"}}, {"table": 2, "global": 3, "whole": 3}),
        (G, G | {"s": {"N": "2"}}, {"table": 1, "global": 2, "whole": 1}),
        (G, None, {"table": 1, "global": 1, "whole": 1}),
        (None, None, {"table": 1}),
    ],
)
def test_writes(table: Orders, old: Any, new: Any, units: dict[str, float]) -> None:
    if old is not None:
        table.put(**old)
    if new is None:
        found = consumed(table, "DeleteItem", Key=key())
    else:
        found = consumed(table, "PutItem", Item=key() | new)
    assert found == units | {"all": sum(units.values())}


def test_updates_cost_as_puts(table: Orders) -> None:
    table.put(a=KB, **G)
    found = consumed(table, "UpdateItem", Key=key(), UpdateExpression="REMOVE a, b")
    assert found == {"all": 6, "table": 2, "global": 2, "whole": 2}


def test_gets(table: Orders) -> None:
    table.put(a={"S": "x" * 5000})
    assert consumed(table, "GetItem", Key=key()) == {"all": 1, "table": 1}
    assert consumed(table, "GetItem", Key=key(), ProjectionExpression="h") == {"all": 1, "table": 1}
    strong = consumed(table, "GetItem", Key=key(), ConsistentRead=True)
    assert strong == {"all": 2, "table": 2}
    assert consumed(table, "GetItem", Key=key("none")) == {"all": 0.5, "table": 0.5}


def test_queries_and_scans(table: Orders) -> None:
    for r in range(4):
        table.put(r={"N": str(r)}, l={"S": "l"}, a={"S": "x" * 3000})
    query = {"KeyConditionExpression": "h = :h", "ExpressionAttributeValues": {":h": {"S": "p"}}}
    # Sizes are added up and then rounded: 4 times 3 KB are 3 units.
    assert consumed(table, "Query", **query) == {"all": 1.5, "table": 1.5}
    assert consumed(table, "Query", **query, ConsistentRead=True) == {"all": 3, "table": 3}
    assert consumed(table, "Scan", Select="COUNT") == {"all": 1.5, "table": 1.5}
    local = query | {"IndexName": "local"}
    assert consumed(table, "Query", **local) == {"all": 0.5, "table": 0, "local": 0.5}
    # Each item that has to be fetched from the table is rounded by itself.
    fetched = consumed(table, "Query", **local, ProjectionExpression="a", ConsistentRead=True)
    assert fetched == {"all": 5, "table": 4, "local": 1}
    scanned = consumed(table, "Scan", IndexName="global")
    assert scanned == {"all": 0.5, "table": 0, "global": 0.5}


@pytest.mark.parametrize("kind", [None, "NONE"])
def test_only_when_asked_for(table: Orders, kind: str | None) -> None:
    more = {} if kind is None else {"ReturnConsumedCapacity": kind}
    assert table.ask("PutItem", Item=key(), **more) == {}
    assert table.ask("GetItem", Key=key(), **more) == {"Item": key()}


def test_in_total(table: Orders) -> None:
    answer = table.ask("PutItem", Item=key() | G, ReturnConsumedCapacity="TOTAL")
    assert answer == {"ConsumedCapacity": {"TableName": table.name, "CapacityUnits": 3.0}}


def test_batches(table: Orders) -> None:
    def batch(operation: str, part: Any) -> dict[str, float]:
        body = {"RequestItems": {table.name: part}, "ReturnConsumedCapacity": "INDEXES"}
        answer = table.service.call(operation, orjson.dumps(body), {})
        (report,) = orjson.loads(answer.body)["ConsumedCapacity"]
        return flat(table, report)

    puts = [{"PutRequest": {"Item": key("p", n) | {"l": {"S": "l"}, "a": KB}}} for n in range(3)]
    assert batch("BatchWriteItem", puts) == {"all": 9, "table": 6, "local": 3}
    keys = {"Keys": [key("p", n) for n in range(4)], "ConsistentRead": True}
    # Each item counts for itself, the missing one too.
    assert batch("BatchGetItem", keys) == {"all": 4, "table": 4}


def test_item_collection_metrics(table: Orders) -> None:
    metrics = {"ItemCollectionKey": {"h": {"S": "p"}}, "SizeEstimateRangeGB": [0.0, 1.0]}
    for operation, subject in (
        ("PutItem", {"Item": key()}),
        ("UpdateItem", {"Key": key()}),
        ("DeleteItem", {"Key": key()}),
    ):
        answer = table.ask(operation, **subject, ReturnItemCollectionMetrics="SIZE")
        assert answer == {"ItemCollectionMetrics": metrics}
    writes = [{"DeleteRequest": {"Key": key("p", n)}} for n in range(3)]
    body = {"RequestItems": {table.name: writes}, "ReturnItemCollectionMetrics": "SIZE"}
    batch = table.service.call("BatchWriteItem", orjson.dumps(body), {})
    assert orjson.loads(batch.body)["ItemCollectionMetrics"] == {table.name: [metrics]}
