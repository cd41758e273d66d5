"""boto3, the client and the resource: what a program written for DynamoDB does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr, Key
from boto3.dynamodb.types import Binary
from botocore.exceptions import ClientError

from tests.waiting import eventually

pytestmark = pytest.mark.slow

INDEX_SECONDS = 30.0


def error_of(failure: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    error = failure.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.fixture
def orders(client: Any) -> Iterator[str]:
    name = f"orders-{uuid.uuid4().hex[:8]}"
    made = client.create_table(
        TableName=name,
        AttributeDefinitions=[
            {"AttributeName": "customer", "AttributeType": "S"},
            {"AttributeName": "at", "AttributeType": "N"},
            {"AttributeName": "price", "AttributeType": "N"},
            {"AttributeName": "status", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "customer", "KeyType": "HASH"},
            {"AttributeName": "at", "KeyType": "RANGE"},
        ],
        LocalSecondaryIndexes=[{
            "IndexName": "by_price",
            "KeySchema": [{"AttributeName": "customer", "KeyType": "HASH"},
                          {"AttributeName": "price", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"},
        }],
        GlobalSecondaryIndexes=[{
            "IndexName": "by_status",
            "KeySchema": [{"AttributeName": "status", "KeyType": "HASH"},
                          {"AttributeName": "at", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["price"]},
        }],
        BillingMode="PAY_PER_REQUEST",
        Tags=[{"Key": "team", "Value": "sales"}],
    )["TableDescription"]  # fmt: skip
    assert made["TableArn"].endswith(f":table/{name}")
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    assert client.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE"
    yield name
    client.delete_table(TableName=name)
    client.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1})


def order(at: int, **more: Any) -> dict[str, Any]:
    return {"customer": {"S": "ann"}, "at": {"N": str(at)}, **more}


def test_an_item_is_written_changed_read_and_deleted(client: Any, orders: str) -> None:
    key = order(1)
    client.put_item(TableName=orders, Item=order(1, price={"N": "9.90"}, status={"S": "open"}))
    with pytest.raises(ClientError) as failure:
        client.put_item(
            TableName=orders, Item=order(1),
            ConditionExpression="attribute_not_exists(customer)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )  # fmt: skip
    assert error_of(failure) == (
        "ConditionalCheckFailedException",
        "The conditional request failed",
    )
    assert failure.value.response["Item"]["price"] == {"N": "9.9"}
    changed = client.update_item(
        TableName=orders, Key=key,
        UpdateExpression="SET #s = :paid, tally = if_not_exists(tally, :zero) + :one REMOVE price",
        ConditionExpression="#s = :open AND price > :one",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={
            ":paid": {"S": "paid"}, ":open": {"S": "open"}, ":one": {"N": "1"}, ":zero": {"N": "0"},
        },
        ReturnValues="ALL_NEW", ReturnConsumedCapacity="TOTAL",
    )  # fmt: skip
    assert changed["Attributes"] == order(1, status={"S": "paid"}, tally={"N": "1"})
    assert changed["ConsumedCapacity"]["TableName"] == orders
    got = client.get_item(TableName=orders, Key=key, ConsistentRead=True)
    assert got["Item"] == changed["Attributes"]
    gone = client.delete_item(TableName=orders, Key=key, ReturnValues="ALL_OLD")
    assert gone["Attributes"] == got["Item"]
    assert "Item" not in client.get_item(TableName=orders, Key=key)


def test_pages_of_table_and_indexes(client: Any, orders: str) -> None:
    for start in range(0, 100, 25):
        puts = [
            {"PutRequest": {"Item": order(at, price={"N": str(at % 10)}, status={"S": "open"})}}
            for at in range(start, start + 25)
        ]
        assert client.batch_write_item(RequestItems={orders: puts})["UnprocessedItems"] == {}

    def pages(operation: str, **request: Any) -> list[dict[str, Any]]:
        paginator = client.get_paginator(operation)
        found = paginator.paginate(
            TableName=orders, PaginationConfig={"PageSize": 7}, **request
        ).build_full_result()
        return list(found["Items"])

    by_customer: dict[str, Any] = {
        "KeyConditionExpression": "customer = :c AND #at BETWEEN :low AND :high",
        "ExpressionAttributeNames": {"#at": "at"},
        "ExpressionAttributeValues": {
            ":c": {"S": "ann"}, ":low": {"N": "20"}, ":high": {"N": "79"},
        },
    }  # fmt: skip
    found = [int(item["at"]["N"]) for item in pages("query", **by_customer)]
    assert found == list(range(20, 80))
    backwards = pages("query", ScanIndexForward=False, **by_customer)
    assert [int(item["at"]["N"]) for item in backwards] == list(range(79, 19, -1))
    by_price = pages(
        "query", IndexName="by_price", KeyConditionExpression="customer = :c",
        ExpressionAttributeValues={":c": {"S": "ann"}},
    )  # fmt: skip
    prices = [int(item["price"]["N"]) for item in by_price]
    assert prices == sorted(prices)
    assert len(prices) == 100

    def by_status() -> list[dict[str, Any]]:
        return pages(
            "query", IndexName="by_status", KeyConditionExpression="#s = :open",
            ExpressionAttributeNames={"#s": "status"},
            ExpressionAttributeValues={":open": {"S": "open"}},
        )  # fmt: skip

    eventually(lambda: len(by_status()) == 100, INDEX_SECONDS)
    assert [int(item["at"]["N"]) for item in by_status()] == list(range(100))
    assert set(by_status()[0]) == {"customer", "at", "status", "price"}
    segments = [pages("scan", Segment=segment, TotalSegments=3) for segment in range(3)]
    assert sorted(int(item["at"]["N"]) for part in segments for item in part) == list(range(100))


def test_a_new_index_is_backfilled_before_it_is_active(client: Any, orders: str) -> None:
    client.put_item(TableName=orders, Item=order(1, city={"S": "Turin"}))
    client.put_item(TableName=orders, Item=order(2))
    client.update_table(
        TableName=orders,
        AttributeDefinitions=[{"AttributeName": "city", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[{"Create": {
            "IndexName": "by_city",
            "KeySchema": [{"AttributeName": "city", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }}],
    )  # fmt: skip

    def status() -> str | None:
        indexes = client.describe_table(TableName=orders)["Table"]["GlobalSecondaryIndexes"]
        return next((i["IndexStatus"] for i in indexes if i["IndexName"] == "by_city"), None)

    eventually(lambda: status() == "ACTIVE", INDEX_SECONDS)
    found = client.query(
        TableName=orders, IndexName="by_city", KeyConditionExpression="city = :c",
        ExpressionAttributeValues={":c": {"S": "Turin"}},
    )  # fmt: skip
    assert found["Items"] == [order(1, city={"S": "Turin"})]
    client.update_table(
        TableName=orders, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by_city"}}]
    )
    eventually(lambda: status() is None, INDEX_SECONDS)


def test_settings_of_a_table(client: Any, orders: str) -> None:
    arn = client.describe_table(TableName=orders)["Table"]["TableArn"]
    assert client.list_tags_of_resource(ResourceArn=arn)["Tags"] == [
        {"Key": "team", "Value": "sales"}
    ]
    client.update_time_to_live(
        TableName=orders,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"},
    )
    ttl = client.describe_time_to_live(TableName=orders)["TimeToLiveDescription"]
    assert ttl["AttributeName"] == "expires"
    assert (
        orders in client.get_paginator("list_tables").paginate().build_full_result()["TableNames"]
    )


def test_errors_are_the_exceptions_of_the_client(client: Any, orders: str) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_item(TableName="there-is-none", Key={"a": {"S": "x"}})
    with pytest.raises(client.exceptions.ResourceInUseException):
        client.create_table(
            TableName=orders, BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "a", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "a", "KeyType": "HASH"}],
        )  # fmt: skip
    with pytest.raises(ClientError) as failure:
        client.get_item(TableName=orders, Key={"customer": {"S": "ann"}})
    assert error_of(failure) == (
        "ValidationException", "The provided key element does not match the schema",
    )  # fmt: skip


def test_the_resource_layer(session: Any, endpoint: str) -> None:
    resource = session.resource("dynamodb", endpoint_url=endpoint)
    table = resource.create_table(
        TableName=f"music-{uuid.uuid4().hex[:8]}",
        AttributeDefinitions=[
            {"AttributeName": "artist", "AttributeType": "S"},
            {"AttributeName": "song", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "artist", "KeyType": "HASH"},
            {"AttributeName": "song", "KeyType": "RANGE"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    table.wait_until_exists()
    item = {
        "artist": "Nina", "song": "Sinnerman", "length": Decimal("10.3"), "live": False,
        "cover": Binary(b"\x00\xff"), "tags": {"soul", "jazz"}, "years": {1965, 1966},
        "notes": None, "takes": [1, {"by": "Phil"}], "empty": "",
    }  # fmt: skip
    table.put_item(Item=item)
    got = table.get_item(Key={"artist": "Nina", "song": "Sinnerman"})["Item"]
    assert got == {**item, "years": {Decimal(1965), Decimal(1966)}}
    with table.batch_writer(overwrite_by_pkeys=["artist", "song"]) as batch:
        for number in range(60):
            batch.put_item({"artist": "Ella", "song": f"s{number:03}", "n": number})
        batch.delete_item(Key={"artist": "Nina", "song": "Sinnerman"})
    found = table.query(
        KeyConditionExpression=Key("artist").eq("Ella") & Key("song").begins_with("s00"),
        FilterExpression=Attr("n").gte(3) & ~Attr("n").is_in([5, 6]),
        ProjectionExpression="n",
    )
    assert [i["n"] for i in found["Items"]] == [3, 4, 7, 8, 9]
    assert (found["Count"], found["ScannedCount"]) == (5, 10)
    assert table.scan(Select="COUNT")["Count"] == 60
    keys = [{"artist": "Ella", "song": f"s{n:03}"} for n in (1, 2)]
    answer = resource.batch_get_item(RequestItems={table.name: {"Keys": keys}})
    assert sorted(i["n"] for i in answer["Responses"][table.name]) == [1, 2]
    table.delete()
    table.wait_until_not_exists()


def test_transactions_of_items_of_several_hash_keys(client: Any, orders: str) -> None:
    def key(customer: str) -> dict[str, Any]:
        return {"customer": {"S": customer}, "at": {"N": "1"}}

    def put(customer: str, **more: Any) -> dict[str, Any]:
        item = {**key(customer), "price": {"N": "10"}, "status": {"S": "moved"}}
        return {"Put": {"TableName": orders, "Item": item, **more}}

    def add(customer: str, amount: int) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": orders, "Key": key(customer),
                "UpdateExpression": "SET price = price + :n",
                "ConditionExpression": "price >= :least",
                "ExpressionAttributeValues": {":n": {"N": str(amount)},
                                              ":least": {"N": str(-amount)}},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }  # fmt: skip

    def prices() -> list[str | None]:
        gets = [{"Get": {"TableName": orders, "Key": key(name), "ProjectionExpression": "price"}}
                for name in names]  # fmt: skip
        found = client.transact_get_items(TransactItems=gets)["Responses"]
        return [one.get("Item", {}).get("price", {}).get("N") for one in found]

    names = [f"customer {number}" for number in range(8)]
    assert prices() == [None] * 8
    absent = {"ConditionExpression": "attribute_not_exists(customer)"}
    client.transact_write_items(TransactItems=[put(name, **absent) for name in names])
    check = {"TableName": orders, "Key": key(names[7]),
             "ConditionExpression": "attribute_exists(price)"}  # fmt: skip
    client.transact_write_items(
        TransactItems=[add(names[0], -4), add(names[1], 4), {"ConditionCheck": check},
                       {"Delete": {"TableName": orders, "Key": key(names[2])}}]
    )  # fmt: skip
    assert prices() == ["6", "14", None, *["10"] * 5]

    with pytest.raises(client.exceptions.TransactionCanceledException) as failure:
        client.transact_write_items(
            TransactItems=[add(names[3], 1), add(names[4], -11), put(names[5], **absent),
                           {"Delete": {"TableName": orders, "Key": key(names[6])}}]
        )  # fmt: skip
    code, message = error_of(failure)
    assert code == "TransactionCanceledException"
    assert message.endswith("[None, ConditionalCheckFailed, ConditionalCheckFailed, None]")
    reasons = failure.value.response["CancellationReasons"]
    assert reasons[1]["Item"]["price"] == {"N": "10"}
    assert reasons[2] == {
        "Code": "ConditionalCheckFailed", "Message": "The conditional request failed",
    }  # fmt: skip
    assert prices() == ["6", "14", None, *["10"] * 5]

    token = uuid.uuid4().hex
    for _ in range(3):
        client.transact_write_items(
            TransactItems=[add(names[5], -1), add(names[6], 1)], ClientRequestToken=token
        )
    with pytest.raises(client.exceptions.IdempotentParameterMismatchException):
        client.transact_write_items(
            TransactItems=[add(names[5], -1), add(names[6], 2)], ClientRequestToken=token
        )
    assert prices() == ["6", "14", None, "10", "10", "9", "11", "10"]

    def moved() -> list[dict[str, Any]]:
        found = client.query(
            TableName=orders, IndexName="by_status", KeyConditionExpression="#s = :moved",
            ExpressionAttributeNames={"#s": "status"},
            ExpressionAttributeValues={":moved": {"S": "moved"}},
        )  # fmt: skip
        return list(found["Items"])

    eventually(
        lambda: sorted(int(one["price"]["N"]) for one in moved()) == [6, 9, 10, 10, 10, 11, 14],
        INDEX_SECONDS,
    )


def test_transactions_of_the_resource_layer(session: Any, endpoint: str, orders: str) -> None:
    """Its client takes and gives values in Python's form."""
    resource = session.resource("dynamodb", endpoint_url=endpoint)
    plain = resource.meta.client
    items = [{"customer": f"customer {n}", "at": n, "price": Decimal("2.5")} for n in range(5)]
    plain.transact_write_items(
        TransactItems=[{"Put": {"TableName": orders, "Item": item}} for item in items]
    )
    keys = [{"customer": item["customer"], "at": item["at"]} for item in items]
    gets = [{"Get": {"TableName": orders, "Key": key}} for key in keys]
    found = plain.transact_get_items(TransactItems=gets)["Responses"]
    assert [one["Item"] for one in found] == items
    update = {
        "TableName": orders, "Key": keys[0], "UpdateExpression": "ADD price :one",
        "ConditionExpression": "price = :one", "ExpressionAttributeValues": {":one": 1},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }  # fmt: skip
    with pytest.raises(plain.exceptions.TransactionCanceledException) as failure:
        plain.transact_write_items(
            TransactItems=[{"Update": update}, {"Delete": {"TableName": orders, "Key": keys[1]}}]
        )
    codes = [reason["Code"] for reason in failure.value.response["CancellationReasons"]]
    assert codes == ["ConditionalCheckFailed", "None"]
    assert resource.Table(orders).get_item(Key=keys[1])["Item"] == items[1]
