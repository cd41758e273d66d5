"""Group commit of this process: how many writes share a transaction."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mynamo.catalog.cluster import Cluster
from mynamo.metrics.families import counter
from mynamo.metrics.names import GROUP_BATCHES, GROUP_WAITS, GROUP_WRITES
from mynamo.writer.transaction.group_commit import batcher_of


class CommitMetrics(Collector):
    """Reads the batchers of shards at each scrape.

    Args:
        cluster: of this process.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def collect(self) -> Iterable[Family]:
        """See `Collector`."""
        batches, writes, waits = map(counter, (GROUP_BATCHES, GROUP_WRITES, GROUP_WAITS))
        for id_, shard in sorted(self._cluster.configured.items()):
            own = batcher_of(shard)
            batches.add_metric([str(id_)], own.batcher.batches)
            writes.add_metric([str(id_)], own.batcher.rows)
            waits.add_metric([str(id_)], own.waiting.submitted)
        return batches, writes, waits
