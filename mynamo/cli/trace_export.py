"""Traces of mynamo's own processes, exported while they work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mynamo.extras import need
from mynamo.schemas.config import TracingConfig

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""That a process has for its last spans when it ends."""


@contextmanager
def traces_exported(config: TracingConfig, role: str) -> Iterator[None]:
    """Have the spans of this process exported while the block runs, the last ones at its end.

    A thread exports them. So a process that forks others does not call this; they do.

    Args:
        role: what the service is called, unless that is configured: mynamo-writer.

    Raises:
        ConfigError: the packages are not installed, or a variable of OpenTelemetry's is not valid.
    """
    if not config.enabled:
        yield
        return
    need("tracing", "tracing.enabled")
    if not log.isEnabledFor(logging.DEBUG):  # we say ourselves, now and then, what is lost
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        # This one says that spans come faster than they are exported.
        logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.WARNING)
    from mynamo.cli.otlp_exporter import install_provider

    provider = install_provider(config, role)
    try:
        yield
    finally:
        closing = threading.Thread(target=provider.shutdown, name="mynamo-traces", daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)
