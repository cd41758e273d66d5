"""A run of the harness: load, faults, healing, and whether everything is as promised.

    python -m tests.faults.run --seed 7 --minutes 5 --engine mariadb

Ends with status 1 if a violation was found. With `--without MECHANISM` it is a negative
control: then it must find one, and the status is the other way round.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from mynamo.catalog.cluster import Cluster
from mynamo.errors import LocalServerError, MynamoError
from mynamo.local import EngineKind
from mynamo.operations.verify import verify
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ChangeEvent
from mynamo.writer.expirer import MOST_SKEW
from tests.faults import history, moving, releases, streams, workload
from tests.faults.changing_definitions import ChangingDefinitions
from tests.faults.checking import check_all, wait_until_quiet
from tests.faults.cluster import SHARDS, FaultCluster
from tests.faults.faults import Fault, Injector, unmended
from tests.faults.history import Operation
from tests.faults.journal import changes, keep_changes
from tests.faults.leftovers import wait_until_none
from tests.faults.model import TABLE, has_written
from tests.faults.neighbours import Neighbours
from tests.faults.plan import Cast, draw
from tests.faults.proxy import FAIR
from tests.faults.recorded import StreamConsumer, ensure_stream
from tests.faults.releases import PREVIOUS, ROOT
from tests.faults.report import Outcome
from tests.faults.sabotage import MECHANISMS, launcher
from tests.faults.sessions import SESSIONS, check_sessions, left_over
from tests.faults.short_generations import shortened
from tests.faults.streams import Follower
from tests.faults.transactions import ACCOUNT_KEYS, ACCOUNTS, LISTS

MOVERS = 2
MODES = ("library", "library", "gateway", "queue")
_UPGRADED = ("library", "queue")
"""Modes of the clients that begin with an earlier release, if there is one."""
FIRST_SECONDS = 90.0
"""Within which every client must have written something, before anything is harmed."""
AGAIN_SECONDS = 150.0
"""Within which every client must write again, once everything is healed: MySQL looks once a
minute whether a full disk has room again."""
MENDED_SECONDS = 240.0
"""Within which the indexes of a restored shard must be mended, once the clients have stopped."""
RESOLVED_SECONDS = 60.0
"""Within which no transaction may have left anything on a shard, likewise."""
EXPIRED_SECONDS = 60.0
"""Within which all sessions must be gone, likewise."""
QUIET_SECONDS = 180.0
"""Within which nothing may be under way any more, once the clients have stopped."""


@dataclass(frozen=True)
class Settings:
    """What a run is to be.

    Attributes:
        only: see `draw`.
        restores: the last shard is restored from backups too; then less can be checked of its
            items, as it may lose what it acknowledged. No slots move then: a target that loses
            what it has copied loses what the source had acknowledged.
        failovers: shards begin new incarnations, as after failovers that lose nothing.
        short_generations: see `tests.faults.short_generations`.
        earlier: the commit of the release that workers and some clients begin with, and are
            upgraded from; None: all are of this release.
        without: the mechanism that is taken out; None: none.
        folder: of everything; deleted after a run without findings, unless it is to `keep`.
    """

    seed: int
    seconds: float
    engine: EngineKind
    shards: int = SHARDS
    brokers: int = 1
    embedded: bool = False
    without: str | None = None
    only: tuple[str, ...] = ()
    restores: bool = False
    failovers: bool = False
    short_generations: bool = False
    earlier: str | None = None
    folder: Path | None = None
    keep: bool = False
    say: Callable[[str], None] = lambda line: None


def run(settings: Settings) -> Outcome:
    """Run the harness once."""
    folder = settings.folder or Path(tempfile.mkdtemp(prefix="mynamo-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    mechanism = MECHANISMS[settings.without] if settings.without else None
    outcome = Outcome(folder=folder)
    launch = launcher(settings.without)
    with FaultCluster(
        folder,
        settings.engine,
        shards=settings.shards,
        brokers=settings.brokers,
        embedded=settings.embedded,
        movers=0 if settings.restores or settings.earlier else MOVERS,
        mysql_options=mechanism.mysql_options if mechanism else (),
        launcher=shortened(launch) if settings.short_generations else launch,
        earlier=settings.earlier,
    ) as cluster:
        _Run(settings, cluster, outcome).go()
    if not outcome.violations and not settings.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


class _Run:
    def __init__(self, settings: Settings, cluster: FaultCluster, outcome: Outcome) -> None:
        self._settings = settings
        # An earlier release has none over several shards, and nobody promises them for what a
        # restored shard has lost.
        self._transactions = not (settings.earlier or settings.restores)
        self._cluster = cluster
        self._outcome = outcome
        self._clients = {f"client-{n}": mode for n, mode in enumerate(MODES, 1)}
        self._numbers = iter(range(1, 1_000_000))
        self._histories: list[Path] = []
        self._newest: dict[str, Path] = {}
        self._heal = threading.Event()
        self._follower = Follower(cluster.config.kafka, TABLE)
        changing = (TABLE, LISTS) if self._transactions else (TABLE,)
        self._definitions = ChangingDefinitions(cluster.config, settings.seconds, changing)
        self._consumer: StreamConsumer | None = None
        self._delivered: list[ChangeEvent] | None = None
        self._began = 0.0
        self._ahead: list[tuple[float, float]] = []  # shards' clocks

    def go(self) -> None:
        """The whole run."""
        brokers = [broker.title for broker in self._cluster.brokers.values()]
        self._say(f"{self._cluster.engine.title}, {', '.join(brokers)}")
        self._make_table()
        if self._cluster.earlier:  # its workers run when this release first comes
            self._cluster.start_workers()
        keep_changes(self._cluster.config)
        with (
            self._follower,
            closing(Neighbours(self._cluster.config)) as neighbours,
            self._consumer or nullcontext(),
        ):
            watched = None if self._cluster.earlier else neighbours  # which promises no bounds
            self._injector = Injector(
                self._cluster, self._heal, self._start, self._note_loss, watched
            )
            if not self._cluster.earlier:
                self._cluster.start_workers()
            for name in self._clients:
                self._start(name, {})
            self._await_writes(FIRST_SECONDS, "before anything was harmed")
            self._cluster.start_movers(self._settings.seed)
            with self._definitions.changing():
                self._harm()
            self._heal_all()
            self._await_writes(AGAIN_SECONDS, "after everything was healed")
            self._say("healed; the clients stop")
            self._cluster.stop(self._clients)
            self._finish_moves()
            if self._injector.restored_at or self._settings.failovers:
                self._say("waiting until indexes are mended")
                self._await_mended()
            self._say("waiting until nothing is under way")
            self._await_quiet()
            if self._transactions:
                self._await_resolved()
                self._await_expired()
            self._await_definitions()
            if not self._follower.catch_up():
                self._outcome.notes.append("the topic was not read to its end in time")
            self._say("checking")
            self._check()

    def _make_table(self) -> None:
        earlier = self._cluster.earlier
        if earlier is None:
            workload.ensure_table(self._cluster.config)
            if self._transactions:
                workload.ensure_transactions(self._cluster.config)
            if not self._settings.restores:  # which lose records with their changes
                ensure_stream(self._cluster.config, TABLE)
                through = ClusterConfig.load(self._cluster.config_file("clients"))
                failovers = self._settings.failovers
                self._consumer = StreamConsumer(through, TABLE, failovers=failovers)
        else:
            releases.make_table(earlier, self._cluster.config_file("clients"))

    def _start(self, name: str, env: dict[str, str]) -> None:
        """Start a process (again); a client's successor has a number and a history of its own."""
        mode = self._clients.get(name)
        if mode is None:
            self._cluster.members[name].start(env)
            return
        number = next(self._numbers)
        before = self._cluster.members.get(name)
        begins = self._cluster.earlier if mode in _UPGRADED else None
        path = self._cluster.folder / f"history-{number}.jsonl"
        self._histories.append(path)
        replaced = self._newest.get(name)
        self._newest[name] = path
        arguments = [
            "--history", str(path), "--client", str(number),
            "--seed", str(self._settings.seed * 1000 + number), "--mode", mode,
        ]  # fmt: skip
        if mode == "gateway":
            arguments += ["--endpoint", self._cluster.endpoint]
        if self._transactions:
            arguments.append("--transactions")
            if self._settings.short_generations:
                arguments.append("--once")
            elif replaced is not None:
                arguments += ["--before", str(replaced)]
        self._cluster.add(
            name, "clients", "tests.faults.workload", *arguments, env=env,
            root=before.root if before else begins,
        )  # fmt: skip

    def _harm(self) -> None:
        """Carry out the plan, and notice who ends without having been told to."""
        cluster, seconds = self._cluster, self._settings.seconds
        workers = [n for n in cluster.members if n.startswith(("writer", "indexer"))]
        upgraded = [*workers, *(n for n, mode in self._clients.items() if mode in _UPGRADED)]
        coordinators = ["gateway", *(n for n, mode in self._clients.items() if mode == "library")]
        cast = Cast(
            workers=workers,
            clients=list(self._clients),
            shards=list(cluster.shards),
            brokers=list(cluster.brokers),
            disk=cluster.disk is not None,
            clocks=cluster.clocks is not None,
            keeping=not cluster.embedded,
            restores=list(cluster.shards)[-1:] if self._settings.restores else [],
            upgrades=upgraded if cluster.earlier else [],
            coordinators=coordinators if self._transactions else [],
            cleaning=self._settings.short_generations,
            movers=cluster.movers,
        )
        plan = draw(self._settings.seed, seconds, cast, self._settings.only)
        self._began = time.monotonic()
        threads = []
        for fault in [*plan, None]:
            self._watch_until(fault.at if fault else seconds)
            if fault:
                self._say(str(fault))
                threads.append(threading.Thread(target=self._carry_out, args=(fault,)))
                threads[-1].start()
        self._heal.set()
        for thread in threads:
            thread.join()

    def _carry_out(self, fault: Fault) -> None:
        is_clock = fault.kind == "clock" and fault.target in self._cluster.shards
        if is_clock and 0 < float(fault.detail) <= MOST_SKEW + 1:
            now = time.monotonic()
            self._ahead.append((now, now + fault.seconds))
        try:
            self._injector.carry_out(fault)
        except Exception as failure:
            self._outcome.notes.append(f"{fault}: not carried out to its end: {failure!r}")

    def _watch_until(self, at: float) -> None:
        while (left := self._began + at - time.monotonic()) > 0:
            self._look_for_the_dead()
            time.sleep(min(0.5, left))

    def _look_for_the_dead(self) -> None:
        for name, member in list(self._cluster.members.items()):
            if member.up and not member.running:
                member.up = False
                if _could_not_start(member.log):
                    self._outcome.notes.append(f"{name} did not find the catalog and ended")
                else:
                    self._outcome.violations.append(f"{name} ended by itself: {member.log}")
                self._start(name, {})

    def _heal_all(self) -> None:
        self._say("healing")
        for link in self._cluster.links.values():
            link.set(FAIR)
        self._cluster.start_servers()
        for member in self._cluster.members.values():
            if member.root != ROOT:  # and the upgrade comes to its end
                member.stop()
                member.root = ROOT
        for name, member in list(self._cluster.members.items()):
            if not member.running:
                self._start(name, {})

    def _await_writes(self, seconds: float, when: str) -> None:
        """Wait until every client has been told of a write from now on."""
        now = time.monotonic_ns()
        missing = set(self._clients)
        deadline = time.monotonic() + seconds
        while missing and time.monotonic() < deadline:
            self._look_for_the_dead()
            time.sleep(0.5)
            missing = {n for n in missing if not has_written(self._newest[n], now)}
        self._outcome.checks["clients go on"] += len(self._clients)
        self._outcome.violations += [
            f"{name} ({self._clients[name]}) had nothing acknowledged for {seconds:g} s {when}"
            for name in sorted(missing)
        ]

    def _finish_moves(self) -> None:
        """Let the movers end, and end what they have left."""
        if not self._cluster.movers:
            return
        self._say("ending the moves that are open")
        self._look_for_the_dead()
        self._cluster.stop(self._cluster.movers)
        self._outcome.checks["no move is open in the end"] += 1
        try:
            left = moving.finish(self._cluster.config)
        except MynamoError as failure:
            left = f"{type(failure).__name__}: {failure}"
        if left:
            self._say(f"moves have not ended: {left}")
            self._outcome.violations.append(f"moves have not ended: {left}")

    def _await_quiet(self) -> None:
        waiting = wait_until_quiet(self._cluster.config, QUIET_SECONDS)
        self._look_for_the_dead()
        self._outcome.checks["nothing is under way in the end"] += 1
        if waiting:
            self._outcome.violations.append(f"not quiet after {QUIET_SECONDS:g} s: {waiting}")

    def _await_resolved(self) -> None:
        self._outcome.checks["transactions leave nothing"] += 1
        left = wait_until_none(self._cluster.config, RESOLVED_SECONDS)
        self._outcome.violations += [f"left after {RESOLVED_SECONDS:g} s: {each}" for each in left]

    def _await_expired(self) -> None:
        self._outcome.checks["sessions end"] += 1
        left = left_over(self._cluster.config, EXPIRED_SECONDS)
        if left:
            self._outcome.violations.append(f"{left} sessions are left after {EXPIRED_SECONDS:g} s")

    def _await_mended(self) -> None:
        """Wait until what restored shards have lost is mended."""
        deadline = time.monotonic() + MENDED_SECONDS
        self._outcome.checks["restored shards are mended"] += len(self._injector.restored_at)
        with Cluster(self._cluster.config) as cluster:
            while waiting := unmended(cluster):
                if time.monotonic() > deadline:
                    found = f"not mended after {MENDED_SECONDS:g} s: {waiting}"
                    self._outcome.violations.append(found)
                    return
                time.sleep(0.5)

    def _await_definitions(self) -> None:
        unfinished = self._definitions.unfinished(QUIET_SECONDS)
        self._outcome.checks["definitions that changed are as asked"] += self._definitions.changes
        if unfinished:
            self._outcome.violations.append(f"not done after {QUIET_SECONDS:g} s: {unfinished}")

    def _of_sessions(self, paths: Sequence[Path]) -> list[Operation]:
        return [one for one in history.load(paths) if one.table == SESSIONS]

    def _note_loss(self) -> None:
        """From the first loss on, the stream may begin anew anywhere."""
        if self._delivered is None:
            self._delivered = self._follower.events

    def _check(self) -> None:
        outcome, config, injector = self._outcome, self._cluster.config, self._injector
        # Of a client that was killed before it could begin there is none.
        histories = [path for path in self._histories if path.exists()]
        written = history.load(histories)
        outcome.operations.update(
            (o.kind if o.table == TABLE else f"{o.kind} {o.table}", o.outcome) for o in written
        )
        last = self._cluster.folder / "history-last.jsonl"
        places = workload.all_keys(written)
        if self._transactions:
            places |= {(ACCOUNTS, key) for key in ACCOUNT_KEYS}
        workload.final_reads(config, last, places)
        paths = [*histories, last]
        committed = changes(config, TABLE)
        report = check_all(
            paths, config, events=committed, wiped_at=injector.wiped_at,
            restored_at=injector.restored_at, sent_again=streams.sent_again(self._follower.events),
        )  # fmt: skip
        if self._transactions:
            report.add("sessions live", *check_sessions(self._of_sessions(paths), self._ahead))
        if self._consumer is not None:
            report.add("records of the stream", *self._consumer.check(config))
            outcome.checks["stream shards ended"] += self._consumer.rolled
            outcome.checks["new incarnations"] += self._consumer.failed_over
        delivered = self._follower.events if self._delivered is None else self._delivered
        stream = streams.check(delivered, None)
        report.add("what Kafka delivered", stream.checked, stream.violations)
        outcome.checks += report.checks
        outcome.violations += report.violations
        with Cluster(config) as cluster:
            own = (TABLE, ACCOUNTS, LISTS, SESSIONS) if self._transactions else (TABLE,)
            there = set(cluster.snapshot.names)
            changed = [name for name in self._definitions.tables if name in there]
            for name in (*own, *changed):
                try:
                    verdict = verify(cluster, name)
                except MynamoError as failure:
                    outcome.violations.append(f"mynamo verify {name}: {failure!r}")
                    continue
                rows = sum(index.rows for index in verdict.indexes)
                outcome.checks["mynamo verify, rows"] += rows
                if not verdict.ok:
                    outcome.violations.append(f"mynamo verify {name}: {verdict}")
        outcome.faults = injector.done
        if injector.measured:
            outcome.checks["shards beside one that is away"] += len(injector.measured)
        outcome.violations += injector.bounds
        outcome.moves, pauses = moving.told(map(self._cluster.journal_of, self._cluster.movers))
        outcome.measured = [*injector.measured, *pauses]
        outcome.notes += [*report.notes, *injector.notes]

    def _say(self, line: str) -> None:
        self._settings.say(line)


def _could_not_start(log: Path) -> bool:
    """Whether a process ended as commands do that do not reach the catalog for 30 seconds when
    they begin: who supervises them starts them again."""
    lines = log.read_text().splitlines()
    return bool(lines) and lines[-1].startswith("Error: catalog ") and "given up" in lines[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--engine", choices=["mysql", "mariadb"], default="mysql")
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--broker", choices=["apache", "embedded"], default="apache")
    parser.add_argument("--without", choices=sorted(MECHANISMS), help="a negative control")
    parser.add_argument("--only", nargs="+", default=[], help="faults, such as 'kill' 'link cut'")
    parser.add_argument("--restores", action="store_true", help="restore a shard's backups too")
    parser.add_argument(
        "--failovers", action="store_true", help="let shards begin new incarnations"
    )
    parser.add_argument(
        "--short-generations", action="store_true",
        help="let decisions of transactions and tokens go within seconds",
    )  # fmt: skip
    parser.add_argument(
        "--earlier", nargs="?", const=PREVIOUS, metavar="COMMIT",
        help="begin with the release of a commit, and upgrade while everything runs",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="the folder, whatever was found")
    given = parser.parse_args(arguments)
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:6.1f}] {line}\n")

    settings = Settings(
        given.seed, given.minutes * 60, given.engine, given.shards, given.brokers,
        given.broker == "embedded", given.without, tuple(given.only), given.restores,
        given.failovers, given.short_generations, given.earlier, given.folder, given.keep, say,
    )  # fmt: skip
    try:
        outcome = run(settings)
    except LocalServerError as failure:
        say(f"the run could not begin: {failure}")
        return 2
    sys.stdout.write(outcome.text())
    return int(bool(outcome.violations) != bool(given.without))


if __name__ == "__main__":
    sys.exit(main())
