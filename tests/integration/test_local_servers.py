"""The servers that mynamo runs on one machine: they start, keep data, and never stay behind."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from mynamo.errors import LocalServerError
from mynamo.local import Broker, EmbeddedBroker, LocalCluster, LocalMySQL, free_port, mysql_files
from mynamo.local.process import ServerProcess, belongs_to
from mynamo.schemas.config import ClusterConfig

pytestmark = pytest.mark.slow

LARGE = 1_500_000


def rows(server: LocalMySQL, database: str) -> list[int]:
    with server.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM t ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def insert(server: LocalMySQL, database: str, number: int) -> None:
    with server.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY) ENGINE=InnoDB")
        cursor.execute("INSERT INTO t VALUES (%s)", (number,))


def test_data_survives_stop_and_kill(engine_servers: LocalMySQL) -> None:
    server = engine_servers
    server.create_database("mynamo_survival")
    insert(server, "mynamo_survival", 1)
    server.kill()
    assert not server.running
    server.start()
    insert(server, "mynamo_survival", 2)
    server.restart()
    assert rows(server, "mynamo_survival") == [1, 2]
    server.drop_database("mynamo_survival")


def test_servers_share_no_identity_and_no_keys(
    engine_servers: LocalMySQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the second one's data folder is a copy of what the first one has made."""
    engine, cache = engine_servers.engine, tmp_path / "cache"
    monkeypatch.setattr(mysql_files, "cache_folder", lambda: cache)
    servers = [LocalMySQL(engine, tmp_path / name, free_port()) for name in ("one", "two")]
    own = []
    for server in servers:
        with server:
            own.append(
                {
                    path.name: path.read_bytes()
                    for path in (server.data_dir / "data").iterdir()
                    if path.name == "auto.cnf" or path.suffix == ".pem"
                }
            )
    (pattern,) = cache.iterdir()
    assert not [path for path in pattern.iterdir() if path.name in own[0]]
    assert own[0].keys() == own[1].keys()
    assert bool(own[0]) == (engine.kind == "mysql")
    assert all(own[0][name] != own[1][name] for name in own[0])


def test_accounts_reach_no_further_than_they_must(engine_servers: LocalMySQL) -> None:
    with engine_servers.connect() as connection, connection.cursor() as cursor:
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("CREATE DATABASE other")
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("CREATE DATABASE mynamoXother")
    with pytest.raises(pymysql.err.OperationalError):
        pymysql.connect(host="127.0.0.1", port=engine_servers.port, user="root")
    with engine_servers.connect_root() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT host FROM mysql.user WHERE user IN ('root', '')")
        assert cursor.fetchall() == (("localhost",),)
    assert (engine_servers.data_dir / "passwords.json").stat().st_mode & 0o077 == 0


def test_every_commit_is_on_disk_first(engine_servers: LocalMySQL) -> None:
    with engine_servers.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@log_bin")
        assert cursor.fetchall() == ((1, 1, 1),)


def test_a_taken_port_is_named(engine_servers: LocalMySQL, tmp_path: Path) -> None:
    other = LocalMySQL(engine_servers.engine, tmp_path / "other", engine_servers.port)
    with pytest.raises(LocalServerError, match=f"port {engine_servers.port} .* is taken"):
        other.start()


def test_broker_round_trip(kafka_servers: Broker) -> None:
    address = kafka_servers.bootstrap_servers
    admin = KafkaAdminClient(bootstrap_servers=address)
    topic = NewTopic("round-trip", 2, 1, topic_configs={"max.message.bytes": str(4 * LARGE)})
    admin.create_topics([topic])
    admin.close()
    producer = KafkaProducer(
        bootstrap_servers=address, max_request_size=4 * LARGE, enable_idempotence=True, acks="all"
    )
    value = os.urandom(LARGE)
    producer.send("round-trip", value, key=b"k", headers=[("table", b"7")], partition=1).get(30)
    producer.close()
    consumer = KafkaConsumer(
        "round-trip",
        bootstrap_servers=address,
        group_id="readers",
        session_timeout_ms=6_000,
        auto_offset_reset="earliest",
        consumer_timeout_ms=30_000,
    )
    record = next(consumer)
    consumer.close()
    assert (record.key, record.headers, record.partition) == (b"k", [("table", b"7")], 1)
    assert record.value == value


def test_broker_restarts_on_its_port(kafka_servers: Broker) -> None:
    port = kafka_servers.port
    kafka_servers.kill()
    kafka_servers.start()
    admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
    assert admin.describe_cluster()["brokers"]
    admin.close()


def test_no_server_outlives_a_killed_parent(engine_servers: LocalMySQL, tmp_path: Path) -> None:
    # Started from a thread that ends at once: the server must live on with the process.
    program = (
        "import sys, threading\n"
        "from mynamo.local import LocalMySQL, find_engine, free_port\n"
        f"server = LocalMySQL(find_engine({engine_servers.engine.kind!r}), "
        f"{str(tmp_path)!r}, free_port())\n"
        "starter = threading.Thread(target=server.start)\n"
        "starter.start(); starter.join()\n"
        "server.connect().close()\n"
        "print(server.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        try:
            assert not select.select([handle], [], [], 0)[0], "the server ended with its thread"
            parent.kill()
            assert select.select([handle], [], [], 30)[0], "the server outlived its parent"
        finally:
            os.close(handle)


def test_servers_start_side_by_side(
    private_cluster: Callable[..., LocalCluster], engine_servers: LocalMySQL
) -> None:
    """A starting MariaDB deletes temporary tables of others in a folder that they share."""
    cluster = private_cluster(4, engine_servers.engine.kind, buffer_pool="64M")
    assert cluster.running
    assert cluster.engine == engine_servers.engine


@pytest.fixture
def sleeper(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process in a folder, as an earlier run might have left it there."""
    sleep = shutil.which("sleep")
    assert sleep
    return subprocess.Popen([sleep, "600"], cwd=tmp_path)


def test_leftover_of_an_earlier_run_is_ended(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (tmp_path / "thing.pid").write_text(str(sleeper.pid))
    assert ServerProcess("thing", tmp_path).end_leftover() == sleeper.pid
    assert sleeper.wait(10) == -signal.SIGTERM
    assert not (tmp_path / "thing.pid").exists()


def test_a_leftover_is_known_by_its_folder_even_without_a_command_line(tmp_path: Path) -> None:
    """Every process is like that for a moment while it begins another program."""
    cat = shutil.which("cat")
    assert cat
    with subprocess.Popen([""], executable=cat, stdin=subprocess.PIPE, cwd=tmp_path) as nameless:
        assert belongs_to(nameless.pid, tmp_path)
        assert not belongs_to(nameless.pid, tmp_path / "elsewhere")
        nameless.kill()
        os.waitid(os.P_PID, nameless.pid, os.WEXITED | os.WNOWAIT)
        assert not belongs_to(nameless.pid, tmp_path)  # ended, and awaits its parent


def test_a_stranger_with_the_same_pid_is_left_alone(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thing.pid").write_text(str(sleeper.pid))
    assert not belongs_to(sleeper.pid, elsewhere)
    assert ServerProcess("thing", elsewhere).end_leftover() is None
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    process = ServerProcess("broken", tmp_path)
    command = [sys.executable, "-c", "raise SystemExit('the disk is on fire')"]
    with pytest.raises(LocalServerError, match=r"status 1(.|\n)*the disk is on fire"):
        process.start(command, ready=lambda: False, timeout=30)
    assert not process.running


def test_a_folder_serves_one_run_at_a_time(
    private_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = private_cluster(1)
    second = LocalCluster(cluster.data_dir, 1)
    with pytest.raises(LocalServerError, match=f"process {os.getpid()} runs a cluster"):
        second.start()
    assert cluster.running


def test_a_cluster_finds_its_data_and_ports_again(
    private_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = private_cluster(2)
    before = cluster.config
    assert ClusterConfig.load(cluster.config_file) == before
    assert cluster.config_file.stat().st_mode & 0o077 == 0
    insert(cluster.shards[2], "mynamo_shard_2", 7)
    cluster.stop()
    assert not cluster.running
    with LocalCluster(cluster.data_dir, 2) as again:
        assert again.config == before
        assert rows(again.shards[2], "mynamo_shard_2") == [7]
    with pytest.raises(LocalServerError, match="holds 2 shards"):
        LocalCluster(cluster.data_dir, 1).start()


def test_one_shard_is_killed_and_comes_back(
    private_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = private_cluster(2)
    cluster.kill_shard(2)
    with pytest.raises(pymysql.err.OperationalError):
        cluster.shards[2].connect()
    cluster.shards[1].connect().close()
    cluster.start_shard(2)
    cluster.shards[2].connect("mynamo_shard_2").close()


def test_the_embedded_broker_forgets_on_restart(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, free_port()) as broker:
        for expected in (["t"], []):
            admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
            if expected:
                admin.create_topics([NewTopic("t", 1, 1)])
            assert admin.list_topics() == expected
            admin.close()
            broker.restart()


def test_each_test_gets_databases_of_its_own(config: ClusterConfig) -> None:
    names = {config.catalog.database, *(shard.database for shard in config.shards)}
    assert len(names) == 1 + len(config.shards)
    for place in (config.catalog, *config.shards):
        connection = pymysql.connect(
            host=place.host,
            port=place.port,
            user=place.user,
            password=place.password.get_secret_value(),
            database=place.database,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            assert cursor.fetchall() == ()
