"""What a scrape says of the work that a process has done: writes, relays, indexers, workers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mynamo.catalog import away_shards
from mynamo.catalog.away_shards import AwayShards
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index
from mynamo.catalog.intents import insert_aborted
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import ShardUnavailable, TransactionConflict
from mynamo.metrics import names, register
from mynamo.metrics.commit_metrics import CommitMetrics
from mynamo.metrics.work_metrics import WorkMetrics
from mynamo.producer import Producer, Put
from mynamo.runtime.counters import counters
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import LocalIndexSchema
from mynamo.writer.backfill.backfiller import Backfiller
from mynamo.writer.transaction import across_shards, meeting
from mynamo.writer.transaction.group_commit import batcher_of
from mynamo.writer.transaction.shard_steps import commit_decision
from mynamo.writer.transaction.step_commit import Decided
from mynamo.writer.transaction.write_requests import AllOrNothing
from tests.expiring import enabled, expire, now, put
from tests.fake_log import Bench
from tests.following import recorded, with_stream
from tests.intents import place
from tests.proxy import Fault, Proxy
from tests.scraping import values
from tests.waiting import eventually

ITEMS = 20
INDEXED = {
    "name": "indexed", "hash_key": "id",
    "global_indexes": [{"name": "by_name", "hash_key": "name"}],
}  # fmt: skip


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    """Begin at nothing, whatever other tests of this process have done."""
    counters.renew_after_fork()
    yield
    counters.renew_after_fork()


@pytest.fixture
def registry(cluster: Cluster) -> CollectorRegistry:
    """Of all roles at once."""
    made = CollectorRegistry()
    for role in ("writer", "indexer"):
        made.register(WorkMetrics(cluster, role))
    made.register(CommitMetrics(cluster))
    return made


def total(registry: CollectorRegistry, name: str) -> float:
    return sum(values(registry, name).values())


def test_counters_are_there_before_anything_has_happened(registry: CollectorRegistry) -> None:
    """Else Prometheus would not see that the first dead letter is one more than none."""
    assert values(registry, "mynamo_dead_letters_written_total") == {(): 0}
    assert values(registry, "mynamo_relay_events_total") == {("1",): 0, ("2",): 0}
    reasons = {("deadlock",), ("lock_wait",), ("duplicate_key",), ("lost_connection",)}
    assert values(registry, "mynamo_retries_total").keys() > reasons
    assert values(registry, "mynamo_backfill_rows_total") == {}


def test_what_relays_and_indexers_have_done(bench: Bench) -> None:
    registry = CollectorRegistry()
    for role in ("writer", "indexer"):
        registry.register(WorkMetrics(bench.cluster, role))
    bench.create(INDEXED)
    for number in range(ITEMS):
        bench.producer.put("indexed", {"id": str(number), "name": "n"})
    first = bench.indexer()
    bench.catch_up(first)
    assert total(registry, "mynamo_relay_events_total") == ITEMS
    assert min(values(registry, "mynamo_relay_events_total").values()) > 0
    assert 2 <= total(registry, "mynamo_relay_batches_total") <= ITEMS
    assert 0 < total(registry, "mynamo_relay_seconds_total") < 60
    assert values(registry, "mynamo_relay_leases_taken_total") == {("1",): 1, ("2",): 1}
    assert total(registry, "mynamo_indexer_events_total") == ITEMS
    assert 1 <= total(registry, "mynamo_indexer_batches_total") <= ITEMS
    assert 0 < total(registry, "mynamo_indexer_seconds_total") < 60
    left_out = "mynamo_indexer_known_events_total", "mynamo_indexer_early_events_total"
    assert [total(registry, name) for name in left_out] == [0, 0]
    first.close()
    bench.indexer().step(0)  # another one, which reads everything once more
    assert [total(registry, name) for name in left_out] == [ITEMS, 0]
    assert total(registry, "mynamo_indexer_events_total") == ITEMS


def test_events_that_kafka_has_lost(bench: Bench) -> None:
    registry = CollectorRegistry()
    registry.register(WorkMetrics(bench.cluster, "indexer"))
    bench.create(INDEXED)
    indexer = bench.indexer()
    bench.producer.put("indexed", {"id": "a", "name": "n"})
    bench.publish()
    bench.log.wipe()
    bench.producer.put("indexed", {"id": "a", "name": "m"})
    bench.catch_up(indexer)
    assert total(registry, "mynamo_indexer_lost_events_total") == 1
    assert total(registry, "mynamo_indexer_early_events_total") >= 1
    assert total(registry, "mynamo_indexer_events_total") == 2


def test_writes_that_share_a_transaction(
    orders: Table, producer: Producer, registry: CollectorRegistry
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(producer, f"i{number}"), range(ITEMS)))
    assert total(registry, "mynamo_group_commit_writes_total") == ITEMS
    assert 2 <= total(registry, "mynamo_group_commit_batches_total") <= ITEMS
    assert total(registry, "mynamo_group_commit_waits_total") == 0


def test_writes_that_wait_for_a_row(
    cluster: Cluster, orders: Table, producer: Producer, registry: CollectorRegistry
) -> None:
    put(producer, "a")
    mutexes = {id_: batcher_of(shard).mutexes for id_, shard in cluster.shards.items()}
    row = orders.key_of({"id": {"S": "a"}, "at": {"S": "1"}})
    owner = cluster.shard_of(row.hash).id
    with ThreadPoolExecutor(1) as pool:
        with mutexes[owner].held([(orders.id, row)]):
            waiting = pool.submit(put, producer, "a")
            eventually(lambda: total(registry, "mynamo_group_commit_waits_total") == 1)
        waiting.result(20)
    assert values(registry, "mynamo_group_commit_waits_total")[str(owner),] == 1


def test_an_item_that_another_transaction_keeps(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", 0.2)
    put(producer, "free")
    found = "mynamo_transaction_waits_total", "mynamo_transaction_conflicts_total"
    assert [total(registry, name) for name in found] == [0, 0]
    place(cluster, orders, {"id": "a", "at": "1", "price": 2, "name": "m"})
    with pytest.raises(TransactionConflict):
        put(producer, "a")
    assert total(registry, "mynamo_transaction_waits_total") >= 1
    assert total(registry, "mynamo_transaction_conflicts_total") == 1


def test_a_transaction_that_another_one_aborts(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts: list[bytes] = []

    def aborted_once(cluster: Cluster, shard: DynamoDBShard, writes: AllOrNothing) -> Decided:
        decision = writes.decision
        assert decision is not None
        if not attempts:
            shard.run(insert_aborted(decision.transaction_id, decision.generation))
        attempts.append(decision.transaction_id)
        return commit_decision(cluster, shard, writes)

    monkeypatch.setattr(across_shards, "commit_decision", aborted_once)
    keys = [{"id": f"i{number}", "at": "1"} for number in range(ITEMS)]  # on both shards
    producer.transact([Put("orders", key) for key in keys])
    assert len(set(attempts)) == 2
    assert values(registry, "mynamo_transaction_aborts_total") == {(): 1}
    assert values(registry, "mynamo_transaction_conflicts_total") == {(): 0}


@pytest.mark.parametrize(("fault", "again"), [("lose_answer", 0), ("lose_request", 1)])
def test_a_commit_whose_answer_is_lost(
    through: ClusterConfig, proxy: Proxy, registry: CollectorRegistry, fault: Fault, again: int
) -> None:
    with Cluster(through) as cluster, Producer(cluster) as producer:
        put(producer, "a")
        assert total(registry, "mynamo_commit_lookups_total") == 0
        before = values(registry, "mynamo_retries_total")["lost_connection",]
        proxy.on(b";COMMIT", fault)
        put(producer, "a")
        assert proxy.struck.is_set()
    assert total(registry, "mynamo_commit_lookups_total") == 1
    after = values(registry, "mynamo_retries_total")["lost_connection",]
    assert (after - before >= 1) == bool(again)


def test_workers_deletions_and_backfill(
    cluster: Cluster, orders: Table, producer: Producer, registry: CollectorRegistry
) -> None:
    enabled(cluster)
    for number in range(ITEMS):
        put(producer, f"i{number}", now() - 100)
    put(producer, "stays", now() + 3600)
    index = add_index(
        cluster, "orders", LocalIndexSchema.model_validate({"name": "by_z", "sort_key": "z"})
    )
    for shard in cluster.shards.values():
        while Backfiller(cluster, shard, index).work(1.0):
            pass
    assert values(registry, "mynamo_backfill_rows_total") == {("orders", "by_z"): ITEMS + 1}
    assert values(registry, "mynamo_expiry_deleted_items_total") == {}
    assert expire(cluster) == ITEMS
    assert values(registry, "mynamo_expiry_deleted_items_total") == {("orders",): ITEMS}


def test_records_of_streams(
    cluster: Cluster, orders: Table, producer: Producer, registry: CollectorRegistry
) -> None:
    put(producer, "before")
    stream = with_stream(cluster)
    for number in range(ITEMS):
        put(producer, f"i{number}")
    assert len(recorded(cluster, stream)) == ITEMS
    assert total(registry, "mynamo_stream_records_total") == ITEMS


def test_a_shard_that_a_worker_passes_over(
    cluster: Cluster, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(away_shards, "ASK_EVERY", 0.01)
    away = AwayShards(cluster, "test")
    assert values(registry, "mynamo_shard_away") == {("1",): 0, ("2",): 0}
    away.note(2, ShardUnavailable("it does not answer"))
    assert values(registry, "mynamo_shard_away") == {("1",): 0, ("2",): 1}
    eventually(lambda: away.back() == {2})
    assert values(registry, "mynamo_shard_away") == {("1",): 0, ("2",): 0}


def test_the_example_of_the_documentation(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", Path("docs/metrics.md").read_text(), re.DOTALL)
    monkeypatch.setenv("MYNAMO_CONFIG", str(config_file))
    done: dict[str, Any] = {}
    exec(example, done)  # noqa: S102
    found = {family.name: family for family in text_string_to_metric_families(done["page"])}
    assert sum(sample.value for sample in found["mynamo_group_commit_writes"].samples) == 1
    wanted = {one.name.removesuffix("_total") for one in names.ALL if one.is_of("library")}
    assert found.keys() == wanted


def test_a_registry_that_looks_at_names_takes_one_cluster(cluster: Cluster) -> None:
    registry = CollectorRegistry(auto_describe=True)
    register(cluster, registry)
    with pytest.raises(ValueError, match="Duplicated"):
        register(cluster, registry)
