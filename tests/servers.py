"""The servers that integration tests talk to, and which of them this run had.

In this order: servers named by `MYNAMO_TEST_CONFIG` (path of a `mynamo.toml`; its user may
create and drop databases whose names begin with `mynamo_t`), containers when a Docker
engine answers, else private processes on this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import pymysql
from kafka import KafkaAdminClient
from pydantic import SecretStr

from mynamo.errors import LocalServerError
from mynamo.local import EngineKind, LocalCluster, LocalMySQL, find_engine, free_port
from mynamo.local.broker import broker_answers
from mynamo.local.cache import version_key
from mynamo.local.kafka import find_java, find_kafka
from mynamo.schemas.config import ClusterConfig, DatabaseConfig, KafkaConfig, ShardConfig

GIVEN = "MYNAMO_TEST_CONFIG"
MYSQL_IMAGE = "mysql:9"
KAFKA_IMAGE = "apache/kafka:4.1.0"
KAFKA_START_SECONDS = 120.0
TEST_PARTITIONS = 4
SERVER_FIXTURES = frozenset(
    {"cluster_servers", "engine_servers", "kafka_servers", "private_cluster"}
)


class Servers(Protocol):
    """What tests need to know of a running cluster of servers."""

    @property
    def config(self) -> ClusterConfig:
        """How to reach the servers."""


@dataclass(frozen=True)
class GivenServers:
    """Servers that someone else runs."""

    config: ClusterConfig


@dataclass
class Record:
    """What this run used and what it had to do without.

    Attributes:
        used: a line for each server in use.
        missing: what could not be tested, and how to get it.
        needed: whether any test of the run needs servers.
    """

    used: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    needed: bool = False

    def note(self, line: str) -> None:
        """Add a line on a server in use, once."""
        if line not in self.used:
            self.used.append(line)


def missing_servers() -> list[str]:
    """Say which of the servers that mynamo is to be tested with this machine lacks."""
    reasons = (
        why_no_engine("mysql", "9"),
        why_no_engine("mariadb", "10.11"),
        why_no_kafka(),
    )
    return [reason for reason in reasons if reason]


def why_no_engine(kind: EngineKind, oldest: str = "0") -> str | None:
    """Return why tests with this engine cannot run, or None when they can."""
    try:
        engine = find_engine(kind)
    except LocalServerError as error:
        return str(error)
    if version_key(engine.version) < version_key(oldest):
        return (
            f"{engine.title} is too old, {oldest} is wanted; `python -m mynamo.local.fetch {kind}`"
        )
    return None


def why_no_kafka() -> str | None:
    """Return why tests with Apache Kafka cannot run, or None when they can."""
    try:
        find_kafka()
        find_java()
    except LocalServerError as error:
        return str(error)
    return None


@contextmanager
def provide_cluster(folder: Path, engine: EngineKind | None, record: Record) -> Iterator[Servers]:
    """Run, or find, two shards and a broker for as long as the tests take."""
    given = os.environ.get(GIVEN)
    with ExitStack() as stack:
        servers: Servers
        if given:
            servers = GivenServers(ClusterConfig.load(given))
        elif docker_answers():
            servers = stack.enter_context(_containers())
        else:
            broker: Literal["apache", "embedded"] = "embedded" if why_no_kafka() else "apache"
            servers = stack.enter_context(LocalCluster(folder, 2, engine, broker))
        record.note(f"shards: {server_version(servers.config.shards[0])}")
        broker_title = (
            servers.broker.title
            if isinstance(servers, LocalCluster) and servers.broker
            else servers.config.kafka.bootstrap_servers
        )
        record.note(f"broker: {broker_title}")
        yield servers


def server_version(where: DatabaseConfig) -> str:
    """Ask a MySQL server for its name and version."""
    with log_in(where) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        (version,) = cursor.fetchone() or ("unknown",)
    return str(version) if "MariaDB" in version else f"MySQL {version}"


def log_in(where: DatabaseConfig) -> pymysql.Connection:
    """Connect to the server of a database, without choosing the database."""
    return pymysql.connect(
        host=where.host,
        port=where.port,
        user=where.user,
        password=where.password.get_secret_value(),
        ssl_ca=str(where.tls.ca) if where.tls else None,
        ssl_disabled=where.tls is None,  # PyMySQL would read all of the system's authorities
        connect_timeout=10,
        autocommit=True,
    )


@contextmanager
def away(server: LocalMySQL, fault: str) -> Iterator[None]:
    """Kill a server ("dead"), or freeze it, until the block ends."""
    pid = server.pid
    assert pid is not None
    if fault == "dead":
        server.kill()
    else:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if fault == "dead":
            server.start()
        else:
            os.kill(pid, signal.SIGCONT)


_IN_DATA = ("ibdata1", "meta.properties")
"""Files that the data folder of a MySQL or MariaDB server has, and of Apache Kafka."""


def discard_data(folder: Path) -> None:
    """Delete the data folders of stopped servers, and copies of them, wherever they are in a
    folder. They are large. The servers' logs, which lie beside them, stay."""
    for name in _IN_DATA:
        for found in list(folder.rglob(name)):
            shutil.rmtree(found.parent, ignore_errors=True)


@contextmanager
def own_databases(config: ClusterConfig) -> Iterator[ClusterConfig]:
    """Lend a test databases, topics and groups that no other test sees."""
    tag = f"t{uuid.uuid4().hex[:10]}"
    kafka = config.kafka.model_copy(
        update={
            "partitions": TEST_PARTITIONS,
            **{
                name: f"mynamo.{tag}.{name.partition('_')[0]}"
                for name in ("changes_topic", "writes_topic", "dead_letter_topic")
            },
            "indexer_group": f"mynamo.{tag}.indexer",
            "writer_group": f"mynamo.{tag}.writer",
        }
    )
    shards = tuple(
        shard.model_copy(update={"database": f"mynamo_{tag}_{shard.id}"}) for shard in config.shards
    )
    catalog = config.catalog.model_copy(update={"database": f"mynamo_{tag}_catalog"})
    own = config.model_copy(update={"catalog": catalog, "shards": shards, "kafka": kafka})
    places = (catalog, *shards)
    for place in places:
        _run(place, f"CREATE DATABASE `{place.database}`")
    try:
        yield own
    finally:
        for place in places:
            _run(place, f"DROP DATABASE `{place.database}`")


@contextmanager
def with_third_shard(config: ClusterConfig) -> Iterator[ClusterConfig]:
    """Lend a test one more shard, whose database is empty."""
    last = config.shards[-1]
    new = last.model_copy(update={"id": 3, "database": f"{last.database}_new"})
    _run(new, f"CREATE DATABASE `{new.database}`")
    try:
        yield config.model_copy(update={"shards": (*config.shards, new)})
    finally:
        _run(new, f"DROP DATABASE `{new.database}`")


def drop_topics(admin: KafkaAdminClient, kafka: KafkaConfig) -> None:
    """Delete the topics of a test, those of them that were made."""
    names = {kafka.changes_topic, kafka.writes_topic, kafka.dead_letter_topic}
    there = names & set(admin.list_topics())
    if there:
        admin.delete_topics(sorted(there))


def docker_answers() -> bool:
    """Say whether a Docker engine can be used."""
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@contextmanager
def _containers() -> Iterator[GivenServers]:
    """Two MySQL servers and Apache Kafka, each in a container."""
    from testcontainers.community.mysql import MySqlContainer
    from testcontainers.core.container import DockerContainer

    port = free_port()
    kafka = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@127.0.0.1:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_MESSAGE_MAX_BYTES": str(16 * 1024 * 1024),
    }.items():
        kafka = kafka.with_env(name, value)
    with ExitStack() as stack:
        stack.enter_context(kafka)
        shards = []
        for number in (1, 2):
            mysql = MySqlContainer(MYSQL_IMAGE, username="root", password=uuid.uuid4().hex)
            mysql = mysql.with_command("--max-allowed-packet=64M --max-connections=500")
            stack.enter_context(mysql)
            shards.append(
                ShardConfig(
                    id=number,
                    host=mysql.get_container_host_ip(),
                    port=int(mysql.get_exposed_port(3306)),
                    user="root",
                    password=SecretStr(mysql.password),
                    database=f"mynamo_shard_{number}",
                )
            )
        address = f"127.0.0.1:{port}"
        _await_broker(address)
        catalog = DatabaseConfig(
            **{**shards[0].model_dump(exclude={"id"}), "database": "mynamo_catalog"}
        )
        yield GivenServers(
            ClusterConfig(
                catalog=catalog, shards=tuple(shards), kafka=KafkaConfig(bootstrap_servers=address)
            )
        )


def _await_broker(address: str) -> None:
    deadline = time.monotonic() + KAFKA_START_SECONDS
    while not broker_answers(address):
        if time.monotonic() > deadline:
            raise LocalServerError(f"Kafka in its container did not answer at {address}")
        time.sleep(0.2)


def _run(where: DatabaseConfig, sql: str) -> None:
    with log_in(where) as connection, connection.cursor() as cursor:
        # A test that left a transaction open is to be named, not waited for.
        cursor.execute("SET lock_wait_timeout = 10")
        cursor.execute(sql)
