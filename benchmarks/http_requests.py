"""The table, the items and the requests that servers of DynamoDB's API are compared with.

Items have 300 bytes, as DynamoDB counts, and a few less where a number ends in zeros. There are
`LOADED` of them before anything is measured: 10 for each customer (the hash key), and 10 for each
product (the GSI's). Items that are put later have customers and products of their own, 10 each as
well, so queries always find 10.
"""

from __future__ import annotations

import http.client
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import orjson

from mynamo.schemas.keys import SLOTS, hash_of, slot_of

LOADED = 10_000
GROUP = 10
PUTS = 30_000
OTHERS = 10_000
BATCHES = 1_000
BATCH = 25
SHARDS = 4
"""Of the cluster for transactions over several shards, which have equal parts of the slots."""
HOT = 4
ZIPF_EXPONENT = 0.99
NOTE_BYTES = 232
"""What makes an item 300 bytes long."""

Body = dict[str, Any]
Item = dict[str, dict[str, str]]

HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Date": "20260101T000000Z",
    # Nobody checks it: the peers want to see one, and the gateway runs with --no-auth.
    "Authorization": "AWS4-HMAC-SHA256 Credential=benchmark/20260101/us-east-1/dynamodb/"
    "aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=" + "0" * 64,
}


class Request(NamedTuple):
    """One request.

    Attributes:
        data: what is sent, head and body.
        right: whether an answer's body is what it must be.
        written: the number of an item that is there once this was acknowledged, or None.
    """

    data: bytes
    right: Callable[[Any], bool]
    written: int | None = None


def table_definition(table: str) -> Body:
    """The table's: an LSI and a GSI, both with whole items."""
    attributes = {"customer": "S", "at": "N", "price": "N", "product": "S"}
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in attributes.items()
        ],
        "KeySchema": _keys("customer", "at"),
        "LocalSecondaryIndexes": [
            {
                "IndexName": "by_price",
                "KeySchema": _keys("customer", "price"),
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "by_product",
                "KeySchema": _keys("product", "at"),
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    }


def order(number: int) -> Item:
    """An item of 300 bytes."""
    return {
        **key(number),
        "product": {"S": product(number)},
        "price": {"N": str(100 + number % 900)},
        "note": {"S": note(number)},
    }


def key(number: int) -> Item:
    """The item's primary key."""
    return {"customer": {"S": f"customer-{number // GROUP:08}"}, "at": {"N": f"1{number:09}"}}


def product(number: int) -> str:
    """The item's key in the GSI: its block of items has as many products as customers."""
    groups = LOADED // GROUP
    return f"product-{number // LOADED * groups + number * 7919 % groups:08}"


def note(number: int) -> str:
    """What fills an item up."""
    return f"{number:010}".ljust(NOTE_BYTES, "x")


class Requests:
    """Requests for a server.

    Args:
        port: the server's.
        table: the table's name.
        first: number of the first item that is put; all from there on are new.
        seed: of the choice of keys.
    """

    def __init__(self, port: int, table: str, first: int, seed: int) -> None:
        self._port = port
        self._table = table
        self._first = first
        self._random = random.Random(seed)  # noqa: S311

    def of(self, operation: str) -> list[Request]:
        """Prebuilt requests of an operation, enough that few are sent twice."""
        return {**OPERATIONS, **TRANSACTIONS}[operation](self)

    def puts(self) -> list[Request]:
        """PutItem of new items."""
        numbers = range(self._first, self._first + PUTS)
        return [self._request("PutItem", {"Item": order(n)}, _empty, n) for n in numbers]

    def gets(self) -> list[Request]:
        """GetItem, eventually consistent."""
        return [self.get(number) for number in self._uniform()]

    def get(self, number: int, *, consistent: bool = False) -> Request:
        """GetItem."""
        body: Body = {"Key": key(number)}
        if consistent:
            body["ConsistentRead"] = True
        return self._request("GetItem", body, lambda answer: _is_order(answer["Item"], number))

    def queries(self) -> list[Request]:
        """Query of a customer's 10 items."""

        def query(number: int) -> Request:
            wanted = key(number)["customer"]
            body = {
                "KeyConditionExpression": "customer = :customer",
                "ExpressionAttributeValues": {":customer": wanted},
            }
            return self._request("Query", body, _ten_of("customer", wanted))

        return [query(number) for number in self._uniform()]

    def index_queries(self) -> list[Request]:
        """Query of a product's 10 items in the GSI."""

        def query(number: int) -> Request:
            wanted = {"S": product(number)}
            body = {
                "IndexName": "by_product",
                "KeyConditionExpression": "product = :product",
                "ExpressionAttributeValues": {":product": wanted},
            }
            return self._request("Query", body, _ten_of("product", wanted))

        return [query(number) for number in self._uniform()]

    def conditional_updates(self) -> list[Request]:
        """UpdateItem of an attribute that the LSI has in its key, with a condition that holds."""

        def update(number: int) -> Request:
            price = {"N": str(self._random.randint(100, 999))}
            body = {
                "Key": key(number),
                "UpdateExpression": "SET price = :price",
                "ConditionExpression": "attribute_exists(customer) AND price > :zero",
                "ExpressionAttributeValues": {":price": price, ":zero": {"N": "0"}},
                "ReturnValues": "UPDATED_NEW",
            }
            wanted = {"Attributes": {"price": price}}
            return self._request("UpdateItem", body, wanted.__eq__)

        return [update(number) for number in self._uniform()]

    def batches(self) -> list[Request]:
        """BatchWriteItem of 25 new items."""
        firsts = range(self._first, self._first + BATCH * BATCHES, BATCH)
        return [self.batch(range(first, first + BATCH)) for first in firsts]

    def batch(self, numbers: range) -> Request:
        """BatchWriteItem."""
        puts = [{"PutRequest": {"Item": order(number)}} for number in numbers]
        body = {"RequestItems": {self._table: puts}}
        return self._request("BatchWriteItem", body, _nothing_left, numbers[-1])

    def transactions(self, items: int, shards: int) -> list[Request]:
        """TransactWriteItems that put new items, over so many shards."""
        count = max(200, PUTS // items)
        keys = [_keys_on(shard, f"{self._first}-") for shard in range(shards)]

        def transaction(number: int) -> Request:
            puts = []
            customers = [next(of) for of in keys]
            for position in range(items):
                item = order(self._first + number * items + position)
                item["customer"] = {"S": customers[position % shards]}
                puts.append({"Put": {"TableName": self._table, "Item": item}})
            body = {"TransactItems": puts}
            return self._request("TransactWriteItems", body, _empty)

        return [transaction(number) for number in range(count)]

    def hot_transactions(self) -> list[Request]:
        """TransactWriteItems that add 1 to two of few items, in any order, on any shards."""

        def add(number: int) -> Body:
            return {
                "Update": {
                    "TableName": self._table,
                    "Key": key(number * GROUP),
                    "UpdateExpression": "ADD visits :one",
                    "ExpressionAttributeValues": {":one": {"N": "1"}},
                }
            }

        def transaction() -> Request:
            body = {"TransactItems": [add(each) for each in self._random.sample(range(HOT), 2)]}
            return self._request("TransactWriteItems", body, _empty)

        return [transaction() for _ in range(OTHERS)]

    def mixed(self, reads: float) -> list[Request]:
        """GetItem, and UpdateItem without a condition, of items of which few are popular."""
        weights = (1 / rank**ZIPF_EXPONENT for rank in range(1, LOADED + 1))
        numbers = list(range(LOADED))
        random.Random(1).shuffle(numbers)  # noqa: S311  (the same ones are popular in all runs)
        chosen = self._random.choices(
            numbers, cum_weights=list(itertools.accumulate(weights)), k=OTHERS
        )
        return [
            self.get(number) if self._random.random() < reads else self._update(number)
            for number in chosen
        ]

    def index_mixed(self) -> list[Request]:
        """Queries of the GSI and updates that it takes in, by turns."""
        pairs = zip(self.index_queries(), self._uniform(), strict=True)
        return [request for query, number in pairs for request in (query, self._update(number))]

    def _update(self, number: int) -> Request:
        fresh = {"S": note(self._random.randrange(10**9))}
        body = {
            "Key": key(number),
            "UpdateExpression": "SET note = :note",
            "ExpressionAttributeValues": {":note": fresh},
        }
        return self._request("UpdateItem", body, _empty)

    def _uniform(self) -> list[int]:
        return self._random.choices(range(LOADED), k=OTHERS)

    def _request(
        self, target: str, body: Body, right: Callable[[Any], bool], written: int | None = None
    ) -> Request:
        if target not in ("BatchWriteItem", "TransactWriteItems"):
            body = {"TableName": self._table, **body}
        content = orjson.dumps(body)
        head = {
            "Host": f"127.0.0.1:{self._port}",
            "X-Amz-Target": f"DynamoDB_20120810.{target}",
            **HEADERS,
            "Content-Length": str(len(content)),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return Request(f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + content, right, written)


OPERATIONS: Mapping[str, Callable[[Requests], list[Request]]] = {
    "PutItem": Requests.puts,
    "GetItem": Requests.gets,
    "Query": Requests.queries,
    "QueryGSI": Requests.index_queries,
    "UpdateItem": Requests.conditional_updates,
    "BatchWriteItem": Requests.batches,
    "YCSB-A": lambda requests: requests.mixed(0.5),
    "YCSB-B": lambda requests: requests.mixed(0.95),
    "GSI-A": Requests.index_mixed,
    "YCSB-C": lambda requests: requests.mixed(1.0),
}
"""By name. The YCSB mixes are half reads, 95 % reads, and reads only; GSI-A is half updates, half
queries of the GSI."""


def call(port: int, target: str, body: Body) -> Body:
    """Call an operation once.

    Raises:
        RuntimeError: the server refused.
        OSError: it does not answer.
    """
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"X-Amz-Target": f"DynamoDB_20120810.{target}", **HEADERS}
        client.request("POST", "/", orjson.dumps(body), headers)
        response = client.getresponse()
        content = response.read()
    finally:
        client.close()
    if response.status != 200:
        raise RuntimeError(f"{target}: {response.status} {content[:500]!r}")
    answer: Body = orjson.loads(content)
    return answer


def _keys_on(shard: int, prefix: str) -> Iterator[str]:
    """Hash keys that one of `SHARDS` shards has."""
    for number in itertools.count():
        customer = f"{prefix}{number}"
        if slot_of(hash_of(customer.encode())) * SHARDS // SLOTS == shard:
            yield customer


def _keys(hash_key: str, sort_key: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": hash_key, "KeyType": "HASH"},
        {"AttributeName": sort_key, "KeyType": "RANGE"},
    ]


def _empty(answer: Body) -> bool:
    return not answer


def _nothing_left(answer: Body) -> bool:
    return not answer["UnprocessedItems"]


def _is_order(item: Item, number: int) -> bool:
    """Whether an item is the one of this number; its note and price may have been updated."""
    wanted = order(number)
    return (
        item.keys() == wanted.keys()
        and len(item["note"]["S"]) == NOTE_BYTES
        and all(item[name] == wanted[name] for name in ("customer", "at", "product"))
    )


def _ten_of(name: str, wanted: dict[str, str]) -> Callable[[Any], bool]:
    def right(answer: Body) -> bool:
        items = answer["Items"]
        return len(items) == answer["Count"] == GROUP and all(
            item[name] == wanted and _is_order(item, int(item["at"]["N"][1:])) for item in items
        )

    return right


TRANSACTIONS: Mapping[str, Callable[[Requests], list[Request]]] = {
    **{
        f"{items} items, {shards} shard{'s' if shards > 1 else ''}": partial(
            Requests.transactions, items=items, shards=shards
        )
        for items in (2, 10, 100)
        for shards in (1, 2, SHARDS)
        if shards <= items
    },
    "2 hot items": Requests.hot_transactions,
}
"""By name: transactions that put new items, and ones that update two of `HOT` items."""
