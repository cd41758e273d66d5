"""A shard that goes back in time: its new changes reach the indexes, its lost ones leave them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from mynamo.catalog import shard, time_to_live
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index
from mynamo.catalog.incarnation import (
    CLEAN,
    FENCING,
    MENDING,
    Incarnation,
    history,
    incarnation_of,
    set_state,
)
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import ShardUnavailable
from mynamo.gsi_indexer import lost_events, run_indexer
from mynamo.local import LocalCluster
from mynamo.operations import mending, verify
from mynamo.operations.pipeline import wait_until_applied
from mynamo.producer import Producer, Put, Receipt
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema
from mynamo.writer.outbox import fencing, lease, relay
from mynamo.writer.outbox.lease import TTL
from mynamo.writer.worker import run_writer
from tests.amounts import nightly
from tests.expiring import ids, now, put
from tests.fake_log import Bench
from tests.rows import make_table, select
from tests.waiting import eventually
from tests.workers import working

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
ITEMS = 40


def run_mending(cluster: Cluster, stop: threading.Event) -> None:
    mending.run_mending(cluster, stop)


@pytest.fixture
def servers(
    private_cluster: Callable[..., LocalCluster], monkeypatch: pytest.MonkeyPatch
) -> LocalCluster:
    monkeypatch.setattr(mending, "LOOK_EVERY", 0.2)
    return private_cluster(shards=2, buffer_pool="64M", partitions=4)


@pytest.fixture
def cluster(servers: LocalCluster) -> Iterator[Cluster]:
    with Cluster(servers.config) as opened:
        make_table(opened)
        yield opened


def all_workers(servers: LocalCluster) -> AbstractContextManager[None]:
    """A writer, one that mends, and an indexer."""
    return working(servers.config, run_writer, run_mending, run_indexer)


class Backup:
    """A copy of a shard's data, as a physical backup has it."""

    def __init__(
        self, servers: LocalCluster, cluster: Cluster, folder: Path, number: int = 2
    ) -> None:
        self._servers = servers
        self._cluster = cluster
        self._number = number
        self._files = servers.shards[number].data_dir / "data"
        self._copy = folder / "backup"
        servers.stop_shard(number)
        shutil.copytree(self._files, self._copy)
        self._start()

    def restore(self, same_server: bool) -> None:
        """End the server as a power failure would, and start it with the old data."""
        self._servers.kill_shard(self._number)
        identity = self._files / "auto.cnf"
        if identity.exists() and not same_server:
            (self._copy / "auto.cnf").unlink()
        shutil.rmtree(self._files)
        shutil.copytree(self._copy, self._files)
        self._start()

    def _start(self) -> None:
        self._servers.start_shard(self._number)
        eventually(lambda: answers(self._cluster, self._number))


def put_all(producer: Producer, name: str, count: int = ITEMS) -> None:
    for number in range(count):
        producer.put("orders", {"id": f"i{number}", "at": "1", "name": f"{name}-{number % 7}"})


def named(cluster: Cluster, name: str) -> set[str]:
    """Ids of the items that the index has under names that begin so."""
    reader = Reader(cluster)
    return {
        item["id"]
        for number in range(7)
        for item in reader.query("orders", f"{name}-{number}", index="by_name").items
    }


def answers(cluster: Cluster, number: int) -> bool:
    """Whether a shard is there again."""
    with suppress(ShardUnavailable):
        return cluster.shards[number].health() > 0
    return False


def newest(cluster: Cluster, number: int) -> Incarnation:
    with cluster.shards[number].session() as session:
        return history(session)[-1]


def await_mended(cluster: Cluster, number: int = 2) -> None:
    """Wait until a shard has another incarnation than its first, and nothing is left to mend."""
    eventually(lambda: newest(cluster, number).number > 0, 120)
    eventually(lambda: newest(cluster, number).state == CLEAN, 120)


def lose_the_tail(
    servers: LocalCluster,
    cluster: Cluster,
    producer: Producer,
    folder: Path,
    number: int,
    same_server: bool,
) -> None:
    """Restore a shard without its last changes, which the indexes have."""
    put_all(producer, "kept")
    wait_until_applied(cluster, 60)
    backup = Backup(servers, cluster, folder, number)
    put_all(producer, "lost", ITEMS // 2)
    for each in range(ITEMS // 2, ITEMS * 3 // 4):
        producer.delete("orders", {"id": f"i{each}", "at": "1"})
    for each in range(ITEMS, ITEMS * 2):
        producer.put("orders", {"id": f"i{each}", "at": "1", "name": f"lost-{each % 7}"})
    wait_until_applied(cluster, 60)
    backup.restore(same_server)


@pytest.mark.parametrize(
    ("number", "same_server"),
    [
        pytest.param(1, False, id="with the catalog, other server", marks=nightly),
        pytest.param(1, True, id="with the catalog, same server"),
        pytest.param(2, False, id="alone, other server"),
        pytest.param(2, True, id="alone, same server", marks=nightly),
    ],
)
def test_a_restored_shard(
    servers: LocalCluster,
    cluster: Cluster,
    producer: Producer,
    tmp_path: Path,
    number: int,
    same_server: bool,
) -> None:
    with all_workers(servers):
        lose_the_tail(servers, cluster, producer, tmp_path, number, same_server)
        new = {"id": "new", "at": "1", "name": "new-1"}
        for each in range(60):  # on both shards
            producer.put("orders", {**new, "id": f"new{each}"})
        await_mended(cluster, number)
        assert newest(cluster, number).lost
        wait_until_applied(cluster, 60)
        assert named(cluster, "new") == {f"new{each}" for each in range(60)}
        assert verify(cluster, "orders").ok
    first = cluster.shards[number].run(("SELECT last_seq FROM mynamo_relay", ()))[0].rows[0][0]
    assert incarnation_of(first) == newest(cluster, number).number
    receipt = producer.put("orders", new)
    assert receipt.version > 0


def change_definitions(cluster: Cluster, producer: Producer) -> None:
    """A table and two indexes, and items of theirs on both shards."""
    add_index(cluster, "orders", GlobalIndexSchema(name="by_color", hash_key="color"))
    add_index(cluster, "orders", LocalIndexSchema(name="by_color_too", sort_key="color"))
    eventually(lambda: all(i.status == "ACTIVE" for i in cluster.refresh().names["orders"].indexes))
    make_table(cluster, "younger")
    for number in range(ITEMS):
        producer.put("younger", {"id": f"i{number}", "at": "1", "name": "lost"})
        producer.put("orders", {"id": f"c{number}", "at": "1", "color": "lost"})


def test_definitions_that_are_younger_than_the_backup(
    servers: LocalCluster, cluster: Cluster, producer: Producer, tmp_path: Path
) -> None:
    with all_workers(servers):
        for number in range(ITEMS):
            producer.put("orders", {"id": f"k{number}", "at": "1", "color": "kept"})
        wait_until_applied(cluster, 60)
        backup = Backup(servers, cluster, tmp_path)
        change_definitions(cluster, producer)
        wait_until_applied(cluster, 60)
        backup.restore(same_server=False)
        await_mended(cluster)
        for number in range(ITEMS):
            producer.put("younger", {"id": f"n{number}", "at": "1", "name": "new", "price": 1})
            producer.put("orders", {"id": f"n{number}", "at": "1", "color": "new"})
        assert wait_until_applied(cluster, 60)
        reader = Reader(cluster)
        assert len([*reader.query_all("younger", "new", index="by_name")]) == ITEMS
        for color in ("kept", "new"):
            assert len([*reader.query_all("orders", color, index="by_color")]) == ITEMS
        for number in range(ITEMS):  # of which the restored shard has about half
            assert reader.query("orders", f"k{number}", index="by_color_too").items
        assert verify(cluster, "orders").ok
        assert verify(cluster, "younger").ok


def expires(cluster: Cluster) -> bool:
    """Whether the time to live of `orders` is ENABLED."""
    index = cluster.refresh().names["orders"].time_to_live
    return index is not None and index.status == "ACTIVE"


def test_time_to_live_that_is_younger_than_the_backup(
    servers: LocalCluster, cluster: Cluster, producer: Producer, tmp_path: Path
) -> None:
    """What is due on the restored shard is found, be it older than the backup or younger."""
    with all_workers(servers):
        for number in range(ITEMS):
            put(producer, f"old{number}", now() + 20)
            put(producer, f"stays{number}", now() + 3600)
        wait_until_applied(cluster, 60)
        backup = Backup(servers, cluster, tmp_path)
        time_to_live.enable(cluster, "orders", "until")
        eventually(lambda: expires(cluster), 60)
        wait_until_applied(cluster, 60)
        backup.restore(same_server=False)
        await_mended(cluster)
        for number in range(ITEMS):
            put(producer, f"new{number}", now() - 5)
        eventually(lambda: ids(cluster) == {f"stays{each}" for each in range(ITEMS)}, 120)
        assert wait_until_applied(cluster, 60)
        assert verify(cluster, "orders").ok


def test_control_without_their_definitions_a_restored_shard_refuses_writes(
    servers: LocalCluster,
    cluster: Cluster,
    producer: Producer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fencing, "roll_forward_shard", lambda *_: False)
    with all_workers(servers):
        backup = Backup(servers, cluster, tmp_path)
        change_definitions(cluster, producer)
        wait_until_applied(cluster, 60)
        backup.restore(same_server=False)
        puts = [Put("younger", {"id": f"n{number}", "at": "1"}) for number in range(ITEMS)]
        receipts = producer.write_batch(puts)
        assert {type(one) for one in receipts} == {Receipt, ShardUnavailable}


def lose_index_rows(
    servers: LocalCluster, cluster: Cluster, producer: Producer, folder: Path
) -> None:
    """Restore a shard in place that has changed nothing of its own since, but has taken in index
    rows of the other shard's items."""
    put_all(producer, "kept")
    wait_until_applied(cluster, 60)
    table = cluster.table("orders")
    others = [
        item
        for item in ({"id": f"x{n}", "at": "1", "name": f"x-{n % 7}"} for n in range(200))
        if cluster.shard_of(table.key_of(to_stored(item)).hash).id == 1
    ]
    backup = Backup(servers, cluster, folder)
    for item in others:
        producer.put("orders", item)
    wait_until_applied(cluster, 60)
    time.sleep(2 * TTL)  # the lease is renewed, as it is between any backup and its restore
    backup.restore(same_server=True)


def test_restored_in_place_with_nothing_of_its_own_lost(
    servers: LocalCluster, cluster: Cluster, producer: Producer, tmp_path: Path
) -> None:
    with all_workers(servers):
        lose_index_rows(servers, cluster, producer, tmp_path)
        await_mended(cluster)
        assert wait_until_applied(cluster, 60)
        assert verify(cluster, "orders").ok


def test_control_who_does_not_look_at_the_lease_misses_it(
    servers: LocalCluster,
    cluster: Cluster,
    producer: Producer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease.Lease, "compare", lambda *_: None)
    with all_workers(servers):
        lose_index_rows(servers, cluster, producer, tmp_path)
        time.sleep(2 * TTL)
        assert wait_until_applied(cluster, 60)
        assert newest(cluster, 2).number == 0
        assert not verify(cluster, "orders").ok


def test_a_state_that_went_back_meanwhile_is_left_alone(cluster: Cluster) -> None:
    """Else a shard that is restored while it is mended would never be fenced."""
    with cluster.shards[1].session() as session:
        session.run(
            ("INSERT INTO mynamo_incarnation (incarnation, server, adopted_at, kept, state)"
             " VALUES (1, 'x', 0, '{}', %s)", (FENCING,))
        )  # fmt: skip
        set_state(session, 1, MENDING, CLEAN)
        assert history(session)[-1].state == FENCING
        set_state(session, 1, FENCING, MENDING)
        assert history(session)[-1].state == MENDING


@pytest.fixture
def bench(engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A cluster whose relays move when the test says so, on each engine in turn."""
    monkeypatch.setattr(relay, "FENCE_EVERY", 0.0)
    bench = Bench(engine_config, monkeypatch)
    make_table(bench.cluster)
    yield bench
    bench.close()


class ControlTables:
    """A copy of what a shard knows of itself, as a backup has it."""

    def __init__(self, home: DynamoDBShard) -> None:
        self._home = home
        self._names = [name for (name,) in select(home, "SHOW TABLES LIKE 'mynamo%%'")]
        for name in self._names:
            home.run((f"CREATE TABLE copy_of_{name} AS SELECT * FROM {name}", ()))

    def restore(self) -> None:
        """In place, while the shard's processes go on."""
        with self._home.session() as session:
            session.run(
                ("BEGIN", ()),
                *((f"DELETE FROM {name}", ()) for name in self._names),
                *((f"INSERT INTO {name} SELECT * FROM copy_of_{name}", ()) for name in self._names),
                ("COMMIT", ()),
            )


def states(home: DynamoDBShard) -> list[str]:
    """Of its incarnations after the first."""
    with home.session() as session:
        return [each.state for each in history(session)[1:]]


def settle(bench: Bench) -> None:
    """Let relays lose their leases, take them, and do all there is to do."""
    for _ in range(4):
        bench.publish()


def restored_while_fencing(bench: Bench, lease_shows_it: bool) -> list[str]:
    """Restore a shard in place from a backup of when its incarnation was not fenced yet.

    Args:
        lease_shows_it: the relay has read the end of its lease since it last wrote it.

    Returns:
        The states of its incarnations after the first, once its relay has had time.
    """
    home, relaying = bench.cluster.shards[1], bench.relays[0]
    put_all(bench.producer, "kept")
    with pytest.MonkeyPatch.context() as only_here:
        only_here.setattr(relay, "fence", lambda *_: None)
        settle(bench)
        home.adopt(1)
        settle(bench)
        backup = ControlTables(home)
    settle(bench)
    assert states(home) == [MENDING]
    relaying.lease.renew()  # as it is between any backup and its restore
    settle(bench)
    backup.restore()
    assert states(home) == [FENCING]
    if not lease_shows_it:
        relaying.lease.written()
    settle(bench)
    return states(home)


def test_a_shard_that_went_back_to_fencing_begins_another_incarnation(bench: Bench) -> None:
    """The relay knows by its lease; both incarnations are fenced."""
    assert restored_while_fencing(bench, lease_shows_it=True) == [MENDING, MENDING]


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_an_index_that_has_what_is_sent_again_goes_through_it_once_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, in_one_batch: bool
) -> None:
    """Seen only where it does so in several batches, until it has applied the last one."""
    monkeypatch.setattr(lost_events, "LOOK_EVERY", 3600.0)
    key = {"id": "one", "at": "1"}
    by_name = {"name": "by_name", "hash_key": "name", "sort_key": "price:N"}
    table = make_table(bench.cluster, "moving", global_indexes=[by_name])
    home = bench.cluster.shard_of(table.key_of(to_stored(key)).hash)
    writer, indexer, reader = bench.producer, bench.indexer(), Reader(bench.cluster)

    def prices() -> list[int]:
        found = reader.query("moving", "n", index="by_name").items
        return [int(item["price"]) for item in found]

    for price in (3, 0):
        writer.put("moving", key | {"name": "n", "price": price})
        bench.catch_up(indexer)
        assert prices() == [price]
    home.run(("UPDATE mynamo_stream SET applied_seq = 0", ()))  # the indexes have not said so
    home.adopt(1)
    before = {part: len(records) for part, records in bench.log.records.items()}
    settle(bench)
    ((part, again),) = (
        (part, records[before[part] :])
        for part, records in bench.log.records.items()
        if len(records) > before[part]
    )
    if not in_one_batch:
        del bench.log.records[part][-1:]
        indexer.step(0)
        assert prices() == [0, 3]
        bench.log.records[part].append(again[-1])
    bench.catch_up(indexer)
    assert prices() == [0]


@pytest.mark.parametrize("lease_shows_it", [False, True])
def test_its_state_alone_makes_a_relay_fence_it_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, lease_shows_it: bool
) -> None:
    """Where the lease does not show the restore; and where nobody looks at it, the control of
    the test above."""
    if lease_shows_it:
        monkeypatch.setattr(lease.Lease, "compare", lambda *_: None)
    assert restored_while_fencing(bench, lease_shows_it) == [MENDING]


def test_control_a_relay_that_fences_once_leaves_it_fencing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it has the lease."""
    fenced: set[tuple[int, int | None]] = set()

    def once(cluster: Cluster, home: DynamoDBShard) -> None:
        state = home.id, bench.relays[home.id - 1].lease.epoch
        if state not in fenced:
            fenced.add(state)
            fencing.fence(cluster, home)

    monkeypatch.setattr(relay, "fence", once)
    assert restored_while_fencing(bench, lease_shows_it=False) == [FENCING]


def test_control_without_incarnations_acknowledged_changes_never_reach_the_index(
    servers: LocalCluster,
    cluster: Cluster,
    producer: Producer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard.Identity, "check_incarnation", lambda *_: None)
    monkeypatch.setattr(relay.Relay, "check_incarnation", lambda *_: None)
    monkeypatch.setattr(relay.Relay, "has_gone_back", lambda *_: False)
    monkeypatch.setattr(lost_events, "mark_restored", lambda *_: None)
    with all_workers(servers):
        lose_the_tail(servers, cluster, producer, tmp_path, 2, same_server=False)
        put_all(producer, "new", 20)
        assert not wait_until_applied(cluster, 10)
        assert named(cluster, "new") < {f"i{each}" for each in range(20)}


def test_a_planned_failover_loses_nothing(
    servers: LocalCluster, cluster: Cluster, producer: Producer
) -> None:
    """The same data on another server: a new incarnation, and nothing to mend."""
    with all_workers(servers):
        put_all(producer, "kept")
        servers.stop_shard(2)
        identity = servers.shards[2].data_dir / "data" / "auto.cnf"
        identity.unlink(missing_ok=True)
        servers.start_shard(2)
        eventually(lambda: answers(cluster, 2))
        put_all(producer, "new")
        if servers.shards[2].engine.kind == "mysql":
            eventually(lambda: newest(cluster, 2).state == CLEAN and newest(cluster, 2).number, 120)
            assert not newest(cluster, 2).lost
        assert wait_until_applied(cluster, 60)
        assert len(named(cluster, "new")) == ITEMS
        assert verify(cluster, "orders").ok


def test_two_who_claim_parts_of_the_mending_do_not_wait_for_each_other(
    engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a restored backup may have it: one claimed an incarnation, another one the next."""
    bench = Bench(engine_config, monkeypatch)
    of_1 = bench.cluster.shards[1]
    for number, mender in ((1, "one"), (2, "two")):
        of_1.run(
            ("INSERT INTO mynamo_incarnation SELECT %s, server, adopted_at, kept, 1, %s, %s,"
             " adopted_at + 3600000000 FROM mynamo_incarnation WHERE incarnation = 0",
             (number, MENDING, mender))
        )  # fmt: skip
    waiting, never = mending.to_mend(of_1), threading.Event()
    assert waiting == [1, 2]
    with pytest.raises(mending.Claimed):
        mending.mend_indexes(bench.cluster, of_1, waiting, "one", never)
    assert mending.mend_indexes(bench.cluster, of_1, waiting, "two", never)
    assert mending.to_mend(of_1) == []
