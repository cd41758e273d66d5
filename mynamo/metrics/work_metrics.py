"""What this process has counted of its work."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import OTHER_REASON, REASONS
from mynamo.metrics import names
from mynamo.metrics.families import counter, gauge
from mynamo.metrics.names import Metric
from mynamo.runtime.counters import counters

Labels = tuple[str, ...]


class WorkMetrics(Collector):
    """Reads `runtime.counters` at each scrape.

    Values of labels that are known beforehand are there from the beginning, with 0: of a counter
    that comes into being with 1, Prometheus would not see that it has gone up.

    Args:
        cluster: of this process.
        role: of the process; see `BuildInfo`.
    """

    def __init__(self, cluster: Cluster, role: str) -> None:
        self._beginnings: dict[Labels, list[Labels]] = {
            (): [()],
            ("shard",): [(str(id_),) for id_ in sorted(cluster.configured)],
            ("reason",): [(reason,) for reason in (*REASONS.values(), OTHER_REASON)],
        }
        self._metrics = [one for one in names.ALL if one.counted and one.is_of(role)]

    def collect(self) -> Iterable[Family]:
        """See `Collector`."""
        numbers = counters.all()
        for metric in self._metrics:
            found = dict.fromkeys(self._beginnings.get(metric.labels, []), 0.0)
            found |= {labels: n for (name, labels), n in numbers.items() if name == metric.counted}
            yield _family(metric, found)


def _family(metric: Metric, found: dict[Labels, float]) -> Family:
    family = counter(metric) if metric.kind == "counter" else gauge(metric)
    for labels, number in found.items():
        family.add_metric(labels, number)
    return family
