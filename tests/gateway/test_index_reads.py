"""`gateway.index_reads = "own-writes"`: a put, and a query of a GSI in the next line."""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.gateway import own_writes
from mynamo.gateway.own_writes import AnsweredWrites
from mynamo.gateway.service import Service
from mynamo.gsi_indexer import apply, run_indexer
from mynamo.mysql.pool import Result, Statement
from mynamo.reader.index_progress import LOOK
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import GatewayConfig
from mynamo.writer.worker import run_writer
from tests.gateway.conftest import client_of
from tests.gateway.test_serve import serving
from tests.waiting import eventually
from tests.workers import pipeline, working

pytestmark = pytest.mark.slow

OWN_WRITES = GatewayConfig(index_reads="own-writes")
THREADS = 6
ROUNDS = 4


def call(service: Service, operation: str, **request: Any) -> dict[str, Any]:
    answer = service.call(operation, json.dumps(request).encode(), {})
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


def definition(name: str, *, indexed: bool = True) -> dict[str, Any]:
    """Of a table with a GSI, or without one."""
    attributes = ["id", "status"] if indexed else ["id"]
    request: dict[str, Any] = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in attributes
        ],
    }
    if indexed:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": "by_status",
                "KeySchema": [{"AttributeName": "status", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ]
    return request


def item(name: str, status: str) -> dict[str, Any]:
    return {"id": {"S": name}, "status": {"S": status}}


def query(status: str, table: str = "orders") -> dict[str, Any]:
    """A query of the GSI."""
    return {
        "TableName": table,
        "IndexName": "by_status",
        "KeyConditionExpression": "#s = :s",
        "ExpressionAttributeNames": {"#s": "status"},
        "ExpressionAttributeValues": {":s": {"S": status}},
    }


def slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the indexers of this process lag."""
    at_once = apply.apply_on_shard

    def later(*args: Any) -> None:
        time.sleep(0.05)
        at_once(*args)

    monkeypatch.setattr(apply, "apply_on_shard", later)


def misses(url: str, name: str) -> int:
    """Write in all ways, look into the index in the next line; how often it is behind."""
    found = 0
    for n in range(ROUNDS):
        client = client_of(url)  # new connections each time: any process may have them
        status, other = f"{name}-{n}", f"{name}-{n}-other"
        client.put_item(TableName="orders", Item=item(status, status))
        found += client_of(url).query(**query(status))["Count"] != 1
        client_of(url).update_item(
            TableName="orders",
            Key={"id": {"S": status}},
            UpdateExpression="SET #s = :s",
            ExpressionAttributeNames={"#s": "status"},
            ExpressionAttributeValues={":s": {"S": other}},
        )
        found += client.query(**query(status))["Count"] != 0
        found += client_of(url).query(**query(other))["Count"] != 1
        client.batch_write_item(
            RequestItems={
                "orders": [{"PutRequest": {"Item": item(f"{status}-{m}", status)}} for m in "abc"]
            }
        )
        page = client_of(url).scan(TableName="orders", IndexName="by_status")
        found += sum(each["status"]["S"] == status for each in page["Items"]) != 3
        alone = f"{status}-alone"
        put = {"Put": {"TableName": "orders", "Item": item(alone, alone)}}
        client.transact_write_items(TransactItems=[put])
        found += client_of(url).query(**query(alone))["Count"] != 1
        client.delete_item(TableName="orders", Key={"id": {"S": status}})
        found += client_of(url).query(**query(other))["Count"] != 0
    return found


@pytest.mark.parametrize("reads", ["own-writes", "eventual"])
def test_several_processes_read_what_each_has_answered(
    config: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    """Control: without the setting, reads miss writes."""
    slow_down(monkeypatch)
    words = ("--no-auth", "--workers", "3", "--index-reads", reads)
    patient = "tests.patient_serving"
    with pipeline(config), serving(config, tmp_path, *words, program=patient) as served:
        client_of(served.url).create_table(**definition("orders"))
        eventually(lambda: len(served.children) == 3)
        with ThreadPoolExecutor(THREADS) as threads:
            found = sum(threads.map(misses, [served.url] * THREADS, map(str, range(THREADS))))
        assert (found == 0) == (reads == "own-writes")
        if reads == "own-writes":  # one that takes another's place goes on where that was
            before = set(served.children)
            os.kill(min(before), signal.SIGKILL)
            eventually(lambda: len(set(served.children) - before) == 1)
            assert misses(served.url, "again") == 0
    assert "without the newest writes" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("shared", [True, False])
def test_a_read_waits_for_what_another_process_has_answered(
    config: ClusterConfig, shared: bool
) -> None:
    """Control: processes that do not share their counts do not wait for each other."""
    with Cluster(config) as cluster, ThreadPoolExecutor(1) as threads:
        mine = AnsweredWrites(2, cluster.shards, cluster.partitions)
        others = copy.copy(mine) if shared else AnsweredWrites(2, cluster.shards, 8)
        others.become(1)
        writes, reads = Service(cluster, OWN_WRITES, mine), Service(cluster, OWN_WRITES, others)
        with working(config, run_writer):
            call(writes, "CreateTable", **definition("orders"))
            eventually(lambda: cluster.refresh().names["orders"].indexes[0].status == "ACTIVE")
            call(writes, "PutItem", TableName="orders", Item=item("1", "open"))
            reading = threads.submit(call, reads, "Query", **query("open"))
            eventually(lambda: reading.done() or followed(reads))
            assert reading.done() != shared
            with working(config, run_indexer):
                assert reading.result(30)["Count"] == shared


def followed(service: Service) -> bool:
    """Whether somebody waits."""
    assert service.context.own_writes is not None
    return service.context.own_writes.waiting > 0


def test_an_index_that_stands_still_is_read_as_it_is(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(own_writes, "PATIENCE", 0.2)
    with Cluster(config) as cluster:
        service = Service(cluster, OWN_WRITES)
        call(service, "CreateTable", **definition("orders"))
        with working(config, run_writer):  # nobody applies anything
            eventually(lambda: cluster.refresh().names["orders"].indexes[0].status == "ACTIVE")
            call(service, "PutItem", TableName="orders", Item=item("1", "open"))
            for _ in range(3):
                assert call(service, "Query", **query("open"))["Count"] == 0
        assert caplog.text.count("without the newest writes") == 1
        assert not followed(service)
        eventually(lambda: not any(t.name == "mynamo-follower" for t in threading.enumerate()))
        monkeypatch.setattr(own_writes, "PATIENCE", 60.0)
        with pipeline(config):
            assert call(service, "Query", **query("open"))["Count"] == 1


def test_nothing_waits_where_nothing_is_under_way(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it ask the shards anything; tables without GSIs are not even counted."""
    looks: list[DynamoDBShard] = []
    ask = DynamoDBShard.ask

    def counted(shard: DynamoDBShard, *statements: Statement) -> list[Result]:
        if statements == LOOK:
            looks.append(shard)
        return ask(shard, *statements)

    monkeypatch.setattr(DynamoDBShard, "ask", counted)
    with Cluster(config) as cluster, pipeline(config):
        service = Service(cluster, OWN_WRITES)
        for name in ("orders", "others"):
            call(service, "CreateTable", **definition(name))
            eventually(lambda: cluster.refresh().names[name].indexes[0].status == "ACTIVE")  # noqa: B023
        call(service, "CreateTable", **definition("plain", indexed=False))
        call(service, "Query", **query("open"))
        assert looks == []
        call(service, "PutItem", TableName="orders", Item=item("1", "open"))
        assert call(service, "Query", **query("open"))["Count"] == 1
        seen = len(looks)
        assert seen > 0
        assert {shard.id for shard in looks} == {
            cluster.shard_of(cluster.table("orders").key_of(item("1", "open")).hash).id
        }
        call(service, "PutItem", TableName="plain", Item=item("1", "open"))
        call(service, "DeleteItem", TableName="orders", Key={"id": {"S": "absent"}})
        call(service, "PutItem", TableName="others", Item=item("1", "open"))
        for _ in range(3):
            assert call(service, "Query", **query("open"))["Count"] == 1
            assert call(service, "Scan", TableName="orders")["Count"] == 1
        assert len(looks) == seen


def test_a_look_reads_few_rows(config: ClusterConfig) -> None:
    """However many changes wait in the outbox."""
    with Cluster(config) as cluster:
        service = Service(cluster, OWN_WRITES)
        call(service, "CreateTable", **definition("plain", indexed=False))
        for n in range(20):
            call(service, "PutItem", TableName="plain", Item=item(str(n), "open"))
        shard = cluster.shards[1]
        newest, unnumbered, _ = (
            str(shard.run((f"EXPLAIN {text}", ()))[0].rows) for text, _ in LOOK
        )
        assert "optimized away" in newest or "fetched before execution" in newest
        assert "by_sequence" in unnumbered
        assert "sort" not in unnumbered.lower()
