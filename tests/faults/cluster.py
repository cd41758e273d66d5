"""A whole cluster of real processes on this machine, each of which a test may harm.

Two shards, Apache Kafka with one broker or several, or the embedded broker, writers, indexers, a
gateway, clients, and movers of slots. Every process of mynamo's has a configuration of its own,
whose addresses are those of its own links to the servers (see `proxy`); the harness itself goes
around them. The embedded broker sends all its clients to one address, so all share one link to it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mynamo.local import (
    ApacheKafka,
    Broker,
    EmbeddedBroker,
    EngineKind,
    LocalMySQL,
    find_engine,
    free_port,
)
from mynamo.local.ports import LOOPBACK
from mynamo.local.process import ServerProcess
from mynamo.local.state import config_toml
from mynamo.schemas.config import ClusterConfig, KafkaConfig, PoolConfig, ShardConfig
from tests.faults.clocks import Clocks, make_clocks
from tests.faults.journal import SERVER_OPTIONS
from tests.faults.proxy import Link, Network
from tests.faults.releases import ROOT, check_out

SHARDS = 2
SESSION_SECONDS = 6.0
"""After so long without a heartbeat Kafka gives a worker's partitions to others."""
POOL = PoolConfig(size=8, connect_timeout=2, read_timeout=8, wait_timeout=15)
DISK = 900
"""Megabytes of the disk that can be filled up."""
_PARTITIONS = 4
_STOP_SECONDS = 20.0


class Member:
    """A process of mynamo's: a worker, the gateway or a client.

    Attributes:
        name: such as "writer-1".
        up: whether it is meant to run; one that has ended then did so by itself.
        root: where the packages of its release are.
    """

    def __init__(
        self, name: str, folder: Path, command: Sequence[str], env: Mapping[str, str], root: Path
    ) -> None:
        self.name = name
        self.up = False
        self.root = root
        self._command = [sys.executable, *command]
        self._env = dict(env)
        self._process = ServerProcess(name, folder)

    @property
    def running(self) -> bool:
        """Whether it runs, frozen or not."""
        return self._process.running

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it has said."""
        return self._process.log

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start it, unless it runs."""
        self._process.start(
            self._command, ready=lambda: True, timeout=30,
            env={"PYTHONPATH": str(self.root), **self._env, **(env or {})},
        )  # fmt: skip
        self.up = True

    def stop(self) -> None:
        """Let it end in good order."""
        self.up = False
        self._process.stop(_STOP_SECONDS)

    def kill(self) -> None:
        """End it at once."""
        self.up = False
        self._process.kill()


def send(pid: int | None, kind: signal.Signals) -> None:
    """Send a signal to a child that may have ended."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, kind)


class FaultCluster:
    """The servers, the links and the processes.

    Attributes:
        shards, brokers: servers by name, "shard-1", "broker-1" and so on.
        members: processes by name.
        links: by the name of the process and that of the server; all clients share theirs.
        config: of the cluster without links.
        disk: where the disk that can be filled up is; None: there is none.
        embedded: whether the broker is the embedded one, which keeps nothing when it ends.
        clocks: the wall clocks of shards and members; None: they cannot be moved.
        earlier: where the packages of an earlier release are, which processes may run.
        movers: names of the processes that move slots.
    """

    def __init__(
        self,
        folder: Path,
        engine: EngineKind,
        *,
        shards: int = SHARDS,
        brokers: int = 1,
        embedded: bool = False,
        writers: int = 2,
        indexers: int = 2,
        movers: int = 0,
        mysql_options: Sequence[str] = (),
        launcher: Callable[[str], Sequence[str]] = lambda module: ("-m", module),
        earlier: str | None = None,
    ) -> None:
        """Describe the cluster; nothing happens before it is entered.

        Args:
            embedded: with the embedded broker, of which there is one.
            mysql_options: of the shards' servers, on top of the usual ones.
            launcher: arguments of Python that run a module for a member.
            earlier: the commit of the release that workers begin with; None: this one.
        """
        self.folder = folder
        self.engine = find_engine(engine)
        self.members: dict[str, Member] = {}
        self.links: dict[tuple[str, str], Link] = {}
        self.disk: Path | None = None
        self.clocks: Clocks | None = None
        self.gateway_port = free_port()
        self.earlier = check_out(folder / "earlier", earlier) if earlier else None
        self._launcher = launcher
        self._options = (*SERVER_OPTIONS, *mysql_options)
        self._workers = [f"writer-{n}" for n in range(1, writers + 1)]
        self._workers += [f"indexer-{n}" for n in range(1, indexers + 1)]
        self.movers = [f"mover-{n}" for n in range(1, movers + 1)]
        self._zones = [*self._workers, *self.movers, "gateway", "clients"]
        self._stack = ExitStack()
        self._shard_count = shards
        self._broker_count = 1 if embedded else brokers
        self.embedded = embedded
        self.shards: dict[str, LocalMySQL] = {}
        self.brokers: dict[str, Broker] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            network = stack.enter_context(Network())
            self.clocks = make_clocks(self.folder / "clocks")
            self._describe_shards(stack)
            self._describe_brokers(network)
            stack.callback(self._stop_servers)
            self._make_servers()
            for zone in self._zones:
                for name, shard in self.shards.items():
                    self.links[zone, name] = network.link(shard.port)
            self.config = self._config(None)
            for zone in self._zones:
                self._write(zone, self._config(zone))
            stack.callback(self._kill_members)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def endpoint(self) -> str:
        """Where the gateway is."""
        return f"http://{LOOPBACK}:{self.gateway_port}"

    @property
    def servers(self) -> dict[str, LocalMySQL | Broker]:
        """Shards and brokers by name."""
        return {**self.shards, **self.brokers}

    def config_file(self, zone: str) -> Path:
        """The configuration of a worker, of the gateway, or of the clients."""
        return self.folder / f"{zone}.toml"

    def start_workers(self) -> None:
        """Start writers, indexers and the gateway; it is of this release in any case."""
        for name in self._workers:
            self.add(name, name, "mynamo", name.partition("-")[0], root=self.earlier)
        port = str(self.gateway_port)
        self.add(
            "gateway", "gateway", "mynamo",
            "serve", "--host", LOOPBACK, "--port", port, "--no-auth", "--workers", "1",
        )  # fmt: skip

    def journal_of(self, mover: str) -> Path:
        """Where a mover notes what it has done."""
        return self.folder / f"{mover}.jsonl"

    def start_movers(self, seed: int) -> None:
        """Start the movers."""
        for number, name in enumerate(self.movers, 1):
            self.add(
                name, name, "tests.faults.moving",
                "--seed", str(seed * 1000 + number), "--journal", str(self.journal_of(name)),
            )  # fmt: skip

    def add(
        self,
        name: str,
        zone: str,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        root: Path | None = None,
        launcher: Callable[[str], Sequence[str]] | None = None,
    ) -> Member:
        """Start a process.

        Args:
            zone: whose configuration and links it has.
            module: Python module that it runs.
            arguments: of the module, after its configuration.
            env: environment variables on top of our own.
            root: where the packages of its release are; None: this release.
            launcher: arguments of Python that run the module; None: the cluster's.
        """
        launch = launcher or self._launcher
        command = (*launch(module), "--config", str(self.config_file(zone)), *arguments)
        member = Member(name, self.folder / name, command, self._clock(name), root or ROOT)
        member.start(env)
        self.members[name] = member
        return member

    def stop(self, names: Iterable[str]) -> None:
        """Let processes end in good order, all at once."""
        self._side_by_side([self.members[name].stop for name in names])

    def wipe_brokers(self) -> None:
        """Take the brokers' disks away while they do not run."""
        for broker in self.brokers.values():
            subprocess.run(["rm", "-rf", str(broker.data_dir / "log")], check=True)

    def start_servers(self) -> None:
        """Start the servers that do not run."""
        self._side_by_side([server.start for server in self.servers.values()])

    def start_brokers(self) -> None:
        """Start the brokers that do not run, side by side: they need each other."""
        self._side_by_side([broker.start for broker in self.brokers.values()])

    def _describe_shards(self, stack: ExitStack) -> None:
        for number in range(1, self._shard_count + 1):
            name = f"shard-{number}"
            folder = self.folder / name
            if number == self._shard_count and os.geteuid() == 0:
                self.disk = self._mount(stack, folder)
            self.shards[name] = LocalMySQL(
                self.engine, folder, free_port(), buffer_pool="64M", extra_args=self._options,
                env=self._clock(name),
            )  # fmt: skip

    def _clock(self, name: str) -> dict[str, str]:
        """Environment variables of a process whose wall clock may be moved."""
        return self.clocks.environment(name) if self.clocks else {}

    def _mount(self, stack: ExitStack, folder: Path) -> Path | None:
        """A small disk for one shard, which can be filled up; only root may have that."""
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m,mode=700", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode != 0:
            return None
        stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], capture_output=True)
        return folder

    def _describe_brokers(self, network: Network) -> None:
        """Brokers with one listener for each zone, that advertises the zone's link."""
        if self.embedded:
            self._describe_embedded(network)
            return
        numbers = range(1, self._broker_count + 1)
        taken: set[int] = set()

        def port() -> int:
            taken.add(chosen := free_port(taken))
            return chosen

        controllers = {number: port() for number in numbers}
        for number in numbers:
            name, main = f"broker-{number}", port()
            listeners = {zone: port() for zone in self._zones}
            for zone, inside in listeners.items():
                self.links[zone, name] = network.link(inside)
            settings = self._broker_settings(number, main, controllers, listeners)
            self.brokers[name] = ApacheKafka(
                self.folder / name, main, controller_port=controllers[number], heap="320m",
                settings=settings,
            )  # fmt: skip

    def _describe_embedded(self, network: Network) -> None:
        link = network.link(port := free_port())
        self.brokers["broker-1"] = EmbeddedBroker(self.folder / "broker-1", port, link.port)
        for zone in self._zones:
            self.links[zone, "broker-1"] = link

    def _broker_settings(
        self, number: int, main: int, controllers: dict[int, int], listeners: dict[str, int]
    ) -> dict[str, str]:
        listening = {"PLAINTEXT": main, "CONTROLLER": controllers[number]}
        advertised = {"PLAINTEXT": main}
        for zone, inside in listeners.items():
            label = zone.replace("-", "").upper()
            listening[label] = inside
            advertised[label] = self.links[zone, f"broker-{number}"].port

        def addresses(ports: Mapping[str, int]) -> str:
            return ",".join(f"{label}://{LOOPBACK}:{port}" for label, port in ports.items())

        copies = str(min(3, self._broker_count))
        return {
            "node.id": str(number),
            "controller.quorum.voters": ",".join(
                f"{n}@{LOOPBACK}:{port}" for n, port in controllers.items()
            ),
            "listeners": addresses(listening),
            "advertised.listeners": addresses(advertised),
            "listener.security.protocol.map": ",".join(f"{label}:PLAINTEXT" for label in listening),
            "default.replication.factor": copies,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "share.coordinator.state.topic.replication.factor": copies,
            "min.insync.replicas": str(max(1, self._broker_count - 1)),
            "num.network.threads": "1",
            "log.segment.bytes": str(16 * 1024 * 1024),
        }

    def _make_servers(self) -> None:
        self.start_servers()
        for number, shard in enumerate(self.shards.values(), 1):
            shard.create_database(f"mynamo_shard_{number}")
        self.shards["shard-1"].create_database("mynamo_catalog")

    def _side_by_side(self, calls: Sequence[Callable[[], object]]) -> None:
        with ThreadPoolExecutor(len(calls)) as pool:
            for done in [pool.submit(call) for call in calls]:
                done.result()

    def _config(self, zone: str | None) -> ClusterConfig:
        shards = []
        for number, (name, server) in enumerate(self.shards.items(), 1):
            place = server.database(f"mynamo_shard_{number}")
            port = place.port if zone is None else self.links[zone, name].port
            shards.append(ShardConfig(id=number, **{**place.model_dump(), "port": port}))
        catalog = self.shards["shard-1"].database("mynamo_catalog")
        brokers = [
            server.port if zone is None else self.links[zone, name].port
            for name, server in self.brokers.items()
        ]
        return ClusterConfig(
            catalog=catalog.model_copy(update={"port": shards[0].port}),
            shards=tuple(shards),
            kafka=KafkaConfig(
                bootstrap_servers=",".join(f"{LOOPBACK}:{port}" for port in brokers),
                partitions=_PARTITIONS,
                replication_factor=min(3, self._broker_count),
                session_timeout_ms=round(SESSION_SECONDS * 1000),
            ),
            pool=POOL,
        )

    def _write(self, zone: str, config: ClusterConfig) -> None:
        pool = [
            f"{name} = {value}"
            for name, value in config.pool.model_dump(exclude_unset=True).items()
        ]
        self.config_file(zone).write_text("\n".join([config_toml(config), "[pool]", *pool, ""]))

    def _kill_members(self) -> None:
        for member in self.members.values():
            member.kill()

    def _stop_servers(self) -> None:
        for server in self.servers.values():
            send(server.pid, signal.SIGCONT)
            server.kill()
