"""The steps of `mynamo demo`, each with what it measures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.cli.checks import print_verdict
from mynamo.cli.demo_lag import LagProbe
from mynamo.cli.demo_orders import SCHEMA, TABLE, order, order_key, orders
from mynamo.cli.demo_question import ask
from mynamo.cli.loading import Counts, Done, Loader
from mynamo.cli.output import print_grid
from mynamo.cli.records import FilePosition, Record
from mynamo.errors import MynamoError
from mynamo.operations.findings import verdict_line
from mynamo.operations.lag import lag
from mynamo.operations.verify import verify
from mynamo.producer import Producer
from mynamo.reader import Reader

THREADS = 8
QUEUED_SHARE = 4
"""Of so many orders, one goes through Kafka."""
CHANGED_SHARE = 20
"""Of so many orders that were written directly, one gets another status; likewise below."""
DELETED_SHARE = 40
FOLLOWED = 400
"""Writes whose way to the GSIs is measured, about."""
PATIENCE = 120.0


class Demo:
    """One run.

    Args:
        cluster: new and empty, with its workers running.
        orders: how many to load.
        screen: where to tell it.
    """

    def __init__(self, cluster: Cluster, orders: int, screen: Console) -> None:
        self._cluster = cluster
        self._orders = orders
        self._direct = orders - orders // QUEUED_SHARE
        self._changed = orders // CHANGED_SHARE
        self._deleted = orders // DELETED_SHARE
        self._screen = screen
        self._reader = Reader(cluster)

    def run(self) -> bool:
        """All steps, and a summary.

        Returns:
            Whether the answers agreed and the table verified clean.
        """
        definitions.create_table(self._cluster, SCHEMA)
        local, global_ = SCHEMA.local_indexes, SCHEMA.global_indexes
        self._say(
            f"Created {TABLE} with LSI {local[0].name} and GSIs "
            f"{' and '.join(index.name for index in global_)}"
        )
        self._warm_up()
        followed = (self._direct + self._changed + self._deleted) // FOLLOWED or 1
        with closing(LagProbe(self._cluster, followed)) as probe:
            direct = self._load("writing orders", 0, self._direct, probe)
            queued = self._load("queueing orders in Kafka", self._direct, self._orders, None)
            changed = self._change(probe)
            caught_up = self._catch_up(probe)
        agreed = ask(self._reader, self._screen)
        self._say("")
        verdict = verify(self._cluster, TABLE)
        print_verdict(verdict)
        expected = self._orders - self._deleted
        complete = verdict.items == expected
        self._say("")
        print_grid(
            ["measured", "figure"],
            [
                (f"acknowledged writes ({THREADS} threads)", f"{direct.rate:,.0f} /s"),
                (f"queued writes, acknowledged by Kafka ({THREADS} threads)",
                 f"{queued.rate:,.0f} /s"),
                (f"updates and deletes ({THREADS} threads)", f"{changed.rate:,.0f} /s"),
                (f"lag from acknowledgement to all GSIs ({len(probe.seconds)} writes), p50",
                 f"{probe.quantile(0.50) * 1000:,.0f} ms"),
                ("the same, p99", f"{probe.quantile(0.99) * 1000:,.0f} ms"),
                ("from the last write until every GSI had all", f"{caught_up:.1f} s"),
                ("items in the table, and as they should be",
                 f"{verdict.items:,}, {expected:,}"),
                ("four ways to ask, same answer", "yes" if agreed else "NO"),
                ("verdict", verdict_line(verdict).partition(":")[0]),
            ],
            title="Summary",
            right=["figure"],
        )  # fmt: skip
        return verdict.ok and agreed and complete

    def _say(self, line: str) -> None:
        self._screen.print(line)

    def _warm_up(self) -> None:
        """Write the first order and wait for it in a GSI."""
        started = time.monotonic()
        first = order(0)
        with Producer(self._cluster) as producer:
            receipt = producer.put(TABLE, first)
        self._reader.query(
            TABLE, first["status"], index="by_status", after=receipt, timeout=PATIENCE
        )
        self._say(f"first order in its GSIs after {(time.monotonic() - started) * 1000:.0f} ms")

    def _load(self, what: str, first: int, last: int, probe: LagProbe | None) -> Counts:
        """Write orders from several threads: directly if there is a probe, else queued."""

        def acknowledged(done: Sequence[Done]) -> None:
            for _, _, receipt in done:
                if probe is not None and receipt is not None:
                    probe.acknowledged(receipt)
            bar.update(task, completed=loader.counts.acknowledged)

        def refused(position: FilePosition, reason: str) -> None:
            raise MynamoError(f"order {position.number} was refused: {reason}")

        with self._bar() as bar:
            task = bar.add_task(what, total=last - first)
            loader = Loader(
                self._cluster, self._cluster.table(TABLE), threads=THREADS, queued=probe is None,
                acknowledged=acknowledged, refused=refused,
            )  # fmt: skip
            try:
                for number, item in orders(first, last):
                    if not loader.add(Record(FilePosition(number, 1, number), item)):
                        break
                loader.finish()
            except BaseException:
                loader.abandon()
                raise
        if loader.trouble is not None:
            raise loader.trouble
        counts = loader.counts
        self._say(f"{what}: {counts.acknowledged:,} in {counts.seconds:.1f} s")
        return counts

    def _change(self, probe: LagProbe) -> Counts:
        """Change the status of some orders, which moves their rows in the GSIs; delete some."""
        counts = Counts()
        jobs = [("update", n) for n in range(0, self._direct, self._direct // self._changed)]
        jobs += [("delete", n) for n in range(self._direct - self._deleted, self._direct)]

        def work(job: tuple[str, int]) -> None:
            operation, number = job
            key = order_key(number)
            if operation == "update":
                receipt = producer.update(TABLE, key, set={"status": "returned"})
            else:
                receipt = producer.delete(TABLE, key)
            probe.acknowledged(receipt)

        with Producer(self._cluster) as producer, ThreadPoolExecutor(THREADS) as pool:
            try:
                for _ in pool.map(work, jobs):
                    counts.acknowledged += 1
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        counts.stop()
        self._say(f"updated and deleted {counts.acknowledged:,} orders in {counts.seconds:.1f} s")
        return counts

    def _catch_up(self, probe: LagProbe) -> float:
        """Show the lag until nothing waits any more; returns the seconds that took.

        Raises:
            MynamoError: something still waits after two minutes.
        """
        started = time.monotonic()
        with self._bar() as bar:
            task = bar.add_task("GSIs catching up, events behind", total=None)
            most = 0
            while True:
                report = lag(self._cluster)
                behind = report.events + (report.queued_writes or 0)
                most = max(most, behind)
                bar.update(task, total=most or 1, completed=most - behind)
                if not behind and report.queued_writes == 0 and not probe.waiting:
                    break
                if time.monotonic() - started > PATIENCE:
                    raise MynamoError(f"the GSIs did not catch up in {PATIENCE:.0f} s:\n{report}")
                time.sleep(0.1)
        seconds = time.monotonic() - started
        self._say(f"GSI lag: {most:,} events when writing ended, 0 after {seconds:.1f} s")
        return seconds

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), console=self._screen, transient=True,
            disable=not self._screen.is_terminal,
        )  # fmt: skip
