"""Connections of this process to the servers, and what it knows of whether they answer."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mynamo.catalog.cluster import Cluster
from mynamo.metrics.names import BREAKER_OPEN, POOL_IDLE, POOL_IN_USE, POOL_WAITS
from mynamo.mysql.circuit_breaker import State


class ServerMetrics(Collector):
    """Reads pools and circuit breakers at each scrape: calls count nothing for it.

    Args:
        cluster: of this process.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        pools = {"catalog": self._cluster.catalog.pool}
        pools |= {str(id_): shard.pool for id_, shard in sorted(self._cluster.configured.items())}
        opened = GaugeMetricFamily(BREAKER_OPEN.name, BREAKER_OPEN.text, labels=BREAKER_OPEN.labels)
        in_use = GaugeMetricFamily(POOL_IN_USE.name, POOL_IN_USE.text, labels=POOL_IN_USE.labels)
        idle = GaugeMetricFamily(POOL_IDLE.name, POOL_IDLE.text, labels=POOL_IDLE.labels)
        waits = CounterMetricFamily(POOL_WAITS.name, POOL_WAITS.text, labels=POOL_WAITS.labels)
        for server, pool in pools.items():
            usage = pool.usage()
            opened.add_metric([server], float(pool.breaker.state is not State.CLOSED))
            in_use.add_metric([server], usage.in_use)
            idle.add_metric([server], usage.idle)
            waits.add_metric([server], usage.waits)
        return opened, in_use, idle, waits
