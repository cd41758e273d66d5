"""A program that uses aiodynamo over aiohttp; `test_python` runs it. DYNAMO_ENDPOINT says where."""

from __future__ import annotations

import asyncio
import os
import time
import uuid

from aiodynamo.client import URL, Client, Table
from aiodynamo.credentials import Credentials
from aiodynamo.errors import (
    ConditionalCheckFailed,
    IdempotentParameterMismatch,
    ItemNotFound,
    TableNotFound,
    TransactionCanceled,
)
from aiodynamo.expressions import F, HashKey, RangeKey
from aiodynamo.http.aiohttp import AIOHTTP
from aiodynamo.models import (
    BatchGetRequest,
    BatchWriteRequest,
    GlobalSecondaryIndex,
    KeySchema,
    KeySpec,
    KeyType,
    LocalSecondaryIndex,
    PayPerRequest,
    Projection,
    ProjectionType,
    ReturnValues,
    StaticDelayRetry,
    TableStatus,
)
from aiodynamo.operations import ConditionCheck, Delete, Get, Put, Update
from aiodynamo.types import Item
from aiohttp import ClientSession

SOON = StaticDelayRetry(time_limit_secs=60, delay=0.2)


async def main() -> None:
    async with ClientSession() as session:
        client = Client(
            AIOHTTP(session), Credentials.auto(), os.environ["AWS_REGION"],
            endpoint=URL(os.environ["DYNAMO_ENDPOINT"]),
        )  # fmt: skip
        table = client.table(f"users-{uuid.uuid4().hex[:8]}")
        await makes_a_table(table)
        await changes_one_item(table)
        await reads_many_items(client, table)
        await has_transactions(client, table)
        await table.delete(wait_for_disabled=SOON)
        try:
            await table.describe()
        except TableNotFound:
            pass
        else:
            raise AssertionError("a deleted table was described")
    print("all of it works")  # noqa: T201


async def makes_a_table(table: Table) -> None:
    by_group = KeySchema(KeySpec("group", KeyType.string), KeySpec("number", KeyType.number))
    by_age = KeySchema(KeySpec("team", KeyType.string), KeySpec("age", KeyType.number))
    assert not await table.exists()
    await table.create(
        PayPerRequest(),
        KeySchema(KeySpec("team", KeyType.string), KeySpec("number", KeyType.number)),
        lsis=[LocalSecondaryIndex("by_age", by_age, Projection(ProjectionType.all))],
        gsis=[GlobalSecondaryIndex(
            "by_group", by_group, Projection(ProjectionType.include, ["age"]), PayPerRequest()
        )],
        wait_for_active=SOON,
    )  # fmt: skip
    assert (await table.describe()).status is TableStatus.active
    await table.time_to_live.enable("until")
    assert (await table.time_to_live.describe()).attribute == "until"


async def changes_one_item(table: Table) -> None:
    key = {"team": "a", "number": 1}
    item = {
        **key, "name": "Ann", "age": 30, "tags": {"x", "y"}, "raw": b"\0\xff", "nothing": None,
        "home": {"city": "Turin", "floors": [1, 2.5, True]},
    }  # fmt: skip
    await table.put_item(item, condition=F("team").does_not_exist())
    try:
        await table.put_item(item, condition=F("team").does_not_exist())
    except ConditionalCheckFailed:
        pass
    else:
        raise AssertionError("a second item of this key was accepted")
    assert await table.get_item(key, consistent_read=True) == item
    projection = F("home", "floors", 1) & F("age")
    assert await table.get_item(key, projection=projection) == {
        "home": {"floors": [2.5]},
        "age": 30,
    }
    changed = await table.update_item(
        key,
        F("age").change(1) & F("home", "floors").append([3]) & F("tags").delete({"x"})
        & F("visits").add(1) & F("home", "city").remove() & F("name").set_if_not_exists("Bob"),
        return_values=ReturnValues.all_new,
        condition=F("age").between(20, 30) & (F("name").begins_with("A") | F("tags").size().gt(5)),
    )  # fmt: skip
    assert changed == {
        **item, "age": 31, "visits": 1, "tags": {"y"}, "home": {"floors": [1, 2.5, True, 3]},
    }  # fmt: skip
    assert await table.delete_item(key, return_values=ReturnValues.all_old) == changed
    try:
        await table.get_item(key)
    except ItemNotFound:
        pass
    else:
        raise AssertionError("a deleted item was found")


async def reads_many_items(client: Client, table: Table) -> None:
    items = [
        {"team": "b", "number": n, "group": "odd" if n % 2 else "even", "age": 100 - n}
        for n in range(25)
    ]
    assert await client.batch_write({table.name: BatchWriteRequest(items_to_put=items)}) == {}
    more = [{"team": "c", "number": n, "text": "x" * 90_000} for n in range(40)]
    await asyncio.gather(*(table.put_item(item) for item in more))
    keys = [{"team": "b", "number": n} for n in (1, 2, 99)]
    got = await client.batch_get({table.name: BatchGetRequest(keys, consistent_read=True)})
    assert sorted(item["number"] for item in got.items[table.name]) == [1, 2]

    of_c = [item["number"] async for item in table.query(HashKey("team", "c"))]
    assert of_c == list(range(40))  # 3.6 MB: several pages
    backwards = table.query(
        HashKey("team", "b") & RangeKey("number").gte(5), scan_forward=False, limit=10,
        filter_expression=F("group").equals("odd"),
    )  # fmt: skip
    assert [item["number"] async for item in backwards] == list(range(23, 4, -2))
    by_age = table.query(HashKey("team", "b") & RangeKey("age").lt(80), index="by_age")
    assert [item["age"] async for item in by_age] == [76, 77, 78, 79]
    deadline = time.monotonic() + 60
    while await table.count(HashKey("group", "odd"), index="by_group") != 12:
        assert time.monotonic() < deadline, "the index did not catch up"
        await asyncio.sleep(0.1)
    assert await table.scan_count() == 65
    ages = [item async for item in table.scan(
        projection=F("age"), filter_expression=F("age").is_in([99, 98])
    )]  # fmt: skip
    assert sorted(item["age"] for item in ages) == [98, 99]


async def has_transactions(client: Client, table: Table) -> None:
    """Of items of several hash keys."""
    keys = [{"team": f"team {n}", "number": 1} for n in range(10)]

    def put(key: Item, age: int) -> Put:
        return Put(table.name, {**key, "age": age}, F("team").does_not_exist())

    def add(key: Item, years: int) -> Update:
        return Update(table.name, key, F("age").change(years), F("age").gte(-years))

    def exists(key: Item) -> ConditionCheck:
        return ConditionCheck(table.name, key, F("age").exists())

    async def ages() -> list[int | None]:
        async def age(key: Item) -> int | None:
            try:
                return int((await table.get_item(key, consistent_read=True))["age"])
            except ItemNotFound:
                return None

        return [await age(key) for key in keys]

    await client.transact_write_items([put(key, 10) for key in keys[:8]])
    gets = [Get(table.name, key, F("age") & F("team")) for key in keys[:8]]  # none may be absent
    assert await client.transact_get_items(gets) == [
        {"team": key["team"], "age": 10} for key in keys[:8]
    ]
    await client.transact_write_items(
        [add(keys[0], -4), put(keys[8], 3), Delete(table.name, keys[1]), exists(keys[2]),
         add(keys[3], 1)]
    )  # fmt: skip
    gets = [Get(table.name, keys[n]) for n in (8, 3, 0)]
    assert [item["age"] for item in await client.transact_get_items(gets)] == [3, 11, 6]
    assert await ages() == [6, None, 10, 11, 10, 10, 10, 10, 3, None]

    try:
        await client.transact_write_items(
            [Delete(table.name, keys[4]), add(keys[5], -11), put(keys[6], 1), exists(keys[1]),
             put(keys[9], 1)]
        )  # fmt: skip
    except TransactionCanceled as refused:
        codes = [reason and reason.code for reason in refused.cancellation_reasons]
        failed = "ConditionalCheckFailed"
        assert codes == [None, failed, failed, failed, None], codes
    else:
        raise AssertionError("it was accepted")
    assert await ages() == [6, None, 10, 11, 10, 10, 10, 10, 3, None]

    token = uuid.uuid4().hex
    for _ in range(2):
        await client.transact_write_items([add(keys[5], -1), add(keys[6], 1)], request_token=token)
    try:
        await client.transact_write_items([add(keys[5], -1), add(keys[6], 2)], request_token=token)
    except IdempotentParameterMismatch:
        pass
    else:
        raise AssertionError("another request with this token was accepted")
    assert await ages() == [6, None, 10, 11, 10, 9, 11, 10, 3, None]


asyncio.run(main())
