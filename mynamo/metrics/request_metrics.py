"""`RequestMetrics`: what the gateway counts of its requests."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mynamo.metrics.names import (
    FREE_PERMITS,
    LATENCY_BUCKETS,
    LOOP_DELAY,
    REQUEST_SECONDS,
    REQUESTS,
)

OTHER = "other"
"""As the table: one of those that came after the first `most_tables`."""


class Refusal(Protocol):
    """Why a request was refused: `mynamo.gateway.service_errors.ServiceError`."""

    @property
    def kind(self) -> str:
        """The exception's name."""

    @property
    def status(self) -> int:
        """Of HTTP."""


class RequestMetrics:
    """Counts requests. Safe to share between threads.

    Args:
        registry: of the process.
        most_tables: that have a label of their own. Each costs memory and time at each scrape.
    """

    def __init__(self, registry: CollectorRegistry, most_tables: int) -> None:
        self._registry = registry
        self._most_tables = most_tables
        self._tables: dict[str, str] = {"": ""}
        self._requests = Counter(REQUESTS.name, REQUESTS.text, REQUESTS.labels, registry=registry)
        self._seconds = Histogram(
            REQUEST_SECONDS.name, REQUEST_SECONDS.text, REQUEST_SECONDS.labels,
            buckets=LATENCY_BUCKETS, registry=registry,
        )  # fmt: skip
        # To look a child up by its labels costs three times what it costs to use it.
        self._counters: dict[tuple[str, str, int, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def answered(
        self,
        operation: str,
        table: str | None,
        tables: Container[str],
        status: int,
        error: str,
        seconds: float | None,
    ) -> None:
        """Count an answer.

        Args:
            operation: DynamoDB's name; empty: there is none of the name that was given.
            table: that the request names, if it names one.
            tables: those that exist. Names of others get no label: clients can make them up.
            status: of HTTP.
            error: the exception's name; empty: success.
            seconds: that it took; None: it was refused before.
        """
        label = "" if table is None or table not in tables else self._label(table)
        key = (operation, label, status, error)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(*map(str, key))
        counter.inc()
        if seconds is not None:
            histogram = self._histograms.get(operation)
            if histogram is None:
                histogram = self._histograms[operation] = self._seconds.labels(operation)
            histogram.observe(seconds)

    def refused(self, operation: str, error: Refusal) -> None:
        """Count a request that was refused before its operation began; see `answered`."""
        self.answered(operation, None, (), error.status, error.kind, None)

    def watch(self, free_permits: Callable[[], int], delays: Iterable[float]) -> None:
        """Have the server's state among the metrics.

        Args:
            free_permits: how many more small requests are taken.
            delays: how late its event loop was, lately; in seconds.
        """
        permits = Gauge(FREE_PERMITS.name, FREE_PERMITS.text, registry=self._registry)
        permits.set_function(free_permits)
        delay = Gauge(LOOP_DELAY.name, LOOP_DELAY.text, registry=self._registry)
        delay.set_function(lambda: max(tuple(delays)))

    def _label(self, table: str) -> str:
        label = self._tables.get(table)
        if label is None:
            if len(self._tables) > self._most_tables:
                return OTHER
            label = self._tables[table] = table
        return label
