"""Enabling transactions over several shards, and moves of slots, beside processes of earlier
releases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from mynamo.catalog import enabling, shard
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import (
    EXPIRY,
    MOVES,
    NEWEST,
    STREAMS,
    TRANSACTIONS,
    Feature,
    check_enabled,
    enable,
)
from mynamo.catalog.incarnation import base
from mynamo.catalog.members import add_shard
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.roll_forward import roll_forward_shard
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.slot_guard import READ_EPOCH, SlotsMoved
from mynamo.catalog.tables import Table
from mynamo.errors import ConfigError, InvalidRequest, ShardUnavailable
from mynamo.mysql.failures import MissingRight
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.producer import Producer, Put
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.writer.maintenance import Maintenance
from tests.commands import run
from tests.earlier_process import EarlierProcess
from tests.faults.releases import FORMAT_2, FORMAT_3, PREVIOUS, check_out, why_no_release
from tests.rows import as_earlier, everywhere, in_catalog, make_table, select

KEY = {"id": "a", "at": "1"}


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


def say_nothing(_: str) -> None:
    pass


def guards(cluster: Cluster) -> list[int]:
    """Of all shards."""
    return [select(each, READ_EPOCH[0])[0][0] for each in cluster.shards.values()]


def is_known(cluster: Cluster, feature: Feature = TRANSACTIONS) -> bool:
    """Whether `mynamo_format` says of every shard that older processes must not work."""
    rows = everywhere(cluster, "SELECT oldest FROM mynamo_format WHERE kind = 'shard'")
    return rows == [(feature.shards,)] * len(cluster.shards)


def over_several_shards(cluster: Cluster, table: Table) -> list[Put]:
    """A transaction's writes, of an item for each shard."""
    items = ({"id": f"i{n}", "at": "1"} for n in range(100))
    found = {cluster.shard_of(table.key_of(to_stored(item)).hash).id: item for item in items}
    assert found.keys() == cluster.shards.keys()
    return [Put(table.name, item) for item in found.values()]


def enabled(cluster: Cluster, feature: Feature = TRANSACTIONS) -> None:
    """Everything is as `enable` leaves it, and the cluster is at work."""
    snapshot = cluster.refresh()
    assert snapshot.format == feature.catalog
    assert guards(cluster) == [snapshot.epochs[number] for number in cluster.shards]
    assert is_known(cluster, feature)
    recorded = in_catalog(cluster.config, "SELECT shard_id, state, epoch FROM mynamo_shards")
    members = tuple((number, "ACTIVE", epoch) for number, epoch in snapshot.epochs.items())
    assert recorded == (members if feature.catalog >= MOVES.catalog else ())
    Producer(cluster).put("orders", KEY)
    assert Reader(cluster).get("orders", KEY) == KEY


# -- new clusters, and those of before ---------------------------------------------------------


def test_a_new_cluster_allows_them(cluster: Cluster, orders: Table) -> None:
    enabled(cluster, NEWEST)
    for feature in (TRANSACTIONS, MOVES, EXPIRY, STREAMS):
        check_enabled(cluster, feature)
        said: list[str] = []
        enable(cluster, said.append, feature)
        assert "catalog: it has format 6 already" in said
        assert guards(cluster) == [1, 1]
        enabled(cluster, NEWEST)


def test_until_it_is_enabled_a_cluster_of_before_stays_as_it_is(
    config: ClusterConfig, cluster: Cluster, orders: Table
) -> None:
    as_earlier(cluster)
    with Cluster(config) as opened, Producer(opened) as producer:
        assert opened.snapshot.format == 2
        with pytest.raises(InvalidRequest, match="`mynamo transaction enable`"):
            producer.transact(over_several_shards(opened, orders))
        producer.transact([Put("orders", KEY)])
        Maintenance(opened).round()
        assert opened.refresh().format == 2
        assert guards(opened) == [1, 1]
        assert not is_known(opened)
        enable(cluster, say_nothing)
        writes = over_several_shards(opened, orders)
        producer.transact(writes)  # though it has not heard of it yet
        items = [dict(put.item) for put in writes]
        assert Reader(opened).transact_get([("orders", item) for item in items]) == items
        enabled(opened)


def test_the_command_says_what_it_did(config_file: Path, cluster: Cluster, orders: Table) -> None:
    as_earlier(cluster)
    first = run(config_file, "transaction", "enable").stdout
    assert "catalog: format 3; from now on processes of earlier releases refuse" in first
    assert first.count("its slot guard is raised\n") == 2
    enabled(cluster)
    assert guards(cluster) == [2, 2]
    again = run(config_file, "transaction", "enable").stdout
    assert "catalog: it has format 3 already" in again
    assert again.count("its slot guard is raised already\n") == 2
    assert guards(cluster) == [2, 2]


@pytest.mark.parametrize("format_", [2, 3])
def test_moves_are_enabled_in_clusters_of_before(
    config: ClusterConfig, config_file: Path, cluster: Cluster, orders: Table, format_: int
) -> None:
    as_earlier(cluster, format_)
    with Cluster(config) as opened, Producer(opened) as producer:
        with pytest.raises(InvalidRequest, match="`mynamo shard enable`"):
            add_shard(opened, 3, say_nothing)
        Maintenance(opened).round()
        assert opened.refresh().format == format_
        assert guards(opened) == [1, 1]
        first = run(config_file, "shard", "enable").stdout
        assert "catalog: format 4; from now on processes of earlier releases refuse" in first
        assert first.count("its slot guard is raised\n") == 2
        producer.transact(over_several_shards(opened, orders))
        enabled(opened, MOVES)
        assert guards(cluster) == [2, 2]
        again = run(config_file, "shard", "enable").stdout
        assert "catalog: it has format 4 already" in again
        assert again.count("its slot guard is raised already\n") == 2
        with pytest.raises(ConfigError, match="names no shard 3"):
            add_shard(opened, 3, say_nothing)


@pytest.mark.parametrize("feature", [TRANSACTIONS, MOVES], ids=["transactions", "moves"])
def test_several_at_once_raise_epochs_once(
    config: ClusterConfig, cluster: Cluster, feature: Feature
) -> None:
    make_table(cluster)
    as_earlier(cluster)
    clusters = [Cluster(config) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda each: enable(each, say_nothing, feature), clusters))
    for each in clusters:
        enabled(each, feature)
        each.close()
    assert guards(cluster) == [2, 2]


# -- what can stop it half-way -----------------------------------------------------------------


class Ended(BaseException):
    """The process ends here."""


def by_the_command(cluster: Cluster, feature: Feature) -> None:
    enable(cluster, say_nothing, feature)


def by_a_worker(cluster: Cluster, _: Feature) -> None:
    Maintenance(cluster).round()


@pytest.mark.parametrize("feature", [TRANSACTIONS, MOVES], ids=["transactions", "moves"])
@pytest.mark.parametrize("goes_on", [by_the_command, by_a_worker])
@pytest.mark.parametrize("done", [0, 1], ids=["E2", "E3 on one shard"])
def test_a_crash_half_way(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
    done: int,
    goes_on: Callable[[Cluster, Feature], None],
    feature: Feature,
) -> None:
    as_earlier(cluster)
    raise_slot_guard = enabling.raise_slot_guard

    def end(cluster: Cluster, shard: DynamoDBShard) -> bool:
        if shard.id > done:
            raise Ended
        return raise_slot_guard(cluster, shard)

    with monkeypatch.context() as patch:
        patch.setattr(enabling, "raise_slot_guard", end)
        with pytest.raises(Ended):
            enable(cluster, say_nothing, feature)
    assert guards(cluster) == [2] * done + [1] * (2 - done)
    hasty = config.model_copy(update={"timeout": 1.0})
    with Cluster(hasty) as opened, pytest.raises(SlotsMoved):  # on some shard
        Reader(opened).scan("orders")
    with Cluster(config) as opened:
        goes_on(opened, feature)
        enabled(opened, feature)
    enabled(cluster, feature)
    assert guards(cluster) == [2, 2]


def test_nothing_changes_if_a_shard_lacks_the_control_tables(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table(cluster)
    as_earlier(cluster)
    cluster.shards[2].run(("UPDATE mynamo_format SET number = 1 WHERE kind = 'shard'", ()))
    session_run = Session.run

    def without_rights(self: Session, *statements: Statement) -> list[Result]:
        if any("CREATE TABLE" in text for text, _ in statements):
            raise MissingRight("the user lacks a right")
        return session_run(self, *statements)

    with Cluster(config) as opened:
        with monkeypatch.context() as patch:
            patch.setattr(Session, "run", without_rights)
            with pytest.raises(ConfigError, match=r"nothing was changed: shard 2 .* format 1 "):
                enable(opened, say_nothing)
        with monkeypatch.context() as patch:
            patch.setattr(shard, "migrate", lambda *_: None)  # a connection of before
            with pytest.raises(ConfigError, match=r"nothing was changed: shard 2 .* format 1,"):
                enable(opened, say_nothing)
        assert opened.refresh().format == 2
        assert guards(opened) == [1, 1]
    with Cluster(config) as opened:  # whose user may
        enable(opened, say_nothing)
    enabled(cluster)


def test_a_shard_that_is_away(
    config: ClusterConfig, cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_earlier(cluster)
    first, second = config.shards
    nowhere = config.model_copy(
        update={"shards": (first, second.model_copy(update={"port": 1})), "timeout": 0.2}
    )
    with Cluster(nowhere) as opened:
        with pytest.raises(ShardUnavailable, match="nothing was changed: shard 2 "):
            enable(opened, say_nothing)
        assert opened.refresh().format == 2
        with monkeypatch.context() as patch:  # it goes away behind E1
            patch.setattr(enabling, "_check_formats", lambda *_: None)
            with pytest.raises(ShardUnavailable, match=r"not done yet: shard 2 .*run the command"):
                enable(opened, say_nothing)
    assert guards(cluster) == [2, 1]
    Maintenance(cluster).round()
    enabled(cluster)


@pytest.mark.parametrize("feature", [TRANSACTIONS, MOVES], ids=["transactions", "moves"])
@pytest.mark.parametrize("how", ["new incarnation", "writer worker"])
def test_a_shard_that_goes_back_to_before(
    cluster: Cluster, orders: Table, how: str, feature: Feature
) -> None:
    """Its incarnation may have been begun by an older process, which left the generation alone."""
    as_earlier(cluster)
    worker = Maintenance(cluster)
    enable(cluster, say_nothing, feature)
    worker.round()
    one = cluster.shards[1]
    begun = one.adopt(7)
    assert begun is not None
    one.run(
        ("UPDATE mynamo_fence SET version = 1 WHERE id IN (0, %s)", (GENERATION_ROW,)),
        ("UPDATE mynamo_format SET oldest = 0 WHERE kind = 'shard'", ()),
    )
    if how == "new incarnation":
        roll_forward_shard(cluster, one)
    else:
        worker.round()
    enabled(cluster, feature)
    read = "SELECT version FROM mynamo_fence WHERE id = %s"
    assert select(one, read, GENERATION_ROW) == ((base(begun),),)


# -- processes of earlier releases -------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "feature"),
    [(PREVIOUS, TRANSACTIONS), (FORMAT_2, TRANSACTIONS), (FORMAT_2, MOVES), (FORMAT_3, MOVES)],
)
def test_processes_of_earlier_releases_work_until_it_is_enabled(
    config: ClusterConfig, config_file: Path, tmp_path: Path, reference: str, feature: Feature
) -> None:
    if reason := why_no_release(reference):
        pytest.skip(f"the earlier release comes from git: {reason}")
    start = partial(EarlierProcess, check_out(tmp_path / "earlier", reference), config_file)
    newer = feature.catalog
    with start() as old, start() as idle:
        assert old.opened == idle.opened == "open"
        with Cluster(config) as cluster:
            make_table(cluster)
            assert cluster.snapshot.format == (3 if reference == FORMAT_3 else 2)
            assert [old.do(word) for word in ("put", "get", "refresh")] == ["done"] * 3

            assert cluster.catalog.raise_format(newer)  # E2
            # The control: until E3 nothing stops those that do not read the catalog.
            assert [old.do(word) for word in ("put", "get")] == ["done"] * 2
            assert "upgrade" in old.do("refresh")

            enable(cluster, say_nothing, feature)
            enabled(cluster, feature)
        refused = ["put"] if reference == PREVIOUS else ["put", "get"]
        for word in refused:
            # As the catalog says, or a shard to which it has a new connection.
            assert "which this version of mynamo" in idle.do(word)
    with start() as late:
        assert "upgrade" in late.opened
    assert in_catalog(config, "SELECT format FROM mynamo_cluster") == ((newer,),)
