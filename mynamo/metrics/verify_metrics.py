"""What `mynamo verify` found, as a file for the textfile collector of Prometheus' node exporter."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mynamo.metrics.families import gauge
from mynamo.metrics.names import (
    VERIFY_END,
    VERIFY_FINDINGS,
    VERIFY_ITEMS,
    VERIFY_SECONDS,
    VERIFY_UNDECIDED,
)
from mynamo.operations.findings import Verdict


class _VerdictMetrics(Collector):
    def __init__(self, verdict: Verdict, seconds: float) -> None:
        self._verdict = verdict
        self._seconds = seconds

    def collect(self) -> Iterable[Family]:
        verdict = self._verdict
        found = {
            (index.name, kind): count
            for index in verdict.indexes
            for kind, count in {
                "missing": index.missing, "stale": index.stale, "ghost": index.ghosts,
            }.items()
        }  # fmt: skip
        found |= {
            ("", "damaged"): verdict.unreadable,
            ("", "mark"): verdict.marks,
            ("", "intent"): verdict.intents,
        }
        findings = gauge(VERIFY_FINDINGS)
        for (index_name, kind), count in found.items():
            findings.add_metric([verdict.table, index_name, kind], count)
        yield findings
        for metric, value in {
            VERIFY_UNDECIDED: verdict.undecided,
            VERIFY_ITEMS: verdict.items,
            VERIFY_SECONDS: self._seconds,
            VERIFY_END: time.time(),
        }.items():
            family = gauge(metric)
            family.add_metric([verdict.table], value)
            yield family


def write_verdict(verdict: Verdict, seconds: float, file: Path) -> None:
    """Write a verdict as metrics; readers see the old file or the new one, whole.

    Args:
        seconds: that the comparison took.

    Raises:
        OSError: the file cannot be written.
    """
    registry = CollectorRegistry()
    registry.register(_VerdictMetrics(verdict, seconds))
    write_to_textfile(str(file), registry)
