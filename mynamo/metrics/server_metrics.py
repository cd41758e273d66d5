"""Connections of this process to the servers, and what it knows of whether they answer."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mynamo.catalog.cluster import Cluster
from mynamo.metrics.families import counter, gauge
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
        opened = gauge(BREAKER_OPEN)
        in_use = gauge(POOL_IN_USE)
        idle = gauge(POOL_IDLE)
        waits = counter(POOL_WAITS)
        for server, pool in pools.items():
            usage = pool.usage()
            opened.add_metric([server], float(pool.breaker.state is not State.CLOSED))
            in_use.add_metric([server], usage.in_use)
            idle.add_metric([server], usage.idle)
            waits.add_metric([server], usage.waits)
        return opened, in_use, idle, waits
