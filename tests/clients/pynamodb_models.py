"""A program that uses PynamoDB; `test_python` runs it. DYNAMO_ENDPOINT says where."""

from __future__ import annotations

import os
import time
import uuid

from pynamodb.attributes import (
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
    UTCDateTimeAttribute,
    VersionAttribute,
)
from pynamodb.exceptions import DoesNotExist, PutError, UpdateError
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, LocalSecondaryIndex
from pynamodb.models import Model


class ByStatus(GlobalSecondaryIndex):
    class Meta:
        index_name = "by_status"
        projection = AllProjection()

    status = UnicodeAttribute(hash_key=True)
    price = NumberAttribute(range_key=True)


class ByPrice(LocalSecondaryIndex):
    class Meta:
        index_name = "by_price"
        projection = AllProjection()

    customer = UnicodeAttribute(hash_key=True)
    price = NumberAttribute(range_key=True)


class Order(Model):
    class Meta:
        table_name = f"orders-{uuid.uuid4().hex[:8]}"
        host = os.environ["DYNAMO_ENDPOINT"]
        region = os.environ["AWS_REGION"]
        billing_mode = "PAY_PER_REQUEST"

    customer = UnicodeAttribute(hash_key=True)
    number = NumberAttribute(range_key=True)
    status = UnicodeAttribute(default="open")
    price = NumberAttribute(default=0)
    tags = UnicodeSetAttribute(null=True)
    lines = ListAttribute(default=list)
    address = MapAttribute(null=True)
    at = UTCDateTimeAttribute(null=True)
    version = VersionAttribute()
    by_status = ByStatus()
    by_price = ByPrice()


def main() -> None:
    Order.create_table(wait=True)
    assert Order.exists()
    order = Order("ann", 1, price=5, tags={"a", "b"}, address={"city": "Turin"})
    order.save()
    assert Order.get("ann", 1).address["city"] == "Turin"
    order.update(actions=[Order.status.set("paid"), Order.lines.set(["x"])])
    again = Order.get("ann", 1, consistent_read=True)
    assert (again.status, again.lines, again.version) == ("paid", ["x"], 2)
    refuses_an_outdated_version(again)
    refuses_a_second_one()
    with Order.batch_write() as batch:
        for number in range(2, 62):
            batch.save(Order("ann", number, price=100 - number))
    prices = [o.price for o in Order.by_price.query("ann", Order.price > 90, limit=5)]
    assert prices == sorted(prices)
    assert Order.count("ann", Order.number.between(2, 11)) == 10
    found = Order.query("ann", Order.number >= 50, filter_condition=Order.status == "open")
    assert len(list(found)) == 12
    assert len(list(Order.scan(page_size=10))) == 61
    assert len(list(Order.batch_get([("ann", n) for n in range(1, 62)]))) == 61
    waits_for_the_index()
    again.refresh()
    again.delete()
    try:
        Order.get("ann", 1)
    except DoesNotExist:
        pass
    else:
        raise AssertionError("a deleted item was found")
    Order.delete_table()
    print("all of it works")  # noqa: T201


def refuses_an_outdated_version(order: Order) -> None:
    stale = Order.get("ann", 1)
    order.update(actions=[Order.price.add(1)])
    try:
        stale.update(actions=[Order.price.add(1)])
    except UpdateError as error:
        refused = error.cause_response_code
    else:
        refused = None
    assert refused == "ConditionalCheckFailedException", refused


def refuses_a_second_one() -> None:
    try:
        Order("ann", 1).save(Order.customer.does_not_exist())
    except PutError as error:
        refused = error.cause_response_code
    else:
        refused = None
    assert refused == "ConditionalCheckFailedException", refused


def waits_for_the_index() -> None:
    deadline = time.monotonic() + 60
    while len(list(Order.by_status.query("open"))) != 60:
        assert time.monotonic() < deadline, "the index did not catch up"
        time.sleep(0.1)


main()
