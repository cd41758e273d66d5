"""Mending what verify finds."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import RowKey, Table
from mynamo.operations.comparison_progress import OnProgress
from mynamo.operations.expected_rows import Location
from mynamo.operations.findings import MAX_EXAMPLES, Finding, Unmatched, Verdict
from mynamo.operations.mend import is_wrong, mend, plan
from mynamo.operations.recheck import Decision, Rechecker, Suspect
from mynamo.operations.unmatched import RESOLVE, free, look_again, plan_of
from mynamo.operations.verify import PARALLEL, Effort, examine

Fate = Literal["planned", "mended", "waiting", "untouched", "failed", "unresolved"]


@dataclass(frozen=True, slots=True)
class Action:
    """What was done with one finding.

    Attributes:
        fate: "planned": nothing was done; "unresolved": an intent without a mark, which is left
            alone; for the others see `RepairReport`.
        did: what was or would be done, for a person.
    """

    finding: Finding | Unmatched
    fate: Fate
    did: str

    def __str__(self) -> str:
        index = f"{self.finding.index.name}: " if isinstance(self.finding, Finding) else ""
        return f"{self.fate}: {index}{self.finding}: {self.did}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {**self.finding.as_json(), "fate": self.fate, "did": self.did}


OnAction = Callable[[Action], None]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did.

    Attributes:
        verdict: what was found before it.
        dry_run: nothing was changed.
        mended: findings in indexes that were mended, and were looked at again afterwards.
        waiting: findings that are mended as soon as the indexers apply what was queued.
        untouched: findings left alone, since the indexers stood still already.
        failed: findings that are still there, or came back.
        by_index: per index, how many were mended.
        examples: some of what was done, for a person.
        freed: items whose mark or placeholder no transaction had, and was taken away.
    """

    verdict: Verdict
    dry_run: bool
    mended: int
    waiting: int
    untouched: int
    failed: int
    by_index: dict[str, int]
    examples: tuple[str, ...]
    freed: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is left to mend, as far as could be decided."""
        left = self.verdict.findings - self.mended
        return left <= 0 and not self.not_mendable and not self.verdict.undecided

    @property
    def not_mendable(self) -> bool:
        """Whether anything is wrong that waiting for the indexers does not mend."""
        marks = self.verdict.marks - self.freed
        return bool(self.verdict.unreadable or marks > 0 or self.verdict.intents)

    def __str__(self) -> str:
        lines = [str(self.verdict)]
        if self.dry_run:
            wrong = self.verdict.findings + self.verdict.marks
            lines.append(f"dry run: {wrong:,} findings would be mended")
        else:
            mended = "".join(f", {name}: {n:,}" for name, n in sorted(self.by_index.items()))
            lines.append(f"mended {self.mended:,} of {self.verdict.findings:,} findings{mended}")
            if self.verdict.marks:
                lines.append(f"freed {self.freed:,} of {self.verdict.marks:,} items of marks")
        lines += [f"  {example}" for example in self.examples]
        if self.waiting:
            lines.append(
                f"{self.waiting:,} wait for the indexers: run `mynamo indexer` and "
                f"`mynamo writer`, then `mynamo verify {self.verdict.table}`"
            )
        if self.untouched:
            lines.append(f"{self.untouched:,} were left alone, as the indexers stand still")
        if self.failed:
            lines.append(f"{self.failed:,} could not be mended; `mynamo dlq` may say why")
        return "\n".join(lines)


def repair(
    cluster: Cluster,
    table_name: str,
    *,
    dry_run: bool = False,
    wait: float = 30.0,
    parallel: int = PARALLEL,
    rate: float | None = None,
    resume: Path | None = None,
    on_progress: OnProgress | None = None,
    on_action: OnAction = lambda _: None,
) -> RepairReport:
    """Verify a table, and mend what is certainly wrong, beside live writes.

    The main table is right by definition; only rows of indexes are changed, and marks and
    placeholders that no transaction has an intent for are taken away. Indexes that are still being
    backfilled, differences that verify cannot decide, damaged items and intents without a mark are
    left alone.

    Args:
        dry_run: only say what would be mended.
        wait: seconds that the indexers may take to catch up, before deciding and after
            mending.
        parallel, rate, resume, on_progress: see `Effort`.
        on_action: is told of every finding and what became of it, by one thread at a time.

    Raises:
        See `verify`.
    """
    repairer = _Repairer(cluster, wait, dry_run, on_action)
    effort = Effort(wait, parallel, rate, resume, on_progress)
    verdict = examine(cluster, table_name, effort, repairer.handle, repairer)
    return repairer.report(verdict)


class _Repairer:
    """Mends findings as they come. Safe to share between threads."""

    def __init__(self, cluster: Cluster, wait: float, dry_run: bool, on_action: OnAction) -> None:
        self.kind = "plan" if dry_run else "repair"
        self._cluster = cluster
        self._wait = wait
        self._dry_run = dry_run
        self._on_action = on_action
        self._lock = threading.Lock()
        self._stands_still = False
        self._done: Counter[str] = Counter()
        self._by_index: Counter[str] = Counter()
        self._examples: list[str] = []

    def handle(self, found: list[Finding | Unmatched]) -> None:
        """Mend a bounded number of findings, and look at them again."""
        for each in found:
            if isinstance(each, Unmatched):
                self._free(each)
        if findings := [each for each in found if isinstance(each, Finding)]:
            self._mend(findings)

    def _free(self, found: Unmatched) -> None:
        if found.kind == "intent":
            self._record(Action(found, "unresolved", RESOLVE))
        elif self._dry_run:
            self._record(Action(found, "planned", f"would {plan_of(found)}"))
        elif (table := self._cluster.table_by_id(found.table_id)) is not None:
            did = free(self._cluster, table, found)
            is_left = look_again(self._cluster, table, found) is not None
            self._record(Action(found, "failed" if is_left else "mended", did))

    def _mend(self, findings: Sequence[Finding]) -> None:
        if self._dry_run:
            for finding in findings:
                self._record(Action(finding, "planned", f"would {plan(finding)}"))
            return
        if self._stands_still:
            for finding in findings:
                self._record(Action(finding, "untouched", "nothing: the indexers stand still"))
            return
        table = self._cluster.table_by_id(findings[0].index.table_id)
        if table is None:  # dropped in the meantime
            return
        did = [mend(self._cluster, table, finding) for finding in findings]
        decision = self._look_again(table, findings)
        late = {_identity(suspect) for suspect in decision.undecided}
        left = {_identity(finding) for finding in decision.findings}
        with self._lock:
            self._stands_still = self._stands_still or bool(decision.behind)
        for finding, what in zip(findings, did, strict=True):
            identity = _identity(finding)
            if identity in late:
                self._record(Action(finding, "waiting", f"{what}; not seen in the index yet"))
            elif identity in left:
                self._record(Action(finding, "failed", f"{what}, but it is still there"))
            else:
                self._record(Action(finding, "mended", what))

    def report(self, verdict: Verdict) -> RepairReport:
        """All that was done."""
        return RepairReport(
            verdict=verdict,
            dry_run=self._dry_run,
            mended=self._done["mended"],
            waiting=self._done["waiting"],
            untouched=self._done["untouched"],
            failed=self._done["failed"],
            by_index=dict(self._by_index),
            examples=tuple(self._examples),
            freed=self._done["freed"],
        )

    def dump(self) -> dict[str, Any]:
        """What was done so far, for the file that a repair is resumed from."""
        with self._lock:
            return {
                "done": dict(self._done),
                "by_index": dict(self._by_index),
                "examples": list(self._examples),
            }

    def load(self, dumped: dict[str, Any]) -> None:
        """Take back what `dump` gave."""
        self._done = Counter(dumped["done"])
        self._by_index = Counter(dumped["by_index"])
        self._examples = list(dumped["examples"])

    def _look_again(self, table: Table, findings: Sequence[Finding]) -> Decision:
        """Which of the findings are still there, once the indexers have applied the repair."""
        suspects = [_suspect(f) for f in findings if f.index.kind == "GSI"]
        decision = Rechecker(self._cluster, table, self._wait).decide(suspects)
        snapshot = self._cluster.snapshot
        still_wrong = [
            finding
            for finding in findings
            if finding.index.is_local
            and not snapshot.is_hidden(finding.shard, finding.row.slot)
            and is_wrong(self._cluster.member(finding.shard), table, finding)
        ]
        return replace(decision, findings=[*decision.findings, *still_wrong])

    def _record(self, action: Action) -> None:
        with self._lock:
            if action.fate != "mended":
                self._done[action.fate] += 1
            elif isinstance(action.finding, Unmatched):
                self._done["freed"] += 1
            else:
                self._done["mended"] += 1
                self._by_index[action.finding.index.name] += 1
            if len(self._examples) < MAX_EXAMPLES:
                self._examples.append(str(action))
            self._on_action(action)


def _suspect(finding: Finding) -> Suspect:
    location = Location(finding.index_shard, finding.index_key) if finding.kind == "ghost" else None
    return Suspect(finding.index, finding.row, location)


def _identity(what: Finding | Suspect) -> tuple[int, RowKey, Location | None]:
    suspect = _suspect(what) if isinstance(what, Finding) else what
    return suspect.index.id, suspect.row, suspect.location
