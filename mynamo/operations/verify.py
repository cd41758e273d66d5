"""Proving that the indexes of a table are what the table says.

In two rounds, both in parts along ranges of slots:

1.  *Checksum pass*: read every item, compute the rows that it must have in each index, and sum
    those up. The servers sum up the rows that exist. Where the sums agree, the rows do. Marks and
    intents that do not go together are found in the same pass (see `unmatched`).
2.  *Compare*: where the sums differ, something is wrong or was written in the meantime. Compare
    row by row, both ways, and decide which it is (see `recheck`).

Rows that are hidden because their slots are being moved are left out (see `visible_slots`). Slots
that moved during a round are compared row by row in the next one, however the sums are, until none
has moved. What is wrong in these may be counted twice, and the number of items may be off by
theirs.

The progress of each part is kept, so that a run that was killed is resumed from there.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import CorruptData
from mynamo.mysql.failures import MissingTable
from mynamo.operations.checksum_pass import ChecksumPass
from mynamo.operations.comparison_progress import Meter, OnProgress
from mynamo.operations.findings import Verdict
from mynamo.operations.journal import Journal
from mynamo.operations.pending_steps import OnFindings, PendingSteps
from mynamo.operations.recheck import Rechecker
from mynamo.operations.scan import Different, Scan
from mynamo.operations.scan_parts import ScanPart, Step, all_scan_parts, gap_of
from mynamo.operations.unmatched import still_unmatched
from mynamo.runtime.throttle import Throttle

PARALLEL = 2
MAX_PARALLEL = 32


@dataclass(frozen=True, slots=True)
class Effort:
    """How a comparison is done.

    Attributes:
        wait: seconds that the indexers may take to catch up before a difference counts as
            undecided.
        parallel: threads, 1 to 32.
        rate: rows that are read per second, of all tables and indexes together; None: as many
            as it can.
        resume: a file that keeps the state: if it exists, go on from there. It is removed at
            the end.
        on_progress: is called with how far it is, by one thread at a time.
    """

    wait: float = 30.0
    parallel: int = PARALLEL
    rate: float | None = None
    resume: Path | None = None
    on_progress: OnProgress | None = None


class Keeper(Protocol):
    """Has a state of its own that goes into the same file; `kind` tells it from others."""

    kind: str

    def dump(self) -> Any:
        """It, as JSON."""

    def load(self, dumped: Any) -> None:
        """Take back what `dump` gave."""


def verify(
    cluster: Cluster,
    table_name: str,
    *,
    wait: float = 30.0,
    parallel: int = PARALLEL,
    rate: float | None = None,
    resume: Path | None = None,
    on_progress: OnProgress | None = None,
    on_findings: OnFindings = lambda _: None,
) -> Verdict:
    """Compare a table with its indexes, both ways, on all shards, beside live writes.

    Reads everything, in chunks of bounded size; changes nothing.

    Args:
        wait, parallel, rate, resume, on_progress: see `Effort`.
        on_findings: is called with all findings, a bounded number at a time, by any thread.

    Returns:
        What was found. Nothing that is still on its way, and no open transaction, is mistaken for
        damage.

    Raises:
        TableNotFound: there is no such table, or it was dropped in the meantime.
        ShardUnavailable: a shard does not answer.
        ShardNotConfigured: the configuration lacks a shard.
        CorruptData: a shard lacks a physical table of this table.
        InvalidRequest: the file to resume from is not of this table as it is now, or in use.
    """
    effort = Effort(wait, parallel, rate, resume, on_progress)
    return examine(cluster, table_name, effort, on_findings)


def examine(
    cluster: Cluster,
    table_name: str,
    effort: Effort,
    on_findings: OnFindings,
    keeper: Keeper | None = None,
) -> Verdict:
    """`verify`, with something that keeps a state in the same file."""
    cluster.refresh()
    cluster.check_complete()
    table = cluster.table(table_name)
    kind, extra = (keeper.kind, keeper.dump) if keeper else ("verify", dict)
    journal = Journal(effort.resume, kind, extra)
    try:
        while True:
            try:
                return _Examination(cluster, table, effort, on_findings, journal, keeper).run()
            except _OtherShards:
                journal.forget()
            except MissingTable as failure:  # an index or the table was dropped: begin again
                cluster.refresh()
                if cluster.table(table_name) == table:
                    raise CorruptData(
                        f"{failure}; restore the shard, or drop the index and create it again"
                    ) from None
                table = cluster.table(table_name)
                journal.forget()
    finally:
        journal.close()


def with_tables(cluster: Cluster) -> dict[int, DynamoDBShard]:
    """The shards that have all tables: those that are JOINING may lack some, and have no slots."""
    members = cluster.snapshot.members
    return {id_: one for id_, one in cluster.shards.items() if members[id_].state != "JOINING"}


class _Stopped(Exception):  # noqa: N818
    """Another thread failed."""


class _OtherShards(Exception):  # noqa: N818
    """Slots have moved to a shard that was not there when the comparison began."""


class _Examination:
    """One run of `examine` over one definition of the table."""

    def __init__(
        self,
        cluster: Cluster,
        table: Table,
        effort: Effort,
        on_findings: OnFindings,
        journal: Journal,
        keeper: Keeper | None,
    ) -> None:
        self._cluster = cluster
        self._table = table
        self._effort = effort
        self._on_findings = on_findings
        self._journal = journal
        self._keeper = keeper
        self._indexes = {i.id: i for i in table.indexes if i.status == "ACTIVE"}
        self._shards = with_tables(cluster)
        self._meter = Meter(cluster.snapshot.slots, effort.on_progress)
        self._throttle = Throttle(effort.rate)
        self._stop = threading.Event()

    def run(self) -> Verdict:
        """Both rounds."""
        indexes = list(self._indexes.values())
        kept = self._journal.begin(self._cluster, self._table, indexes, self._shards)
        if kept is not None and self._keeper is not None:
            self._keeper.load(kept)
        try:
            if self._journal.phase == "survey":
                self._round(list(all_scan_parts(self._shards, self._indexes)), self._survey)
                self._next_phase()
            self._compare_different()
            while self._next_phase():
                self._compare_different()
        except BaseException:
            self._journal.save()
            raise
        self._journal.finish()
        self._meter.finish()
        left_out = tuple(i.name for i in self._table.indexes if i.status == "CREATING")
        shards = len(self._shards)
        return self._journal.counts.verdict(self._table.name, indexes, shards, left_out)

    def _next_phase(self) -> bool:
        snapshot = self._cluster.refresh()
        self._cluster.check_complete()
        if not self._shards.keys() >= set(snapshot.shard_ids):
            raise _OtherShards
        return self._journal.next_phase(snapshot)

    def _compare_different(self) -> None:
        journal = self._journal
        different = {
            id_: journal.ledger.different(id_) if journal.phase == "compare" else frozenset[int]()
            for id_ in self._indexes
        }
        there_are = [id_ for id_, buckets in different.items() if buckets or journal.moved]
        scan_parts: list[ScanPart] = []
        if there_are or journal.moved:
            scan_parts = list(all_scan_parts(self._shards, there_are))
        self._round(scan_parts, lambda scan_part: self._compare(scan_part, different))

    def _round(
        self, scan_parts: Sequence[ScanPart], steps: Callable[[ScanPart], Iterator[Step]]
    ) -> None:
        """Compare all these parts, several at a time."""
        self._meter.begin(scan_parts, self._journal.cursors, self._journal.phase == "survey")
        left: queue.SimpleQueue[ScanPart] = queue.SimpleQueue()
        for scan_part in filter(self._journal.left, scan_parts):
            left.put(scan_part)
        threads = max(1, min(self._effort.parallel, MAX_PARALLEL, left.qsize()))
        with ThreadPoolExecutor(threads, "mynamo-verify") as pool:
            jobs = [pool.submit(self._work, left, steps) for _ in range(threads)]
            try:
                failures = [job.exception() for job in jobs]
            finally:
                self._stop.set()  # also when this thread is interrupted
        for failure in sorted(filter(None, failures), key=lambda f: isinstance(f, _Stopped)):
            raise failure
        self._stop.clear()

    def _work(
        self, left: queue.SimpleQueue[ScanPart], steps: Callable[[ScanPart], Iterator[Step]]
    ) -> None:
        rechecker = Rechecker(self._cluster, self._table, self._effort.wait)
        second_look = partial(still_unmatched, self._cluster, self._table)
        pending = PendingSteps(rechecker, second_look, self._journal, self._on_findings)
        try:
            while not left.empty():
                try:
                    scan_part = left.get_nowait()
                except queue.Empty:  # another thread was faster
                    break
                for step in steps(scan_part):
                    self._meter.reached(scan_part, step.after, step.rows)
                    pending.take(scan_part, step)
                    self._throttle.pay(step.rows, self._stop)
                    if self._stop.is_set():
                        raise _Stopped
            pending.clear()
        except BaseException:
            self._stop.set()
            raise

    def _survey(self, scan_part: ScanPart) -> Iterator[Step]:
        shard, indexes = self._shards[scan_part.shard_id], list(self._indexes.values())
        checksum_pass = ChecksumPass(self._cluster, shard, self._table, indexes)
        span = scan_part.span(self._journal.cursors.get(scan_part.name))
        if scan_part.index_id:
            return checksum_pass.rows(self._indexes[scan_part.index_id], span)
        return checksum_pass.items(span)

    def _compare(self, scan_part: ScanPart, different: Different) -> Iterator[Step]:
        shard, indexes = self._shards[scan_part.shard_id], list(self._indexes.values())
        gap = gap_of(self._journal.counts.items)
        first, last = scan_part.slots
        moved = self._journal.moved.intersection(range(first, last + 1))
        known = self._journal.known_damage
        scan = Scan(self._cluster, shard, self._table, indexes, different, gap, moved, known)
        span = scan_part.span(self._journal.cursors.get(scan_part.name))
        if not scan_part.index_id:
            return scan.items(span)
        index = self._indexes[scan_part.index_id]
        return scan.local_rows(index, span) if index.is_local else scan.global_rows(index, span)
