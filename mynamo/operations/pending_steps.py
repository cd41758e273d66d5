"""Steps of one thread that wait until everything they suspect is decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mynamo.operations.counts import Counts
from mynamo.operations.findings import Finding, Unmatched
from mynamo.operations.journal import Journal
from mynamo.operations.recheck import Rechecker, Suspect
from mynamo.operations.scan_parts import ScanPart, Step

DECIDE_AT_ONCE = 500
"""Suspicions that are decided together; the pipeline catches up meanwhile."""
MOST_STEPS = 100
"""Steps that wait at most, so that little is lost if the process is killed."""

OnFindings = Callable[[list[Finding | Unmatched]], None]
SecondLook = Callable[[Sequence[Unmatched]], list[Unmatched]]
"""Those that are still there."""


class PendingSteps:
    """Notes steps in the journal, in order, once what they suspect is decided.

    Args:
        second_look: decides about marks and intents that do not go together.
        on_findings: is called with certain findings before the step is noted; after a crash in
            between it is called again.
    """

    def __init__(
        self,
        rechecker: Rechecker,
        second_look: SecondLook,
        journal: Journal,
        on_findings: OnFindings,
    ) -> None:
        self._rechecker = rechecker
        self._second_look = second_look
        self._journal = journal
        self._on_findings = on_findings
        self._steps: list[tuple[ScanPart, Step]] = []
        self._suspects: list[Suspect] = []
        self._unmatched: list[Unmatched] = []

    def take(self, scan_part: ScanPart, step: Step) -> None:
        """A step was made."""
        self._report(step.findings, step.counts)
        self._steps.append((scan_part, step))
        self._suspects += step.suspects
        self._unmatched += step.unmatched
        waiting = len(self._suspects) + len(self._unmatched)
        if not waiting or waiting >= DECIDE_AT_ONCE or len(self._steps) >= MOST_STEPS:
            self.clear()

    def clear(self) -> None:
        """Decide everything that waits.

        Raises:
            ShardUnavailable: a shard does not answer.
            MissingTable: an index was dropped.
        """
        if self._suspects:
            decision = self._rechecker.decide(self._suspects)
            _, last = self._steps[-1]
            self._report(decision.findings, last.counts)
            for suspect in decision.behind:
                last.counts.add_undecided(suspect.index, behind=True)
            for suspect in decision.busy:
                last.counts.add_undecided(suspect.index, behind=False)
        if self._unmatched and (found := self._second_look(self._unmatched)):
            self._steps[-1][1].counts.add_unmatched(found)
            self._on_findings([*found])
        self._journal.note(self._steps)
        self._steps, self._suspects, self._unmatched = [], [], []

    def _report(self, findings: Sequence[Finding], counts: Counts) -> None:
        if findings:
            counts.add_findings(findings)
            self._on_findings(list(findings))
