"""CPU time that relay and indexer take for each event, of two commits by turns.

    python benchmarks/pipeline_cpu.py HEAD~1 HEAD
    python benchmarks/pipeline_cpu.py HEAD~1 HEAD --sizes 40 1000 --rounds 5

One shard and a broker, on which the commits work one after the other, each in a process of its
own with its own code (and the Python packages that are installed here). That process puts some
new items with one LSI and one GSI, lets a relay number and publish their events, lets an indexer
apply them, and begins again. Nothing else works meanwhile. What counts is the process's CPU time
(all threads, user and system) while the relay, or the indexer, is at work; and beside it the CPU
time of the shard's server. So other work on the machine disturbs it less than it disturbs rates.

"size" is the number of events in a step: under load a relay finds some tens of them, behind a
backlog 1,000.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from commits import checkout
from growth_cluster import add_options, running, use_of, workplace
from http_requests import call, order, table_definition
from peers import say
from rounds import machine, table, write_json

from mynamo.catalog.cluster import Cluster
from mynamo.gsi_indexer import Indexer
from mynamo.log import Publisher
from mynamo.producer import Producer, Put
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import from_stored
from mynamo.writer.outbox.relay import Relay

TABLE = "orders"
WARMING_UP = 6
"""Batches that do not count."""
LEAST_BATCHES = 10
BATCH = 200
HANGS_SECONDS = 60.0
POLL_MS = 10


def work(config: Path, server: int, first: int, size: int, batches: int) -> dict[str, float]:
    """Take batches of new items through the pipeline.

    Args:
        server: process id of the shard's server.
        first: number of the first new item.
        size: events in a batch.

    Returns:
        Microseconds of CPU time for each event, by part.
    """
    used: dict[str, float] = defaultdict(float)
    with Cluster(ClusterConfig.load(config)) as cluster, Producer(cluster) as producer:
        publisher = Publisher(cluster.config.kafka)
        relay = Relay(cluster, cluster.shards[1], f"bench-{os.getpid()}", publisher)
        with Indexer(cluster) as indexer:
            gc.collect()
            gc.freeze()  # as the workers do
            for number in range(WARMING_UP + batches):
                put(producer, first + number * size, size)
                for part, do in (
                    ("relay", lambda: relay_all(cluster, relay)),
                    ("indexer", lambda: index(indexer, size)),
                ):
                    own, servers = measured(do, server)
                    if number >= WARMING_UP:
                        used[part] += own
                        used[f"MySQL for the {part}"] += servers
        relay.release()
        publisher.close()
    return {part: seconds / (size * batches) * 1e6 for part, seconds in used.items()}


def put(producer: Producer, first: int, count: int) -> None:
    """Put new items.

    Raises:
        RuntimeError: one was refused.
    """
    for start in range(first, first + count, BATCH):
        numbers = range(start, min(first + count, start + BATCH))
        answers = producer.write_batch([Put(TABLE, from_stored(order(n))) for n in numbers])
        for answer in answers:
            if isinstance(answer, Exception):
                raise RuntimeError(f"a put failed: {answer}")


def relay_all(cluster: Cluster, relay: Relay) -> None:
    """Publish all there is. A step that did nothing has looked at everything."""
    deadline = time.monotonic() + HANGS_SECONDS
    while relay.step() or not relay.holding or relay.more:
        if not relay.holding:  # the lease of the process before
            time.sleep(0.1)
        if time.monotonic() > deadline:
            raise RuntimeError("events are not published")


def index(indexer: Indexer, count: int) -> None:
    """Apply so many events."""
    deadline = time.monotonic() + HANGS_SECONDS
    while count > 0:
        count -= indexer.step(POLL_MS)
        if time.monotonic() > deadline:
            raise RuntimeError("events do not arrive")


def measured(do: Callable[[], None], server: int) -> tuple[float, float]:
    """Do something; seconds of CPU time that this process and a server took for it."""
    before = use_of({"": server})[""].cpu_seconds
    own = -time.process_time()
    do()
    own += time.process_time()
    return own, use_of({"": server})[""].cpu_seconds - before


def measure(asked: argparse.Namespace, folder: Path) -> dict[str, dict[str, list[float]]]:
    """All rounds: by size and part, then by commit."""
    names = [asked.old, asked.new]
    found: dict[str, dict[str, list[float]]] = {}
    first = 0
    with (
        checkout(asked.old) as old,
        checkout(asked.new) as new,
        running(folder / "cluster", asked, 1, ("gateway",)) as servers,
    ):
        call(servers.port, "CreateTable", table_definition(TABLE))
        servers.start("writer")
        servers.settle()
        servers.stop("gateway", "writer")
        server = servers.local.shards[1].pid
        for number in range(asked.rounds):
            say(f"round {number + 1} of {asked.rounds}")
            for size in asked.sizes:
                batches = max(LEAST_BATCHES, asked.events // size)
                sides = list(zip(names, (old, new), strict=True))
                for name, files in sides if number % 2 == 0 else reversed(sides):
                    done = subprocess.run(
                        [sys.executable, __file__, "--work", str(servers.local.config_file),
                         *map(str, (server, first, size, batches))],
                        env={**os.environ, "PYTHONPATH": str(files)},
                        check=True, stdout=subprocess.PIPE, text=True,
                    )  # fmt: skip
                    first += size * (WARMING_UP + batches)
                    for part, value in json.loads(done.stdout.splitlines()[-1]).items():
                        row = found.setdefault(f"{part}, {size}", {})
                        row.setdefault(name, []).append(value)
    return found


def main() -> None:
    """Run what the command line says."""
    if sys.argv[1:2] == ["--work"]:
        config, *numbers = sys.argv[2:]
        print(json.dumps(work(Path(config), *map(int, numbers))), flush=True)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", help="another one")
    add_options(parser, "pipeline_cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[40, 400])
    parser.add_argument("--events", type=int, default=8_000, help="in a round, of each size")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with workplace(asked.out) as folder:
        found = measure(asked, folder)
    rows = [
        [what, *(f"{statistics.median(by[name]):.1f}" for name in (asked.old, asked.new))]
        for what, by in found.items()
    ]
    print(table(["us of CPU for each event; events in a step", asked.old, asked.new], rows))
    write_json(asked.out / "pipeline_cpu.json", {"machine": machine(), "rounds": found})


if __name__ == "__main__":
    main()
