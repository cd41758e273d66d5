"""`mynamo demo`: everything at work, in one command."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mynamo.catalog.cluster import Cluster
from mynamo.cli.children import Workers
from mynamo.cli.demo_steps import Demo
from mynamo.cli.interrupts import INTERRUPTED, interruptible, shield
from mynamo.cli.output import console
from mynamo.local import EngineKind, LocalCluster
from mynamo.log import ensure_topics

engine_option = click.option(
    "--engine", type=click.Choice(["mysql", "mariadb"]),
    help="Server of the shards.  [default: MySQL if this machine has it, else MariaDB]",
)  # fmt: skip


@click.command()
@click.option("--orders", type=click.IntRange(400), default=20_000, show_default=True)
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Keep all data in this folder; `mynamo dev --data DIR` opens it again.",
)  # fmt: skip
@engine_option
@click.option(
    "--kafka", type=click.Choice(["embedded", "apache"]), default="embedded",
    show_default=True, help="The broker.",
)  # fmt: skip
def demo(orders: int, keep: Path | None, engine: EngineKind | None, kafka: str) -> None:
    """See everything work on this machine, in a minute or two.

    Starts two shards, a broker, a writer and an indexer; loads orders from several threads,
    a quarter of them through Kafka; changes and deletes some; waits until the GSIs have
    caught up; asks one question by primary key, LSI, GSI and scan; and proves with
    `mynamo verify` that every index is what the table says. All figures are measured.
    Leaves nothing running, and no files unless --keep says where. Ends with status 0 only
    if the table verified clean.

    \b
    Examples:
      mynamo demo
      mynamo demo --orders 2000 --engine mariadb
      mynamo demo --keep /tmp/demo && mynamo dev --data /tmp/demo
    """
    screen = console()
    started = time.monotonic()
    try:
        with interruptible(), data_folder(keep) as folder, _running(folder, engine, kafka) as local:
            screen.print(
                f"Started 2 x {local.engine.title} and {_broker(local)}, a writer and an indexer: "
                f"{time.monotonic() - started:.1f} s"
            )
            with Cluster(local.config) as cluster:
                clean = Demo(cluster, orders, screen).run()
            seconds = time.monotonic() - started
    except KeyboardInterrupt:
        screen.print("\ninterrupted; everything is stopped")
        raise SystemExit(INTERRUPTED) from None
    screen.print(f"\nAll of it took {seconds:.0f} s; everything is stopped.")
    if keep:
        screen.print(f"The data is in {keep}: `mynamo dev --data {keep}` opens it again.")
    if not clean:
        raise SystemExit(1)


@contextmanager
def data_folder(keep: Path | None) -> Iterator[Path]:
    """The folder that was asked for, or one that is removed in the end."""
    if keep is not None:
        yield keep
        return
    folder = Path(tempfile.mkdtemp(prefix="mynamo-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(folder: Path, engine: EngineKind | None, kafka: str) -> Iterator[LocalCluster]:
    """A local cluster with its workers; all of it is stopped in the end."""
    local = LocalCluster(folder, 2, engine, kafka, fetch=True)
    workers: Workers | None = None
    try:
        local.start(click.echo)
        ensure_topics(local.config.kafka)
        with Cluster(local.config):
            pass  # the first to open it sets it up
        workers = Workers(local)
        workers.start()
        yield local
    finally:
        shield()
        if workers is not None:
            workers.stop()
        local.stop()


def _broker(local: LocalCluster) -> str:
    return local.broker.title if local.broker else local.config.kafka.bootstrap_servers
