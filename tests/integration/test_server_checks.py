"""Servers that would lose what they acknowledged, or are no primaries, are found at start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.errors import ShardUnavailable
from mynamo.local import LocalMySQL
from mynamo.mysql import server_checks
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from tests.rows import make_table

Root = Callable[..., tuple[tuple[object, ...], ...]]


@pytest.fixture(autouse=True)
def say_everything_again() -> Iterator[None]:
    server_checks.forget_warnings()
    yield
    server_checks.forget_warnings()


@pytest.fixture
def root(engine_servers: LocalMySQL) -> Iterator[Root]:
    """Runs a statement as the server's administrator."""
    connection = engine_servers.connect_root()

    def run(statement: str) -> tuple[tuple[object, ...], ...]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    yield run
    connection.close()


@contextmanager
def setting(root: Root, **values: object) -> Iterator[None]:
    """Change global settings for a while."""
    with ExitStack() as stack:
        for name, value in values.items():
            ((before,),) = root(f"SELECT @@GLOBAL.{name}")
            quoted = f"'{before}'" if isinstance(before, str) else before
            root(f"SET GLOBAL {name} = {value}")
            stack.callback(root, f"SET GLOBAL {name} = {quoted}")
        yield


def work(config: ClusterConfig) -> None:
    """Use the catalog and every shard."""
    with Cluster(config) as cluster:
        for shard in cluster.shards.values():
            shard.run(("SELECT 1", ()))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_servers_that_mynamo_starts_are_fit(
    engine_config: ClusterConfig, caplog: pytest.LogCaptureFixture
) -> None:
    work(engine_config)
    assert said(caplog) == []


def test_settings_that_lose_writes_are_said_once_with_their_remedy(
    engine_config: ClusterConfig, root: Root, caplog: pytest.LogCaptureFixture
) -> None:
    place = f"{engine_config.catalog.host}:{engine_config.catalog.port}"
    with setting(root, innodb_flush_log_at_trx_commit=2, sync_binlog=0, max_allowed_packet=2**24):
        work(engine_config)
        work(engine_config)
    flush, binlog, packet = said(caplog)
    how = "SET PERSIST" if "MariaDB" not in str(root("SELECT VERSION()")) else "SET GLOBAL"
    assert place in flush
    assert "innodb_flush_log_at_trx_commit is 2: acknowledged writes can be lost" in flush
    assert f"{how} innodb_flush_log_at_trx_commit = 1" in flush
    assert "sync_binlog is 0" in binlog
    assert f"{how} sync_binlog = 1" in binlog
    assert f"max_allowed_packet = {2**26}" in packet


def test_what_only_costs_speed_is_said_at_level_info(
    engine_config: ClusterConfig, root: Root, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mynamo.mysql.server_checks")
    work(engine_config)
    assert "binlog_row_image" not in caplog.text
    with setting(root, binlog_row_image="'FULL'"):
        server_checks.forget_warnings()
        work(engine_config)
    assert said(caplog) == []
    assert "binlog_row_image is FULL" in caplog.text
    assert "binlog_row_image = MINIMAL" in caplog.text


def test_control_without_the_look_nothing_is_said(
    engine_config: ClusterConfig,
    root: Root,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_checks, "RULES", ())
    with setting(root, innodb_flush_log_at_trx_commit=2):
        work(engine_config)
    assert said(caplog) == []


def test_a_read_only_server_is_refused_until_it_is_the_primary(
    engine_config: ClusterConfig, root: Root
) -> None:
    with Cluster(engine_config) as cluster:
        make_table(cluster)
    with setting(root, read_only="ON"), pytest.raises(ShardUnavailable, match="is read-only"):
        Cluster(engine_config)
    work(engine_config)


def test_a_server_that_became_read_only_is_not_read_either(
    engine_config: ClusterConfig, root: Root
) -> None:
    """After a failover the address may lead to a replica, whose answers are old."""
    with Cluster(engine_config) as cluster, Producer(cluster) as producer:
        make_table(cluster)
        producer.put("orders", {"id": "a", "at": "1"})
        with setting(root, read_only="ON"):
            for shard in cluster.shards.values():
                with shard.session() as session:
                    session.broken = True  # its next connection is a new one
                with pytest.raises(ShardUnavailable, match="is read-only"):
                    shard.run(("SELECT 1", ()))
        producer.put("orders", {"id": "a", "at": "2"})


@contextmanager
def following(root: Root, mariadb: bool) -> Iterator[None]:
    """Make the server a replica, of a source that does not answer."""
    change, stop = ("CHANGE REPLICATION SOURCE TO SOURCE", "REPLICA")
    if mariadb:
        change, stop = ("CHANGE MASTER TO MASTER", "SLAVE")
    prefix = change.rpartition(" ")[2]
    root(f"{change}_HOST='127.0.0.1', {prefix}_PORT=1, {prefix}_USER='x', {prefix}_PASSWORD='x'")
    root(f"START {stop}")
    try:
        yield
    finally:
        root(f"STOP {stop}")
        root(f"RESET {stop} ALL")


def test_a_replica_is_refused_and_a_promoted_one_warned_about(
    engine_config: ClusterConfig, root: Root, caplog: pytest.LogCaptureFixture
) -> None:
    mariadb = "MariaDB" in str(root("SELECT VERSION()"))
    right = "SLAVE MONITOR" if mariadb else "REPLICATION CLIENT"
    user = f"'{engine_config.catalog.user}'@'localhost'"
    accounts = root(f"SELECT CONCAT('''', user, '''@''', host, '''') FROM mysql.user"
                    f" WHERE user = '{engine_config.catalog.user}'")  # fmt: skip
    assert accounts, user
    for (account,) in accounts:
        root(f"GRANT {right} ON *.* TO {account}")
    try:
        with following(root, mariadb):
            with pytest.raises(ShardUnavailable, match=r"is a replica of 127\.0\.0\.1:1 \(lag"):
                Cluster(engine_config)
            root(f"STOP {'SLAVE' if mariadb else 'REPLICA'}")
            work(engine_config)
        (promoted,) = said(caplog)
        assert "was a replica of 127.0.0.1:1" in promoted
        assert "RESET REPLICA ALL" in promoted
    finally:
        for (account,) in accounts:
            root(f"REVOKE {right} ON *.* FROM {account}")


def test_who_may_not_ask_for_replication_goes_on(
    engine_config: ClusterConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "mynamo.mysql.server_checks"):
        work(engine_config)
    assert "whether it is a replica is not known" in caplog.text
    assert said(caplog) == []


def test_tables_without_transactions_are_refused(engine_config: ClusterConfig, root: Root) -> None:
    with Cluster(engine_config):
        pass
    root(f"ALTER TABLE `{engine_config.shards[0].database}`.mynamo_checkpoint ENGINE = MyISAM")
    with Cluster(engine_config) as cluster, pytest.raises(ShardUnavailable, match="ENGINE = Inno"):
        cluster.shards[1].run(("SELECT 1", ()))


def test_sessions_that_forget_what_they_were_told_are_refused(
    engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a proxy that deals statements out to connections of its own."""
    monkeypatch.setattr("mynamo.mysql.pool.SESSION_SETTINGS", ("SET SESSION time_zone = '+00:00'",))
    with pytest.raises(ShardUnavailable, match="READ in a session that was told otherwise"):
        Cluster(engine_config)
