"""The workers and the gateway that `mynamo dev` and `mynamo demo` run beside a local cluster."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mynamo
from mynamo.cli.serve import SERVING
from mynamo.errors import LocalServerError
from mynamo.gsi_indexer import READING
from mynamo.local import Broker, LocalCluster, LocalMySQL
from mynamo.local.disk import shortage
from mynamo.local.process import ServerProcess
from mynamo.schemas.gateway_config import LOCALHOST

STOP_SECONDS = 20.0
JOIN_SECONDS = 15.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
HEALTHY_SECONDS = 30.0
DISK_SECONDS = 5.0

Say = Callable[[str], None]


class Worker:
    """A command of mynamo's that works until it is stopped, as a child that cannot outlive us.

    Args:
        command: such as "writer".
        folder: of its log.
        config_file: the cluster's.
        options: of the command.
        title: what messages call it.
    """

    def __init__(
        self, command: str, folder: Path, config_file: Path, *options: str, title: str = ""
    ) -> None:
        self.command = command
        self.title = title or command
        self._options = options
        self._process = ServerProcess(f"mynamo-{command}", folder)
        self._config_file = config_file
        self._started = 0.0
        self._log_start = 0
        self._pause = FIRST_PAUSE

    @property
    def log(self) -> Path:
        """Its log file."""
        return self._process.log

    def start(self) -> None:
        """Start it; what an earlier run left behind in the same folder is ended first.

        Raises:
            LocalServerError: that did not end.
        """
        source = str(Path(mynamo.__file__).parents[1])  # found also when not installed
        path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH")) if p)
        self._started = time.monotonic()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process.start(
            [
                sys.executable, "-m", "mynamo", "--config", str(self._config_file), self.command,
                *self._options,
            ],
            ready=lambda: True,
            timeout=10,
            env={"PYTHONPATH": path},
        )  # fmt: skip

    def await_line(self, text: str, seconds: float) -> bool:
        """Wait until its log says something; returns whether it did in time."""
        deadline = time.monotonic() + seconds
        while text not in self._process.log_tail(self._log_start):
            if time.monotonic() > deadline or not self._process.running:
                return False
            time.sleep(0.05)
        return True

    def revive(self, say: Say) -> None:
        """Start it again if it died, less and less often if it keeps dying."""
        if self._process.running:
            if time.monotonic() - self._started > HEALTHY_SECONDS:
                self._pause = FIRST_PAUSE
            return
        if time.monotonic() - self._started < self._pause:
            return
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        say(f"the {self.title} ended; starting it again (its log: {self.log})")
        self.start()

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP), until `thaw`; it answers nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, kind: signal.Signals) -> None:
        pid = self._process.pid
        if pid is None:
            raise LocalServerError(f"the {self.title} has ended; its log: {self.log}")
        os.kill(pid, kind)

    def stop(self) -> None:
        """Let it finish what it is about, and end it."""
        self._process.stop(STOP_SECONDS)


class Workers:
    """One writer, one indexer and, if asked for, one gateway for a local cluster.

    Args:
        cluster: whose tables they work on.
        port: of the gateway, on the loopback addresses; None for no gateway.
        options: of the gateway besides.
        metrics_ports: of those that have metrics, by the command: writer, indexer, serve.

    Attributes:
        indexer: the indexer.
    """

    def __init__(
        self,
        cluster: LocalCluster,
        port: int | None = None,
        options: Sequence[str] = (),
        metrics_ports: Mapping[str, int] = {},
    ) -> None:
        folder = cluster.data_dir / "workers"
        metrics = {
            command: ("--metrics-port", str(of_metrics))
            for command, of_metrics in metrics_ports.items()
        }
        self._writer = Worker("writer", folder, cluster.config_file, *metrics.get("writer", ()))
        self.indexer = Worker("indexer", folder, cluster.config_file, *metrics.get("indexer", ()))
        self._workers = [self._writer, self.indexer]
        self._gateway: Worker | None = None
        if port is not None:
            words = ("--host", LOCALHOST, "--port", str(port), "--no-auth", *options)
            words += metrics.get("serve", ())
            self._gateway = Worker("serve", folder, cluster.config_file, *words, title="gateway")
            self._workers.append(self._gateway)

    @property
    def logs(self) -> list[Path]:
        """Their log files."""
        return [worker.log for worker in self._workers]

    def start(self) -> None:
        """Start them, and give the indexer time to join its group in Kafka.

        Raises:
            LocalServerError: the gateway does not serve.
        """
        for worker in self._workers:
            worker.start()
        self.indexer.await_line(READING, JOIN_SECONDS)
        if self._gateway and not self._gateway.await_line(SERVING, JOIN_SECONDS):
            raise LocalServerError(f"the gateway did not start; its log: {self._gateway.log}")

    def revive(self, say: Say) -> None:
        """Start those again that died."""
        for worker in self._workers:
            worker.revive(say)

    def stop(self) -> None:
        """Stop them, the gateway first: what it was asked still finds the others at work."""
        for worker in reversed(self._workers):
            worker.stop()


class DiskWatch:
    """Says when the disk of a folder gets full, and when it no longer is.

    Args:
        folder: on that disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._short = False
        self._next = 0.0

    def look(self, say: Say) -> None:
        """Look, every few seconds; a server whose disk is full answers late, or not at all."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + DISK_SECONDS
        short = shortage(self._folder)
        if short and not self._short:
            say(f"{short}. Until then writes wait or fail")
        elif self._short and not short:
            say(f"the disk of {self._folder} has room again")
        self._short = bool(short)


def revive_servers(cluster: LocalCluster, say: Say) -> None:
    """Start the servers again that died, on their ports and with their data."""
    servers: list[LocalMySQL | Broker] = [*cluster.shards.values()]
    servers += [cluster.broker] if cluster.broker else []
    for server in servers:
        if server.running:
            continue
        say(f"{server.title} on port {server.port} ended; starting it again (log: {server.log})")
        try:
            server.start()
        except LocalServerError as error:
            say(f"it did not start: {error}")
            time.sleep(FIRST_PAUSE)
