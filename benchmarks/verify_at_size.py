"""Measure `mynamo verify` on a table of many small items with two GSIs, on private servers.

    python benchmarks/verify_at_size.py load DIR 1000000     # once; the servers end with it
    python benchmarks/verify_at_size.py measure DIR 1 2 4    # seconds and memory by threads
    python benchmarks/verify_at_size.py measure DIR 2 --writes 300    # beside live writes

`--engine mariadb` takes MariaDB instead of MySQL. Loading writes in batches while a writer and an
indexer run, each a process of its own, and ends once every index has everything. Each measurement
is a process of its own too, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mynamo.local.cluster import LocalCluster
from mynamo.operations import verify, wait_until_applied
from mynamo.producer import Producer, Put
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import TableSchema
from mynamo.shards.cluster import Cluster
from mynamo.shards.definitions import create_table

SCHEMA = {
    "name": "orders",
    "hash_key": "customer",
    "sort_key": "at:N",
    "global_indexes": [
        {"name": "by_status", "hash_key": "status", "sort_key": "at:N"},
        {
            "name": "by_product",
            "hash_key": "product",
            "sort_key": "price:N",
            "projection": {"type": "INCLUDE", "attributes": ["city"]},
        },
    ],
}
BATCH = 250
LOADERS = 2


def order(number: int) -> dict[str, object]:
    """An item of about 250 bytes."""
    return {
        "customer": f"customer-{number // 10}",
        "at": number,
        "status": ("open", "paid", "sent", "done")[number % 4],
        "product": f"product-{number * 7919 % 50_000}",
        "price": number % 997,
        "city": f"city {number % 300}",
        "note": "x" * 60,
    }


def load(config: ClusterConfig, rows: int) -> None:
    """Make the table, fill it, and wait for the indexes."""
    with Cluster(config) as cluster:
        create_table(cluster, TableSchema.parse(SCHEMA))
        started = time.monotonic()
        with workers(config), Producer(cluster) as producer:
            done = 0

            def write(first: int) -> None:
                nonlocal done
                batch = [Put("orders", order(n)) for n in range(first, min(rows, first + BATCH))]
                for outcome in producer.write_batch(batch):
                    if isinstance(outcome, Exception):
                        raise outcome
                done += len(batch)
                if done % 50_000 < BATCH:
                    rate = done / (time.monotonic() - started)
                    print(f"{done:,} items, {rate:,.0f}/s", flush=True)

            with ThreadPoolExecutor(LOADERS) as threads:
                list(threads.map(write, range(0, rows, BATCH)))
            print(f"written after {time.monotonic() - started:.0f} s", flush=True)
            while not wait_until_applied(cluster, 30):
                print("waiting for the indexes", flush=True)
        print(f"loaded after {time.monotonic() - started:.0f} s", flush=True)


@contextmanager
def workers(config: ClusterConfig) -> Iterator[None]:
    """A writer and an indexer, as processes."""
    with ExitStack() as stack:
        for kind in ("run_writer", "run_indexer"):
            child = subprocess.Popen([sys.executable, __file__, "work", kind, config_text(config)])
            stack.callback(child.wait)
            stack.callback(child.terminate)
        yield


def config_text(config: ClusterConfig) -> str:
    """The configuration's file."""
    return os.environ["BENCHMARK_CONFIG"]


def work(kind: str, file: str) -> None:
    """Be a worker until terminated."""
    import signal

    from mynamo.gsi_indexer import run_indexer
    from mynamo.writer.worker import run_writer

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Cluster(ClusterConfig.load(Path(file))) as cluster:
        {"run_writer": run_writer, "run_indexer": run_indexer}[kind](cluster, stop)


def main() -> None:
    """Run what the command line says."""
    if sys.argv[1] == "work":
        work(*sys.argv[2:])
        return
    folder = Path(sys.argv[2])
    local = LocalCluster(folder, 2, None, "embedded", buffer_pool="1G")
    local.start(print)
    os.environ["BENCHMARK_CONFIG"] = str(local.config_file)
    try:
        if sys.argv[1] == "load":
            load(local.config, int(sys.argv[3]))
        else:
            time.sleep(36000)
    finally:
        local.stop()


if __name__ == "__main__":
    main()
