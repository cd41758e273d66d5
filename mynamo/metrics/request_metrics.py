"""`RequestMetrics`: what the gateway counts of its requests."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mynamo.metrics.families import counter, histogram
from mynamo.metrics.names import (
    FREE_PERMITS,
    LATENCY_BUCKETS,
    LOOP_DELAY,
    REQUEST_SECONDS,
    REQUESTS,
    THROTTLE_EVENTS,
)

OTHER = "other"
"""As the table: one of those that came after the first `most_tables`."""
_LIMITS = (*map(str, LATENCY_BUCKETS), "+Inf")


class _Latency:
    """How long one operation's requests took."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(_LIMITS)  # each bucket's own
        self.total = 0.0


class _Series:
    """How many requests have the same labels."""

    __slots__ = ("count", "latency")

    def __init__(self, latency: _Latency) -> None:
        self.count = 0
        self.latency = latency


class RequestMetrics(Collector):
    """Counts requests. Safe to share between threads.

    It counts in a dictionary and a list under one lock, and makes samples of them at a scrape: the
    client's own counters and histograms cost a request three times as much.

    Args:
        registry: of the process.
        most_tables: that have a label of their own. Each costs memory and time at each scrape.
    """

    def __init__(self, registry: CollectorRegistry, most_tables: int) -> None:
        self._registry = registry
        self._most_tables = most_tables
        self._tables: dict[str, str] = {}
        self._lock = threading.Lock()
        self._series: dict[tuple[str, str, int, str], _Series] = {}
        self._found: dict[tuple[str, str | None, int, str], _Series] = {}
        """The same, by the tables' names; those whose tables have labels of their own."""
        self._latencies: dict[str, _Latency] = {}
        self._throttled: dict[tuple[str, str, str], int] = {}
        registry.register(self)

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
        series = self._found.get((operation, table, status, error))
        with self._lock:
            if series is None:
                series = self._series_of(operation, table, tables, status, error)
            series.count += 1
            if seconds is not None:
                latency = series.latency
                latency.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
                latency.total += seconds

    def _series_of(
        self, operation: str, table: str | None, tables: Container[str], status: int, error: str
    ) -> _Series:
        label = "" if table is None or table not in tables else self._label(table)
        key = (operation, label, status, error)
        series = self._series.get(key)
        if series is None:
            latency = self._latencies.setdefault(operation, _Latency())
            series = self._series[key] = _Series(latency)
        if table is None or label == table:
            self._found[operation, table, status, error] = series
        return series

    def refused(self, operation: str, status: int, error: str) -> None:
        """Count a request that was refused before its operation began; see `answered`."""
        self.answered(operation, None, (), status, error, None)

    def throttled(self, table: str, index: str, access: str) -> None:
        """Count a request, or an item of a batch, that provisioned throughput was used up for.

        Args:
            table: that exists.
            index: of the table; empty: it was the table's own.
            access: "read" or "write".
        """
        label = self._label(table)
        key = (label, "" if label == OTHER else index, access)
        with self._lock:
            self._throttled[key] = self._throttled.get(key, 0) + 1

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

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        with self._lock:
            counts = {key: series.count for key, series in self._series.items()}
            throttled = dict(self._throttled)
            latencies = {
                name: (list(one.counts), one.total)
                for name, one in self._latencies.items()
                if any(one.counts)
            }
        requests = counter(REQUESTS)
        for key, count in counts.items():
            requests.add_metric([str(label) for label in key], count)
        throttle_events = counter(THROTTLE_EVENTS)
        for labels, count in throttled.items():
            throttle_events.add_metric(labels, count)
        seconds = histogram(REQUEST_SECONDS)
        for operation, (each, total) in latencies.items():
            buckets = list(zip(_LIMITS, accumulate(each), strict=True))
            seconds.add_metric([operation], buckets, total)
        return requests, seconds, throttle_events

    def _label(self, table: str) -> str:
        label = self._tables.get(table)
        if label is None:
            if len(self._tables) >= self._most_tables:
                return OTHER
            label = self._tables[table] = table
        return label
