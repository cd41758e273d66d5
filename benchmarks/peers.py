"""Servers of DynamoDB's API on this machine: mynamo's gateway, and others to compare it with.

dynalite comes from npm, dynoxide from crates.io (compiled here); they are pinned, checked by their
checksums, and kept in the cache folder (`$MYNAMO_CACHE`). A server that already runs on this
machine is named by its URL; whether its licence allows to measure it is for who does so to know.
It reads CPU times from /proc (Linux).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import http_load

from mynamo.catalog.cluster import Cluster
from mynamo.errors import LocalServerError
from mynamo.local import LocalCluster, free_port
from mynamo.local.cache import store
from mynamo.local.ports import LOOPBACK, is_listening
from mynamo.local.process import ServerProcess
from mynamo.log import ensure_topics
from mynamo.operations import wait_until_applied

DYNALITE = "4.0.0"
DYNOXIDE = "3.2.0"
DYNALITE_FILES = Path(__file__).with_name("dynalite")
SHARDS = 1
START_SECONDS = 60.0
SETTLE_SECONDS = 300.0
TICKS = os.sysconf("SC_CLK_TCK")


class HasPid(Protocol):
    """A server's process."""

    @property
    def pid(self) -> int | None:
        """Its id while it runs."""


@dataclass
class Contender:
    """A running server.

    Attributes:
        name: as on the command line.
        title: for people.
        keeps: what of an acknowledged write survives.
        port: of DynamoDB's API, on the loopback address.
        table: the name of its table; servers that share their storage have one each.
        processes: all that work for it.
        settle: waits until it has done what earlier writes left to do; whether it has in time.
        checked: whether its answers mean anything.
    """

    name: str
    title: str
    keeps: str
    port: int
    processes: Sequence[HasPid]
    table: str = "orders"
    settle: Callable[[], bool] = lambda: True
    checked: bool = True

    def cpu_seconds(self) -> float:
        """CPU time of its processes and of their children so far."""
        return _cpu_seconds(process.pid for process in self.processes if process.pid)


def say(text: str) -> None:
    """A line on stderr with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextmanager
def contenders(
    names: Iterable[str], folder: Path, shards: int = SHARDS
) -> Iterator[list[Contender]]:
    """Run contenders side by side until the block ends.

    Args:
        names: see `contender_name`.
        folder: of their data.
        shards: of mynamo's cluster.

    Raises:
        LocalServerError: one could not be fetched, or does not start.
    """
    with ExitStack() as stack:
        wanted = list(names)
        found: dict[str, Contender] = {}
        gateways = [name for name in wanted if name in GATEWAYS]
        if gateways:
            for one in stack.enter_context(_mynamo(gateways, folder / "mynamo", shards)):
                found[one.name] = one
        for name in wanted:
            if name in PEERS:
                say(f"starting {name}")
                (folder / name).mkdir(parents=True)
            if name not in GATEWAYS:
                start = PEERS.get(name, _named_by_url)
                found[name] = stack.enter_context(start(name, folder / name))
        yield [found[name] for name in wanted]


@contextmanager
def _mynamo(names: list[str], folder: Path, shards: int) -> Iterator[list[Contender]]:
    """One cluster, and a gateway for each name."""
    with ExitStack() as stack:
        local = stack.enter_context(LocalCluster(folder, shards).start(say))
        assert local.broker
        ensure_topics(local.config.kafka)
        cluster = stack.enter_context(Cluster(local.config))  # the first to open it sets it up

        def start(words: list[str], home: str, ready: Callable[[], bool]) -> ServerProcess:
            process = ServerProcess(words[0], folder / home)
            command = [sys.executable, "-m", "mynamo", "--config", str(local.config_file), *words]
            process.start(command, ready=ready, timeout=START_SECONDS)
            stack.callback(process.stop)
            return process

        workers = [start([name], name, lambda: True) for name in ("writer", "indexer")]
        shared: list[HasPid] = [*local.shards.values(), local.broker, *workers]
        made = []
        for name in names:
            port = free_port()
            count = GATEWAYS[name]
            options = ["--port", str(port), "--no-auth", "--workers", str(count)]
            options += ["--log-level", "warning"]
            options += ["--index-reads", "own-writes" if name == OWN_WRITES else "eventual"]
            gateway = start(["serve", *options], name, partial(is_listening, port))
            made.append(
                Contender(
                    name,
                    f"mynamo, {count} gateway process{'es' if count > 1 else ''}, "
                    f"{'own writes in GSIs, ' if name == OWN_WRITES else ''}"
                    f"{shards} x {local.engine.title}, {local.broker.title}",
                    "synced to disk by each commit, in the table's and in the binary log",
                    port,
                    [*shared, gateway],
                    table=f"orders-{name}",
                    settle=partial(wait_until_applied, cluster, SETTLE_SECONDS),
                )
            )
        yield made


@contextmanager
def _dynalite(name: str, folder: Path) -> Iterator[Contender]:
    modules = _store("dynalite", DYNALITE, _fetch_dynalite) / "node_modules"
    port = free_port()
    command = [
        _program("node"), str(modules / "dynalite" / "cli.js"),
        "--path", str(folder / "data"), "--host", LOOPBACK, "--port", str(port),
    ]  # fmt: skip
    with _running(name, folder, command, port) as process:
        yield Contender(
            name,
            f"dynalite {DYNALITE}, on disk",
            "written to a log that is not synced",
            port,
            [process],
        )


@contextmanager
def _dynoxide(name: str, folder: Path) -> Iterator[Contender]:
    program = _store("dynoxide", DYNOXIDE, _fetch_dynoxide) / "bin" / "dynoxide"
    port = free_port()
    database = str(folder / "data.db")
    command = [
        str(program), "serve", "--host", LOOPBACK, "--port", str(port), "--db-path", database,
    ]  # fmt: skip
    with _running(name, folder, command, port) as process:
        keeps = "synced to disk by each commit (an fsync for each put, by strace)"
        yield Contender(name, f"dynoxide {DYNOXIDE}, on disk", keeps, port, [process])


@contextmanager
def _fixed(name: str, folder: Path) -> Iterator[Contender]:
    port = free_port()
    command = [sys.executable, http_load.__file__, "fixed", str(port)]
    with _running(name, folder, command, port) as process:
        title = "a server that does nothing: the load generator's own limit"
        yield Contender(name, title, "nothing", port, [process], checked=False)


OWN_WRITES = "mynamo-own"
GATEWAYS = {"mynamo": 1, "mynamo-2": 2, OWN_WRITES: 1}
"""Processes of the gateway, by contender."""
PEERS = {
    "dynalite": _dynalite,
    "dynoxide": _dynoxide,
    "fixed": _fixed,
}
NAMES = (*GATEWAYS, *PEERS)


def contender_name(name: str) -> str:
    """A contender as it is named on a command line: one of `NAMES`, or the URL of a server.

    Raises:
        ArgumentTypeError: it is neither.
    """
    url = urlsplit(name)
    if name in NAMES or (url.scheme == "http" and url.hostname == LOOPBACK and url.port):
        return name
    raise ArgumentTypeError(
        f"{name!r}: choose from {', '.join(NAMES)}, or give the URL of a server of the API that "
        f"runs on this machine, as http://{LOOPBACK}:8000"
    )


@contextmanager
def _named_by_url(name: str, _: Path) -> Iterator[Contender]:
    yield Contender(name, f"the server at {name}", "not known", urlsplit(name).port or 0, [])


@contextmanager
def _running(name: str, folder: Path, command: list[str], port: int) -> Iterator[ServerProcess]:
    process = ServerProcess(name, folder)
    process.start(command, ready=lambda: is_listening(port), timeout=START_SECONDS)
    try:
        yield process
    finally:
        process.stop()


def _store(kind: Any, version: str, fill: Callable[[Path], None]) -> Path:
    return store(kind, version, fill).folder


def _fetch_dynalite(folder: Path) -> None:
    say(f"downloading dynalite {DYNALITE} with npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(DYNALITE_FILES / name, folder)
    _fetch([_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _fetch_dynoxide(folder: Path) -> None:
    say(f"compiling dynoxide {DYNOXIDE} with cargo; takes minutes")
    features = "native-sqlite,http-server,cli"
    options = ["--no-default-features", "--features", features, "--locked", "--root", str(folder)]
    command = ["install", "dynoxide-rs", "--version", DYNOXIDE, *options]
    _fetch([_program("cargo"), *command], folder)


def _fetch(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise LocalServerError(f"{Path(command[0]).name} could not download:\n{said}")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise LocalServerError(f"{name} was not found; install it, or leave its peers out")
    return found


def _cpu_seconds(roots: Iterable[int]) -> float:
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        pid = int(path.parent.name)
        children.setdefault(int(values[1]), []).append(pid)
        used[pid] = int(values[11]) + int(values[12])
    total, waiting = 0, list(roots)
    while waiting:
        pid = waiting.pop()
        total += used.get(pid, 0)
        waiting += children.get(pid, ())
    return total / TICKS
