"""`mynamo writer` and `mynamo indexer`: workers that run until they are told to stop."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import click

from mynamo.cli.context import opened
from mynamo.shards.cluster import Cluster

LEVELS = ("debug", "info", "warning", "error")

Command = TypeVar("Command", bound=Callable[..., Any])


def log_level(command: Command) -> Command:
    """Add `--log-level`."""
    return click.option(
        "--log-level", type=click.Choice(LEVELS), default="info", show_default=True,
        help="What is worth a line on stderr.",
    )(command)  # fmt: skip


@click.command()
@log_level
def writer(log_level: str) -> None:
    """Run a writer worker, until SIGTERM or Ctrl-C.

    It publishes committed changes to Kafka, applies queued writes, fills new indexes and
    finishes interrupted changes of tables. Run two or more, on different machines: they
    share the work, and when one dies the others take its part over.

    \b
    Example:
      mynamo writer --log-level warning
    """
    from mynamo.writer.worker import run_writer

    _run(run_writer, log_level)


@click.command()
@log_level
def indexer(log_level: str) -> None:
    """Run a GSI indexer worker, until SIGTERM or Ctrl-C.

    It applies change events from Kafka to the GSIs, each exactly once. Run two or more, on
    different machines: Kafka deals the partitions out among them, so more than
    `kafka.partitions` of them is of no use.

    \b
    Example:
      mynamo indexer --log-level warning
    """
    from mynamo.gsi_indexer import run_indexer

    _run(run_indexer, log_level)


def _run(work: Callable[[Cluster, threading.Event], None], level: str) -> None:
    start_logging(level)
    run_until_told(work)


def run_until_told(work: Callable[[Cluster, threading.Event], None]) -> None:
    """Open the cluster and work on it, until the event that SIGTERM and Ctrl-C set.

    While the cluster is being opened, which waits for a catalog that does not answer, nothing
    is under way that a signal could harm: then it ends this at once.
    """
    with ExitStack() as opening:
        try:
            for kind in (signal.SIGTERM, signal.SIGINT):
                signal.signal(kind, _interrupt)
            cluster = opening.enter_context(opened(patient=True))
            stop = stop_on_signals()
        except KeyboardInterrupt:
            return
        # What is there by now stays. To look for garbage among it stops all threads for 20 ms.
        gc.freeze()
        work(cluster, stop)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def start_logging(level: str) -> None:
    """Log to stderr, one line for each event."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    if level != "debug":  # we say ourselves, once, that Kafka does not answer
        logging.getLogger("kafka").setLevel(logging.CRITICAL)


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
