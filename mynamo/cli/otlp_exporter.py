"""The tracer provider of mynamo's processes: spans go to a collector, over OTLP (HTTP).

What the configuration leaves open, OpenTelemetry's SDK takes from its environment variables.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SPAN_LINK_COUNT_LIMIT
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from mynamo.errors import ConfigError
from mynamo.release import release
from mynamo.schemas.config import TracingConfig

log = logging.getLogger(__name__)

WARN_EVERY = 60.0
"""Seconds between two lines about spans that are lost."""
MOST_LINKS = 1000
"""Of a span: as many as there are events in an indexer's batch. OpenTelemetry's default is 128."""
_PATH = "/v1/traces"


def install_provider(config: TracingConfig, role: str) -> TracerProvider:
    """Make the provider of this process, and start the thread that exports.

    Raises:
        ConfigError: a variable of OpenTelemetry's is not valid.
    """
    ratio = config.sampling_ratio
    try:
        provider = TracerProvider(
            sampler=None if ratio is None else ParentBased(TraceIdRatioBased(ratio)),
            resource=_resource(config, role),
            span_limits=SpanLimits(
                max_links=None if OTEL_SPAN_LINK_COUNT_LIMIT in os.environ else MOST_LINKS
            ),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=config.endpoint and _whole(config.endpoint))
        provider.add_span_processor(BatchSpanProcessor(LoggedExporter(exporter)))
    except ValueError as error:
        raise ConfigError(f"a variable of OpenTelemetry's (OTEL_...): {error}") from None
    trace.set_tracer_provider(provider)
    return provider


def _whole(endpoint: str) -> str:
    """The address for traces, of a collector's."""
    return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH


def _resource(config: TracingConfig, role: str) -> Resource:
    """Who makes the spans."""
    resource = Resource.create(
        {
            "service.version": release() or "source",
            "service.instance.id": f"{socket.gethostname()}/{os.getpid()}",
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
    )
    name = config.service_name
    if name is None and str(resource.attributes["service.name"]).startswith("unknown_service"):
        name = f"mynamo-{role}"
    return resource if name is None else resource.merge(Resource({"service.name": name}))


class LoggedExporter(SpanExporter):
    """An exporter whose failures are logged now and then, by number. Used by one thread.

    Args:
        exporter: which tries again by itself, and gives spans up after a while.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._warned_at = -math.inf

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.FAILURE:
            self._lost += len(spans)
            self._warn_now_and_then()
        elif self._lost:
            log.info("spans are exported again")
            self._lost, self._warned_at = 0, -math.inf
        return result

    def _warn_now_and_then(self) -> None:
        if time.monotonic() - self._warned_at >= WARN_EVERY:
            self._warned_at = time.monotonic()
            log.warning(
                "the collector of traces does not take them, and at least %d spans are lost so "
                "far; requests go on. Check that it runs, and that tracing.endpoint is right",
                self._lost,
            )  # fmt: skip

    def shutdown(self) -> None:
        """See `SpanExporter`."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See `SpanExporter`."""
        return self._exporter.force_flush(timeout_millis)
