"""`mynamo demo-grow`: one shard becomes three, and then two, while it is read and written."""

from __future__ import annotations

import time
from typing import Literal

import click
from rich.console import Console

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.members import add_shard
from mynamo.cli.checks import print_verdict
from mynamo.cli.children import Workers
from mynamo.cli.demo import data_folder, engine_option
from mynamo.cli.demo_grow_display import Watch
from mynamo.cli.demo_load import Load, fill
from mynamo.cli.demo_orders import SCHEMA, TABLE
from mynamo.cli.interrupts import INTERRUPTED, interruptible, shield
from mynamo.cli.moving import summary
from mynamo.cli.output import console
from mynamo.errors import LocalServerError
from mynamo.local import EngineKind, LocalCluster
from mynamo.local.kafka import find_java, find_kafka
from mynamo.log import ensure_topics
from mynamo.operations import verify
from mynamo.operations.leaving import remove_shard
from mynamo.operations.pipeline import wait_until_applied
from mynamo.operations.resharding.rebalance import drain, rebalance

SHARDS = 3
BrokerKind = Literal["embedded", "apache"]


@click.command()
@click.option("--items", type=click.IntRange(1000), default=1_000_000, show_default=True)
@engine_option
@click.option(
    "--kafka", type=click.Choice(["embedded", "apache"]),
    help="The broker.  [default: Apache Kafka if this machine has it, else the embedded one, which "
    "stands still for seconds now and then under this load]",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="ROWS",
    help="Rows that are copied per second, at most.",
)  # fmt: skip
def demo_grow(
    items: int, engine: EngineKind | None, kafka: BrokerKind | None, rate: float | None
) -> None:
    """See a cluster grow from one shard to three, and lose its first one, under load.

    Loads items with two GSIs into one shard; then reads and writes them without a pause from four
    threads, while two shards are added, all slots are rebalanced, and the first shard is drained
    and removed. Shows slots, moves, rates, p99 and errors meanwhile, and proves with `mynamo
    verify` that every index is what the table says. With a million items it takes half an hour on
    two cores. Ends with status 0 only if no request failed and the table verified clean.

    \b
    Examples:
      mynamo demo-grow
      mynamo demo-grow --items 20000
    """
    screen = console()
    started = time.monotonic()
    try:
        with interruptible(), data_folder(None) as folder:
            local = LocalCluster(folder, SHARDS, engine, kafka or usual_broker(), fetch=True)
            workers: Workers | None = None
            try:
                local.start(click.echo)
                ensure_topics(local.config.kafka)
                first = local.config.model_copy(update={"shards": local.config.shards[:1]})
                with Cluster(first):
                    pass  # the first to open it sets it up: with one shard
                workers = Workers(local)
                workers.start()
                with Cluster(local.config) as cluster:
                    good = _run(cluster, items, rate, screen)
            finally:
                shield()
                if workers is not None:
                    workers.stop()
                local.stop()
    except KeyboardInterrupt:
        screen.print("\ninterrupted; everything is stopped")
        raise SystemExit(INTERRUPTED) from None
    screen.print(f"\nAll of it took {time.monotonic() - started:.0f} s; everything is stopped.")
    if not good:
        raise SystemExit(1)


def usual_broker() -> BrokerKind:
    """Apache Kafka if this machine has it, else the embedded broker."""
    try:
        find_java()
        find_kafka()
    except LocalServerError:
        return "embedded"
    return "apache"


def _run(cluster: Cluster, items: int, rate: float | None, screen: Console) -> bool:
    """All steps. Returns whether no request failed and the table verified clean."""
    definitions.create_table(cluster, SCHEMA)
    fill(cluster, items, screen)
    wait_until_applied(cluster, 600)
    with Load(cluster, items) as load, Watch(cluster, load, screen) as watch:
        watch.step("one shard, under load")
        time.sleep(5)
        for shard_id in range(2, SHARDS + 1):
            watch.step(f"adding shard {shard_id}")
            add_shard(cluster, shard_id, lambda _: None)
        watch.step("rebalancing")
        grown = rebalance(cluster, rate=rate, on_progress=watch.moving)
        watch.step("draining shard 1")
        drained = drain(cluster, 1, rate=rate, on_progress=watch.moving)
        watch.step("removing shard 1")
        remove_shard(cluster, 1, lambda _: None)
        watch.step("two shards, under load")
        time.sleep(5)
    screen.print(f"\nfrom one shard to three: {summary(grown)}")
    screen.print(f"from three to two: {summary(drained)}")
    load.show(screen)
    wait_until_applied(cluster, 120)
    verdict = verify(cluster, TABLE)
    print_verdict(verdict)
    return verdict.ok and not load.failures
