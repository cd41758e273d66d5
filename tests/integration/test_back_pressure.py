"""Writes wait while an index of their table is beyond its lag limit, and nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.errors import IndexBehind, MynamoError
from mynamo.gsi_indexer import run_indexer
from mynamo.log.dead_letter_topic import read_dead_letters
from mynamo.mysql.pool import Session, Statement
from mynamo.operations import lag
from mynamo.producer import Producer, Put, Receipt
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig, IndexLimits, LimitsConfig
from mynamo.writer.outbox import back_pressure
from mynamo.writer.outbox.back_pressure import Backlog, BackPressure, LagMonitor
from mynamo.writer.worker import run_writer
from tests.rows import make_table
from tests.waiting import eventually
from tests.workers import pipeline, working

pytestmark = pytest.mark.slow

LIMIT = 20
MANY = 400


def limited(config: ClusterConfig, **limits: Any) -> ClusterConfig:
    """The configuration of a process with limits."""
    return config.model_copy(update={"limits": LimitsConfig(**limits)})


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    with Cluster(limited(config, index_events=LIMIT)) as opened:
        yield opened


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"i{number}", "at": "1", "name": f"name {number % 5}", **more}


def refusal(producer: Producer, table: str = "orders") -> IndexBehind:
    """Write until a write is refused."""
    numbers = iter(range(1_000_000))

    def put() -> IndexBehind | None:
        try:
            producer.put(table, item(next(numbers)))
        except IndexBehind as error:
            return error
        return None

    return eventually(put, 60)  # type: ignore[return-value]


def accepted(write: Callable[[], object]) -> bool:
    try:
        write()
    except IndexBehind:
        return False
    return True


def test_writes_are_refused_beyond_the_limit_and_recover_by_themselves(
    config: ClusterConfig, cluster: Cluster, producer: Producer
) -> None:
    for name in ("orders", "calm"):
        make_table(cluster, name)
    make_table(cluster, "plain", global_indexes=[])
    refused = refusal(producer)
    assert (refused.table, refused.index) == ("orders", "by_name")
    assert "index by_name of table orders" in str(refused)
    assert f"beyond its limit ({LIMIT} changes)" in str(refused)
    # Other tables, reads, and dropping a table go on.
    producer.put("calm", item(1))
    producer.put("plain", item(1))
    assert Reader(cluster).get("orders", {"id": "i0", "at": "1"})
    definitions.drop_table(cluster, "plain")
    with pipeline(config):
        eventually(lambda: accepted(lambda: producer.put("orders", item(0, last=1))), 60)
        eventually(lambda: lag(cluster).events == 0, 60)


def test_lag_stays_near_the_limit(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table(cluster)
    done = sum(
        isinstance(outcome, Receipt)
        for first in range(0, MANY, 10)
        for outcome in producer.write_batch(
            [Put("orders", item(n)) for n in range(first, first + 10)]
        )
        if look_anew(monkeypatch)
    )
    assert max(i.events for i in lag(cluster).indexes) < 2 * LIMIT
    assert done == lag(cluster).events


def test_control_without_the_check_lag_grows(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackPressure, "on", lambda *_: None)
    make_table(cluster)
    producer.write_batch([Put("orders", item(n)) for n in range(MANY)])
    assert min(i.events for i in lag(cluster).indexes) > 2 * LIMIT
    assert lag(cluster).events == MANY


def look_anew(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let every shard be looked at anew, as a second does in a service."""
    monkeypatch.setattr(back_pressure, "lag_monitors", PerShard(LagMonitor))
    return True


def test_age_counts_as_well(config: ClusterConfig) -> None:
    with Cluster(limited(config, index_seconds=0.3)) as cluster, Producer(cluster) as producer:
        make_table(cluster)
        refused = refusal(producer)
        assert "beyond its limit (0.3 s)" in str(refused)


def test_a_limit_of_one_index_counts_for_its_table(config: ClusterConfig) -> None:
    by_city = {"orders.by_city": IndexLimits(events=LIMIT)}
    two = [{"name": "by_name", "hash_key": "name"}, {"name": "by_city", "hash_key": "city"}]
    with Cluster(limited(config, indexes=by_city)) as cluster, Producer(cluster) as producer:
        make_table(cluster, global_indexes=two)
        make_table(cluster, "other", global_indexes=two)
        assert refusal(producer).index == "by_city"
        for number in range(2 * LIMIT):
            producer.put("other", item(number))


def test_of_a_batch_only_what_is_beyond_is_refused(cluster: Cluster, producer: Producer) -> None:
    make_table(cluster)
    make_table(cluster, "calm")
    refusal(producer)
    writes = [Put(table, item(n)) for n in range(100, 140) for table in ("orders", "calm")]
    outcomes = producer.write_batch(writes)
    by_table: dict[str, set[type[Receipt] | type[MynamoError]]] = {"orders": set(), "calm": set()}
    for write, outcome in zip(writes, outcomes, strict=True):
        by_table[write.table].add(type(outcome))
    assert IndexBehind in by_table["orders"]
    assert by_table["calm"] == {Receipt}


def test_queued_writes_are_held_back_and_none_is_refused(
    config: ClusterConfig, cluster: Cluster, producer: Producer
) -> None:
    table = make_table(cluster)
    with working(cluster.config, run_writer):
        refusal(producer)
        count = 200
        producer.publish(*(producer.queued_put("orders", item(5000 + n)) for n in range(count)))
        eventually(lambda: lag(cluster).queued_writes, 60)

        def written() -> int:
            rows = [s.run((f"SELECT COUNT(*) FROM t{table.id}", ())) for s in
                    cluster.shards.values()]  # fmt: skip
            return sum(r[0].rows[0][0] for r in rows)

        before = written()
        with working(config, run_indexer):
            eventually(lambda: lag(cluster).queued_writes == 0, 60)
        assert written() <= before + count
    assert read_dead_letters(cluster.config.kafka) == []
    reader = Reader(cluster)
    assert all(reader.get("orders", {"id": f"i{5000 + n}", "at": "1"}) for n in range(count))


def test_a_write_asks_nobody(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking is another thread's work: a put still takes two round trips."""
    make_table(cluster)
    producer.put("orders", item(1))
    trips = []
    me, run = threading.get_ident(), Session.run

    def counted(self: Session, *statements: Statement) -> Any:
        if threading.get_ident() == me:
            trips.append(statements)
        return run(self, *statements)

    monkeypatch.setattr(Session, "run", counted)
    for _ in range(5):
        producer.put("orders", item(1))
    assert len(trips) == 10


# -- the look at the outbox -----------------------------------------------------------


def tell(shard: DynamoDBShard, last_seq: int, **streams: tuple[int, int]) -> None:
    """Set the shard's sequence, and of partitions what was given and applied."""
    shard.run(
        ("UPDATE mynamo_relay SET last_seq = %s", (last_seq,)),
        *(("UPDATE mynamo_stream SET last_seq = %s, applied_seq = %s WHERE part = %s",
           (*numbers, int(name[1:]))) for name, numbers in streams.items()),
    )  # fmt: skip


def test_a_stream_that_wakes_up_is_not_far_behind(cluster: Cluster) -> None:
    shard = cluster.shards[1]
    known, new = Backlog(), Backlog()
    tell(shard, 1000, p0=(10, 10), p1=(1000, 1000))
    assert known.bound(shard, 100).events == 0
    tell(shard, 1003, p0=(1002, 10), p1=(1003, 1000))
    assert known.bound(shard, 100).events == 3
    assert new.bound(shard, 100).events == 993
    tell(shard, 500, p0=(500, 490))  # restored from a backup
    assert known.bound(shard, 100).events == 10


def test_the_statements_use_their_index(
    engine_config: ClusterConfig,
) -> None:
    with Cluster(engine_config) as cluster:
        shard = cluster.shards[1]
        maria = "MariaDB" in shard.run(("SELECT VERSION()", ()))[0].rows[0][0]
        kind = "EXPLAIN" if maria else "EXPLAIN FORMAT=TRADITIONAL"
        for text, values in (
            back_pressure.FIRST_UNNUMBERED,
            back_pressure.first_after(5),
            back_pressure.unnumbered(10),
            back_pressure.waiting_above(5, 10),
            back_pressure.waiting_unnumbered(10),
        ):
            rows = shard.run((f"{kind} {text}", values))[0].rows
            reading = [row for row in rows if "by_sequence" in map(str, row)]
            assert reading, (text, rows)
            assert "filesort" not in str(reading), (text, rows)
