"""Threads that add to one item, in a process of their own.

Run as `python -m tests.adding_process CONFIG.toml THREADS`: adds 1 to `n` of one item of
table `orders` in each thread, and says on stderr what failed.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from mynamo.catalog.cluster import Cluster
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig

KEY = {"id": "counter", "at": "1"}


def add(producer: Producer) -> None:
    """Add 1 to the counter."""
    producer.update("orders", KEY, expression="ADD n :one", values={":one": 1})


def main() -> None:
    """Do it; the status says whether all came through."""
    path, threads = sys.argv[1], int(sys.argv[2])
    with Cluster(ClusterConfig.load(path)) as cluster, ThreadPoolExecutor(threads) as pool:
        producer = Producer(cluster)
        for done in [pool.submit(add, producer) for _ in range(threads)]:
            done.result()


if __name__ == "__main__":
    main()
