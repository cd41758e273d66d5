"""A connection that dies during commit: the caller learns what became of the write."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mynamo.catalog import shard as shard_module
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.sql import index_table
from mynamo.catalog.tables import Table
from mynamo.errors import ConditionFailed, ShardUnavailable, WriteOutcomeUnknown
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.producer import MUST_NOT_EXIST, Producer
from mynamo.reader.choosing import explain_statement
from mynamo.schemas.config import ClusterConfig
from mynamo.writer.transaction import commit, commit_outcome
from mynamo.writer.transaction.commit_outcome import first_row, outcome_of_commit
from tests.proxy import Proxy
from tests.rows import damage, items_of, select
from tests.waiting import eventually

KEY = {"id": "a", "at": "1"}
COMMIT = b";COMMIT"
"""What the request that ends a write ends with."""


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture
def producer(through: ClusterConfig) -> Iterator[Producer]:
    """One whose connections to the shards lead through the proxy."""
    with Cluster(through) as cluster, Producer(cluster) as producer:
        yield producer


def is_running(shard: DynamoDBShard, start: str) -> bool:
    """Whether another session of the server executes a statement that starts so."""
    return bool(
        select(
            shard,
            "SELECT id FROM information_schema.processlist"
            " WHERE id <> CONNECTION_ID() AND info LIKE %s",
            start + "%",
        )
    )


def versions(cluster: Cluster, table: Table) -> list[int]:
    return [version for version, _ in items_of(cluster, table).values()]


def test_the_answer_to_a_commit_is_lost(
    cluster: Cluster, orders: Table, proxy: Proxy, producer: Producer
) -> None:
    proxy.on(COMMIT, "lose_answer")
    receipt = producer.put("orders", KEY, condition=MUST_NOT_EXIST)
    assert proxy.struck.is_set()
    assert versions(cluster, orders) == [receipt.version]
    assert damage(cluster, orders) == []


def test_control_without_asking_a_write_that_happened_is_reported_as_refused(
    orders: Table, proxy: Proxy, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "outcome_of_commit", lambda *_: None)
    proxy.on(COMMIT, "lose_answer")
    with pytest.raises(ConditionFailed):
        producer.put("orders", KEY, condition=MUST_NOT_EXIST)


def test_the_commit_itself_is_lost(
    cluster: Cluster, orders: Table, proxy: Proxy, producer: Producer
) -> None:
    proxy.on(COMMIT, "lose_request")
    receipt = producer.put("orders", KEY, condition=MUST_NOT_EXIST)
    assert proxy.struck.is_set()
    assert versions(cluster, orders) == [receipt.version]
    assert damage(cluster, orders) == []


def test_control_without_asking_a_write_that_never_happened_is_reported_as_done(
    cluster: Cluster,
    orders: Table,
    proxy: Proxy,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit, "outcome_of_commit", lambda *_: 1)
    proxy.on(COMMIT, "lose_request")
    producer.put("orders", KEY, condition=MUST_NOT_EXIST)
    assert versions(cluster, orders) == []


@pytest.mark.parametrize("lost", ["FOR UPDATE", "mynamo_fence"])
def test_a_connection_lost_before_the_commit_is_no_trouble(
    cluster: Cluster, orders: Table, proxy: Proxy, producer: Producer, lost: str
) -> None:
    proxy.on(lost.encode(), "lose_answer")
    receipt = producer.put("orders", KEY, condition=MUST_NOT_EXIST)
    assert proxy.struck.is_set()
    assert versions(cluster, orders) == [receipt.version]


def test_a_commit_whose_session_still_runs_is_waited_for(
    cluster: Cluster,
    orders: Table,
    proxy: Proxy,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session outlives its connection while it waits for a lock; then it commits."""
    asked: list[int] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> list[Result]:
        results = run(self, *statements)
        if "processlist WHERE id = %s AND host = %s" in statements[0][0]:
            asked.append(len(results[0].rows))
        return results

    monkeypatch.setattr(Session, "run", noting)
    producer.put("orders", {**KEY, "x": 1})
    index_row = {"id": "a", "at": "2", "price": 7}
    row = orders.key_of({"id": {"S": "a"}, "at": {"S": "2"}})
    index = orders.index("by_price")
    index_key = index.key_of({"id": {"S": "a"}, "price": {"N": "7"}})
    assert index_key is not None
    table = index_table(index)
    shard = cluster.shard_of(row.hash)
    with shard.session() as holder, ThreadPoolExecutor(1) as pool:
        # Whoever inserts the same LSI row waits for this transaction.
        holder.run(
            ("BEGIN", ()),
            (f"INSERT INTO {table} VALUES (%s, %s, %s)", (row.hash, index_key.sort, row.sort)),
        )
        proxy.on(COMMIT, "lose_answer")
        writing = pool.submit(producer.put, "orders", index_row, condition=MUST_NOT_EXIST)
        eventually(lambda: is_running(shard, f"INSERT INTO {table}"), 10)
        proxy.refuse()
        proxy.accept()
        eventually(lambda: asked, 1.5)
        assert not writing.done()
        holder.rollback()
        receipt = writing.result(20)
    assert sorted(versions(cluster, orders))[-1] == receipt.version
    assert damage(cluster, orders) == []


def test_when_nobody_can_be_asked_the_caller_is_told_so(
    cluster: Cluster,
    orders: Table,
    proxy: Proxy,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_outcome, "OUTBOX_KEEPS", 1.0)
    proxy.on(COMMIT, "lose_server")
    with pytest.raises(WriteOutcomeUnknown):
        producer.put("orders", KEY)
    assert len(versions(cluster, orders)) == 1


def test_outside_of_a_commit_an_unreachable_shard_means_nothing_was_written(
    cluster: Cluster,
    orders: Table,
    proxy: Proxy,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard_module, "PATIENCE", 0.5)
    proxy.refuse()
    with pytest.raises(ShardUnavailable) as failure:
        producer.put("orders", KEY)
    assert failure.type is ShardUnavailable
    assert versions(cluster, orders) == []


HANDLER_READS: Statement = ("SHOW SESSION STATUS LIKE 'Handler_read_next'", ())
OTHERS = 4000
"""Rows of other writers in an outbox."""


def fill_outbox(cluster: Cluster, table: Table, count: int) -> None:
    """Rows of other writers, on every shard."""
    row = "(0, 0, %s, %s, 1, '{}')"
    for shard in cluster.shards.values():
        shard.run(
            ("INSERT INTO mynamo_outbox (part, feeds, table_id, write_id, created, payload)"
             f" VALUES {', '.join([row] * count)}",
             [value for _ in range(count) for value in (table.id, b"w" * 16)]),
        )  # fmt: skip


def rows_read(cluster: Cluster, table: Table, lookup: Statement) -> int:
    """How many rows a look-up reads on the shard that has most to read."""
    reads = []
    for shard in cluster.shards.values():
        with shard.session() as session:
            before, _, after = session.run(HANDLER_READS, lookup, HANDLER_READS)
            counts = dict(before.rows)
            reads.append(sum(int(value) - int(counts[name]) for name, value in after.rows))
    return max(reads)


@pytest.mark.parametrize("keep", [60.0, 0.0], ids=["knows the highest id", "asks for it"])
def test_looking_for_a_lost_commit_reads_only_what_was_written_since(
    cluster: Cluster,
    orders: Table,
    proxy: Proxy,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
    keep: float,
) -> None:
    """The outbox has thousands of rows of others; after a lost request all would be read."""
    monkeypatch.setattr(commit, "IDS_KEEP", keep)
    looked: list[tuple[bytes, int]] = []
    outcome = outcome_of_commit

    def noting(
        shard: DynamoDBShard, who: tuple[int, str], write_id: bytes, after: int, at: float
    ) -> int | None:
        looked.append((write_id, after))
        return outcome(shard, who, write_id, after, at)

    monkeypatch.setattr(commit, "outcome_of_commit", noting)
    fill_outbox(cluster, orders, OTHERS)
    producer.put("orders", KEY)
    proxy.on(COMMIT, "lose_request")
    producer.put("orders", {**KEY, "x": 1})
    [(write_id, after)] = looked
    assert rows_read(cluster, orders, first_row(write_id, after)) < 10
    # A control: without a lower bound each look reads the whole outbox.
    assert rows_read(cluster, orders, first_row(write_id, 0)) >= OTHERS


def test_the_look_up_of_a_commit_is_a_range_of_the_primary_key(
    cluster: Cluster, orders: Table
) -> None:
    fill_outbox(cluster, orders, 100)
    for shard in cluster.shards.values():
        [step] = explain_statement(shard, first_row(b"w" * 16, 90))
        assert (step["type"], step["key"]) == ("range", "PRIMARY")


def test_the_highest_id_is_below_those_of_later_writes_on_the_connection(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a connection has noted, the next write's rows have higher ids."""
    bounds: list[tuple[int, int]] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> list[Result]:
        before = self.highest_id
        results = run(self, *statements)
        bounds.extend((before, result.insert_id) for result in results if result.insert_id)
        return results

    monkeypatch.setattr(Session, "run", noting)
    with Producer(cluster) as producer:
        for number in range(20):
            monkeypatch.setattr(commit, "IDS_KEEP", 60.0 * (number % 2))
            producer.put("orders", {"id": f"{number % 3}", "at": "1"})
    assert len(bounds) == 20
    assert all(before < given for before, given in bounds)
    assert sum(before > 0 for before, _ in bounds) >= 10
