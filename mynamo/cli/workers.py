"""`mynamo writer` and `mynamo indexer`: workers that run until they are told to stop."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import click

from mynamo.catalog.cluster import Cluster
from mynamo.cli.command_context import load_config, opened
from mynamo.cli.interrupts import INTERRUPTED, interrupt
from mynamo.cli.log_lines import lines_of
from mynamo.cli.metrics_option import metrics_of, metrics_port
from mynamo.cli.trace_export import traces_exported
from mynamo.schemas.config import AUDIT_LOGGER, LogConfig

log = logging.getLogger(__name__)

LEVELS = ("debug", "info", "warning", "error")

_CLOSING = 5.0
"""Seconds that mending may take to stop; whoever comes next begins it again."""

Command = TypeVar("Command", bound=Callable[..., Any])

_NEW_OBJECTS = 20_000
"""So many more objects than before let the collector look for cycles; Python's default is 700."""


def log_level(command: Command) -> Command:
    """Add `--log-level`."""
    return click.option(
        "--log-level", type=click.Choice(LEVELS), default="info", show_default=True,
        help="What is worth a line on stderr.",
    )(command)  # fmt: skip


@click.command()
@metrics_port
@log_level
def writer(metrics_port: int | None, log_level: str) -> None:
    """Run a writer worker, until SIGTERM or Ctrl-C.

    It publishes committed changes to Kafka, applies queued writes, backfills new indexes,
    finishes interrupted changes of tables, and mends the indexes of a shard that has lost
    changes. Run two or more, on different machines: they share the work, and when one dies the
    others take over its part.

    \b
    Example:
      mynamo writer --log-level warning
    """
    from mynamo.operations.mending import run_mending
    from mynamo.writer.worker import run_writer

    def write_and_mend(cluster: Cluster, stop: threading.Event) -> None:
        mending = threading.Thread(
            target=run_mending, args=(cluster, stop), name="mending", daemon=True
        )
        mending.start()
        run_writer(cluster, stop)
        mending.join(_CLOSING)

    _run(write_and_mend, "writer", metrics_port, log_level)


@click.command()
@metrics_port
@log_level
def indexer(metrics_port: int | None, log_level: str) -> None:
    """Run a GSI indexer worker, until SIGTERM or Ctrl-C.

    It applies change events from Kafka to the GSIs, each exactly once. Run two or more, on
    different machines: Kafka assigns the partitions to them, so more than
    `kafka.partitions` of them are of no use.

    \b
    Example:
      mynamo indexer --log-level warning
    """
    from mynamo.gsi_indexer import run_indexer

    _run(run_indexer, "indexer", metrics_port, log_level)


def _run(
    work: Callable[[Cluster, threading.Event], None], role: str, port: int | None, level: str
) -> None:
    start_logging(level, load_config().log)

    def work_with_metrics(cluster: Cluster, stop: threading.Event) -> None:
        with metrics_of(cluster, role, port), traces_exported(cluster.config.tracing, role):
            work(cluster, stop)

    sys.exit(run_until_told(work_with_metrics))


def run_until_told(work: Callable[[Cluster, threading.Event], None]) -> int:
    """Open the cluster and work on it, until the event that SIGTERM and Ctrl-C set.

    Opening the cluster waits for a catalog that does not answer. Until it is open, a signal ends
    the process at once: there is no work yet that it could harm.

    Returns:
        The status to end with: 0, or 130 when Ctrl-C came before there was any work.
    """
    with ExitStack() as opening:
        try:
            for kind in (signal.SIGTERM, signal.SIGINT):
                signal.signal(kind, interrupt)
            cluster = opening.enter_context(opened(patient=True))
            stop = stop_on_signals()
        except KeyboardInterrupt as interruption:
            return 0 if signal.SIGTERM in interruption.args else INTERRUPTED
        # Objects that exist now stay. Checking them for garbage would stop all threads for 20 ms.
        gc.freeze()
        # Hardly any object of a request or an event is part of a cycle.
        gc.set_threshold(_NEW_OBJECTS)
        work(cluster, stop)
    return 0


def start_logging(level: str, config: LogConfig) -> None:
    """Log to stderr, one line for each event. SIGHUP is such an event, and no more."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines_of(config))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger(AUDIT_LOGGER).setLevel(logging.INFO)  # whether there is one, `log.audit` says
    signal.signal(signal.SIGHUP, lambda *_: _note_hangup(handler))
    if level != "debug":  # we say ourselves, once, that Kafka does not answer
        logging.getLogger("kafka").setLevel(logging.CRITICAL)


def _note_hangup(handler: logging.Handler) -> None:
    """Log it, past the logger's locks and buffers, which the main thread may be in."""
    if log.isEnabledFor(logging.WARNING):
        text = "SIGHUP is ignored: a changed configuration counts from the next start"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
        with suppress(OSError):  # the terminal may be what has gone
            os.write(sys.stderr.fileno(), f"{handler.format(record)}\n".encode())


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set.

    A signal may come while the main thread holds the event's own lock, so the handler only
    writes to a pipe, and a thread sets the event.
    """
    stop = threading.Event()
    reading, writing = os.pipe()

    def wait() -> None:
        os.read(reading, 1)
        stop.set()

    threading.Thread(target=wait, name="mynamo-signals", daemon=True).start()
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: os.write(writing, b"."))
    return stop
