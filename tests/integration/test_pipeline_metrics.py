"""What a scrape of a writer worker says of shards, outboxes and indexes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index
from mynamo.catalog.moves import record_move
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import ShardUnavailable
from mynamo.metrics import names, pipeline_metrics
from mynamo.metrics.pipeline_metrics import PipelineMetrics
from mynamo.metrics.server_metrics import ServerMetrics
from mynamo.operations.lag import ShardLag, shard_lag
from mynamo.operations.resharding.ranges import note, take
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.writer.backfill import backfiller
from mynamo.writer.backfill.backfiller import Backfiller
from mynamo.writer.outbox.lease import Lease
from tests.expiring import enabled, now, put
from tests.scraping import values

pytestmark = pytest.mark.usefixtures("orders")
ITEMS = 20


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_metrics, "FRESH_SECONDS", -1.0)


@pytest.fixture
def registry(cluster: Cluster) -> Iterator[CollectorRegistry]:
    made = CollectorRegistry()
    with closing(PipelineMetrics(cluster)) as metrics:
        made.register(metrics)
        made.register(ServerMetrics(cluster))
        yield made


def test_it_says_what_lag_says(
    cluster: Cluster, producer: Producer, registry: CollectorRegistry
) -> None:
    for number in range(ITEMS):
        put(producer, f"i{number}")
    add_index(
        cluster, "orders", GlobalIndexSchema.model_validate({"name": "by_z", "hash_key": "z"})
    )
    known = {str(id_): shard_lag(shard)[0] for id_, shard in cluster.shards.items()}
    assert values(registry, "mynamo_shard_up") == {("1",): 1, ("2",): 1}
    for name, attribute in [
        ("mynamo_outbox_rows", "rows"), ("mynamo_outbox_bytes", "payload_bytes"),
        ("mynamo_outbox_unpublished_rows", "unpublished"),
        ("mynamo_outbox_unapplied_rows", "unapplied"),
    ]:  # fmt: skip
        found = values(registry, name)
        assert found == {(id_,): getattr(one, attribute) for id_, one in known.items()}, name
        assert sum(found.values()) >= ITEMS
    events = values(registry, "mynamo_index_lag_events")
    assert sum(v for (_, index, _), v in events.items() if index == "by_name") == ITEMS
    assert all(0 < v < 600 for v in values(registry, "mynamo_index_lag_seconds").values())
    assert all(0 < v < 600 for v in values(registry, "mynamo_outbox_oldest_seconds").values())
    assert values(registry, "mynamo_index_active") == {
        ("orders", "by_price"): 1, ("orders", "by_name"): 1, ("orders", "by_z"): 0,
    }  # fmt: skip
    assert values(registry, "mynamo_slot_moves_open") == {(): 0}


def test_the_lease_of_a_relay(cluster: Cluster, registry: CollectorRegistry) -> None:
    assert values(registry, "mynamo_relay_lease_seconds") == {("1",): 0, ("2",): 0}
    lease = Lease(cluster.shards[2], "somebody")
    assert lease.hold() is not None
    found = values(registry, "mynamo_relay_lease_seconds")
    assert found["1",] == 0 < found["2",]
    lease.release()
    assert values(registry, "mynamo_relay_lease_seconds") == {("1",): 0, ("2",): 0}


def test_items_that_have_expired(
    cluster: Cluster, producer: Producer, registry: CollectorRegistry
) -> None:
    assert values(registry, "mynamo_expiry_due_items") == {}
    enabled(cluster)
    for number in range(ITEMS):
        put(producer, f"i{number}", now() - 100)
    put(producer, "stays", now() + 3600)
    due = values(registry, "mynamo_expiry_due_items")
    assert {labels[0] for labels in due} == {"orders"}
    assert sum(due.values()) == ITEMS
    assert all(99 < v < 700 for v in values(registry, "mynamo_expiry_behind_seconds").values())


def test_how_far_a_backfill_is(
    cluster: Cluster,
    producer: Producer,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(ITEMS):
        put(producer, f"i{number}")
    assert values(registry, "mynamo_backfill_done_ratio") == {}
    schema = GlobalIndexSchema.model_validate({"name": "by_z", "hash_key": "z"})
    made = add_index(cluster, "orders", schema)
    monkeypatch.setattr(backfiller, "CHUNK_ROWS", 3)
    monkeypatch.setattr(backfiller, "BESIDE_ROWS", 3)
    shares: list[dict[tuple[str, ...], float]] = []
    more = True
    while more:
        more = Backfiller(cluster, cluster.shards[1], made).work(0.0)
        shares.append(values(registry, "mynamo_backfill_done_ratio"))
    of_1 = [share["orders", "by_z", "1"] for share in shares]
    assert of_1 == sorted(of_1)
    assert any(0 < share < 1 for share in of_1)
    assert of_1[-1] == 1
    assert {share["orders", "by_z", "2"] for share in shares} == {0}


def test_a_move_of_slots(cluster: Cluster, registry: CollectorRegistry) -> None:
    assert values(registry, "mynamo_slot_moves_copied_rows") == {}
    move = record_move(cluster.catalog, 0, 9, 2, b"m" * 16)
    cluster.refresh()
    target = cluster.shards[2]
    progress = take(target, move)
    progress.rows = 7
    target.run(note(move, progress))
    assert values(registry, "mynamo_slot_moves_open") == {(): 1}
    assert values(registry, "mynamo_slot_moves_copied_rows") == {("2",): 7}


def test_a_shard_that_is_away(
    cluster: Cluster, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ShardUnavailable("it does not answer")

    monkeypatch.setattr(cluster.shards[2], "session", refuse)
    assert values(registry, "mynamo_shard_up") == {("1",): 1, ("2",): 0}
    for one in names.ALL:
        if "shard" in one.labels and one is not names.SHARD_UP:
            found = {labels[one.labels.index("shard")] for labels in values(registry, one.name)}
            assert found <= {"1"}, one.name
    assert values(registry, "mynamo_outbox_rows") == {("1",): 0}


def test_shards_are_asked_once_in_two_seconds(
    cluster: Cluster, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_metrics, "FRESH_SECONDS", 60.0)
    asked: list[int] = []

    def look(shard: DynamoDBShard) -> tuple[ShardLag, dict[int, tuple[int, float]]]:
        asked.append(shard.id)
        return shard_lag(shard)

    monkeypatch.setattr(pipeline_metrics, "shard_lag", look)
    for _ in range(3):
        values(registry, "mynamo_shard_up")
    assert sorted(asked) == [1, 2]


def test_pools(cluster: Cluster, orders: Table, registry: CollectorRegistry) -> None:
    in_use, idle = "mynamo_pool_connections_in_use", "mynamo_pool_connections_idle"
    assert values(registry, in_use)["1",] == 0
    before = values(registry, idle)["1",]
    with cluster.shards[1].session():
        assert values(registry, in_use)["1",] == 1
    assert values(registry, in_use)["1",] == 0
    assert values(registry, idle)["1",] >= max(1, before)
    assert set(values(registry, "mynamo_breaker_open")) == {("catalog",), ("1",), ("2",)}
    assert set(values(registry, "mynamo_pool_waits_total").values()) == {0}
