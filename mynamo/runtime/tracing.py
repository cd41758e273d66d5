"""Spans of OpenTelemetry: P1 and P2 of `docs/design/tracing.md`.

The span of what a thread or task is doing is `current_span`. Whoever works for a caller starts
spans beneath it. A caller that is not traced, or whose trace is not sampled, has none: that costs a
look at the context, and OpenTelemetry is not even imported.

A span says what was done, where, how long it took, and the name of what went wrong. Nothing of
items is in it, nor the texts of errors, which may quote them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from mynamo.errors import ConfigError
from mynamo.extras import install_command
from mynamo.release import release

if TYPE_CHECKING:
    from opentelemetry.trace import Span as RecordedSpan

Answer = TypeVar("Answer")
Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | Sequence[str]]

_NONE: Attributes = {}
TRACEPARENT = "traceparent"
"""W3C's name of the header."""


class Tracer:
    """Starts the spans that others are beneath.

    They go to the process's tracer provider: a service has one of its own, mynamo's processes have
    that of `mynamo.cli.trace_export`.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(self) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation import tracecontext
        except ImportError:
            raise ConfigError(
                "tracing.enabled needs packages that are not installed (opentelemetry):\n"
                f"  {install_command('tracing')}"
            ) from None
        self.api = trace
        self.otel = trace.get_tracer("mynamo", release())
        self.kinds = {
            "internal": trace.SpanKind.INTERNAL,
            "server": trace.SpanKind.SERVER,
            "client": trace.SpanKind.CLIENT,
            "producer": trace.SpanKind.PRODUCER,
            "consumer": trace.SpanKind.CONSUMER,
        }
        self._propagator = tracecontext.TraceContextTextMapPropagator()

    def start(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        headers: Mapping[str, str] | None = None,
    ) -> Span | None:
        """Start a span.

        Args:
            headers: that name the span above it, as W3C's Trace Context has it; if they name none
                it begins a trace. None: the span above it is the service's current one.

        Returns:
            None: the trace is not sampled.
        """
        above = None if headers is None else self._propagator.extract(headers)
        otel = self.otel.start_span(name, above, self.kinds[kind], attributes)
        if otel.get_span_context().trace_flags.sampled:
            return Span(self, otel)
        otel.end()  # a service's sampler may have it recorded all the same
        return None


class Span:
    """A span that is recorded, until it ends.

    Args:
        tracer: which started it.
        otel: OpenTelemetry's.
    """

    __slots__ = ("_otel", "_tracer")

    def __init__(self, tracer: Tracer, otel: RecordedSpan) -> None:
        self._tracer = tracer
        self._otel = otel

    @property
    def trace_id(self) -> str:
        """Of its trace, 32 hexadecimal digits."""
        return f"{self._otel.get_span_context().trace_id:032x}"

    @property
    def span_id(self) -> str:
        """Its own, 16 hexadecimal digits."""
        return f"{self._otel.get_span_context().span_id:016x}"

    @property
    def traceparent(self) -> str:
        """The header by which others start spans beneath it."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def child(self, name: str, kind: Kind = "internal", attributes: Attributes = _NONE) -> Span:
        """Start a span beneath it."""
        tracer = self._tracer
        above = tracer.api.set_span_in_context(self._otel)
        return Span(tracer, tracer.otel.start_span(name, above, tracer.kinds[kind], attributes))

    def shared(self, name: str, attributes: Attributes, others: Sequence[Span]) -> Span:
        """Start a span beneath it that is linked with others, in both directions."""
        tracer = self._tracer
        above = tracer.api.set_span_in_context(self._otel)
        links = [tracer.api.Link(other._otel.get_span_context()) for other in others]
        span = tracer.otel.start_span(name, above, attributes=attributes, links=links)
        for other in others:
            other._otel.add_link(span.get_span_context())
        return Span(tracer, span)

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._otel.set_attributes(attributes)

    def link(self, other: Span) -> None:
        """Link it with another one, in both directions."""
        self._otel.add_link(other._otel.get_span_context())
        other._otel.add_link(self._otel.get_span_context())

    def fail(self, error: str | None = None) -> None:
        """Say that it ended in an error.

        Args:
            error: its name; None: that is an attribute already.
        """
        if error is not None:
            self._otel.set_attribute("error.type", error)
        self._otel.set_status(self._tracer.api.StatusCode.ERROR)

    def end(self) -> None:
        """End it, now."""
        self._otel.end()


current_span: ContextVar[Span | None] = ContextVar("mynamo_span", default=None)
"""The span of what this thread or task is doing; None: it is not traced."""


@contextmanager
def within(span: Span | None) -> Iterator[Span | None]:
    """Work within a span, which ends with the block; None: of what is not sampled."""
    before = current_span.set(span)
    try:
        yield span
    except BaseException as error:
        if span is not None:
            span.fail(type(error).__name__)
        raise
    finally:
        # Threads and greenlets go on to the next request with what is set here.
        current_span.reset(before)
        if span is not None:
            span.end()


def traced(
    tracer: Tracer | None, operation: str, table: object, call: Callable[[], Answer]
) -> Answer:
    """Make a call of the library, within a span if there is a tracer.

    Args:
        operation: the method's name.
        table: the name of the one table that it is about, as the caller gives it; None: of several.
    """
    if tracer is None:
        return call()
    name, attributes = operation, {"db.operation.name": operation}
    if isinstance(table, str):
        name, attributes["db.collection.name"] = f"{operation} {table}", table
    with within(tracer.start(name, "internal", attributes)):
        return call()


@contextmanager
def together(
    spans: Sequence[Span], name: str, attributes: Attributes
) -> Iterator[Callable[[Span], None]]:
    """Do work that several are served by at once: P2.

    Args:
        spans: of those who are traced, one at least. They go on.
        name, attributes: of the span that several have in common.

    Yields:
        What links the span of somebody who joins while the block runs.
    """
    first, *others = spans
    shared = first.shared(name, attributes, others) if others else first
    before = current_span.set(shared)
    try:
        yield shared.link
    except BaseException as error:
        if others:
            shared.fail(type(error).__name__)
        raise
    finally:
        current_span.reset(before)
        if others:
            shared.end()


@contextmanager
def ended(spans: Sequence[Span]) -> Iterator[None]:
    """End spans with the block."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.fail(type(error).__name__)
        raise
    finally:
        for span in spans:
            span.end()


def carried(call: Callable[[], Answer]) -> Callable[[], Answer]:
    """A call, to be made by another thread within the span of this one."""
    span = current_span.get()
    return call if span is None else partial(_carry, span, call)


def _carry(span: Span, call: Callable[[], Answer]) -> Answer:
    before = current_span.set(span)
    try:
        return call()
    finally:
        current_span.reset(before)
