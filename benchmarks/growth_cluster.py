"""A cluster as `mynamo dev` runs it, each part a process of its own, and what those cost.

It reads CPU times and memory from /proc (Linux).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mynamo.catalog.cluster import Cluster
from mynamo.gsi_indexer import READING
from mynamo.local import LocalCluster, LocalMySQL, free_port
from mynamo.local.cache import find_fetched
from mynamo.local.ports import is_listening
from mynamo.local.process import ServerProcess
from mynamo.log import ensure_topics
from mynamo.operations import wait_until_applied

BROKERS = {"kafka": "apache", "embedded": "embedded"}
"""What `LocalCluster` calls them."""
START_SECONDS = 60.0
SETTLE_SECONDS = 600.0
POLL_SECONDS = 0.05
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Use(NamedTuple):
    """What a process and its children have used.

    Attributes:
        cpu_seconds: so far.
        memory_bytes: that they have now (resident).
    """

    cpu_seconds: float
    memory_bytes: int


SECOND = "indexer 2"
"""Another indexer, which shares the partitions with the first."""


class Servers:
    """A running cluster: its servers, and workers that can be stopped and started.

    Attributes:
        local: the servers.
        cluster: the same, opened in this process.
        port: of the gateway, once it was started.
    """

    def __init__(self, local: LocalCluster, cluster: Cluster) -> None:
        self.local = local
        self.cluster = cluster
        self.port = free_port()
        folder = local.data_dir / "workers"
        self._workers = {
            name: ServerProcess(name, folder) for name in ("writer", "indexer", SECOND, "gateway")
        }
        self._log_start = 0

    def start(self, *names: str, env: Mapping[str, str] | None = None) -> None:
        """Start workers: "writer", "indexer", `SECOND`, "gateway". The gateway then listens.

        Args:
            env: environment variables on top of our own.

        Raises:
            LocalServerError: one ended at once.
        """
        for name in names:
            words, ready = ["indexer" if name == SECOND else name], _at_once
            if name == "gateway":
                words = ["serve", "--port", str(self.port), "--no-auth", "--workers", "1"]
                ready = partial(is_listening, self.port)
            elif name == "indexer":
                log = self._workers[name].log
                self._log_start = log.stat().st_size if log.exists() else 0
            command = [sys.executable, "-m", "mynamo", "--config", str(self.local.config_file)]
            self._workers[name].start(
                [*command, *words, "--log-level", "warning" if name == "gateway" else "info"],
                ready=ready,
                timeout=START_SECONDS,
                env=env,
            )

    def await_indexer(self) -> None:
        """Wait until the indexer has joined its group in Kafka.

        Raises:
            RuntimeError: it does not.
        """
        process = self._workers["indexer"]
        deadline = time.monotonic() + START_SECONDS
        while READING not in process.log_tail(self._log_start):
            if time.monotonic() > deadline or not process.running:
                raise RuntimeError(f"the indexer does not read; its log: {process.log}")
            time.sleep(POLL_SECONDS)

    def stop(self, *names: str) -> None:
        """Stop workers, those that run."""
        for name in names:
            self._workers[name].stop()

    def settle(self) -> float:
        """Wait until every index has every write so far.

        Returns:
            Seconds that it took.

        Raises:
            RuntimeError: it does not come to that.
        """
        began = time.monotonic()
        if not wait_until_applied(self.cluster, SETTLE_SECONDS):
            raise RuntimeError(f"the indexes are behind after {SETTLE_SECONDS:.0f} s")
        return time.monotonic() - began

    def use(self) -> dict[str, Use]:
        """What each process has used, by its name."""
        broker = {"broker": self.local.broker} if self.local.broker else {}
        shards = {
            f"{self.local.engine.kind} {number}": server
            for number, server in self.local.shards.items()
        }
        return use_of(
            {
                name: process.pid
                for name, process in (shards | broker | self._workers).items()
                if process.pid is not None
            }
        )

    def cpu_by_part(self) -> dict[str, float]:
        """CPU seconds so far, by what takes them: the shards' servers are one, and this process,
        which has the library, is the client."""
        found = {"client": time.process_time()}
        for name, use in self.use().items():
            part = name.partition(" ")[0]
            found[part] = found.get(part, 0.0) + use.cpu_seconds
        return found

    def cpu_seconds(self) -> float:
        """Of all processes and of this one."""
        return sum(self.cpu_by_part().values())

    def idle_cores(self, seconds: float) -> float:
        """How many cores all of it takes when there is nothing to do."""
        before = self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / seconds

    def about(self) -> dict[str, Any]:
        """What results depend on."""
        assert self.local.broker
        return {
            "engine": self.local.engine.title,
            "broker": self.local.broker.title,
            **durability(self.local.shards[1]),
        }


@contextmanager
def running(
    folder: Path,
    asked: argparse.Namespace,
    shards: int,
    workers: Sequence[str] = ("writer", "indexer"),
    members: int | None = None,
) -> Iterator[Servers]:
    """Run a cluster, in a folder where it may have run before, until the block ends.

    Args:
        asked: what `add_options` added.
        workers: to begin with.
        members: of a cluster that is set up now, the first so many of the shards; None: all.

    Raises:
        LocalServerError: something does not start.
    """
    local = LocalCluster(
        folder, shards, asked.engine, BROKERS[asked.broker], buffer_pool=asked.buffer_pool
    )
    with ExitStack() as stack:
        stack.enter_context(local.start())
        ensure_topics(local.config.kafka)
        first = local.config.model_copy(update={"shards": local.config.shards[:members]})
        with Cluster(first):
            pass  # the first to open it sets it up
        cluster = stack.enter_context(Cluster(local.config))
        servers = Servers(local, cluster)
        stack.callback(servers.stop, "gateway", "indexer", SECOND, "writer")
        servers.start(*workers)
        if "indexer" in workers:
            servers.await_indexer()
        yield servers


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the options that say which servers, and where results go."""
    parser.add_argument("--engine", choices=["mysql", "mariadb"], help="[default: MySQL if found]")
    parser.add_argument(
        "--broker", choices=list(BROKERS), default="kafka" if find_fetched("kafka") else "embedded"
    )
    parser.add_argument("--buffer-pool", default="256M", help="of each shard's server")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / name)


@contextmanager
def workplace(out: Path) -> Iterator[Path]:
    """A folder for data, gone when the block ends; SIGTERM ends it as Ctrl-C does."""
    out.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".data-") as folder:
            yield Path(folder).resolve()
    finally:
        signal.signal(signal.SIGTERM, before)


def durability(server: LocalMySQL) -> dict[str, Any]:
    """The settings of a server that say what a commit is, and its memory, as it has them."""
    names = "innodb_flush_log_at_trx_commit", "sync_binlog", "innodb_buffer_pool_size"
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join('@@' + name for name in names)}")
        values = cursor.fetchone()
    assert values
    return dict(zip(names, values, strict=True))


def use_of(roots: Mapping[str, int]) -> dict[str, Use]:
    """What some processes have used, their children included.

    Args:
        roots: process ids by name.
    """
    children: dict[int, list[int]] = {}
    used: dict[int, Use] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        pid = int(path.parent.name)
        children.setdefault(int(values[1]), []).append(pid)
        used[pid] = Use((int(values[11]) + int(values[12])) / TICKS, int(values[21]) * PAGE)
    found = {}
    for name, root in roots.items():
        family, waiting = [], [root]
        while waiting:
            pid = waiting.pop()
            family += [used[pid]] if pid in used else []
            waiting += children.get(pid, ())
        found[name] = Use(
            sum(each.cpu_seconds for each in family), sum(each.memory_bytes for each in family)
        )
    return found


def _at_once() -> bool:
    return True


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
