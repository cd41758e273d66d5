"""Proving that the indexes of a table are what the table says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from mynamo.errors import CorruptData
from mynamo.operations.findings import Finding, Tally, Verdict
from mynamo.operations.recheck import Decision, Rechecker, Suspect
from mynamo.operations.scan import Chunk, Scan
from mynamo.shards.cluster import Cluster
from mynamo.shards.failures import MissingTable
from mynamo.shards.keys import slot_of
from mynamo.shards.shard import DynamoDBShard
from mynamo.shards.tables import Index, Table

MAX_THREADS = 16
RECHECK_AT_ONCE = 500
"""Suspicions that a thread gathers before it decides them; the pipeline catches up meanwhile."""

OnProgress = Callable[[float], None]
OnFindings = Callable[[list[Finding]], None]


def verify(
    cluster: Cluster,
    table_name: str,
    *,
    wait: float = 30.0,
    on_progress: OnProgress | None = None,
) -> Verdict:
    """Compare a table with its indexes, both ways, on all shards, beside live writes.

    Reads everything once per index, in chunks of bounded size; changes nothing.

    Args:
        wait: seconds that the indexers may take to catch up before a difference counts as
            undecided.
        on_progress: is called with the fraction done, 0 to 1, by one thread at a time.

    Returns:
        What was found. Nothing that is still on its way is mistaken for damage.

    Raises:
        TableNotFound: there is no such table, or it was dropped in the meantime.
        ShardUnavailable: a shard does not answer.
        CorruptData: a shard lacks a physical table of this table.
    """
    return examine(cluster, table_name, wait, on_progress, lambda _: None)


def examine(
    cluster: Cluster,
    table_name: str,
    wait: float,
    on_progress: OnProgress | None,
    on_findings: OnFindings,
) -> Verdict:
    """`verify`, and hand over all findings.

    Args:
        on_findings: is called with a bounded number of them at a time, by several threads.
    """
    cluster.refresh()
    while True:
        table = cluster.table(table_name)
        try:
            return _Examination(cluster, table, wait, on_progress, on_findings).run()
        except MissingTable as failure:  # an index or the table was dropped: begin again
            cluster.refresh()
            if cluster.table(table_name) == table:
                raise CorruptData(
                    f"{failure}; restore the shard, or drop the index and create it again"
                ) from None


class _Stopped(Exception):  # noqa: N818
    """Another thread failed."""


class _Examination:
    """One run of `examine` over one definition of the table."""

    def __init__(
        self,
        cluster: Cluster,
        table: Table,
        wait: float,
        on_progress: OnProgress | None,
        on_findings: OnFindings,
    ) -> None:
        self._cluster = cluster
        self._table = table
        self._wait = wait
        self._on_findings = on_findings
        self._indexes = tuple(i for i in table.indexes if i.status == "ACTIVE")
        self._left_out = tuple(i.name for i in table.indexes if i.status == "CREATING")
        self._tally = Tally(table, self._indexes)
        walks = len(cluster.shards) * (1 + len(self._indexes))
        self._progress = _Progress(walks, on_progress)
        self._stop = threading.Event()

    def run(self) -> Verdict:
        """Examine every shard, each in a thread of its own."""
        shards = list(self._cluster.shards.values())
        with ThreadPoolExecutor(min(MAX_THREADS, len(shards)), "mynamo-verify") as threads:
            jobs = [threads.submit(self._examine, shard) for shard in shards]
            try:
                failures = [job.exception() for job in jobs]
            finally:
                self._stop.set()  # also when this thread is interrupted
        for failure in sorted(filter(None, failures), key=lambda f: isinstance(f, _Stopped)):
            raise failure
        self._progress.finish()
        return self._tally.verdict(len(shards), self._left_out)

    def _examine(self, shard: DynamoDBShard) -> None:
        try:
            self._examine_shard(shard)
        except BaseException:
            self._stop.set()
            raise

    def _examine_shard(self, shard: DynamoDBShard) -> None:
        scan = Scan(self._cluster, shard, self._table, self._indexes, self._tally)
        rechecker = Rechecker(self._cluster, self._table, self._wait)
        waiting: list[Suspect] = []
        walks = [scan.items(), *(self._rows(scan, index) for index in self._indexes)]
        for number, walk in enumerate(walks):
            for chunk in self._chunks(walk, shard, number):
                self._report(chunk.findings)
                waiting += chunk.suspects
                if len(waiting) >= RECHECK_AT_ONCE:
                    self._settle(rechecker.decide(waiting))
                    waiting = []
        self._settle(rechecker.decide(waiting))

    def _rows(self, scan: Scan, index: Index) -> Iterator[Chunk]:
        return scan.local_rows(index) if index.kind == "LSI" else scan.global_rows(index)

    def _chunks(self, walk: Iterable[Chunk], shard: DynamoDBShard, number: int) -> Iterator[Chunk]:
        for chunk in walk:
            yield chunk
            if self._stop.is_set():
                raise _Stopped
            self._progress.reached((shard.id, number), self._share(shard, chunk.last))
        self._progress.reached((shard.id, number), 1.0)

    def _share(self, shard: DynamoDBShard, hash16: bytes) -> float:
        """The fraction of a shard's slots that end with a hash."""
        owned = [s for s in self._cluster.snapshot.slots if s.shard_id == shard.id]
        slot = slot_of(hash16)
        done = sum(max(0, min(s.last, slot) - s.first + 1) for s in owned)
        return done / max(1, sum(s.last - s.first + 1 for s in owned))

    def _settle(self, decision: Decision) -> None:
        self._report(decision.findings)
        for suspect in decision.behind:
            self._tally.add_undecided(suspect.index, behind=True)
        for suspect in decision.busy:
            self._tally.add_undecided(suspect.index, behind=False)

    def _report(self, findings: Iterable[Finding]) -> None:
        certain = list(findings)
        if certain:
            self._tally.add_findings(certain)
            self._on_findings(certain)


class _Progress:
    """The fraction done, out of that of every walk."""

    def __init__(self, walks: int, on_progress: OnProgress | None) -> None:
        self._walks = walks
        self._on_progress = on_progress
        self._reached: dict[tuple[int, int], float] = {}
        self._lock = threading.Lock()

    def reached(self, walk: tuple[int, int], fraction: float) -> None:
        """A walk came so far."""
        if self._on_progress is None:
            return
        with self._lock:
            self._reached[walk] = max(fraction, self._reached.get(walk, 0.0))
            # What is left is the deciding of the last suspicions.
            self._on_progress(min(0.99, sum(self._reached.values()) / self._walks))

    def finish(self) -> None:
        """All is done."""
        if self._on_progress is not None:
            self._on_progress(1.0)
