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
from pynamodb.connection import Connection
from pynamodb.exceptions import DoesNotExist, PutError, TransactWriteError, UpdateError
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, LocalSecondaryIndex
from pynamodb.models import Model
from pynamodb.transactions import TransactGet, TransactWrite


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
    has_transactions()
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


def has_transactions() -> None:
    """Of items of several hash keys."""
    connection = Connection(host=Order.Meta.host, region=Order.Meta.region)
    orders = [Order(f"customer {n}", n, price=n, status="kept") for n in range(8)]
    with TransactWrite(connection=connection) as transaction:
        for each in orders:
            transaction.save(each, condition=Order.customer.does_not_exist())
        transaction.condition_check(Order, "ann", 2, condition=Order.status == "open")
    assert [each.version for each in orders] == [1] * 8
    try:
        with TransactWrite(connection=connection) as transaction:
            transaction.condition_check(Order, "nobody", 1, condition=Order.status.exists())
            transaction.delete(orders[7])
            transaction.save(
                Order("customer 0", 0), Order.customer.does_not_exist(), return_values="ALL_OLD"
            )
    except TransactWriteError as error:
        refused, reasons = error.cause_response_code, error.cancellation_reasons
    else:
        refused, reasons = None, []
    assert refused == "TransactionCanceledException", refused
    codes = [reason and reason.code for reason in reasons]
    assert codes == ["ConditionalCheckFailed", None, "ConditionalCheckFailed"], codes
    assert reasons[2].raw_item["status"] == {"S": "kept"}, reasons[2]
    token = uuid.uuid4().hex
    for _ in range(2):  # one request, sent twice
        with TransactWrite(connection=connection, client_request_token=token) as transaction:
            for number in (1, 2):
                transaction.update(
                    Order(f"customer {number}", number), [Order.price.add(10)],
                    add_version_condition=False,
                )  # fmt: skip
    with TransactGet(connection=connection) as transaction:
        found = [transaction.get(Order, each.customer, each.number) for each in orders]
        nothing = transaction.get(Order, "nobody", 1)
    assert [future.get().price for future in found] == [0, 11, 12, 3, 4, 5, 6, 7]
    try:
        nothing.get()
    except DoesNotExist:
        pass
    else:
        raise AssertionError("an item that does not exist was found")


def waits_for_the_index() -> None:
    deadline = time.monotonic() + 60
    while len(list(Order.by_status.query("open"))) != 60:
        assert time.monotonic() < deadline, "the index did not catch up"
        time.sleep(0.1)


main()
