"""`register`: the metrics of a service that embeds mynamo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from mynamo.catalog.cluster import Cluster
from mynamo.metrics.endpoint import BuildInfo
from mynamo.metrics.server_metrics import ServerMetrics
from mynamo.metrics.work_metrics import WorkMetrics

if TYPE_CHECKING:
    from mynamo.manager import HashBasedShardManager


def register(opened: HashBasedShardManager | Cluster, registry: CollectorRegistry) -> None:
    """Have the metrics of mynamo in this process among those of a registry.

    They are read at each scrape, and ask no server. Connections and circuit breakers, group commit,
    retries and transactions: docs/metrics.md has `library` with each of them.

    Args:
        opened: what `mynamo.connect` gave, or a `Cluster`; one for each registry.
        registry: of the service, `prometheus_client.REGISTRY` for example.

    Raises:
        ValueError: the registry has these metrics already (of registries that look at names).
    """
    from mynamo.metrics.commit_metrics import CommitMetrics  # which an indexer need not load

    cluster = opened if isinstance(opened, Cluster) else opened.cluster
    parts = ServerMetrics(cluster), CommitMetrics(cluster), WorkMetrics(cluster, "library")
    for collector in (*parts, BuildInfo("library")):
        registry.register(collector)
