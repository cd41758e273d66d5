"""Spans of messages: P4 and P5 of `docs/design/tracing.md`.

A message that is traced has the header `traceparent`, behind all others. Its spans are children of
the one that is named there. Names and attributes: OpenTelemetry's semantic conventions for
messaging, https://opentelemetry.io/docs/specs/semconv/messaging/.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mynamo.log.clients import Message
from mynamo.runtime.tracing import TRACEPARENT, Attributes, Span, Tracer


def send_spans(
    tracer: Tracer | None, messages: Sequence[Message], attributes: Attributes
) -> list[Span]:
    """Start a span for each message that is traced.

    Args:
        tracer: None: there are none.
        messages: that are sent together.
        attributes: of each span besides.
    """
    if tracer is None:
        return []
    spans = []
    for topic, partition, _, _, headers in messages:
        name, traceparent = headers[-1]
        if name == TRACEPARENT:
            told = {**_messaging("send", topic, partition, len(messages)), **attributes}
            above = {TRACEPARENT: traceparent.decode(errors="replace")}
            spans.append(tracer.start(f"send {topic}", "producer", told, above))
    return [span for span in spans if span is not None]


def process_span(tracer: Tracer, record: Any, group: str, count: int) -> Span | None:
    """Start a span for a message that was read; None: it is not traced.

    Args:
        record: as a consumer gave it.
        group: the consumer's.
        count: of the messages that are processed together.
    """
    try:
        traceparent = record.header(TRACEPARENT)
    except ValueError:  # nobody needs headers to apply a message
        return None
    if traceparent is None:
        return None
    return tracer.start(
        f"process {record.topic}",
        "consumer",
        _messaging("process", record.topic, record.partition, count)
        | {
            "messaging.consumer.group.name": group,
            "messaging.kafka.offset": record.offset,
        },
        {TRACEPARENT: traceparent.decode(errors="replace")},
    )


def _messaging(operation: str, topic: str, partition: int, count: int) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.batch.message_count": count,
    }
