"""Measure streams: what a follower misses, how late records are, and what writers pay.

    python benchmarks/streams.py                # some minutes
    python benchmarks/streams.py --minutes 10

Two shards whose commits are synced to disk, a broker, a writer, an indexer and a gateway are
processes of their own. First, writers count up numbers in a table without a stream and in one with
a stream, by turns. Then they do so in the second one for some minutes, while a follower reads it by
the API, with AWS's client. It must see 1, 2, 3 and so on of each item.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from growth_cluster import BROKERS
from peers import say
from rounds import machine, number, table, write_json

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.cli.children import Workers
from mynamo.local import LocalCluster, free_port
from mynamo.local.cache import find_fetched
from mynamo.log import ensure_topics
from mynamo.producer import Producer
from mynamo.schemas.table import TableSchema

PLAIN, RECORDED = "plain", "recorded"
ITEMS = 20
"""Of each writer."""
TURN_SECONDS = 8.0
_PAUSE = 0.1
_LAST_SECONDS = 20.0
"""For which the follower waits for the last records."""


class Writers:
    """Threads that count up numbers, each those of its own.

    Attributes:
        counts: by item, how far it was counted.
        seconds: that writes took, in all.
    """

    def __init__(self, cluster: Cluster, name: str, writers: int, pause: float = 0.0) -> None:
        self._producer = Producer(cluster)
        self._name = name
        self._writers = writers
        self._pause = pause
        self._stop = threading.Event()
        self.counts: dict[str, int] = defaultdict(int)
        self.seconds: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write until the block ends."""
        with ThreadPoolExecutor(self._writers) as pool:
            working = [pool.submit(self._work, writer) for writer in range(self._writers)]
            try:
                yield
            finally:
                self._stop.set()
            for each in working:
                each.result()

    def _work(self, writer: int) -> None:
        turn = 0
        while not self._stop.is_set():
            id_ = f"{writer}-{turn % ITEMS}"
            began = time.perf_counter()
            self._producer.update(
                self._name,
                {"id": id_},
                expression="ADD n :one SET #at = :now",
                names={"#at": "at"},
                values={":one": 1, ":now": str(time.time())},
            )
            self.seconds.append(time.perf_counter() - began)
            self.counts[id_] += 1
            turn += 1
            if self._pause:
                time.sleep(self._pause)


class Follower:
    """Reads a stream by the API, parents before children, from its beginning.

    Attributes:
        seen: by item, the numbers in the order in which they came.
        late: seconds from each write to its record.
    """

    def __init__(self, url: str, arn: str) -> None:
        self._client = boto3.client(
            "dynamodbstreams",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",  # noqa: S106
        )
        self._arn = arn
        self._iterators: dict[str, str | None] = {}
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.late: list[float] = []

    def poll(self) -> int:
        """Read what there is; returns how many records."""
        count = 0
        shards = self._shards()
        names = {shard["ShardId"] for shard in shards}
        for shard in shards:
            name, parent = shard["ShardId"], shard.get("ParentShardId")
            if name not in self._iterators:
                if parent in names and self._iterators.get(parent, "unread") is not None:
                    continue
                self._iterators[name] = self._client.get_shard_iterator(
                    StreamArn=self._arn, ShardId=name, ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
            iterator = self._iterators[name]
            if iterator is not None:
                page = self._client.get_records(ShardIterator=iterator)
                self._iterators[name] = page.get("NextShardIterator")
                self._take(page["Records"])
                count += len(page["Records"])
        return count

    def _take(self, records: list[Any]) -> None:
        now = time.time()
        for record in records:
            image = record["dynamodb"]["NewImage"]
            self.seen[image["id"]["S"]].append(int(image["n"]["N"]))
            self.late.append(now - float(image["at"]["S"]))

    def _shards(self) -> list[Any]:
        shards: list[Any] = []
        more: dict[str, str] = {}
        while True:
            found = self._client.describe_stream(StreamArn=self._arn, **more)["StreamDescription"]
            shards += found["Shards"]
            if "LastEvaluatedShardId" not in found:
                return shards
            more = {"ExclusiveStartShardId": found["LastEvaluatedShardId"]}


def by_turns(cluster: Cluster, writers: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Writes per second and their times, in both tables."""
    found: dict[str, list[dict[str, float]]] = {PLAIN: [], RECORDED: []}
    for turn in range(rounds):
        for name in (PLAIN, RECORDED) if turn % 2 else (RECORDED, PLAIN):
            say(f"writing to {name}")
            load = Writers(cluster, name, writers)
            with load.running():
                time.sleep(TURN_SECONDS)
            times = statistics.quantiles(load.seconds, n=100)
            rate = len(load.seconds) / TURN_SECONDS
            found[name].append({"rate": rate, "p50": times[49] * 1e3, "p99": times[98] * 1e3})
    return found


def follow(cluster: Cluster, url: str, given: argparse.Namespace) -> dict[str, Any]:
    """What a follower sees of some minutes of writing, and what it misses."""
    stream = cluster.refresh().names["followed"].latest_stream
    assert stream is not None
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/followed/stream/{stream.label}"
    follower = Follower(url, arn)
    load = Writers(cluster, "followed", given.writers, given.pause / 1000)
    with load.running():
        ends_at = time.monotonic() + given.minutes * 60
        while time.monotonic() < ends_at:
            if not follower.poll():
                time.sleep(_PAUSE)
            say(f"{len(follower.late):,} records, {(ends_at - time.monotonic()):.0f} s left")
    quiet_at = time.monotonic() + _LAST_SECONDS
    written = sum(load.counts.values())
    while len(follower.late) < written and time.monotonic() < quiet_at:
        follower.poll()
    numbers = [(follower.seen[id_], count) for id_, count in load.counts.items()]
    late = statistics.quantiles(follower.late, n=100)
    return {
        "minutes": given.minutes,
        "writers": given.writers,
        "writes": written,
        "records": len(follower.late),
        "missing": sum(len(set(range(1, n + 1)) - set(seen)) for seen, n in numbers),
        "doubled": sum(len(seen) - len(set(seen)) for seen, _ in numbers),
        "items out of order": sum(seen != sorted(seen) for seen, _ in numbers),
        "late p50, ms": late[49] * 1e3,
        "late p99, ms": late[98] * 1e3,
    }


def main() -> None:
    """Run it, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1, help="of following")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="of writing by turns; 0: none")
    parser.add_argument("--pause", type=float, default=2, help="ms between a writer's requests")
    parser.add_argument("--engine", choices=["mysql", "mariadb"])
    parser.add_argument(
        "--broker", choices=list(BROKERS), default="kafka" if find_fetched("kafka") else "embedded"
    )
    parser.add_argument("--out", type=Path, help="a folder for the figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mynamo-streams-") as folder:
        local = LocalCluster(folder, 2, given.engine, BROKERS[given.broker], fetch=True)
        port = free_port()
        workers: Workers | None = None
        try:
            local.start()
            ensure_topics(local.config.kafka)
            with Cluster(local.config) as cluster:
                for name in (PLAIN, RECORDED, "followed"):
                    schema = TableSchema.parse({"name": name, "hash_key": "id"})
                    stream = None if name == PLAIN else "NEW_AND_OLD_IMAGES"
                    definitions.create_table(cluster, schema, stream=stream)  # type: ignore[arg-type]
                workers = Workers(local, port)
                workers.start()
                turns = by_turns(cluster, given.writers, given.rounds)
                followed = follow(cluster, f"http://127.0.0.1:{port}", given)
        finally:
            if workers is not None:
                workers.stop()
            local.stop()
    print(machine())
    rows = [
        [name, *(number(statistics.median(each[figure] for each in rounds)) for figure in
                 ("rate", "p50", "p99"))]
        for name, rounds in turns.items() if rounds
    ]  # fmt: skip
    print("\nWriters, by turns\n")
    print(table(["table", "writes/s", "p50, ms", "p99, ms"], rows))
    print("\nA follower\n")
    print(table(list(followed), [[number(float(value)) for value in followed.values()]]))
    if given.out:
        found = {"machine": machine(), "turns": turns, "followed": followed}
        write_json(given.out / "streams.json", found)
    if followed["missing"] or followed["doubled"] or followed["items out of order"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
