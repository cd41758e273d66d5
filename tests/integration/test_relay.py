"""The relay: every committed change, in commit order per item, whatever else goes on."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import orjson
import pytest

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.mysql.pool import Session, Statement
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.writer.outbox import batches
from mynamo.writer.outbox import lease as lease_module
from mynamo.writer.outbox import relay as relay_module
from mynamo.writer.outbox.cleanup import OutboxCleanup
from mynamo.writer.outbox.lease import Lease, RelayState
from mynamo.writer.outbox.relay import Relay
from mynamo.writer.transaction.evaluation import OutboxRow
from mynamo.writer.transaction.statements import insert_outbox
from tests.events import Recorder, broken_promises, first_time
from tests.rows import everywhere, leave_out, make_table, select

pytestmark = pytest.mark.usefixtures("orders")


def relays(cluster: Cluster, to: Recorder, owner: str = "one") -> list[Relay]:
    return [Relay(cluster, shard, owner, to) for shard in cluster.shards.values()]


def drain(*relaying: Relay) -> None:
    while sum(relay.step() for relay in relaying):
        pass


def expire(shard: DynamoDBShard) -> None:
    """End the lease, as if another relay had taken it, and been silent for too long."""
    shard.run(("UPDATE mynamo_relay SET owner = 'gone', epoch = epoch + 1, expires = 0", ()))


def put(producer: Producer, number: int, **more: Any) -> None:
    item = {"id": str(number), "at": "1", "name": f"n{number % 3}", "price": number}
    producer.put("orders", item | more)


# -- numbers and order ----------------------------------------------------------------


def test_numbers_are_dense_and_chained(cluster: Cluster, producer: Producer) -> None:
    make_table(cluster, "plain", global_indexes=[])
    recorder = Recorder()
    relaying = relays(cluster, recorder)
    for number in range(60):
        put(producer, number)
        producer.put("plain", {"id": str(number), "at": "1"})
        if number % 7 == 0:
            drain(*relaying)
    drain(*relaying)
    assert len(recorder.events) == 120
    assert {event.feeds for event in recorder.events} == {True, False}
    assert broken_promises(recorder.events) == []
    states = everywhere(cluster, "SELECT last_seq, published_seq FROM mynamo_relay")
    assert all(last == published for last, published in states)


def test_an_items_changes_keep_their_order(cluster: Cluster, producer: Producer) -> None:
    recorder = Recorder()
    relaying = relays(cluster, recorder)
    done = threading.Event()

    def write(number: int) -> None:
        for turn in range(25):
            if turn % 8 == 7:
                producer.delete("orders", {"id": str(turn % 3), "at": "1"})
            else:
                put(producer, turn % 3, writer=number, turn=turn)

    def publish() -> None:
        while not done.is_set():
            for relay in relaying:
                relay.step()

    with ThreadPoolExecutor(7) as pool:
        publishing = pool.submit(publish)
        for written in [pool.submit(write, number) for number in range(6)]:
            written.result()
        done.set()
        publishing.result()
    drain(*relaying)
    assert broken_promises(recorder.events) == []


def event_row(cluster: Cluster, table: Table, shard: DynamoDBShard) -> Statement:
    """An outbox row as a write makes it, of an item that this shard might have."""
    payload = {
        "format": 1, "table_id": table.id, "table": table.name, "schema_version": 1,
        "operation": "INSERT", "origin": "write", "index_id": None,
        "keys": {"id": {"S": uuid.uuid4().hex}, "at": {"S": "1"}},
        "old_image": None, "new_image": None,
    }  # fmt: skip
    row = OutboxRow(0, True, table.id, orjson.dumps(payload))
    return insert_outbox([row], uuid.uuid4().bytes)


def late_commit(cluster: Cluster, table: Table, shard: DynamoDBShard, publish: Any) -> None:
    """Call `publish` while a row is uncommitted whose id is smaller than a committed one's."""
    with shard.session() as slow:
        slow.run(("BEGIN", ()), event_row(cluster, table, shard))
        shard.run(event_row(cluster, table, shard))
        publish()
        slow.run(("COMMIT", ()))
    publish()


def test_a_row_that_commits_late_is_not_skipped(cluster: Cluster, orders: Table) -> None:
    recorder = Recorder()
    relay = relays(cluster, recorder)[0]
    late_commit(cluster, orders, relay.shard, lambda: drain(relay))
    assert [event.event_id for event in recorder.events] == ["1-2", "1-1"]
    assert broken_promises(recorder.events) == []


def test_control_by_id_alone_a_row_that_commits_late_is_skipped(
    cluster: Cluster, orders: Table
) -> None:
    shard = cluster.shards[1]
    seen = [0]

    def publish() -> None:
        rows = select(shard, "SELECT id FROM mynamo_outbox WHERE id > %s ORDER BY id", seen[-1])
        seen.extend(row[0] for row in rows)

    late_commit(cluster, orders, shard, publish)
    assert seen == [0, 2]


# -- leases ---------------------------------------------------------------------------


def test_relays_that_fight_for_a_shard_agree_on_its_numbers(
    cluster: Cluster, producer: Producer
) -> None:
    recorder = Recorder()
    fighters = [Relay(cluster, cluster.shards[1], f"fighter {n}", recorder) for n in range(3)]
    done = threading.Event()

    def fight(relay: Relay) -> None:
        while not done.is_set():
            relay.step()

    with ThreadPoolExecutor(4) as pool:
        fighting = [pool.submit(fight, relay) for relay in fighters]
        for number in range(150):
            put(producer, number % 10, turn=number)
            if number % 5 == 0:
                expire(cluster.shards[1])
        done.set()
        for fought in fighting:
            fought.result()
    for relay in fighters:
        expire(relay.shard)
        drain(relay)
    assert select(cluster.shards[1], "SELECT epoch FROM mynamo_relay")[0][0] > 3
    # The events of different relays lie together here as a consumer may get them.
    assert broken_promises(recorder.events) == []


def overtaken(cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One relay stands still between reading and writing numbers, another goes by."""
    recorder = Recorder()
    shard = cluster.shards[1]
    slow, quick = (Relay(cluster, shard, name, recorder) for name in ("slow", "quick"))
    reached, go_on = threading.Event(), threading.Event()
    number = relay_module.number

    def waiting(*arguments: Any) -> Any:
        numbers = number(*arguments)
        if not reached.is_set():
            reached.set()
            go_on.wait(5)
        return numbers

    monkeypatch.setattr(relay_module, "number", waiting)
    shard.run(event_row(cluster, cluster.table("orders"), shard))
    with ThreadPoolExecutor(2) as pool:
        slowly = pool.submit(slow.step)
        assert reached.wait(5)
        shard.run(event_row(cluster, cluster.table("orders"), shard))

        def go_by() -> None:
            expire(shard)
            quick.step()

        quickly = pool.submit(go_by)
        with suppress(TimeoutError):
            quickly.result(0.7)
        go_on.set()
        slowly.result()
        quickly.result()
    for _ in range(2):
        shard.run(event_row(cluster, cluster.table("orders"), shard))
        expire(shard)
        drain(quick)
    published = {event.event_id for event in recorder.events}
    rows = select(shard, "SELECT id FROM mynamo_outbox")
    lost = [f"row {row_id} is lost" for (row_id,) in rows if f"1-{row_id}" not in published]
    return broken_promises(recorder.events) + lost


def test_numbers_are_given_by_one_relay_at_a_time(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert overtaken(cluster, producer, monkeypatch) == []


def test_control_without_the_lock_a_number_is_given_twice_and_a_row_lost(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out(monkeypatch, " FOR UPDATE")
    assert any("is lost" in line for line in overtaken(cluster, producer, monkeypatch))


def replaced(cluster: Cluster) -> tuple[Relay, Relay, Recorder]:
    """A relay that believes to hold the lease of shard 1, and the one that does."""
    recorder = Recorder()
    zombie, successor = (Relay(cluster, cluster.shards[1], n, recorder) for n in ("old", "new"))
    zombie.step()
    expire(zombie.shard)
    successor.step()
    return zombie, successor, recorder


def set_back(shard: DynamoDBShard) -> None:
    """Set the server's clock back by an hour, as far as a lease can tell."""
    shard.run(("UPDATE mynamo_relay SET expires = expires + 3600e6", ()))


def test_a_clock_that_is_set_back_prolongs_no_lease(cluster: Cluster) -> None:
    dead, successor = (Relay(cluster, cluster.shards[1], n, Recorder()) for n in ("old", "new"))
    dead.step()
    successor.step()
    assert dead.holding and not successor.holding  # noqa: PT018
    set_back(dead.shard)
    successor.step()
    assert successor.holding
    set_back(successor.shard)
    successor.step()  # whoever holds it renews it first
    dead.step()
    assert successor.holding and not dead.holding  # noqa: PT018


@pytest.mark.parametrize("known", [True, False])
def test_a_lease_of_an_older_release_is_left_alone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """It was taken for a second longer than this release's own."""
    if not known:  # the control: as if every relay took it for as long as this release
        latest = lease_module.EXPIRY
        monkeypatch.setattr(lease_module, "LONGEST_TTL", lease_module.TTL)
        monkeypatch.setattr(lease_module, "_LATEST", latest)
    old, new = (Relay(cluster, cluster.shards[1], n, Recorder()) for n in ("old", "new"))
    old.step()
    for _ in range(3):
        old.shard.run(("UPDATE mynamo_relay SET expires = expires + 900000", ()))
        new.step()
        if new.holding:
            break
        old.shard.run(("UPDATE mynamo_relay SET expires = expires - 900000", ()))
    assert new.holding is not known


def test_the_holder_renews_while_two_thirds_are_left(cluster: Cluster) -> None:
    relay = Relay(cluster, cluster.shards[1], "one", Recorder())
    relay.step()
    left = f"SELECT CAST(expires AS SIGNED) - CAST({sql.NOW} AS SIGNED) FROM mynamo_relay"
    (whole,) = select(relay.shard, left)[0]
    assert lease_module.TTL < 5 - 0.5 - 0.5  # a look twice a second, and one step
    relay.shard.run(("UPDATE mynamo_relay SET expires = expires - 1100000", ()))
    relay.lease.written()  # as if that much time had passed: the shard has not gone back
    relay.step()
    (renewed,) = select(relay.shard, left)[0]
    assert renewed > whole - 1_100_000


def wake_up(zombie: Relay, monkeypatch: pytest.MonkeyPatch, state: RelayState) -> None:
    """Let it go on behind its check of the lease."""
    with monkeypatch.context() as patch:
        patch.setattr(zombie.lease, "hold", lambda: state)
        zombie.step()


def test_a_relay_that_was_replaced_numbers_nothing(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie, successor, recorder = replaced(cluster)
    zombie.shard.run(event_row(cluster, orders, zombie.shard))
    wake_up(zombie, monkeypatch, RelayState(0, 0, waiting=True, restored=False, fencing=False))
    assert not zombie.holding
    assert select(zombie.shard, "SELECT seq FROM mynamo_outbox") == ((None,),)
    assert recorder.events == []
    drain(successor)
    assert broken_promises(recorder.events) == []


@pytest.mark.parametrize("guarded", [True, False])
def test_a_relay_that_was_replaced_does_not_move_the_published_number(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    zombie, _, _ = replaced(cluster)
    shard = zombie.shard
    shard.run(
        event_row(cluster, orders, shard),
        ("UPDATE mynamo_outbox SET seq = 1, previous = 0", ()),
        ("UPDATE mynamo_relay SET last_seq = 1", ()),
    )
    if not guarded:  # the control: as if the guard always matched
        current = select(shard, "SELECT owner, epoch FROM mynamo_relay")[0]
        monkeypatch.setattr(Lease, "guard", property(lambda _: current))
    wake_up(zombie, monkeypatch, RelayState(1, 0, waiting=False, restored=False, fencing=False))
    assert select(shard, "SELECT published_seq FROM mynamo_relay")[0][0] == (0 if guarded else 1)


def test_a_relay_that_gives_up_is_followed_at_once(cluster: Cluster, orders: Table) -> None:
    first, second = (Relay(cluster, cluster.shards[1], n, Recorder()) for n in ("one", "two"))
    first.step()
    second.step()
    assert (first.holding, second.holding) == (True, False)
    first.release()
    second.step()
    assert (first.holding, second.holding) == (False, True)


# -- publishing again, deleting -------------------------------------------------------


def test_publishing_again_repeats_the_same_events(cluster: Cluster, producer: Producer) -> None:
    recorder = Recorder()
    relaying = relays(cluster, recorder)
    for number in range(30):
        put(producer, number)
    drain(*relaying)
    once = len(recorder.events)
    for relay in relaying:
        relay.shard.run(("UPDATE mynamo_relay SET published_seq = LEAST(published_seq, 5)", ()))
    drain(*relaying)
    assert len(recorder.events) == once + 30 - 2 * 5
    assert broken_promises(recorder.events) == []
    assert len(first_time(recorder.events)) == 30


@pytest.mark.parametrize(
    ("more", "broken", "sequences"),
    [
        (False, False, [1, 2, 3, 4, 2, 3, 4]),
        (True, False, [1, 2, 3, 4, 2, 3, 4, 5]),
        (True, True, [1, 2, 3, 4, 5]),
    ],
)
def test_a_request_to_publish_again_while_publishing_is_not_lost(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch,
    more: bool, broken: bool, sequences: list[int],
) -> None:  # fmt: skip
    """Whether how far it came is noted by itself, or with the numbers of what came meanwhile."""
    if broken:  # the control: what it has published counts, whatever was asked for since
        monkeypatch.setattr("mynamo.writer.outbox.relay.is_current", lambda *_: True)

    class Asked(Recorder):
        asking = False

        def send(
            self, messages: Any, while_waiting: Any = lambda: None, timeout: Any = None
        ) -> None:
            super().send(messages, while_waiting)
            if self.asking:
                self.asking = False
                shard.run(("UPDATE mynamo_relay SET published_seq = LEAST(published_seq, 1)", ()))
                if more:
                    shard.run(event_row(cluster, cluster.table("orders"), shard))

    recorder = Asked()
    relay = relays(cluster, recorder)[0]
    shard = relay.shard
    for _ in range(3):
        shard.run(event_row(cluster, cluster.table("orders"), shard))
    drain(relay)
    recorder.asking = True
    shard.run(event_row(cluster, cluster.table("orders"), shard))
    drain(relay)
    assert [event.sequence for event in recorder.events] == sequences
    assert select(shard, "SELECT published_seq FROM mynamo_relay") == ((sequences[-1],),)


def test_rows_go_once_they_are_published_applied_and_old(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mynamo.writer.outbox.cleanup.PAUSE", 0.0)
    monkeypatch.setattr("mynamo.writer.outbox.cleanup.OUTBOX_KEEPS", 3_600.0)
    make_table(cluster, "plain", global_indexes=[])
    relaying = relays(cluster, Recorder())
    for number in range(40):
        put(producer, number)
        producer.put("plain", {"id": str(number), "at": "1"})
    feeding = "SELECT id FROM mynamo_outbox WHERE feeds = 1"
    drain(*relaying)
    assert len(everywhere(cluster, "SELECT id FROM mynamo_outbox")) == 80  # all are too young
    for shard in cluster.shards.values():  # a jump of the server's clock makes nothing old
        shard.run(("UPDATE mynamo_outbox SET created = created - 7200e6", ()))
    drain(*relaying)
    assert len(everywhere(cluster, "SELECT id FROM mynamo_outbox")) == 80
    monkeypatch.setattr("mynamo.writer.outbox.cleanup.OUTBOX_KEEPS", 0.0)
    drain(*relaying)
    # Those that feed no index are gone; the others wait until they are applied.
    assert len(everywhere(cluster, "SELECT id FROM mynamo_outbox")) == 40
    assert len(everywhere(cluster, feeding)) == 40
    for shard in cluster.shards.values():
        shard.run(("UPDATE mynamo_stream SET applied_seq = 10", ()))
    drain(*relaying)
    left = everywhere(cluster, "SELECT MIN(seq) FROM mynamo_outbox")
    assert left == [(11,), (11,)] or all(seq is None or seq > 10 for (seq,) in left)
    for shard in cluster.shards.values():
        shard.run(("UPDATE mynamo_stream SET applied_seq = last_seq", ()))
    drain(*relaying)
    assert everywhere(cluster, "SELECT id FROM mynamo_outbox") == []


NEEDLESS = 6_000
"""Rows of an outbox that nobody needs any more."""


def deletions(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """How many rows each step of a clean-up deletes that has so much time for each."""
    shard = cluster.shards[1]
    row = "(%s, 0, 0, 1, %s, 1, '{}')"
    shard.run(
        ("INSERT INTO mynamo_outbox (seq, part, feeds, table_id, write_id, created, payload)"
         f" VALUES {', '.join([row] * NEEDLESS)}",
         [value for n in range(NEEDLESS) for value in (n + 1, bytes(16))]),
        ("UPDATE mynamo_relay SET last_seq = %s, published_seq = %s", (NEEDLESS, NEEDLESS)),
    )  # fmt: skip
    monkeypatch.setattr("mynamo.writer.outbox.cleanup.PAUSE", 0.0)
    monkeypatch.setattr("mynamo.writer.outbox.cleanup.OUTBOX_KEEPS", 0.0)
    monkeypatch.setattr("mynamo.writer.outbox.cleanup.CHUNK_SECONDS", seconds)
    cleanup = OutboxCleanup(shard)
    assert cleanup.step(busy=True) == 0  # it has just learned what is published
    deleted: list[int] = []
    while sum(deleted) < NEEDLESS:
        deleted.append(cleanup.step(busy=True))
    assert select(shard, "SELECT COUNT(*) FROM mynamo_outbox") == ((0,),)
    return deleted


def test_a_clean_up_deletes_more_in_a_step_than_a_relay_numbers(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(deletions(cluster, monkeypatch, 3_600.0)) > batches.BATCH_ROWS


def test_control_a_clean_up_that_does_not_adapt_falls_behind_its_relay(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(deletions(cluster, monkeypatch, 0.0)) < batches.BATCH_ROWS


def test_large_events_go_in_small_batches(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    class Measured(Recorder):
        def send(
            self, messages: Any, while_waiting: Any = lambda: None, timeout: Any = None
        ) -> None:
            sizes.append(sum(len(message[3]) for message in messages))
            super().send(messages, while_waiting)

    monkeypatch.setattr(relay_module, "BATCH_BYTES", 200_000)
    recorder = Measured()
    for number in range(20):
        put(producer, number, pad="x" * (60_000 if number % 2 else 350_000))
    drain(*relays(cluster, recorder))
    assert broken_promises(recorder.events) == []
    assert len(recorder.events) == 20
    assert max(sizes) < 400_000


# -- plans ----------------------------------------------------------------------------


def test_every_statement_uses_an_index(
    engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Statement] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> Any:
        seen.extend(statements)
        return run(self, *statements)

    with Cluster(engine_config) as cluster:
        make_table(cluster)
        producer = Producer(cluster)
        for number in range(300):
            put(producer, number)
        recorder = Recorder()
        relay = relays(cluster, recorder)[0]
        drain(relay)
        put_on(relay.shard, producer)
        with monkeypatch.context() as patch:
            patch.setattr(Session, "run", noting)
            drain(relay)
            relay.shard.run(("UPDATE mynamo_relay SET published_seq = published_seq - 1", ()))
            drain(relay)
        plans = {
            text: relay.shard.run(("EXPLAIN FORMAT=TRADITIONAL " + text, values))[0].rows
            for text, values in seen
            if "mynamo_outbox" in text
        }
    assert len(plans) >= 5
    for text, plan in plans.items():
        rows = [row for row in plan if "mynamo_outbox" in row or "o" in row]
        assert rows, plan
        for row in rows:
            assert "ALL" not in row, (text, row)
            assert "by_sequence" in row or "PRIMARY" in row, (text, row)
            assert "filesort" not in str(row[-1]), (text, row)


def put_on(shard: DynamoDBShard, producer: Producer) -> None:
    """Put an item that lies on this shard."""
    number = 1000
    while True:
        receipt = producer.put("orders", {"id": str(number), "at": "1"})
        if receipt.shard == shard.id:
            return
        number += 1
