"""The faults: what each does to a cluster, and how it is healed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kafka.errors import KafkaError

from mynamo.catalog import incarnation
from mynamo.catalog.cluster import Cluster
from mynamo.errors import LocalServerError, LogUnavailable, MynamoError
from mynamo.local import Broker, LocalMySQL
from mynamo.local.state import config_toml
from mynamo.log import open_admin
from mynamo.runtime.crash_points import VARIABLE
from tests.faults.cluster import FaultCluster, Member, send
from tests.faults.neighbours import GRACE, Neighbours
from tests.faults.proxy import FAIR, Weather
from tests.faults.releases import ROOT

CRASH_SECONDS = 20.0
"""For which a process that was told to die at a point may take to get there."""
_STARTS = 3
_MENDED_SECONDS = 60.0
"""For which a fault waits for restored shards to be mended."""
_LEAST_MEASURED = 5.0
"""Seconds, with a shard away, in which clients of another one can be measured."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a run's plan.

    Attributes:
        at: seconds after the beginning of the run.
        kind: see `INJECTORS`.
        target: a process, a server, or "process>server" for the link between them.
        seconds: from the fault to its healing.
        detail: what the kind needs to know besides: a crash point, a weather.
    """

    at: float
    kind: str
    target: str
    seconds: float
    detail: str = ""

    @property
    def what(self) -> str:
        """Kind, detail and target in words."""
        return " ".join(word for word in (self.kind, self.detail, self.target) if word)

    def __str__(self) -> str:
        return f"{self.at:6.1f} s: {self.what}, {self.seconds:.1f} s"


class Injector:
    """Carries out faults and counts them.

    Args:
        cluster: to harm.
        heal: when it is set, every fault heals at once.
        start: starts a process again; a client's successor takes its name. Takes the name
            and environment variables.
        on_loss: called before Kafka loses events, or a shard loses changes.
        neighbours: clients of the shards that are not away; None: nobody looks.

    Attributes:
        done: how often each kind was injected.
        notes: what went otherwise than meant, for people.
        wiped_at: when the brokers last lost everything, by `time.monotonic_ns`; 0: never.
        restored_at: by shard, when it was last there again after a restore, likewise.
        measured: what clients of the other shards got while one was away, in words.
        bounds: where that was not within the bounds.
    """

    def __init__(
        self,
        cluster: FaultCluster,
        heal: threading.Event,
        start: Callable[[str, dict[str, str]], None],
        on_loss: Callable[[], None] = lambda: None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._cluster = cluster
        self._heal = heal
        self._start_member = start
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.done: Counter[str] = Counter()
        self.notes: list[str] = []
        if cluster.clocks is None:
            self.notes.append("no clock was moved: that takes Linux, glibc and a C compiler")
        if cluster.embedded:
            self.notes.append("the embedded broker keeps nothing: its death counts as a wiped disk")
        self.wiped_at = 0
        self.restored_at: dict[str, int] = {}
        self.measured: list[str] = []
        self.bounds: list[str] = []
        self._on_loss = on_loss
        self._neighbours = neighbours

    def carry_out(self, fault: Fault) -> None:
        """Inject a fault, wait, and heal it."""
        injure: Callable[[Fault], AbstractContextManager[bool]] = {
            "kill": self._kill,
            "stop": self._stop,
            "freeze": self._freeze,
            "crash": self._crash,
            "halt": self._halt,
            "strand": self._strand,
            "link": self._link,
            "wipe": self._wipe,
            "topic": self._topic,
            "disk": self._disk,
            "clock": self._clock,
            "away": self._away,
            "restore": self._restore,
            "upgrade": self._upgrade,
        }[fault.kind]
        with self._locks[_place(fault.target)], injure(fault) as happened:
            if happened:
                self.done[name_of(fault)] += 1
                self._heal.wait(fault.seconds)

    @contextmanager
    def _kill(self, fault: Fault) -> Iterator[bool]:
        """End a process or a server with SIGKILL, and start it again."""
        target = self._target(fault.target)
        target.kill()
        yield True
        self._revive(fault.target)

    @contextmanager
    def _stop(self, fault: Fault) -> Iterator[bool]:
        """End a process in good order, as an upgrade does, and start it again."""
        self._target(fault.target).stop()
        yield True
        self._revive(fault.target)

    @contextmanager
    def _freeze(self, fault: Fault) -> Iterator[bool]:
        """SIGSTOP, and SIGCONT later: it takes up its work as if no time had passed."""
        pid = self._target(fault.target).pid
        send(pid, signal.SIGSTOP)
        yield True
        send(pid, signal.SIGCONT)

    @contextmanager
    def _crash(self, fault: Fault) -> Iterator[bool]:
        """Start a process anew so that it dies at a labelled point, and then as it was."""
        others = self._rivals(fault)
        for name in (*others, fault.target):
            self._cluster.members[name].kill()
        self._start_member(fault.target, {VARIABLE: fault.detail})
        member = self._cluster.members[fault.target]
        member.up = False  # it is meant to die
        deadline = time.monotonic() + CRASH_SECONDS
        while member.running and time.monotonic() < deadline and not self._heal.is_set():
            time.sleep(0.02)
        died = not member.running
        if not died:
            self.notes.append(f"{fault.target} did not get to {fault.detail} in time")
        member.kill()
        for name in others:
            self._revive(name)
        yield died
        self._revive(fault.target)

    @contextmanager
    def _halt(self, fault: Fault) -> Iterator[bool]:
        """Start a process anew so that it freezes at a labelled point, and wake it up later."""
        others = self._rivals(fault)
        for name in (*others, fault.target):
            self._cluster.members[name].kill()
        self._start_member(fault.target, {VARIABLE: f"{fault.detail}:freeze"})
        member = self._cluster.members[fault.target]
        deadline = time.monotonic() + CRASH_SECONDS
        while not is_stopped(member.pid) and time.monotonic() < deadline:
            if self._heal.is_set() or not member.running:
                break
            time.sleep(0.02)
        frozen = is_stopped(member.pid)
        if not frozen:
            self.notes.append(f"{fault.target} did not get to {fault.detail} in time")
        for name in others:
            self._revive(name)
        yield frozen
        if frozen:
            send(member.pid, signal.SIGCONT)
        else:
            self._revive_as_it_was(fault.target)

    @contextmanager
    def _strand(self, fault: Fault) -> Iterator[bool]:
        """Freeze a process at a labelled point, and meanwhile end a shard and start it again."""
        point, _, shard = fault.detail.partition("@")
        with self._halt(replace(fault, detail=point)) as frozen:
            if frozen:
                with self._locks[shard]:
                    self._cluster.shards[shard].kill()
                    self._revive(shard)
            yield frozen

    def _revive_as_it_was(self, name: str) -> None:
        """Start a process anew that may still freeze at a point."""
        self._cluster.members[name].kill()
        self._revive(name)

    def _rivals(self, fault: Fault) -> list[str]:
        """Who may hold what the process needs to get to its point: a shard's lease, a move."""
        role = {"relay": "writer", "move": "mover"}.get(fault.detail.partition(".")[0])
        if role is None:
            return []
        rivals = [name for name in self._cluster.members if name.startswith(role)]
        return [name for name in rivals if name != fault.target]

    @contextmanager
    def _link(self, fault: Fault) -> Iterator[bool]:
        """Bad weather on one link, or on all of a process or a server."""
        weather, drop = weather_of(fault.detail)
        one, _, other = fault.target.partition(">")
        links = [
            link
            for (zone, server), link in self._cluster.links.items()
            if one in (zone, "*") and other in (server, "*")
        ]
        for link in links:
            link.set(weather)
        yield True
        for link in links:
            link.set(FAIR, drop=drop)

    @contextmanager
    def _wipe(self, fault: Fault) -> Iterator[bool]:
        """Every broker dies and loses its disk: topics, groups and offsets are gone."""
        self._on_loss()
        for broker in self._cluster.brokers.values():
            broker.kill()
        self._cluster.wipe_brokers()
        self.wiped_at = time.monotonic_ns()
        yield True
        for name in self._cluster.brokers:
            self._revive(name)

    @contextmanager
    def _topic(self, fault: Fault) -> Iterator[bool]:
        """Delete the topic of changes; the workers make it anew."""
        config = self._cluster.config.kafka
        self._on_loss()
        try:
            admin = open_admin(config)
            try:
                admin.delete_topics([config.changes_topic])
            finally:
                admin.close()
        except (KafkaError, LogUnavailable) as failure:
            self.notes.append(f"the topic was not deleted: {type(failure).__name__}")
            yield False
            return
        yield True

    @contextmanager
    def _disk(self, fault: Fault) -> Iterator[bool]:
        """Fill up a shard's disk."""
        disk = self._cluster.disk
        if disk is None:
            yield False
            return
        backfiller = disk / "backfiller"
        _fill(backfiller)
        try:
            yield True
        finally:
            backfiller.unlink(missing_ok=True)
        self._revive(fault.target)  # MySQL ends itself when it cannot write its binary log

    @contextmanager
    def _clock(self, fault: Fault) -> Iterator[bool]:
        """The wall clock of a process or a server jumps, and back later."""
        clocks = self._cluster.clocks
        if clocks is None:
            yield False
            return
        clocks.set(fault.target, float(fault.detail))
        try:
            yield True
        finally:
            clocks.set(fault.target, 0)

    @contextmanager
    def _away(self, fault: Fault) -> Iterator[bool]:
        """A shard is dead, or frozen, for long; the others' clients must hardly notice."""
        ends = time.monotonic() + fault.seconds  # after which other faults come
        self._await_mended()
        server = self._cluster.shards[fault.target]
        if self._neighbours is not None:
            self._neighbours.look()
        if fault.detail == "dead":
            server.kill()
        else:
            send(server.pid, signal.SIGSTOP)
        if self._neighbours is not None and not self._heal.wait(GRACE):
            for number, name in enumerate(self._cluster.shards, 1):
                if name != fault.target:
                    self._measure(fault, name, number, ends - time.monotonic())
        self._heal.wait(max(0.0, ends - time.monotonic()))
        self.done[name_of(fault)] += 1
        yield False
        if fault.detail == "dead":
            self._revive(fault.target)
        else:
            send(server.pid, signal.SIGCONT)

    def _begin_incarnation(self, name: str) -> None:
        """As `mynamo incarnation begin` does."""
        number = list(self._cluster.shards).index(name) + 1
        config = self._cluster.folder / "begin.toml"
        config.write_text(config_toml(self._cluster.config))
        command = [sys.executable, "-m", "mynamo", "--config", str(config), "incarnation", "begin"]
        for _ in range(_STARTS):
            done = subprocess.run([*command, str(number)], check=False, capture_output=True)
            if done.returncode == 0:
                return
        self.notes.append(f"no incarnation of {name}: {done.stderr.decode()[-300:]}")

    def _await_mended(self) -> None:
        """Wait, but not for ever, until the other shards are well: of one that was restored, index
        rows are missing until then."""
        deadline = time.monotonic() + _MENDED_SECONDS
        while self.restored_at and time.monotonic() < deadline and not self._heal.wait(0.5):
            with suppress(MynamoError), Cluster(self._cluster.config) as cluster:
                if not unmended(cluster):
                    return

    def _measure(self, fault: Fault, name: str, number: int, seconds: float) -> None:
        assert self._neighbours is not None
        if seconds < _LEAST_MEASURED:
            return
        what = f"{name} while {fault.target} is {fault.detail}"
        measured = self._neighbours.watch(number, self._heal, seconds)
        if measured is None:
            self.measured.append(f"{what}: it has no slots that stay there")
            return
        self.measured.append(f"{what}: {measured}")
        if not self._heal.is_set():
            self.bounds += measured.violations(what)

    @contextmanager
    def _restore(self, fault: Fault) -> Iterator[bool]:
        """A shard loses what it committed after a backup.

        "replica": the server that has the old data has an identity of its own, as a replica that
        lags and is promoted; "backup": it is the same server, as with MariaDB always, and then
        somebody tells mynamo of it, as docs/operations.md says.
        """
        server = self._cluster.shards[fault.target]
        files, backup = server.data_dir / "data", self._cluster.folder / "backup"
        shutil.rmtree(backup, ignore_errors=True)
        server.kill()
        shutil.copytree(files, backup)
        self._revive(fault.target)
        self._heal.wait(fault.seconds)
        self._on_loss()
        server.kill()
        if fault.detail == "replica":
            (backup / "auto.cnf").unlink(missing_ok=True)  # MySQL makes another identity
        shutil.rmtree(files)
        shutil.copytree(backup, files)
        self._revive(fault.target)
        if fault.detail != "replica" or self._cluster.engine.kind == "mariadb":
            self._begin_incarnation(fault.target)
        self.restored_at[fault.target] = time.monotonic_ns()
        self.done[name_of(fault)] += 1
        yield False

    @contextmanager
    def _upgrade(self, fault: Fault) -> Iterator[bool]:
        """End a process in good order, and start it again from the other release."""
        member = self._cluster.members[fault.target]
        assert self._cluster.earlier is not None
        member.stop()
        yield True
        member = self._cluster.members[fault.target]
        member.root = ROOT if member.root != ROOT else self._cluster.earlier
        self._revive(fault.target)

    def _target(self, name: str) -> Member | LocalMySQL | Broker:
        return self._cluster.members.get(name) or self._cluster.servers[name]

    def _revive(self, name: str) -> None:
        if name in self._cluster.members:
            self._start_member(name, {})
        elif name in self._cluster.brokers:
            self._start(self._cluster.start_brokers)
        else:
            self._start(self._cluster.shards[name].start)

    def _start(self, start: Callable[[], object]) -> None:
        """Start a server; crowded machines need more than one attempt now and then."""
        for attempt in range(_STARTS):
            try:
                start()
                return
            except LocalServerError as failure:
                self.notes.append(f"a server did not start: {failure}")
                if attempt == _STARTS - 1:
                    raise


def name_of(fault: Fault) -> str:
    """What a fault counts as in the report."""
    role = fault.target.partition("-")[0].partition(">")[0]
    if fault.kind == "crash":
        return f"kill -9 at {fault.detail.partition(':')[0]}"
    if fault.kind == "halt":
        return f"freeze at {fault.detail.partition(':')[0]}"
    if fault.kind == "strand":
        return f"shard killed at {fault.detail.partition(':')[0]}"
    if fault.kind == "link":
        return f"link: {fault.detail.partition(':')[0]}"
    return {
        "kill": f"kill -9 {role}",
        "stop": f"stop {role}",
        "freeze": f"freeze {role}",
        "wipe": "broker's disk wiped",
        "topic": "topic deleted",
        "disk": "disk full",
        "away": f"{role} {fault.detail} for long",
        "restore": f"{role} restored: {fault.detail}",
        "upgrade": f"other release: {role}",
        "clock": f"clock {'back' if fault.detail.startswith('-') else 'forward'}: {role}",
    }[fault.kind]


def weather_of(detail: str) -> tuple[Weather, bool]:
    """The weather that a fault's detail means, and whether its end drops what was held."""
    kind, _, value = detail.partition(":")
    if kind in ("cut", "reset"):  # a reset lasts no time
        return Weather(refused=True), True
    if kind == "forgetful":
        return Weather(forgetful=True), False
    if kind == "delay":
        return Weather(delay=float(value) / 1000), False
    if kind == "throttle":
        return Weather(rate=int(value) * 1024), False
    held = {"requests": ("requests",), "answers": ("answers",), "both": ("requests", "answers")}
    return Weather(held=frozenset(held[value])), kind == "half-open"  # type: ignore[arg-type]


def is_stopped(pid: int | None) -> bool:
    """Whether a process is frozen."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def _fill(backfiller: Path) -> None:
    with backfiller.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    with backfiller.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 12)):
            pass


def _place(target: str) -> str:
    """What is harmed by one fault at a time: brokers count as one, and movers do."""
    if ">" in target:
        return target
    return next((f"{role}s" for role in ("broker", "mover") if target.startswith(role)), target)


def unmended(cluster: Cluster) -> list[str]:
    """The incarnations that are not clean."""
    found = []
    for shard in cluster.shards.values():
        with shard.session() as session:
            states = {each.number: each.state for each in incarnation.history(session)}
        found += [
            f"{shard.where}, {number}: {state}"
            for number, state in states.items()
            if state != incarnation.CLEAN
        ]
    return found
