"""`--metrics-port`: metrics of a process, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mynamo.catalog.cluster import Cluster

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from mynamo.metrics.request_metrics import RequestMetrics

Command = TypeVar("Command", bound=Callable[..., Any])


def metrics_port(command: Command) -> Command:
    """Add `--metrics-port`."""
    return click.option(
        "--metrics-port", type=click.IntRange(0, 65535), metavar="PORT",
        help="Answer GET /metrics, for Prometheus, on this port (and, for each further process of"
        " the gateway, the next one); 0: any free one.  [default: no metrics]",
    )(command)  # fmt: skip


@contextmanager
def metrics_of(cluster: Cluster, role: str, port: int | None) -> Iterator[CollectorRegistry | None]:
    """Serve a process's metrics while the block runs, if there is a port for it.

    Args:
        role: writer, indexer or serve.
        port: 0: any free one; None: no metrics.

    Raises:
        ConfigError: the port cannot be had.
    """
    if port is None:
        yield None
        return
    from mynamo.metrics.endpoint import new_registry, serving
    from mynamo.metrics.server_metrics import ServerMetrics
    from mynamo.metrics.work_metrics import WorkMetrics

    registry = new_registry(role)
    registry.register(ServerMetrics(cluster))
    registry.register(WorkMetrics(cluster, role))
    with ExitStack() as parts:
        if role != "indexer":
            from mynamo.metrics.commit_metrics import CommitMetrics

            registry.register(CommitMetrics(cluster))
        if role != "serve":
            from mynamo.metrics.kafka_metrics import KafkaMetrics

            kafka = KafkaMetrics(cluster.config.kafka, role)
            registry.register(parts.enter_context(closing(kafka)))
        if role == "writer":
            from mynamo.metrics.pipeline_metrics import PipelineMetrics

            registry.register(parts.enter_context(closing(PipelineMetrics(cluster))))
        parts.enter_context(serving(registry, cluster.config.metrics.host, port))
        yield registry


def request_metrics(registry: CollectorRegistry | None, cluster: Cluster) -> RequestMetrics | None:
    """What the gateway counts its requests in; None: no metrics."""
    if registry is None:
        return None
    from mynamo.metrics.request_metrics import RequestMetrics

    return RequestMetrics(registry, cluster.config.metrics.tables)
