"""Measure time to live: how fast what has expired is deleted, and what clients feel.

    python benchmarks/expiry.py                       # takes some minutes
    python benchmarks/expiry.py --items 1000000 --due 100000 --rate 100000

One shard whose commits are synced to disk, a broker, a writer and an indexer are processes of their
own. The table has one LSI and two GSIs. Items that stay are loaded, and items whose time is over
long since. Four threads read and write those that stay (`mynamo.cli.demo_load`). Then time to live
is enabled: the backfill of the expiries, and after it deletions, until none is left. The figures of
clients are those of the phases before, during and after.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from growth_cluster import BROKERS
from peers import say
from resharding import felt, phase, show_requests
from rounds import machine, table, write_json

from mynamo.catalog import definitions, time_to_live
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Index
from mynamo.cli.children import Workers
from mynamo.cli.demo_load import Load, fill
from mynamo.cli.demo_orders import SCHEMA, TABLE, order
from mynamo.cli.output import console
from mynamo.local import LocalCluster
from mynamo.local.cache import find_fetched
from mynamo.log import ensure_topics
from mynamo.operations.due_items import MOST_COUNTED, due_items
from mynamo.operations.lag import lag
from mynamo.operations.pipeline import wait_until_applied
from mynamo.producer import Producer, Put

QUIET_SECONDS = 15.0
BATCH = 200


def main() -> None:
    """Run it, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000, help="that stay")
    parser.add_argument("--due", type=int, default=50_000, help="that have expired")
    parser.add_argument("--rate", type=float, default=1_000, help="`expiry.rate`")
    parser.add_argument("--pause", type=float, default=20, help="ms between a thread's requests")
    parser.add_argument("--engine", choices=["mysql", "mariadb"])
    parser.add_argument(
        "--broker", choices=list(BROKERS), default="kafka" if find_fetched("kafka") else "embedded"
    )
    parser.add_argument("--out", type=Path, help="a folder for the figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mynamo-expiry-") as folder:
        local = LocalCluster(folder, 1, given.engine, BROKERS[given.broker], fetch=True)
        workers: Workers | None = None
        try:
            local.start()
            with local.config_file.open("a") as file:
                file.write(f"\n[expiry]\nrate = {given.rate}\n")
            ensure_topics(local.config.kafka)
            with Cluster(local.config) as cluster:
                definitions.create_table(cluster, SCHEMA)
                workers = Workers(local)
                workers.start()
                phases, figures = measure(cluster, given)
        finally:
            if workers is not None:
                workers.stop()
            local.stop()
    print(machine())
    show_requests(phases)
    print("\nTime to live\n")
    print(table(list(figures), [list(figures.values())]))
    if given.out:
        found = {"machine": machine(), "phases": phases, "figures": figures}
        write_json(given.out / "expiry.json", found)


def measure(
    cluster: Cluster, given: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All phases with what clients felt, and what became of the items."""
    fill(cluster, given.items, console())
    fill_due(cluster, given.items, given.due)
    wait_until_applied(cluster, 900)
    phases: list[dict[str, Any]] = []
    with Load(cluster, given.items, given.pause / 1000) as load:
        time.sleep(3)
        phases.append(phase("without", load, QUIET_SECONDS))
        say("enabling")
        began = time.monotonic()
        index = time_to_live.enable(cluster, TABLE, "until")
        while status(cluster) != "ACTIVE":
            time.sleep(0.05)
        enabled = time.monotonic()
        phases.append(felt("backfill of the expiries", load, enabled - began))
        say("deleting")
        longest = wait_until_gone(cluster, index)
        gone = time.monotonic()
        phases.append(felt("deleting", load, gone - enabled))
        phases.append(phase("with, nothing due", load, QUIET_SECONDS))
        if load.failures:
            print(f"{len(load.failures)} requests failed: {load.failures[:3]}")
    items = given.items + given.due
    return phases, {
        "items": f"{items:,}",
        "due": f"{given.due:,}",
        "backfill, items/s": f"{items / (enabled - began):,.0f}",
        "deleted, items/s": f"{given.due / (gone - enabled):,.0f}",
        "longest lag of an index, s": f"{longest:.1f}",
    }


def fill_due(cluster: Cluster, first: int, count: int) -> None:
    """Load orders that expired an hour ago."""
    until = int(time.time()) - 3600

    def write(start: int) -> None:
        numbers = range(start, min(start + BATCH, first + count))
        puts = [Put(TABLE, {**order(number), "until": until}) for number in numbers]
        for outcome in producer.write_batch(puts):
            if isinstance(outcome, Exception):
                raise outcome

    with Producer(cluster) as producer, ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(first, first + count, BATCH)))


def status(cluster: Cluster) -> str:
    """Of the index of the expiries."""
    index = cluster.refresh().names[TABLE].time_to_live
    return index.status if index is not None else "DELETING"


def wait_until_gone(cluster: Cluster, index: Index) -> float:
    """Wait until nothing is due; returns how many seconds an index was behind at most."""
    longest = 0.0
    while True:
        (due,) = due_items(cluster, index)
        longest = max(longest, lag(cluster).seconds)
        if not due.items:
            return longest
        more = "+" if due.items >= MOST_COUNTED else ""
        say(f"{due.items:,}{more} left, an index is {longest:.1f} s behind at most")
        time.sleep(1)


if __name__ == "__main__":
    main()
