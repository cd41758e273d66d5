"""`GET /metrics`: a registry of this process on a port of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mynamo.errors import ConfigError
from mynamo.metrics.families import gauge
from mynamo.metrics.names import BUILD_INFO
from mynamo.release import release

log = logging.getLogger(__name__)


class BuildInfo(Collector):
    """The release that runs.

    Args:
        role: of the process: serve, writer, indexer or library.
    """

    def __init__(self, role: str) -> None:
        self._role = role

    def describe(self) -> Iterable[Metric]:
        """So that a scrape can ask for this alone, see `Collector`."""
        yield gauge(BUILD_INFO)

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        family = gauge(BUILD_INFO)
        family.add_metric([release() or "", self._role], 1)
        yield family


def new_registry(role: str) -> CollectorRegistry:
    """A registry with what every process has: its release, CPU time, memory and open files.

    Args:
        role: see `BuildInfo`.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(BuildInfo(role))
    return registry


@contextmanager
def serving(registry: CollectorRegistry, host: str, port: int) -> Iterator[int]:
    """Answer `GET /metrics` in threads of their own, while the block runs.

    Args:
        host: address to listen on.
        port: likewise; 0: any free one.

    Yields:
        The port.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} for metrics: {error.strerror or error}; choose another"
            " --metrics-port, or stop what uses it"
        ) from None
    try:
        log.info("metrics: http://%s:%d/metrics", host, server.server_port)
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
