"""The writer worker among servers and workers that die, freeze and come back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mynamo.catalog import definitions, sql
from mynamo.catalog.cluster import Cluster
from mynamo.errors import LogUnavailable, ShardUnavailable, Unavailable
from mynamo.local import LocalCluster
from mynamo.log import Publisher
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import TableSchema
from mynamo.writer.maintenance import Maintenance
from mynamo.writer.outbox import lease
from mynamo.writer.outbox.lease import TTL
from mynamo.writer.outbox.relay import Relay
from mynamo.writer.worker import run_writer
from tests.events import broken_promises, changes_topic
from tests.rows import damage, everywhere, items_of, make_table, select
from tests.waiting import eventually
from tests.worker_process import worker_process
from tests.workers import all_held

pytestmark = pytest.mark.slow


@contextmanager
def running(config: ClusterConfig, **parts: bool) -> Iterator[None]:
    """A worker in a thread."""
    stop = threading.Event()

    def work() -> None:
        with Cluster(config) as cluster:
            run_writer(cluster, stop, **parts)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            stop.set()
            working.result(30)


def all_published(cluster: Cluster) -> bool:
    """Whether every committed change is in Kafka, as far as the shards know."""
    return not any(
        waiting or last != published
        for last, published, waiting in everywhere(
            cluster,
            "SELECT last_seq, published_seq, EXISTS (SELECT 1 FROM mynamo_outbox"
            " WHERE seq IS NULL) FROM mynamo_relay",
        )
    )


class Load:
    """Threads that put items for as long as the block runs, whatever fails meanwhile.

    Attributes:
        acknowledged: per item, the largest turn whose put returned.
    """

    def __init__(self, producer: Producer, threads: int = 3) -> None:
        self.acknowledged: dict[str, int] = {}
        self._producer = producer
        self._done = threading.Event()
        self._pool = ThreadPoolExecutor(threads)
        self._futures = [self._pool.submit(self._put, number) for number in range(threads)]

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._pool.shutdown()
        for future in self._futures:
            future.result()

    def wait_for(self, puts: int) -> None:
        """Until so many more have been acknowledged."""
        goal = sum(self.acknowledged.values()) + puts
        eventually(lambda: sum(self.acknowledged.values()) >= goal, 60)

    def _put(self, number: int) -> None:
        turn = 0
        while not self._done.is_set():
            turn += 1
            name = f"{number}.{turn % 7}"
            with suppress(Unavailable):
                self._producer.put("orders", {"id": name, "at": "1", "name": "n", "price": turn})
                self.acknowledged[name] = turn


def nothing_lost(cluster: Cluster, load: Load) -> None:
    """Each acknowledged put, or a later one, is in the table; every change is in Kafka."""
    table = cluster.table("orders")
    items = {item["id"]["S"]: item for _, item in items_of(cluster, table).values()}
    for name, turn in load.acknowledged.items():
        assert int(items[name]["price"]["N"]) >= turn
    assert damage(cluster, table) == []
    eventually(lambda: all_published(cluster), 60)
    events = changes_topic(cluster.config.kafka)
    assert broken_promises(events) == []
    rows = everywhere(cluster, "SELECT id FROM mynamo_outbox")
    assert len({event.event_id for event in events}) == len(rows)


# -- workers --------------------------------------------------------------------------


def test_a_killed_relay_is_replaced(
    cluster: Cluster, config: ClusterConfig, tmp_path: Path
) -> None:
    make_table(cluster)
    producer = Producer(cluster)
    with worker_process(config, tmp_path, "relay") as process:
        eventually(lambda: all_held(cluster, process.pid), 60)
        with running(config, queue=False), Load(producer) as load:
            load.wait_for(30)
            process.kill()
            eventually(lambda: all_held(cluster, os.getpid()), 30)
            load.wait_for(30)
        # The last worker gave its leases up, so this one need not wait.
        with running(config, queue=False):
            nothing_lost(cluster, load)


def epochs(cluster: Cluster) -> list[int]:
    """Of the leases, by shard."""
    return [epoch for (epoch,) in everywhere(cluster, "SELECT epoch FROM mynamo_relay")]


def early_take_overs(cluster: Cluster, before: list[int]) -> list[str]:
    """Wait until all leases have been taken over; where that was before their end.

    All times are the shards' own.

    Args:
        before: epochs of the leases.
    """
    ends: dict[int, int] = {}
    early = []

    def all_taken() -> bool:
        rows = everywhere(cluster, f"SELECT epoch, expires, {sql.NOW} FROM mynamo_relay")
        for number, (epoch, end, now) in enumerate(rows):
            if epoch == before[number]:
                assert end - now <= TTL * 1_000_000, "a lease is longer than it may be"
                ends[number] = end
            elif now < ends.get(number, 0):
                early.append(f"shard {number + 1}: {(ends[number] - now) / 1e6:.1f} s")
        return all(row[0] > epoch for row, epoch in zip(rows, before, strict=True))

    eventually(all_taken, 60)
    return early


def test_a_killed_workers_relays_are_taken_over_by_the_worker_beside_it(
    cluster: Cluster, config: ClusterConfig, tmp_path: Path
) -> None:
    """Once its leases have ended, and not before; how long that takes is measured by
    benchmarks/relay_failover.py."""
    make_table(cluster)
    producer = Producer(cluster)
    with worker_process(config, tmp_path, "relay") as first:
        eventually(lambda: all_held(cluster, first.pid), 60)
        with worker_process(config, tmp_path, "relay") as second, Load(producer) as load:
            load.wait_for(30)
            before = epochs(cluster)
            first.kill()
            assert early_take_overs(cluster, before) == []
            assert all_held(cluster, second.pid)
            assert epochs(cluster) == [epoch + 1 for epoch in before]
            load.wait_for(30)
            second.kill()
        with running(config, queue=False):
            nothing_lost(cluster, load)


def test_control_who_does_not_wait_for_a_leases_end_is_found(
    cluster: Cluster, config: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table(cluster)
    monkeypatch.setattr(lease, "LONGEST_TTL", 0.0)
    monkeypatch.setattr(lease, "_LATEST", "0")
    with worker_process(config, tmp_path, "relay") as first:
        eventually(lambda: all_held(cluster, first.pid), 60)
        before = epochs(cluster)
        with ThreadPoolExecutor(1) as watching:
            early = watching.submit(early_take_overs, cluster, before)
            with running(config, queue=False):
                assert early.result(60)


def test_a_frozen_relay_that_wakes_up_does_no_harm(
    cluster: Cluster, config: ClusterConfig, tmp_path: Path
) -> None:
    make_table(cluster)
    producer = Producer(cluster)
    with worker_process(config, tmp_path, "relay") as process:
        eventually(lambda: all_held(cluster, process.pid), 60)
        with running(config, queue=False):
            with Load(producer) as load:
                load.wait_for(30)
                process.send_signal(signal.SIGSTOP)
                eventually(lambda: all_held(cluster, os.getpid()), 30)
                load.wait_for(30)
                process.send_signal(signal.SIGCONT)
                load.wait_for(60)
            nothing_lost(cluster, load)


@pytest.mark.parametrize("shared", [False, True])
def test_no_relay_waits_for_what_anothers_sends(
    cluster: Cluster, config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    """What shard 1's relay sends is not acknowledged; with one producer for all, as the control
    has it, shard 2's changes are held up too."""
    make_table(cluster)
    blocked = threading.Event()
    one = Publisher(config.kafka)
    owners: dict[int, Publisher] = {}
    make = Relay.__init__

    def noting(self: Relay, *arguments: Any) -> None:
        make(self, *arguments)
        if shared:
            self.publisher = one
        owners[self.shard.id] = self.publisher

    opening = Publisher._open

    def opened(self: Publisher) -> Any:
        producer = opening(self)
        if blocked.is_set() and self is owners.get(1):
            raise LogUnavailable("no leader")
        return producer

    monkeypatch.setattr(Relay, "__init__", noting)
    monkeypatch.setattr(Publisher, "_open", opened)
    with running(config, queue=False):
        eventually(lambda: all_held(cluster, os.getpid()), 60)
        blocked.set()
        producer = Producer(cluster)
        for number in range(40):
            producer.put("orders", {"id": str(number), "at": "1", "name": "n"})

        def published(shard: int) -> bool:
            rows = select(
                cluster.shards[shard],
                "SELECT published_seq, (SELECT COUNT(*) FROM mynamo_outbox) FROM mynamo_relay",
            )
            return bool(rows[0][0] == rows[0][1] > 0)

        if not shared:
            eventually(lambda: published(2), 30)
        assert not published(1)
        assert published(2) is not shared
        blocked.clear()
        eventually(lambda: published(1) and published(2), 60)
    one.close()


def test_a_worker_that_stops_gives_up_its_leases(cluster: Cluster, config: ClusterConfig) -> None:
    with running(config):
        eventually(lambda: all_held(cluster, os.getpid()), 60)
    assert everywhere(cluster, "SELECT owner, expires FROM mynamo_relay") == [(None, 0)] * 2


def test_a_worker_killed_amid_queued_writes(
    cluster: Cluster, config: ClusterConfig, tmp_path: Path
) -> None:
    table = make_table(cluster)
    fast = config.model_copy(
        update={"kafka": config.kafka.model_copy(update={"session_timeout_ms": 6_000})}
    )
    count = "SELECT COUNT(*) FROM mynamo_outbox"

    def applied() -> int:
        return int(sum(row[0] for row in everywhere(cluster, count)))

    with Producer(cluster) as producer, worker_process(fast, tmp_path, "queue") as process:
        commands = [
            producer.queued_update("orders", {"id": f"i{n % 9}", "at": "1"}, set={"price": n})
            for n in range(900)
        ]
        producer.publish(*commands)
        eventually(lambda: applied() > 0, 60)
        process.kill()
        at_death = applied()
        with running(fast, relay=False):
            eventually(lambda: applied() >= len(commands), 60)
    assert at_death > 0
    assert applied() == len(commands)
    assert damage(cluster, table) == []
    prices = sorted(int(item["price"]["N"]) for _, item in items_of(cluster, table).values())
    assert prices == list(range(891, 900))  # the last of each item


def test_a_part_that_fails_is_started_again(
    cluster: Cluster, config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = []
    do_round = Maintenance.round

    def failing(self: Maintenance) -> bool:
        rounds.append(True)
        if len(rounds) == 1:
            raise RuntimeError("nobody foresaw this")
        return do_round(self)

    monkeypatch.setattr(Maintenance, "round", failing)
    with running(config, relay=False, queue=False):
        eventually(lambda: len(rounds) > 2, 30)


# -- changes of definitions that stopped half-way -------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mynamo.writer.maintenance.ABANDONED", 0.5)


def test_a_table_whose_creation_stopped_half_way_is_finished(
    cluster: Cluster, config: ClusterConfig, impatient: None
) -> None:
    cluster.catalog.add_table(TableSchema.parse({"name": "half", "hash_key": "id"}))
    with running(config, relay=False, queue=False):
        eventually(lambda: cluster.refresh().names["half"].status == "ACTIVE", 30)
    Producer(cluster).put("half", {"id": "a"})


def test_an_index_whose_creation_stopped_half_way_is_finished_and_backfilled(
    cluster: Cluster, config: ClusterConfig, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table(cluster, global_indexes=[])
    Producer(cluster).put("orders", {"id": "a", "at": "1", "price": 1, "size": 3})
    local = TableSchema.parse(
        {"name": "any", "hash_key": "a", "sort_key": "b",
         "local_indexes": [{"name": "by_size", "sort_key": "size:N"}]}
    ).local_indexes[0]  # fmt: skip

    def die(*_: object) -> None:
        raise ShardUnavailable("half-way")

    with monkeypatch.context() as patch:
        patch.setattr(definitions, "roll_forward", die)
        with pytest.raises(ShardUnavailable, match="half-way"):
            definitions.add_index(cluster, "orders", local)

    def status() -> dict[str, str]:
        return {index.name: index.status for index in cluster.refresh().names["orders"].indexes}

    with running(config, relay=False, queue=False):
        eventually(lambda: status() == {"by_price": "ACTIVE", "by_size": "ACTIVE"}, 30)
    assert damage(cluster, cluster.table("orders")) == []


def test_a_table_whose_dropping_stopped_half_way_is_gone(
    cluster: Cluster, config: ClusterConfig, impatient: None
) -> None:
    table = make_table(cluster)
    cluster.catalog.retire_table(table.id)
    with running(config, relay=False, queue=False):
        eventually(lambda: "orders" not in cluster.refresh().names, 30)
    assert make_table(cluster).id != table.id


# -- servers --------------------------------------------------------------------------

Start = Callable[..., LocalCluster]


def ready(servers: LocalCluster) -> Cluster:
    cluster = Cluster(servers.config)
    make_table(cluster)
    return cluster


def test_shards_that_restart_under_load_lose_nothing(private_cluster: Start) -> None:
    servers = private_cluster(2, kafka="embedded", partitions=4)
    with ready(servers) as cluster, running(servers.config, queue=False):
        with Load(Producer(cluster)) as load:
            load.wait_for(50)
            servers.restart_shard(2)
            load.wait_for(50)
            servers.kill_shard(2)
            servers.start_shard(2)
            load.wait_for(50)
        nothing_lost(cluster, load)


def test_a_worker_waits_for_servers_that_are_not_there_yet(private_cluster: Start) -> None:
    servers = private_cluster(1, kafka="embedded", partitions=4)
    servers.stop_broker()
    with ready(servers) as cluster, running(servers.config):
        Producer(cluster).put("orders", {"id": "a", "at": "1"})
        eventually(lambda: everywhere(cluster, "SELECT seq FROM mynamo_outbox") == [(1,)], 30)
        assert not all_published(cluster)
        servers.start_broker()
        eventually(lambda: all_published(cluster), 60)
        assert len(changes_topic(cluster.config.kafka)) == 1


def test_a_broker_that_was_away_gets_everything(private_cluster: Start) -> None:
    servers = private_cluster(1, kafka="apache", partitions=4)
    with ready(servers) as cluster, running(servers.config, queue=False):
        with Load(Producer(cluster)) as load:
            load.wait_for(50)
            servers.kill_broker()
            load.wait_for(50)
            servers.start_broker()
            load.wait_for(50)
        nothing_lost(cluster, load)


def test_a_broker_that_lost_everything_gets_what_is_asked_for(private_cluster: Start) -> None:
    servers = private_cluster(1, kafka="embedded", partitions=4)
    with ready(servers) as cluster, running(servers.config, queue=False):
        producer = Producer(cluster)
        for number in range(50):
            producer.put("orders", {"id": str(number), "at": "1", "name": "n"})
        eventually(lambda: all_published(cluster), 60)
        servers.restart_broker()
        # What an indexer does that finds its stream shorter than it should be.
        cluster.shards[1].run(("UPDATE mynamo_relay SET published_seq = 0", ()))
        eventually(lambda: all_published(cluster), 60)
        events = changes_topic(cluster.config.kafka)
    assert len(events) == 50
    assert broken_promises(events) == []
