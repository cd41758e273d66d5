"""Requests that wait for the database cost the others nothing, however many they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.sql import main_table
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import GatewayConfig, GatewayLimits
from tests.gateway.conftest import client_of, served

WAITING = 8
LIMITS = GatewayLimits(threads=2)


def item(name: str) -> dict[str, Any]:
    return {"id": {"S": name}}


def test_writes_that_wait_for_an_item_hold_up_no_others(config: ClusterConfig) -> None:
    with (
        served(config, GatewayConfig(port=0, limits=LIMITS)) as url,
        Cluster(config) as cluster,
        ThreadPoolExecutor(WAITING) as threads,
    ):
        dynamodb = client_of(url)
        dynamodb.create_table(
            TableName="items",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        dynamodb.put_item(TableName="items", Item=item("locked"))
        table = cluster.table("items")
        row = table.key_of(item("locked"))
        with cluster.shard_of(row.hash).session() as session:
            lock = f"SELECT 1 FROM {main_table(table.id)} WHERE hash = %s AND sort = %s FOR UPDATE"
            session.run(("BEGIN", ()), (lock, row))

            def write(_: int) -> Any:
                return dynamodb.put_item(TableName="items", Item=item("locked") | {"n": {"N": "1"}})

            writes = [threads.submit(write, number) for number in range(WAITING)]
            for number in range(20):  # on all shards
                dynamodb.put_item(TableName="items", Item=item(str(number)))
                found = dynamodb.get_item(TableName="items", Key=item(str(number)))
                assert found["Item"] == item(str(number))
            assert dynamodb.get_item(TableName="items", Key=item("locked"))["Item"] == item(
                "locked"
            )
            assert dynamodb.list_tables()["TableNames"] == ["items"]
            assert not any(write.done() for write in writes)
            session.rollback()
        for each in writes:
            each.result(60)
        assert "n" in dynamodb.get_item(TableName="items", Key=item("locked"))["Item"]
        dynamodb.close()
