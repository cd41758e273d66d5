"""How long no change of a shard is published after `kill -9` of the writer that relays it.

    python benchmarks/relay_failover.py --kills 15

Two writers work beside each other. The one with a shard's lease is killed, at another moment of the
lease each time, and an item of that shard is put at once. What counts is when its event arrives at
a consumer, and when the other writer has the lease. Then the killed one is started again, and so on
by turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kafka import TopicPartition

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.local import LocalCluster
from mynamo.log import open_consumer
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig, KafkaConfig
from mynamo.schemas.events import load_event
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import TableSchema
from mynamo.writer.worker import run_writer

SCHEMA = {"name": "items", "hash_key": "id"}
SHARD = 1
PATIENCE = 60.0


class Arrivals(threading.Thread):
    """Reads the topic, and notes when the event of each item came first (monotonic)."""

    def __init__(self, config: KafkaConfig) -> None:
        super().__init__(daemon=True)
        self.seen: dict[str, float] = {}
        self._consumer = open_consumer(config, None)
        self._consumer.assign(
            [TopicPartition(config.changes_topic, number) for number in range(config.partitions)]
        )

    def run(self) -> None:
        """Until the process ends."""
        while True:
            for records in self._consumer.poll(timeout_ms=20).values():
                now = time.monotonic()
                for record in records:
                    self.seen.setdefault(load_event(record.value).keys["id"]["S"], now)


def until(check: Callable[[], bool]) -> float:
    """Wait for it; when it was so (monotonic)."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)
    return time.monotonic()


def holder(cluster: Cluster) -> int:
    """Process id of the writer that has the shard's lease, by the lease; 0: none has it."""
    ((owner,),) = cluster.shards[SHARD].run(("SELECT owner FROM mynamo_relay", ()))[0].rows
    return int(owner.split(b"/")[1]) if owner else 0


def work(config_file: Path) -> None:
    """Be a writer until killed."""
    with Cluster(ClusterConfig.load(config_file)) as cluster:
        print("at work", flush=True)
        run_writer(cluster, threading.Event())


def measure(cluster: Cluster, config_file: Path, kills: int) -> tuple[list[float], list[float]]:
    """Seconds from each kill to the event of a change after it, and to the other's lease."""

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, __file__, "--work", str(config_file)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert writer.stdout is not None
        writer.stdout.readline()  # it is at work
        return writer

    table = definitions.create_table(cluster, TableSchema.parse(SCHEMA))
    names = (f"i{number}" for number in range(100_000))
    keys = (
        name
        for name in names
        if cluster.shard_of(table.key_of(to_stored({"id": name})).hash).id == SHARD
    )
    writers = [start(), start()]
    published, taken = [], []
    try:
        with Producer(cluster) as producer:
            until(lambda: holder(cluster) in {writer.pid for writer in writers})
            arrivals = Arrivals(cluster.config.kafka)
            arrivals.start()
            for number in range(kills):
                ready = next(keys)
                producer.put("items", {"id": ready})
                until(lambda ready=ready: ready in arrivals.seen)
                time.sleep(1 + number / kills)
                pid = holder(cluster)
                (dead,) = (writer for writer in writers if writer.pid == pid)
                dead.kill()
                began = time.monotonic()
                key = next(keys)
                producer.put("items", {"id": key})
                taken.append(until(lambda pid=pid: holder(cluster) not in (0, pid)) - began)
                until(lambda key=key: key in arrivals.seen)
                published.append(arrivals.seen[key] - began)
                dead.wait()
                writers[writers.index(dead)] = start()
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    return published, taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--engine", default="mysql")
    parser.add_argument("--broker", choices=["apache", "embedded"], default="apache")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.work)
        return
    folder = Path(tempfile.mkdtemp())
    with (
        LocalCluster(folder, 2, asked.engine, asked.broker) as servers,
        Cluster(servers.config) as cluster,
    ):
        published, taken = measure(cluster, servers.config_file, asked.kills)
    print("| seconds until | median | least | most |\n| --- | ---: | ---: | ---: |")
    rows = {"the other writer has the lease": taken, "a new change is in Kafka": published}
    for name, times in rows.items():
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} |")


if __name__ == "__main__":
    main()
