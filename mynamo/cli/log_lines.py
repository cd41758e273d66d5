"""The lines of logs: text for people, or one JSON object each (`log.format`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from mynamo.runtime import tracing
from mynamo.schemas.config import LogConfig

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def lines_of(config: LogConfig) -> logging.Formatter:
    """What makes the lines that a configuration asks for."""
    return JsonLines() if config.format == "json" else TextLines(_TEXT)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    """What a record says besides its message: `extra={"fields": {...}}`."""
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields


class TextLines(logging.Formatter):
    """A line for each record, with its fields behind the message: `name=value`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        told = [f"{name}={_shown(value)}" for name, value in _fields(record).items()]
        return " ".join([super().formatMessage(record), *told])


class JsonLines(logging.Formatter):
    """A JSON object for each record: `time` (UTC), `level`, `logger`, `message`, its fields,
    `trace_id` and `span_id` of what is traced, and `exception` with the stack trace of one."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        span = tracing.current_span.get()
        if span is not None:
            entry |= {"trace_id": span.trace_id, "span_id": span.span_id}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


def _shown(value: object) -> str:
    text = str(value)
    return orjson.dumps(text).decode() if not text or any(c in text for c in ' "=\n') else text
