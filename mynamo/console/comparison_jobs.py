"""`ComparisonJobs`: verify and repair in the background, with their progress."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Literal

from mynamo.catalog.cluster import Cluster
from mynamo.console.refused import Refused
from mynamo.errors import MynamoError
from mynamo.operations.comparison_progress import Progress
from mynamo.operations.findings import Finding, Unmatched, Verdict, verdict_line
from mynamo.operations.repair import Action, RepairReport, repair
from mynamo.operations.verify import verify

log = logging.getLogger(__name__)

Kind = Literal["verify", "plan", "repair"]
State = Literal["running", "done", "failed", "stopped"]
MOST_LINES = 200
"""Findings of one job that are shown; all are counted."""
MOST_RUNNING = 2
_MOST_KEPT = 100
CHECK_SECONDS = 5.0
"""Between looks at the rights of who began a job."""
_CLOSING = 5.0


class Stopped(MynamoError):  # noqa: N818
    """The job was stopped."""


@dataclass(slots=True)
class Job:
    """One verify or repair of a table.

    Attributes:
        kind: "plan" is a repair that only says what it would do.
        user: who began it.
        progress: None: it has not come far enough to tell.
        lines: what was found, or what was done with it, the first ones.
        count: how many lines there are in all.
        verdict: once it is done.
        report: of a plan or a repair.
        trouble: why it failed, or was stopped.
        allowed: says whether who began it may still do so.
        checked_at: when that was asked last, monotonic.
    """

    kind: Kind
    table: str
    user: str | None
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = "running"
    progress: Progress | None = None
    lines: list[str] = field(default_factory=list)
    count: int = 0
    verdict: Verdict | None = None
    report: RepairReport | None = None
    trouble: str = ""
    allowed: Callable[[], bool] = lambda: True
    checked_at: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def outcome(self) -> str:
        """How it ended, in a line; of one that runs, how far it is."""
        if self.state == "running":
            return "begins" if self.progress is None else str(self.progress)
        if self.verdict is None:
            return self.trouble or "stopped before its end"
        line = verdict_line(self.verdict)
        if self.report is None:
            return line
        return f"{line}; {_done(self.report)}"

    def note(self, line: str) -> None:
        """Something was found or done."""
        with self.lock:
            self.count += 1
            if len(self.lines) < MOST_LINES:
                self.lines.append(line)

    def reached(self, progress: Progress) -> None:
        """It came so far. Raises Stopped if it is to stop."""
        self.progress = progress
        if self.stop.is_set():
            raise Stopped
        now = time.monotonic()
        if now - self.checked_at >= CHECK_SECONDS:
            self.checked_at = now
            if not self.allowed():
                self.trouble = f"stopped before its end: {self.user} has no right to it any more"
                raise Stopped


def _done(report: RepairReport) -> str:
    wrong = report.verdict.findings + report.verdict.marks
    if report.dry_run:
        return f"{wrong:,} would be mended"
    mended = report.mended + report.freed
    left = "" if report.ok else f"; {report.waiting:,} wait for the indexers"
    return f"mended {mended:,} of {wrong:,}{left}"


class ComparisonJobs:
    """Jobs of this process, the last one of each table. Safe to share between threads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._threads: list[threading.Thread] = []

    def begin(
        self,
        kind: Kind,
        table: str,
        user: str | None,
        rate: float | None = None,
        allowed: Callable[[], bool] = lambda: True,
    ) -> Job:
        """Begin one.

        Args:
            allowed: see `Job`.
            rate: rows to read per second; None: as many as it can.

        Raises:
            Refused: one of this table runs, or too many do.
        """
        with self._lock:
            before = self._jobs.get(table)
            if before is not None and before.state == "running":
                raise Refused(
                    f"a {before.kind} of table {table} is running already", HTTPStatus.CONFLICT
                )
            running = sum(each.state == "running" for each in self._jobs.values())
            if running >= MOST_RUNNING:
                raise Refused(
                    f"{running} comparisons are running already; wait for one to end, or stop it",
                    HTTPStatus.CONFLICT,
                )
            job = self._jobs[table] = Job(kind, table, user, allowed=allowed)
            self._jobs.move_to_end(table)
            while len(self._jobs) > _MOST_KEPT:
                ended = (name for name, each in self._jobs.items() if each.state != "running")
                del self._jobs[next(ended)]  # the oldest one; few are running
            thread = threading.Thread(
                target=self._run, args=(job, rate), name=f"mynamo-console-{kind}", daemon=True
            )
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()
        return job

    def of(self, table: str) -> Job | None:
        """The last one of a table."""
        return self._jobs.get(table)

    def all(self) -> list[Job]:
        """The last one of each table, the newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def close(self) -> None:
        """Stop those that run, and wait a moment for that."""
        for job in self.all():
            job.stop.set()
        for thread in self._threads:
            thread.join(_CLOSING)

    def _run(self, job: Job, rate: float | None) -> None:
        try:
            if job.kind == "verify":
                self._verify(job, rate)
            else:
                self._repair(job, rate)
            job.state = "done"
        except Stopped:
            job.state = "stopped"
        except MynamoError as error:
            job.trouble, job.state = str(error), "failed"
        except Exception:
            log.exception("the %s of table %s failed", job.kind, job.table)
            job.trouble = "this is a defect in mynamo; the console's log has more"
            job.state = "failed"

    def _verify(self, job: Job, rate: float | None) -> None:
        def tell(found: list[Finding | Unmatched]) -> None:
            for each in found:
                index = f"{each.index.name}: " if isinstance(each, Finding) else ""
                job.note(f"{index}{each}")

        job.verdict = verify(
            self._cluster, job.table, rate=rate, on_progress=job.reached, on_findings=tell
        )

    def _repair(self, job: Job, rate: float | None) -> None:
        def tell(action: Action) -> None:
            job.note(str(action))

        report = repair(
            self._cluster, job.table, dry_run=job.kind == "plan", rate=rate,
            on_progress=job.reached, on_action=tell,
        )  # fmt: skip
        job.verdict, job.report = report.verdict, report
