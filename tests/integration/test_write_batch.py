"""Batches of writes, on both engines: each write has its own outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mynamo.catalog import shard as shard_module
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import (
    ConfigError,
    CorruptData,
    InvalidItem,
    InvalidRequest,
    MynamoError,
    ShardUnavailable,
    TableNotFound,
    WriteOutcomeUnknown,
)
from mynamo.producer import Delete, Producer, Put, Receipt
from mynamo.schemas.config import ClusterConfig
from mynamo.writer import Refused, WriteRequest, apply, apply_each, parse_texts
from mynamo.writer.transaction import commit as commit_module
from mynamo.writer.transaction import commit_outcome, group_commit, routing
from mynamo.writer.transaction.write_requests import Write
from tests.proxy import Proxy
from tests.rows import damage, items_of, make_table

COMMIT = b";COMMIT"
ONE = {"N": "1"}


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


def key(number: int) -> dict[str, str]:
    return {"id": f"i{number}", "at": "1"}


def puts(count: int, **more: Any) -> list[Put]:
    return [Put("orders", {**key(number), **more}) for number in range(count)]


def shards_of(cluster: Cluster, orders: Table, count: int) -> list[int]:
    """The shard of each key."""
    found = []
    for number in range(count):
        stored = {name: {"S": value} for name, value in key(number).items()}
        found.append(cluster.shard_of(orders.key_of(stored).hash).id)
    return found


def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note of every commit how many writes it is of."""
    sizes: list[int] = []
    commit = commit_module.commit_together

    def noting(
        cluster: Cluster, shard: DynamoDBShard, callers: list[list[Write]], careful: bool
    ) -> Any:
        outcomes = commit(cluster, shard, callers, careful)
        sizes.append(sum(map(len, callers)))
        return outcomes

    monkeypatch.setattr(group_commit, "commit_together", noting)
    return sizes


# -- each its own outcome -------------------------------------------------------------


def test_writes_of_several_tables(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_table(cluster, "other")
    producer = Producer(cluster)
    producer.put("orders", {**key(0), "old": 1})
    sizes = commits(monkeypatch)
    writes: list[Put | Delete] = [
        Delete("orders", key(0)),
        *puts(21)[1:],
        Put("other", key(0)),
        Delete("other", key(1)),
    ]
    receipts = producer.write_batch(writes)
    assert len(sizes) == 2  # one transaction per shard
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    first, last = receipts[0], receipts[-1]
    assert isinstance(first, Receipt)
    assert isinstance(last, Receipt)
    assert (first.old, last.version) == ({**key(0), "old": 1}, 0)
    assert [r.table for r in receipts if isinstance(r, Receipt)] == [w.table for w in writes]
    assert len(items_of(cluster, orders)) == 20
    assert len(items_of(cluster, other)) == 1
    assert damage(cluster, orders) == damage(cluster, other) == []


def test_one_that_is_not_valid_leaves_the_others_alone(cluster: Cluster, orders: Table) -> None:
    outcomes = Producer(cluster).write_batch(
        [
            Put("orders", key(1)),
            Put("orders", {"id": "a"}),
            Put("orders", {**key(2), "price": "dear"}),
            Put("nowhere", key(1)),
            Put(["orders"], key(1)),  # type: ignore[arg-type]
            Delete("orders", {**key(3), "x": 1}),
            Put("orders", {**key(4), "x": 0.1}),
            Put("orders", {**key(5), "x": "x" * 410_000}),
            Put("orders", key(6)),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [
        Receipt, InvalidItem, InvalidItem, TableNotFound, InvalidRequest, InvalidItem, InvalidItem,
        InvalidItem, Receipt,
    ]  # fmt: skip
    assert len(items_of(cluster, orders)) == 2


def test_an_item_may_occur_once(cluster: Cluster, orders: Table) -> None:
    producer = Producer(cluster)
    with pytest.raises(InvalidRequest, match=r"^Provided list of item keys contains duplicates$"):
        producer.write_batch([*puts(3), Delete("orders", key(1))])
    for slip in (Put("orders", key(1)), [key(1)], "x", None):
        with pytest.raises(InvalidRequest, match="a batch is a list of"):
            producer.write_batch(slip)  # type: ignore[arg-type]
    assert items_of(cluster, orders) == {}
    assert producer.write_batch([]) == []


def test_a_damaged_item_costs_only_its_own_write(cluster: Cluster, orders: Table) -> None:
    producer = Producer(cluster)
    producer.put("orders", key(3))
    for shard in cluster.shards.values():
        shard.run((f"UPDATE t{orders.id} SET item = 'damaged'", ()))
    outcomes = producer.write_batch(puts(12))
    assert [number for number, o in enumerate(outcomes) if isinstance(o, CorruptData)] == [3]
    assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 11


def test_so_does_a_value_that_is_none(cluster: Cluster, orders: Table) -> None:
    """JSON that mynamo can read, but that it has not written."""
    stored = [{name: {"S": value} for name, value in key(n).items()} for n in range(12)]
    apply(cluster, [WriteRequest("orders", "PUT", {**item, "n": {"N": "1"}}) for item in stored])
    row = orders.key_of(stored[3])
    cluster.shard_of(row.hash).run(
        (f"UPDATE t{orders.id} SET item = REPLACE(item, %s, %s) WHERE hash = %s AND sort = %s",
         (b'{"N":"1"}', b'{"N":"one"}', *row))
    )  # fmt: skip
    update, condition = parse_texts(update="ADD n :v", condition="n >= :v", values={":v": ONE})
    for demand in (None, condition):
        requests = [WriteRequest("orders", "UPDATE", item, update, demand) for item in stored]
        outcomes = [outcome for _, outcome in apply_each(cluster, requests)]
        refused = {n: o.error for n, o in enumerate(outcomes) if isinstance(o, Refused)}
        assert [*refused] == [3]
        assert isinstance(refused[3], CorruptData)


# -- what must be looked up -----------------------------------------------------------


def test_a_catalog_that_does_not_answer_is_asked_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def unavailable(name: str) -> Table:
        asked.append(name)
        raise ShardUnavailable("the catalog does not answer")

    monkeypatch.setattr(cluster, "table", unavailable)
    outcomes = Producer(cluster).write_batch(puts(20))
    assert [type(outcome) for outcome in outcomes] == [ShardUnavailable] * 20
    assert asked == ["orders"]


@pytest.mark.parametrize("failure", [ShardUnavailable("away"), ConfigError("a newer format")])
def test_what_is_written_is_answered_if_the_catalog_cannot_be_read_again(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch, failure: MynamoError
) -> None:
    home = shards_of(cluster, orders, 20)
    cluster.shards[1].run(("UPDATE mynamo_fence SET version = 9 WHERE id = %s", (orders.id,)))

    def refresh(*_: object) -> Any:
        raise failure

    monkeypatch.setattr(cluster, "refresh", refresh)
    outcomes = Producer(cluster).write_batch(puts(20))
    assert [o is failure for o in outcomes] == [shard == 1 for shard in home]
    assert len(items_of(cluster, orders)) == home.count(2)


# -- bounds ---------------------------------------------------------------------------


def test_a_large_batch_is_several_transactions(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = commits(monkeypatch)
    producer = Producer(cluster)
    monkeypatch.setattr(routing, "PART_WRITES", 20)
    producer.write_batch(puts(100))
    assert max(sizes) <= 20
    assert sum(sizes) == 100
    sizes.clear()
    monkeypatch.setattr(routing, "PART_BYTES", 100_000)
    producer.write_batch(puts(10, x="x" * 60_000))
    assert sizes == [1] * 10
    sizes.clear()
    # Deletes are small, but the items that they find are not.
    monkeypatch.setattr(commit_module, "MAX_BYTES", 150_000)
    producer.write_batch([Delete("orders", key(number)) for number in range(10)])
    assert max(sizes) <= 2
    assert sum(sizes) == 10
    assert len(items_of(cluster, orders)) == 90
    assert damage(cluster, orders) == []


def test_an_items_writes_keep_their_order_across_transactions(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "PART_WRITES", 3)
    stored = {name: {"S": value} for name, value in key(0).items()}
    requests = [
        WriteRequest("orders", "PUT", {**stored, "turn": {"N": str(turn)}}) for turn in range(20)
    ]
    apply(cluster, requests)
    ((_, item),) = items_of(cluster, orders).values()
    assert item["turn"] == {"N": "19"}
    assert damage(cluster, orders) == []


# -- a shard that does not answer -----------------------------------------------------


@pytest.fixture
def half(engine_config: ClusterConfig, proxy: Proxy, orders: Table) -> Iterator[Cluster]:
    """The cluster, with the connections to its first shard through the proxy."""
    first, second = engine_config.shards
    shards = (first.model_copy(update={"port": proxy.port}), second)
    with ExitStack() as stack:
        yield stack.enter_context(Cluster(engine_config.model_copy(update={"shards": shards})))


def test_a_shard_that_does_not_answer_fails_only_its_own_writes(
    cluster: Cluster,
    orders: Table,
    half: Cluster,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard_module, "PATIENCE", 0.5)
    monkeypatch.setattr(routing, "PART_WRITES", 3)
    proxy.refuse()
    outcomes = Producer(half).write_batch(puts(20))
    home = shards_of(cluster, orders, 20)
    assert set(home) == {1, 2}
    for shard, outcome in zip(home, outcomes, strict=True):
        assert isinstance(outcome, ShardUnavailable if shard == 1 else Receipt)
    assert len(items_of(cluster, orders)) == home.count(2)
    with pytest.raises(ShardUnavailable):  # the queue wants to hear of it, and tries again
        apply(half, [WriteRequest("orders", "DELETE", {"id": {"S": "i0"}, "at": {"S": "1"}}),
                     *requests_for(home, 1)])  # fmt: skip


def requests_for(home: list[int], shard: int) -> list[WriteRequest]:
    return [
        WriteRequest("orders", "PUT", {name: {"S": value} for name, value in key(n).items()})
        for n, owner in enumerate(home)
        if owner == shard
    ]


def test_what_became_of_a_transaction_is_not_known(
    cluster: Cluster,
    orders: Table,
    half: Cluster,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own writes may have happened; those that would have come after it did not."""
    monkeypatch.setattr(commit_outcome, "OUTBOX_KEEPS", 1.0)
    monkeypatch.setattr(routing, "PART_WRITES", 3)
    home = shards_of(cluster, orders, 20)
    proxy.on(COMMIT, "lose_server")
    outcomes = [outcome for _, outcome in apply_each(half, requests_for(home, 1))]
    errors = [type(outcome.error) for outcome in outcomes if isinstance(outcome, Refused)]
    assert errors == [WriteOutcomeUnknown] * 3 + [ShardUnavailable] * (home.count(1) - 3)
    assert len(items_of(cluster, orders)) == 3
