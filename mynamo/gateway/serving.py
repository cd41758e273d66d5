"""The parts of the gateway, put together."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from mynamo.catalog.cluster import Cluster
from mynamo.gateway.auth.claims import AnyCredentials
from mynamo.gateway.auth.credentials import Credential
from mynamo.gateway.auth.signatures import Signatures
from mynamo.gateway.catalog_changes import following_credentials
from mynamo.gateway.health import Health
from mynamo.gateway.http.api_protocol import App, Authenticator
from mynamo.gateway.http.connection_counts import ConnectionCounts
from mynamo.gateway.http.cors import EVERYONE, Cors
from mynamo.gateway.http.server import HttpServer, tls_context
from mynamo.gateway.own_writes import AnsweredWrites
from mynamo.gateway.provisioned_throughput import CapacityBuckets
from mynamo.gateway.rates import RateLimits
from mynamo.gateway.service import OPERATIONS, Service
from mynamo.gateway.unsupported import UNSUPPORTED
from mynamo.schemas.gateway_config import GatewayConfig

if TYPE_CHECKING:
    from mynamo.metrics.request_metrics import RequestMetrics


@contextmanager
def gateway(
    cluster: Cluster,
    config: GatewayConfig,
    listeners: Sequence[socket.socket],
    *,
    credentials: Mapping[str, Credential] | None,
    answered: AnsweredWrites | None = None,
    counts: ConnectionCounts | None = None,
    metrics: RequestMetrics | None = None,
    rates: RateLimits | None = None,
    buckets: CapacityBuckets | None = None,
) -> Iterator[HttpServer]:
    """DynamoDB's API on a cluster; the block runs the server.

    Args:
        listeners: from `mynamo.gateway.http.server.listen`.
        credentials: of the configuration, from `of_pairs`: signatures are checked against them and
            those of the catalog, and requests against their policies; None: any are accepted.
        answered: see `Service`.
        counts: see `HttpServer`.
        metrics: for its requests to be counted in; None: they are not counted.
        rates, buckets: see `Service`.

    Raises:
        ConfigError: the certificate or its key cannot be used.
        ShardUnavailable: the catalog, which has credentials too, does not answer.
    """
    health = Health(cluster)
    with ExitStack() as stack:
        stack.callback(health.close)
        find = stack.enter_context(following_credentials(cluster, config, credentials))
        authenticator: Authenticator = AnyCredentials()
        if find is not None:
            authenticator = Signatures(find, config.region)
        origins = config.cors_origins
        if origins is None and credentials is not None:
            origins = EVERYONE
        app = App(
            Service(cluster, config, answered, metrics, rates, buckets),
            authenticator,
            health,
            Cors(origins),
            config,
            OPERATIONS.keys() | UNSUPPORTED,
            None if metrics is None else metrics.refused,
            cluster.tracer,
        )
        server = HttpServer(app, listeners, config.limits, tls_context(config), counts)
        if metrics is not None:
            metrics.watch(server.free_permits, server.delays)
        with _shares(cluster, server.free_permits):
            yield server


@contextmanager
def _shares(cluster: Cluster, free_permits: Callable[[], int]) -> Iterator[None]:
    """Let no shard have so many of the permits that none is left for the others."""
    shares = [shard.admission for shard in cluster.configured.values()]
    if len(shares) < 2:
        yield
        return
    for share in shares:
        share.free_permits = free_permits
    try:
        yield
    finally:
        for share in shares:
            share.free_permits = None


def serve(
    cluster: Cluster,
    config: GatewayConfig,
    listeners: Sequence[socket.socket],
    stop: threading.Event,
    *,
    credentials: Mapping[str, Credential] | None,
    answered: AnsweredWrites | None,
    counts: ConnectionCounts | None,
    ready: Callable[[], None],
    metrics: RequestMetrics | None = None,
    rates: RateLimits | None = None,
    buckets: CapacityBuckets | None = None,
) -> None:
    """Serve in this thread until `stop` is set; what is under way is finished.

    Args:
        ready: called when requests can be taken.
        others: see `gateway`.
    """
    parts = gateway(
        cluster, config, listeners,
        credentials=credentials, answered=answered, counts=counts, metrics=metrics, rates=rates,
        buckets=buckets,
    )  # fmt: skip
    with parts as server:

        def watch() -> None:
            stop.wait()
            server.stop()

        threading.Thread(target=watch, name="gateway-stop", daemon=True).start()
        ready()
        server.run()
