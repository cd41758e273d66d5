"""All servers of a cluster on this machine, in one folder."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mynamo.errors import LocalServerError
from mynamo.local.broker import Broker
from mynamo.local.embedded import EmbeddedBroker
from mynamo.local.engines import Engine, EngineKind, find_engine
from mynamo.local.kafka import ApacheKafka
from mynamo.local.mysql import LocalMySQL
from mynamo.local.mysql_files import write_private
from mynamo.local.ports import free_port, is_free
from mynamo.local.state import ClusterState, FolderLock, config_toml
from mynamo.schemas.config import ClusterConfig, KafkaConfig, ShardConfig

CATALOG_DATABASE = "mynamo_catalog"
CONFIG_FILE = "mynamo.toml"
EMBEDDED_SESSION_TIMEOUT_MS = 6_000  # a join takes the embedded broker half of it


class LocalCluster:
    """One private MySQL or MariaDB server per shard, and a broker.

    It runs servers only: the databases are made, but no tables, and none of mynamo's
    workers runs. Data and ports stay the same from one run to the next.

    Attributes:
        data_dir: the folder of everything.
        broker: the broker it runs; None when it uses one that runs elsewhere.
        shards: the servers by shard id, from `start` on.
        engine: the server program of the shards, from `start` on.
    """

    broker: Broker | None
    engine: Engine

    def __init__(
        self,
        data_dir: Path | str,
        shards: int = 2,
        engine: EngineKind | None = None,
        kafka: str = "embedded",
        *,
        buffer_pool: str = "256M",
        partitions: int = 8,
    ) -> None:
        """Describe the cluster; nothing happens before `start`.

        Args:
            data_dir: a folder for this cluster alone; made when it does not exist.
            shards: how many; may grow from run to run, but not shrink.
            engine: `mysql` or `mariadb`; None takes the one that wrote the folder, else
                MySQL when the machine has it, else MariaDB.
            kafka: `embedded`, `apache`, or `HOST:PORT` of a broker that runs already.
            buffer_pool: memory for data pages of each shard.
            partitions: of the topics that mynamo will make.
        """
        if kafka not in ("embedded", "apache") and ":" not in kafka:
            raise LocalServerError(
                f"kafka is 'embedded', 'apache' or HOST:PORT of a running broker, not {kafka!r}"
            )
        if shards < 1:
            raise LocalServerError("a cluster needs at least one shard")
        self.data_dir = Path(data_dir).resolve()
        self.broker = None
        self.shards: dict[int, LocalMySQL] = {}
        self._count = shards
        self._wanted_engine = engine
        self._kafka = kafka
        self._buffer_pool = buffer_pool
        self._partitions = partitions
        self._lock = FolderLock(self.data_dir)
        self._config: ClusterConfig | None = None
        self._topic_prefix: str | None = None

    @property
    def config(self) -> ClusterConfig:
        """How to reach the servers; known once they were started."""
        if self._config is None:
            raise LocalServerError("the local cluster was not started yet; call start() first")
        return self._config

    @property
    def config_file(self) -> Path:
        """The TOML file with the same, which `start` writes."""
        return self.data_dir / CONFIG_FILE

    @property
    def running(self) -> bool:
        """Whether every server runs."""
        return bool(self.shards) and all(server.running for server in self._servers())

    def start(self, say: Callable[[str], None] | None = None) -> Self:
        """Start all servers, side by side, and write the configuration file.

        Args:
            say: told in a few words what is going on, for people who wait.

        Raises:
            LocalServerError: a server did not start (the others are stopped again), or
                another run uses the folder.
        """
        if self._config is not None and self.running:
            return self
        self._lock.acquire()
        try:
            self._assign()
            for server in self._servers():
                if say:
                    say(f"starting {server.title} on port {server.port}")
            self._start_all()
            self._config = self._make_config()
            write_private(self.config_file, config_toml(self._config))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all servers, side by side; their data stays."""
        with ThreadPoolExecutor(max_workers=self._count + 1) as pool:
            list(pool.map(lambda server: server.stop(), self._servers()))
        self._lock.release()

    def stop_shard(self, shard: int) -> None:
        """Shut one shard's server down in good order."""
        self.shards[shard].stop()

    def kill_shard(self, shard: int) -> None:
        """End one shard's server at once (SIGKILL)."""
        self.shards[shard].kill()

    def start_shard(self, shard: int) -> None:
        """Start one shard's server again, on the same port."""
        self.shards[shard].start()

    def restart_shard(self, shard: int) -> None:
        """Stop one shard's server, if it runs, and start it on the same port."""
        self.shards[shard].restart()

    def stop_broker(self) -> None:
        """Shut the broker down in good order."""
        self._own_broker().stop()

    def kill_broker(self) -> None:
        """End the broker at once (SIGKILL)."""
        self._own_broker().kill()

    def start_broker(self) -> None:
        """Start the broker again, on the same port."""
        self._own_broker().start()

    def restart_broker(self) -> None:
        """Stop the broker, if it runs, and start it on the same port."""
        self._own_broker().restart()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _servers(self) -> list[LocalMySQL | Broker]:
        return [*self.shards.values(), *([self.broker] if self.broker else [])]

    def _own_broker(self) -> Broker:
        if self.broker is None:
            raise LocalServerError(f"the broker at {self._kafka} is not run by this cluster")
        return self.broker

    def _assign(self) -> None:
        """Decide which program runs where, as in the last run where that is possible."""
        path = self.data_dir / "state.json"
        state = ClusterState.load(path)
        if self._count < len(state.shard_ports):
            raise LocalServerError(
                f"{self.data_dir} holds {len(state.shard_ports)} shards, and {self._count} would "
                f"leave data out; ask for {len(state.shard_ports)} or more, or another folder"
            )
        self.engine = find_engine(self._wanted_engine or state.engine)
        if state.engine not in (None, self.engine.kind):
            raise LocalServerError(
                f"{self.data_dir} holds data of {state.engine}, which {self.engine.title} cannot "
                "read; choose that engine, or another folder"
            )
        taken: set[int] = set()
        ports: list[int | None] = [*state.shard_ports]
        ports += [None] * (self._count - len(ports))
        state = ClusterState(
            engine=self.engine.kind,
            shard_ports=[_keep_or_choose(port, taken) for port in ports],
            kafka_port=_keep_or_choose(state.kafka_port, taken),
            controller_port=_keep_or_choose(state.controller_port, taken),
            topic_prefix=state.topic_prefix or f"mynamo-{secrets.token_hex(4)}",
        )
        self._topic_prefix = state.topic_prefix
        self._make_servers(state)
        state.save(path)

    def _make_servers(self, state: ClusterState) -> None:
        self.shards = {
            number: LocalMySQL(
                self.engine, self.data_dir / f"shard-{number}", port, buffer_pool=self._buffer_pool
            )
            for number, port in enumerate(state.shard_ports, 1)
        }
        kafka_port, controller_port = state.kafka_port, state.controller_port
        assert kafka_port  # noqa: S101  (just assigned)
        if self._kafka == "embedded":
            self.broker = EmbeddedBroker(self.data_dir / "broker", kafka_port)
        elif self._kafka == "apache":
            folder = self.data_dir / "kafka"
            self.broker = ApacheKafka(folder, kafka_port, controller_port=controller_port)

    def _start_all(self) -> None:
        with ThreadPoolExecutor(max_workers=len(self.shards) + 1) as pool:
            started = [pool.submit(self._start_shard, number) for number in self.shards]
            if self.broker:
                started.append(pool.submit(self._start_own_broker))
        for one in started:
            one.result()

    def _start_shard(self, number: int) -> None:
        server = self.shards[number].start()
        server.create_database(f"mynamo_shard_{number}")
        if number == 1:
            server.create_database(CATALOG_DATABASE)

    def _start_own_broker(self) -> None:
        self._own_broker().start()

    def _make_config(self) -> ClusterConfig:
        kafka = KafkaConfig(
            bootstrap_servers=self.broker.bootstrap_servers if self.broker else self._kafka,
            session_timeout_ms=EMBEDDED_SESSION_TIMEOUT_MS
            if self._kafka == "embedded"
            else KafkaConfig().session_timeout_ms,
            partitions=self._partitions,
            **({} if self.broker else self._own_names()),
        )
        shards = tuple(
            ShardConfig(id=number, **server.database(f"mynamo_shard_{number}").model_dump())
            for number, server in self.shards.items()
        )
        catalog = self.shards[1].database(CATALOG_DATABASE)
        return ClusterConfig(catalog=catalog, shards=shards, kafka=kafka)

    def _own_names(self) -> dict[str, Any]:
        """Topics and groups that no other cluster on a shared broker has."""
        return {
            name: default.replace("mynamo", self._topic_prefix, 1)
            for name, default in KafkaConfig().model_dump().items()
            if name.endswith(("_topic", "_group"))
        }


def _keep_or_choose(port: int | None, taken: set[int]) -> int:
    """Keep the port of the last run unless someone else has it by now."""
    if port is None or not is_free(port):
        port = free_port(taken)
    taken.add(port)
    return port
