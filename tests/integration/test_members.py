"""Shards that come and go while a cluster is at work, and processes that do not know them all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from mynamo.catalog import definitions, members, roll_forward, sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.members import add_shard
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.slot_guard import READ_EPOCH
from mynamo.catalog.tables import Table
from mynamo.errors import (
    ConfigError,
    CorruptData,
    InvalidRequest,
    InvalidToken,
    ShardNotConfigured,
    ShardUnavailable,
)
from mynamo.gateway.health import Health
from mynamo.gsi_indexer import arrivals
from mynamo.local.state import config_toml
from mynamo.log import Publisher
from mynamo.mysql.pool import Session
from mynamo.operations import lag, verify, wait_until_applied
from mynamo.operations.leaving import remove_shard
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.runtime.crash_points import VARIABLE
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ConsistencyToken
from mynamo.schemas.table import TableSchema
from mynamo.writer.maintenance import Maintenance
from mynamo.writer.outbox.relay import Relay
from mynamo.writer.queue.consumer import WriteQueue
from mynamo.writer.queue.refusals import record_refusals
from tests.commands import run, start
from tests.fake_log import Bench
from tests.intents import place, release
from tests.members import FIRST, NEW, give_slots, member, names, say_nothing
from tests.rows import everywhere, make_table, select
from tests.servers import with_third_shard
from tests.waiting import eventually
from tests.workers import pipeline

MISSING = (
    f"slots {FIRST}-4095 are on shard 3, which the configuration of this process does not name: "
    "add a [[shards]] with id = 3, and start it again"
)
OLD_IDS, NEW_IDS = names("i", False, 6), names("i", True, 4)
OLD_NAMES, NEW_NAMES = names("n", False, 2), names("n", True, 2)


@pytest.fixture
def wide_config(config: ClusterConfig, cluster: Cluster) -> Iterator[ClusterConfig]:
    """With the new shard; the cluster is set up without it."""
    with with_third_shard(config) as wide:
        yield wide


@pytest.fixture
def wide(wide_config: ClusterConfig) -> Iterator[Cluster]:
    """A process that has the new shard in its configuration."""
    with Cluster(wide_config) as opened:
        yield opened


def item(id_: str, name: str) -> dict[str, Any]:
    return {"id": id_, "at": "1", "name": name}


def by_name(cluster: Cluster, name: str) -> set[str]:
    found = Reader(cluster).query_all("orders", name, index="by_name")
    return {str(each["id"]) for each in found}


def is_written(producer: Producer, new: dict[str, Any]) -> bool:
    try:
        producer.put("orders", new)
    except ShardNotConfigured:
        return False
    return True


def has_all_tables(cluster: Cluster) -> None:
    """The new shard has the tables and guards of the catalog's definitions."""
    shard = cluster.shards[NEW]
    there = {name for (name,) in select(shard, "SHOW TABLES")}
    for table in cluster.refresh().tables.values():
        wanted = [sql.main_table(table.id), *map(sql.index_table, table.live_indexes)]
        assert there.issuperset(wanted)
        guard = select(shard, "SELECT version FROM mynamo_fence WHERE id = %s", table.id)
        assert guard == ((table.version,),)


# -- adding ------------------------------------------------------------------------------------


def test_a_shard_is_added_while_everything_is_at_work(
    cluster: Cluster, orders: Table, wide_config: ClusterConfig, wide: Cluster
) -> None:
    """Producer, writer worker and indexers began before the shard was a member."""
    with pipeline(wide_config, indexers=2), Producer(wide) as producer:
        old = [item(id_, OLD_NAMES[0]) for id_ in OLD_IDS]
        for each in old:
            producer.put("orders", each)
        assert wide.shards.keys() == {1, 2}
        with Cluster(wide_config) as command:
            add_shard(command, NEW, say_nothing)
            give_slots(command)
        new = [item(id_, name) for id_ in NEW_IDS for name in NEW_NAMES[:1]]
        new += [item(OLD_IDS[0], NEW_NAMES[1])]
        for each in new[:2]:
            producer.put("orders", each)
        producer.publish(*(producer.queued_put("orders", each) for each in new[2:]))
        eventually(lambda: by_name(wide, NEW_NAMES[0]) == set(NEW_IDS), 60)
        eventually(lambda: by_name(wide, NEW_NAMES[1]) == {OLD_IDS[0]}, 60)
        assert wide.shards.keys() == {1, 2, 3}
        table = wide.table("orders")
        on_new = select(wide.shards[NEW], f"SELECT COUNT(*) FROM {sql.main_table(table.id)}")
        assert on_new == ((len(NEW_IDS),),)
        assert wait_until_applied(wide, 60)
        assert len(list(Reader(wide).scan_all("orders"))) == len(OLD_IDS) + len(NEW_IDS)
        verdict = verify(wide, "orders")
        assert verdict.ok, str(verdict)
        report = lag(wide)
        assert [each.shard for each in report.shards] == [1, 2, 3]
        assert all(each.relay_alive for each in report.shards)
        assert report.complete


def test_it_has_definitions_and_refusals_of_the_others(
    cluster: Cluster, orders: Table, wide: Cluster
) -> None:
    record_refusals(cluster, {b"r" * 16: "no such table"})
    cluster.shards[1].run(
        ("UPDATE mynamo_command SET refused = NULL, version = 7", ())  # applied there
    )
    wide.configured[NEW].run(("SELECT 1", ()))  # nobody looks whose it is yet
    said: list[str] = []
    add_shard(wide, NEW, said.append)
    assert "it is ACTIVE, with 1 tables and 2 indexes; no slots" in said[-1]
    has_all_tables(wide)
    known = "SELECT command_id, version, refused FROM mynamo_command"
    assert select(wide.shards[NEW], known) == ((b"r" * 16, 7, None),)
    assert record_refusals(wide, {b"r" * 16: "again"}) == {b"r" * 16}
    add_shard(wide, NEW, said.append)
    assert said[-1] == "shard 3 is a member already"
    table = make_table(wide, "more")
    has_all_tables(wide)
    assert table.status == "ACTIVE"


@pytest.mark.parametrize("point", ["1", "2", "3", "4"])
def test_a_crash_at_each_step_and_again(
    cluster: Cluster, orders: Table, wide_config: ClusterConfig, tmp_path: Path, point: str
) -> None:
    path = tmp_path / "wide.toml"
    path.write_text(config_toml(wide_config))
    words = [sys.executable, "-m", "mynamo", "--config", str(path), "shard", "add", "3", "--yes"]
    died = subprocess.run(
        words, cwd=Path(__file__).parents[2], check=False, timeout=60,
        env=os.environ | {VARIABLE: f"shard.add.{point}"},
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL
    known = member(cluster)
    assert (known.state if known else None) == [None, "JOINING", "JOINING", "ACTIVE"][
        int(point) - 1
    ]
    with Cluster(wide_config) as opened, Producer(opened) as producer:
        producer.put("orders", {"id": "a", "at": "1"})
        Maintenance(opened).round()
        make_table(opened, "meanwhile")
        definitions.drop_table(opened, "meanwhile")
        make_table(opened, "later")
        assert verify(opened, "orders").items == 1
        add_shard(opened, NEW, say_nothing)
        assert member(opened) == (NEW, "ACTIVE", 1)
        has_all_tables(opened)
        assert select(opened.shards[NEW], READ_EPOCH[0]) == ((1,),)
        give_slots(opened)
        producer.put("orders", item(NEW_IDS[0], "b"))
        assert Reader(opened).get("orders", {"id": NEW_IDS[0], "at": "1"}) is not None


@pytest.mark.parametrize("compared", [True, False], ids=["compared", "control"])
def test_a_definition_that_changes_beside_it_is_not_missed(
    cluster: Cluster,
    orders: Table,
    wide: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    compared: bool,
) -> None:
    """By a process that had read the catalog before the shard was in it, and lost its lock. The
    control: G4 does not compare the catalog's version."""
    copy, activate = members._copy_commands, members._activate
    made: list[int] = []

    def make_one(of: Cluster, shard: DynamoDBShard) -> None:
        copy(of, shard)
        if not made:
            schema = TableSchema.parse({"name": "late", "hash_key": "id"})
            made.append(cluster.catalog.add_table(schema))
            table = cluster.catalog.load().tables[made[0]]
            roll_forward.roll_forward_definition(cluster, table)  # by the members that it knows

    def any_version(id_: int, _: int, session: Session, now: int) -> Any:
        return activate(id_, now, session, now)

    monkeypatch.setattr(members, "_copy_commands", make_one)
    if not compared:
        monkeypatch.setattr(members, "_activate", any_version)
    assert cluster.shards.keys() == {1, 2}
    add_shard(wide, NEW, say_nothing)
    name = sql.main_table(made[0])
    assert (name in {n for (n,) in select(wide.shards[NEW], "SHOW TABLES")}) == compared


def test_what_cannot_be_added(
    config: ClusterConfig, cluster: Cluster, orders: Table, wide_config: ClusterConfig
) -> None:
    def adding(shard: Any, number: int = NEW) -> str:
        shards = (*config.shards, shard.model_copy(update={"id": number}))
        with Cluster(config.model_copy(update={"shards": shards})) as opened:
            with pytest.raises(ConfigError) as caught:
                add_shard(opened, number, say_nothing)
            assert opened.refresh().members.keys() == {1, 2}
        return str(caught.value)

    with pytest.raises(ConfigError, match=r"no shard 3: add a \[\[shards\]\] with id = 3"):
        add_shard(cluster, NEW, say_nothing)
    taken = config.shards[0].model_copy(update={"host": "localhost"})
    assert "this database is shard 1 of this or another cluster" in adding(taken)
    new = wide_config.shards[-1]
    with Cluster(wide_config) as opened:
        opened.configured[NEW].run(("CREATE TABLE customers (id INT)", ()))
    assert "tables of another program (customers)" in adding(new)


def test_the_page_about_adding_a_shard(
    cluster: Cluster, orders: Table, config_file: Path, wide_config: ClusterConfig, tmp_path: Path
) -> None:
    """Processes of the old configuration are replaced one by one, under load, before the shard is
    added (docs/operations.md). No write fails."""
    wide_file = tmp_path / "wide.toml"
    wide_file.write_text(config_toml(wide_config))
    clusters, stop, failures = [cluster], threading.Event(), list[Exception]()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            with Producer(clusters[-1]) as producer:
                id_ = f"w{len(written)}"
                try:
                    producer.put("orders", item(id_, OLD_NAMES[0]))
                except Exception as failure:
                    failures.append(failure)
                written.append(id_)
            stop.wait(0.01)

    def go_on() -> None:
        until = len(written) + (0 if stop.is_set() else 5)
        eventually(lambda: len(written) >= until, 60)
        eventually(lambda: set(written[:until]) <= by_name(clusters[-1], OLD_NAMES[0]), 90)

    with ExitStack() as stack:
        workers: dict[str, subprocess.Popen[Any]] = {}

        def begin(part: str, file: Path) -> None:
            if old := workers.pop(part, None):
                old.terminate()
                assert old.wait(30) == 0
            log = stack.enter_context((tmp_path / f"{part}.log").open("ab"))
            workers[part] = start("--config", str(file), part, stderr=log)

        try:
            for part in ("writer", "indexer"):
                begin(part, config_file)
            thread = threading.Thread(target=write)
            thread.start()
            go_on()
            for part in ("indexer", "writer"):
                begin(part, wide_file)
                go_on()
            clusters.append(stack.enter_context(Cluster(wide_config)))
            run(wide_file, "shard", "add", "3", "--yes")
            assert cluster.shards.keys() == {1, 2}
            go_on()
            relay = "SELECT owner IS NOT NULL FROM mynamo_relay"
            new = clusters[-1].member(NEW)
            eventually(lambda: select(new, relay) == ((1,),))
            stop.set()
            thread.join()
            go_on()
        finally:
            stop.set()
            for process in workers.values():
                process.terminate()
            for process in workers.values():
                process.wait(30)
        assert failures == []
        assert verify(clusters[-1], "orders").ok
        logs = [(tmp_path / f"{part}.log").read_text() for part in ("writer", "indexer")]
        assert not any("Traceback" in text or "does not name" in text for text in logs)


# -- processes whose configuration lacks it ----------------------------------------------------


@pytest.fixture
def narrow(wide: Cluster, orders: Table, config: ClusterConfig) -> Iterator[Cluster]:
    """A process that lacks the new shard, which has been added and has slots."""
    add_shard(wide, NEW, say_nothing)
    give_slots(wide)
    with Cluster(config) as opened:
        yield opened


@pytest.mark.parametrize("began", ["before", "afterwards"])
def test_a_process_without_it_goes_on(
    cluster: Cluster, orders: Table, wide: Cluster, config: ClusterConfig, began: str
) -> None:
    with Producer(cluster) as producer:
        producer.put("orders", item(OLD_IDS[0], "b"))
    add_shard(wide, NEW, say_nothing)
    process = cluster if began == "before" else Cluster(config)
    with process, Producer(process) as producer:
        reader = Reader(process)
        producer.put("orders", item(OLD_IDS[1], "b"))
        producer.put("orders", item(NEW_IDS[0], "b"))  # it has no slots yet
        assert len(list(reader.scan_all("orders"))) == 3
        producer.delete("orders", {"id": NEW_IDS[0], "at": "1"})
        give_slots(wide)
        producer.put("orders", item(OLD_IDS[2], "b"))
        with pytest.raises(ShardNotConfigured) as caught:
            producer.put("orders", item(NEW_IDS[0], "b"))
        assert str(caught.value) == MISSING
        for read in (
            lambda: reader.get("orders", {"id": NEW_IDS[0], "at": "1"}),
            lambda: list(reader.scan_all("orders")),
            lambda: by_name(process, NEW_NAMES[0]),
            lambda: list(reader.transact_get([("orders", {"id": NEW_IDS[0], "at": "1"})])),
        ):
            with pytest.raises(ShardNotConfigured):
                read()
        schema = TableSchema.parse({"name": "more", "hash_key": "id"})
        for change in (
            lambda: definitions.create_table(process, schema),
            lambda: definitions.drop_table(process, "orders"),
            lambda: definitions.drop_index(process, "orders", "by_name"),
            lambda: verify(process, "orders"),
            lambda: wait_until_applied(process),
        ):
            with pytest.raises(ShardNotConfigured, match=r"has shard 3, which .*id = 3"):
                change()
        Maintenance(process).round()
        report = lag(process)
        assert not report.complete
        assert "shard 3 is not in the configuration" in report.notes
        assert reader.get("orders", {"id": OLD_IDS[2], "at": "1"}) is not None
        health = Health(process)
        well, said = health.report()
        assert not well
        assert said["servers"] == {
            "catalog": "ok", "shard 1": "ok", "shard 2": "ok", "shard 3": "not configured",
        }  # fmt: skip
        health.close()
        assert wide.refresh().names.keys() == {"orders"}
        give_slots(wide, 2)  # and back
        eventually(lambda: is_written(producer, item(NEW_IDS[0], "b")))
        assert len(list(reader.scan_all("orders"))) == 4


def test_indexes_are_not_activated_without_it(
    narrow: Cluster, wide: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: whoever looks at the shards that it knows alone finds them all backfilled."""
    with Producer(wide) as producer:
        producer.put("orders", item(NEW_IDS[0], "b"))
    index = TableSchema.parse(
        {"name": "any", "hash_key": "i", "global_indexes": [{"name": "by_at", "hash_key": "at"}]}
    ).global_indexes[0]
    made = definitions.add_index(wide, "orders", index)
    for shard in narrow.shards.values():
        shard.run(("UPDATE mynamo_backfill SET finished = 1", ()))
    for _ in range(3):
        Maintenance(narrow).round()
    assert wide.refresh().names["orders"].index("by_at").status == "CREATING"
    monkeypatch.setattr(Cluster, "lacking", [])
    Maintenance(narrow).round()
    assert wide.refresh().names["orders"].index("by_at").status == "ACTIVE"
    assert made.status == "CREATING"


def test_queued_writes_wait_for_a_process_that_knows_it(
    narrow: Cluster, wide: Cluster, publisher: Publisher
) -> None:
    with Producer(wide) as producer:
        commands = [producer.queued_put("orders", item(id_, "b")) for id_ in OLD_IDS + NEW_IDS]
        producer.publish(*commands)
    queue = WriteQueue(narrow, publisher)
    # An old one may be behind a new one in its partition, and waits too.
    eventually(lambda: queue.step(0.1) == 0 and queue._held, 60)
    for _ in range(3):
        queue.step(0.1)
    assert narrow.lacking == [NEW]
    assert all(shard_id == NEW for _, shard_id in queue._held.values())
    queue.close()
    other = WriteQueue(wide, publisher)
    eventually(lambda: other.step(0.1) is not None and count_of(wide) == len(commands), 60)
    other.close()
    done = everywhere(wide, "SELECT command_id, refused FROM mynamo_applied")
    assert {command_id for command_id, _ in done} == {c.command_id.bytes for c in commands}
    assert all(refused is None for _, refused in done)
    ids = [shard_id for shard_id in wide.shards for _ in select(
        wide.shards[shard_id], "SELECT 1 FROM mynamo_applied")]  # fmt: skip
    assert ids.count(NEW) == len(NEW_IDS)


def count_of(cluster: Cluster) -> int:
    name = sql.main_table(cluster.table("orders").id)
    return sum(rows for (rows,) in everywhere(cluster, f"SELECT COUNT(*) FROM {name}"))


@pytest.mark.parametrize("passed_over", [True, False], ids=["passed over", "control"])
def test_the_indexer_passes_over_what_is_not_configured(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, passed_over: bool
) -> None:
    """And an event of such a shard waits at its offset. The control: it is a dead letter."""
    with Cluster(config) as cluster:
        make_table(cluster, local_indexes=[])
    with with_third_shard(config) as wide_config:
        with Cluster(wide_config) as opened:
            add_shard(opened, NEW, say_nothing)
            give_slots(opened)
        bench = Bench(wide_config, monkeypatch)
        with Cluster(config) as lacking:
            _indexer_passes_over(bench, lacking, monkeypatch, passed_over)
        bench.close()


def _indexer_passes_over(
    bench: Bench, lacking: Cluster, patch: pytest.MonkeyPatch, passed_over: bool
) -> None:
    if not passed_over:

        def is_of_none(cluster: Cluster, shard_id: int) -> bool:
            if shard_id not in cluster.shards:
                raise CorruptData("it is of no shard")
            return False

        patch.setattr(arrivals, "_is_of_removed", is_of_none)
    for id_ in OLD_IDS[:3]:
        bench.producer.put("orders", item(id_, OLD_NAMES[0]))
    bench.producer.put("orders", item(OLD_IDS[3], NEW_NAMES[0]))  # an index row on shard 3
    bench.producer.put("orders", item(OLD_IDS[4], OLD_NAMES[1]))
    bench.publish()
    bench.producer.put("orders", item(NEW_IDS[0], OLD_NAMES[0]))  # an event of shard 3
    bench.publish()
    one = bench.indexer(lacking)
    failures = []
    for _ in range(4):
        try:
            one.step(0)
        except ShardNotConfigured as failure:
            failures.append(str(failure))
    assert by_name(bench.cluster, OLD_NAMES[0]) == set(OLD_IDS[:3])
    assert by_name(bench.cluster, OLD_NAMES[1]) == {OLD_IDS[4]}
    assert by_name(bench.cluster, NEW_NAMES[0]) == set()
    if not passed_over:
        assert len(bench.log.dead_letters) == 1
        return
    assert "the cluster has shard 3, which the configuration" in failures[0]
    assert bench.log.dead_letters == []
    one.close()
    (consumer,) = bench.consumers
    table = bench.cluster.table("orders")
    missed = bench.cluster.route(table.id, table.key_only({"id": {"S": OLD_IDS[3]},
                                                           "at": {"S": "1"}}).hash)  # fmt: skip
    offsets = {place.partition: offset for place, offset in consumer.committed.items()}
    assert missed.partition not in offsets
    another = bench.indexer()
    consumer = bench.consumers[-1]
    consumer.begin_at(bench.consumers[0].committed)
    bench.catch_up(another)
    assert by_name(bench.cluster, NEW_NAMES[0]) == {OLD_IDS[3]}
    assert by_name(bench.cluster, OLD_NAMES[0]) == {*OLD_IDS[:3], NEW_IDS[0]}
    assert verify(bench.cluster, "orders").ok


def test_an_indexer_at_work_learns_of_a_new_shard(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its first event, and, where Kafka has lost all of them, by asking now and then."""
    with Cluster(config) as cluster:
        make_table(cluster, local_indexes=[])
    monkeypatch.setattr("mynamo.gsi_indexer.lost_events._MEMBERS_EVERY", 0.0)
    with with_third_shard(config) as wide_config:
        bench = Bench(wide_config, monkeypatch)
        own = bench.open_cluster()
        one = bench.indexer(own)
        one.step(0)
        add_shard(bench.cluster, NEW, say_nothing)
        give_slots(bench.cluster)
        shard = bench.cluster.shards[NEW]
        bench.relays.append(Relay(bench.cluster, shard, "bench-3", bench.log))  # type: ignore[arg-type]
        bench.producer.put("orders", item(NEW_IDS[0], OLD_NAMES[0]))
        bench.publish()
        bench.log.wipe()
        eventually(lambda: one.step(0) == 0 and NEW in own.shards, 20)

        def applied() -> bool:
            bench.publish()
            one.step(0)
            return by_name(bench.cluster, OLD_NAMES[0]) == {NEW_IDS[0]}

        eventually(applied, 20)
        bench.close()


# -- a shard that goes back in time ------------------------------------------------------------


@pytest.mark.parametrize("raised", [True, False], ids=["raised", "control"])
def test_a_new_incarnation_lets_no_old_map_in(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch, raised: bool
) -> None:
    """A2 raises the slot guard, before anybody relays. The control: it does not."""
    cluster.catalog.decide(lambda *_: [("UPDATE mynamo_shards SET epoch = 9", ())])
    if not raised:
        monkeypatch.setattr("mynamo.catalog.incarnation.raise_epoch", lambda _: ("DO 0", ()))
    cluster.shards[1].adopt(7)
    assert select(cluster.shards[1], READ_EPOCH[0]) == ((9 if raised else 1,),)


# -- removing ----------------------------------------------------------------------------------


def test_a_shard_is_removed_again(
    narrow: Cluster, wide: Cluster, config: ClusterConfig, config_file: Path
) -> None:
    with pytest.raises(InvalidRequest, match=f"has slots {FIRST}-4095"):
        remove_shard(wide, NEW, say_nothing)
    with Producer(wide) as producer:
        token = str(producer.put("orders", item(NEW_IDS[0], "b")).token)
        producer.delete("orders", {"id": NEW_IDS[0], "at": "1"})
    give_slots(wide, 2)
    with pytest.raises(ShardNotConfigured):
        remove_shard(narrow, NEW, say_nothing)
    assert member(wide) == (NEW, "ACTIVE", 3)
    with pytest.raises(ShardUnavailable, match=r"is LEAVING, .* 2 changes are not published"):
        remove_shard(wide, NEW, say_nothing, timeout=0.1)
    assert [member(wide, n) for n in (1, 2, NEW)] == [
        (1, "ACTIVE", 4), (2, "ACTIVE", 4), (NEW, "LEAVING", 4),
    ]  # fmt: skip
    assert everywhere(wide, READ_EPOCH[0]) == [(4,)] * 3
    wide.shards[NEW].run(("DELETE FROM mynamo_outbox", ()))
    table = wide.table("orders")
    intent = place(wide, table, item(OLD_IDS[0], "b"), decider=NEW)
    with pytest.raises(ShardUnavailable, match="has 1 intents that it decides"):
        remove_shard(wide, NEW, say_nothing, timeout=0.1)
    release(wide, table, intent)
    said: list[str] = []
    remove_shard(wide, NEW, said.append)
    assert said[-1] == "shard 3: it is REMOVED, and may leave the configuration"
    assert wide.shards.keys() == {1, 2}
    remove_shard(wide, NEW, said.append)
    assert said[-1] == "shard 3 is removed already"
    with pytest.raises(InvalidRequest, match="its number is not given again"):
        add_shard(wide, NEW, say_nothing)
    # Who lacks it lacks nothing any more.
    assert narrow.refresh().members[NEW].state == "REMOVED"
    assert narrow.lacking == []
    make_table(narrow, "more")
    reader = Reader(narrow)
    assert list(reader.query_all("orders", "b", index="by_name", after=token)) == []
    unknown = str(replace(ConsistencyToken.parse(token), shard=4))
    with pytest.raises(InvalidToken):
        list(reader.query_all("orders", "b", index="by_name", after=unknown))
    listed = orjson.loads(run(config_file, "shard", "list", "--json").stdout)
    assert [(each["shard"], each["state"], each["slots"]) for each in listed] == [
        (1, "ACTIVE", 2048), (2, "ACTIVE", 2048), (NEW, "REMOVED", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("point", ["2", "3", "4"])
def test_a_removal_that_ends_half_way_goes_on(
    wide: Cluster, orders: Table, wide_config: ClusterConfig, tmp_path: Path, point: str
) -> None:
    add_shard(wide, NEW, say_nothing)
    path = tmp_path / "wide.toml"
    path.write_text(config_toml(wide_config))
    died = subprocess.run(
        [sys.executable, "-m", "mynamo", "--config", str(path), "shard", "remove", "3"],
        cwd=Path(__file__).parents[2], check=False, timeout=60,
        env=os.environ | {VARIABLE: f"shard.remove.{point}"},
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL
    known = member(wide)
    assert known is not None
    assert known.state == ("REMOVED" if point == "4" else "LEAVING")
    with Producer(wide) as producer:
        producer.put("orders", item("a", "b"))
    remove_shard(wide, NEW, say_nothing)
    assert member(wide) == (NEW, "REMOVED", 2)


# -- commands ----------------------------------------------------------------------------------


def test_the_commands(
    cluster: Cluster, orders: Table, wide_config: ClusterConfig, tmp_path: Path
) -> None:
    path = tmp_path / "wide.toml"
    path.write_text(config_toml(wide_config))
    with Producer(cluster) as producer:
        producer.put("orders", item("a", "b"))
    refused = run(path, "shard", "add", "3", input="n\n", status=1)
    assert "Is shard 3 in the configuration of every process" in refused.output
    assert "no member" in run(path, "shard", "list").stdout
    assert "it is ACTIVE" in run(path, "shard", "add", "3", "--yes").stdout
    listed = run(path, "shard", "list").stdout
    assert listed.count("ACTIVE") == 3
    assert "2048 (50%)" in listed
    as_json = orjson.loads(run(path, "shard", "list", "--json").stdout)
    assert [each["items"] for each in as_json][-1] == 0
    assert sum(each["items"] for each in as_json) == 1
    assert all(each["trouble"] == "" and each["lag"] >= 0 for each in as_json)
    assert "it is REMOVED" in run(path, "shard", "remove", "3").stdout
