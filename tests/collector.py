"""A collector of traces: takes what OpenTelemetry's exporter sends over HTTP, and keeps it."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from mynamo.cli.otlp_exporter import install_provider
from mynamo.schemas.config import TracingConfig
from tests.waiting import eventually

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
FAILED = 2


@dataclass(frozen=True)
class Recorded:
    """A span as it came.

    Attributes:
        links: ids of the spans that it is linked with.
        failed: its status is ERROR.
        resource: attributes of who made it.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, Any]
    links: frozenset[str]
    failed: bool
    resource: Mapping[str, Any]

    @property
    def is_sql(self) -> bool:
        """Whether it is a round trip to a shard or the catalog."""
        return "db.system.name" in self.attributes


class Collector:
    """Spans in the order in which they came; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Recorded] = []
        self.url = ""

    @property
    def spans(self) -> list[Recorded]:
        """All so far."""
        with self._lock:
            return list(self._spans)

    def take(self, body: bytes) -> None:
        """Keep what one request brings."""
        message = ExportTraceServiceRequest.FromString(body)
        found = [
            Recorded(
                name=span.name,
                kind=KINDS[span.kind],
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                attributes=_values(span.attributes),
                links=frozenset(link.span_id.hex() for link in span.links),
                failed=span.status.code == FAILED,
                resource=_values(of_resource.resource.attributes),
            )
            for of_resource in message.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        with self._lock:
            self._spans += found

    def of(self, trace_id: str) -> list[Recorded]:
        """The spans of a trace."""
        return [span for span in self.spans if span.trace_id == trace_id]

    def wait_for(
        self, trace_id: str, ready: Callable[[list[Recorded]], object], seconds: float = 30.0
    ) -> list[Recorded]:
        """The spans of a trace, once they are as they are to be."""

        def look() -> list[Recorded]:
            flush()
            found = self.of(trace_id)
            assert ready(found), [(span.name, span.kind) for span in found]
            return found

        return eventually(look, seconds)


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    if value.WhichOneof("value") == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, value.WhichOneof("value"))


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector until the block ends."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            right = self.path == "/v1/traces"
            if right:
                collector.take(body)
            self.send_response(200 if right else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@cache
def of_this_process() -> Collector:
    """The collector of this process's spans. OpenTelemetry allows one provider for each process, so
    all tests in it share them; they run until it ends."""
    collector = _running.enter_context(collecting())
    os.environ.setdefault("OTEL_BSP_SCHEDULE_DELAY", "100")
    _kept.append(install_provider(TracingConfig(enabled=True, endpoint=collector.url), "tests"))
    return collector


_running = ExitStack()
_kept: list[TracerProvider] = []


def flush() -> None:
    """Have the spans of this process exported that have ended."""
    for provider in _kept:
        provider.force_flush()


def traceparent(trace_id: str, span_id: str, *, sampled: bool = True) -> str:
    """The header of a client whose span that is."""
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"
