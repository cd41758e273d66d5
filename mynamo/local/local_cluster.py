"""All servers of a cluster on this machine, in one folder."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mynamo.errors import LocalServerError
from mynamo.local.broker import Broker, broker_answers
from mynamo.local.disk import ANY_BYTES, NEW_SHARD_BYTES, shortage
from mynamo.local.embedded import EmbeddedBroker, find_embedded
from mynamo.local.engines import Engine, EngineKind, find_engine
from mynamo.local.fetch.downloads import provide_engine, provide_kafka
from mynamo.local.files import write_if_changed
from mynamo.local.kafka import ApacheKafka, find_java, find_kafka
from mynamo.local.mysql import LocalMySQL
from mynamo.local.mysql_files import check_engine
from mynamo.local.ports import free_port, is_free
from mynamo.local.state import STATE_FILE, ClusterState, FolderLock, config_toml
from mynamo.local.unfinished import begin, discard_unfinished, finish, shard_folder
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
        shards: int | None = None,
        engine: EngineKind | None = None,
        kafka: str | None = None,
        *,
        buffer_pool: str = "256M",
        partitions: int = 8,
        fetch: bool = False,
    ) -> None:
        """Describe the cluster; nothing happens before `start`.

        Args:
            data_dir: a folder for this cluster alone; made when it does not exist.
            shards: how many, for the life of the folder; None takes those that it has, else 2.
            engine: `mysql` or `mariadb`; None takes the one that wrote the folder, else
                MySQL when the machine has it, else MariaDB.
            kafka: `embedded`, `apache`, or `HOST:PORT` of a broker that runs already; None
                takes that of the last run, else `embedded`.
            buffer_pool: memory for data pages of each shard.
            partitions: of the topics that mynamo will make.
            fetch: download a server that this machine lacks.
        """
        if kafka is not None and kafka not in ("embedded", "apache") and ":" not in kafka:
            raise LocalServerError(
                f"kafka is 'embedded', 'apache' or HOST:PORT of a running broker, not {kafka!r}"
            )
        if shards is not None and shards < 1:
            raise LocalServerError("a cluster needs at least one shard")
        self.data_dir = Path(data_dir).resolve()
        self.broker = None
        self.shards: dict[int, LocalMySQL] = {}
        self._wanted_shards = shards
        self._wanted_engine = engine
        self._wanted_kafka = kafka
        self._kafka = kafka or "embedded"
        self._fetch = fetch
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
        state = self._accept(say)
        self._lock.acquire()
        try:
            if ClusterState.load(self._state_file) != state:  # another run came in between
                state = self._accept(say)
            self._lock.sign()
            self._run(state, say)
        except (OSError, LocalServerError) as error:
            self.stop()
            raise LocalServerError(shortage(self.data_dir) or self._reason(error)) from error
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all servers, side by side; their data stays."""
        with ThreadPoolExecutor(max_workers=len(self.shards) + 1) as pool:
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

    def _reason(self, error: Exception) -> str:
        if isinstance(error, LocalServerError):
            return str(error)
        return f"{self.data_dir} cannot be used: {error}; mend that, or choose another folder"

    @property
    def _state_file(self) -> Path:
        return self.data_dir / STATE_FILE

    def _accept(self, say: Callable[[str], None] | None) -> ClusterState:
        """Check that this folder allows what was asked for, before anything in it changes.

        Returns:
            What the folder remembers of its last run.

        Raises:
            LocalServerError: it cannot be had; nothing in the folder has changed.
        """
        state = ClusterState.load(self._state_file)
        held = len(state.shard_ports)
        if held and self._wanted_shards not in (None, held):
            raise LocalServerError(
                f"{self.data_dir} holds {held} shards, and a cluster keeps those it was made "
                f"with; ask for {held}, or choose another folder"
            )
        if state.engine and self._wanted_engine not in (None, state.engine):
            raise LocalServerError(
                f"{self.data_dir} holds data of {state.engine}, which {self._wanted_engine} "
                "cannot read; choose that engine, or another folder"
            )
        self._kafka = self._wanted_kafka or state.kafka or "embedded"
        self._find_programs(state.engine, say)
        for number in range(1, held + 1):
            check_engine(self.engine, shard_folder(self.data_dir, number))
        new = (self._wanted_shards or 2) - held
        if short := shortage(self.data_dir, NEW_SHARD_BYTES * new if not held else ANY_BYTES):
            raise LocalServerError(short)
        return state

    def _find_programs(
        self, written_by: EngineKind | None, say: Callable[[str], None] | None
    ) -> None:
        """Find, or fetch, the programs of all servers; make sure of a broker that others run."""
        if self._kafka == "embedded":
            find_embedded()
        elif self._kafka == "apache":
            find_java()
            if self._fetch:
                provide_kafka(say)
            find_kafka()
        elif not broker_answers(self._kafka):
            raise LocalServerError(
                f"no Kafka broker answers at {self._kafka}; start it, correct the address, or "
                "name another one"
            )
        kind = self._wanted_engine or written_by
        self.engine = provide_engine(kind, say) if self._fetch else find_engine(kind)

    def _run(self, state: ClusterState, say: Callable[[str], None] | None) -> None:
        """Start the servers; what a next run must find again is written last, when they run."""
        discard_unfinished(self.data_dir, len(state.shard_ports))
        state = self._assign(state)
        self._make_servers(state)
        for server in self._servers():
            if say:
                say(f"starting {server.title} on port {server.port}")
        self._start_all()
        self._config = self._make_config()
        write_if_changed(self.config_file, config_toml(self._config))
        state.save(self._state_file)
        finish(self.data_dir)

    def _assign(self, before: ClusterState) -> ClusterState:
        """Choose the ports: those of the last run where that is possible."""
        taken: set[int] = set()
        ports: list[int | None] = [*before.shard_ports]
        ports = ports or [None] * (self._wanted_shards or 2)
        self._topic_prefix = before.topic_prefix or f"mynamo-{secrets.token_hex(4)}"
        return ClusterState(
            engine=self.engine.kind,
            shard_ports=[_keep_or_choose(port, taken) for port in ports],
            kafka_port=_keep_or_choose(before.kafka_port, taken),
            controller_port=_keep_or_choose(before.controller_port, taken),
            topic_prefix=self._topic_prefix,
            kafka=self._kafka,
        )

    def _make_servers(self, state: ClusterState) -> None:
        self.shards = {
            number: LocalMySQL(
                self.engine,
                shard_folder(self.data_dir, number),
                port,
                buffer_pool=self._buffer_pool,
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
            try:
                for one in as_completed(started):
                    one.result()
            except BaseException:
                for server in self.shards.values():
                    server.give_up()
                raise

    def _start_shard(self, number: int) -> None:
        begin(self.data_dir, number)
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
