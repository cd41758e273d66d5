"""Measure streams: what a follower misses, how late records are, what writers and readers cost.

    python benchmarks/streams.py                # some minutes
    python benchmarks/streams.py --minutes 10

Two shards whose commits are synced to disk, a broker, a writer, an indexer and a gateway are
processes of their own. First, writers count up numbers in a table without a stream and in one with
a stream, by turns. Then they do so in the second one for some minutes, while a follower reads it by
the API, with AWS's client. It must see 1, 2, 3 and so on of each item. In the end readers read all
of it again over several connections, and others ask for what is not there.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import boto3
from growth_cluster import Servers, add_options, running, workplace
from peers import say
from rounds import machine, number, table, write_json

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.producer import Producer
from mynamo.schemas.table import TableSchema
from mynamo.schemas.table_settings import StreamView

PLAIN, RECORDED, FOLLOWED = "plain", "recorded", "followed"
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
        self.client = boto3.client(
            "dynamodbstreams",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",  # noqa: S106
        )
        self.arn = arn
        self._iterators: dict[str, str | None] = {}
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.late: list[float] = []

    def poll(self) -> int:
        """Read what there is; returns how many records."""
        count = 0
        shards = self.shards()
        names = {shard["ShardId"] for shard in shards}
        for shard in shards:
            name, parent = shard["ShardId"], shard.get("ParentShardId")
            if name not in self._iterators:
                if parent in names and self._iterators.get(parent, "unread") is not None:
                    continue
                self._iterators[name] = self.client.get_shard_iterator(
                    StreamArn=self.arn, ShardId=name, ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
            iterator = self._iterators[name]
            if iterator is not None:
                page = self.client.get_records(ShardIterator=iterator)
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

    def shards(self) -> list[Any]:
        """All that are listed."""
        shards: list[Any] = []
        more: dict[str, str] = {}
        while True:
            found = self.client.describe_stream(StreamArn=self.arn, **more)["StreamDescription"]
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


def follow(servers: Servers, given: argparse.Namespace) -> tuple[dict[str, Any], Follower]:
    """What a follower sees of some minutes of writing, and what it misses."""
    stream = servers.cluster.refresh().names[FOLLOWED].latest_stream
    assert stream is not None
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{FOLLOWED}/stream/{stream.label}"
    follower = Follower(f"http://127.0.0.1:{servers.port}", arn)
    load = Writers(servers.cluster, FOLLOWED, given.writers, given.pause / 1000)
    with load.running():
        ends_at, say_at = time.monotonic() + given.minutes * 60, 0.0
        while (now := time.monotonic()) < ends_at:
            if not follower.poll():
                time.sleep(_PAUSE)
            if now >= say_at:
                say(f"{len(follower.late):,} records, {ends_at - now:.0f} s left")
                say_at = now + 10
    quiet_at = time.monotonic() + _LAST_SECONDS
    written = sum(load.counts.values())
    while len(follower.late) < written and time.monotonic() < quiet_at:
        follower.poll()
    numbers = [(follower.seen[id_], count) for id_, count in load.counts.items()]
    late = statistics.quantiles(follower.late, n=100)
    found = {
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
    return found, follower


class Reader(threading.Thread):
    """Sends GetRecords over one connection, without reading what is in the answers.

    Args:
        port: of a gateway that accepts any credentials.
        iterators: where it begins; it reads them by turns.
        pause: seconds between two requests.

    Attributes:
        records, requests: so far.
    """

    def __init__(
        self, port: int, iterators: list[str], stop: threading.Event, pause: float
    ) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._iterators = iterators
        self._ended = stop
        self._pause = pause
        self.records = self.requests = 0

    def run(self) -> None:
        """Read until told to stop, or to the end of what there is."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._ended.is_set():
            before = self.records
            for at, iterator in enumerate(self._iterators):
                body = json.dumps({"ShardIterator": iterator})
                connection.request("POST", "/", body, HEADERS)
                answer = connection.getresponse().read()
                self.requests += 1
                self.records += answer.count(b'"eventID"')
                self._iterators[at] = re.findall(rb'"NextShardIterator":"([^"]+)"', answer)[
                    0
                ].decode()
            if self._pause:
                self._ended.wait(self._pause)
            elif self.records == before:
                break
        connection.close()


HEADERS = {
    "X-Amz-Target": "DynamoDBStreams_20120810.GetRecords",
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host;x-amz-target, Signature=abc",
}


def iterators_of(follower: Follower, kind: str) -> list[str]:
    """One for each stream shard that is open."""
    return [
        str(iterator["ShardIterator"])
        for shard in follower.shards()
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        for iterator in [
            follower.client.get_shard_iterator(
                StreamArn=follower.arn, ShardId=shard["ShardId"], ShardIteratorType=kind
            )
        ]
    ]


def read_all(port: int, follower: Follower, connections: int) -> dict[str, float]:
    """Records per second that some connections read, each all of the stream."""
    stop = threading.Event()
    readers = [
        Reader(port, iterators_of(follower, "TRIM_HORIZON"), stop, 0) for _ in range(connections)
    ]
    began = time.monotonic()
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    seconds = time.monotonic() - began
    records = sum(reader.records for reader in readers)
    return {"connections": connections, "records": records, "records/s": records / seconds}


def idle(servers: Servers, follower: Follower, readers: int) -> dict[str, float]:
    """What readers of a quiet stream cost, who ask four times a second."""

    def gateway() -> float:
        return servers.use()["gateway"].cpu_seconds

    def shards() -> float:
        used = servers.use().items()
        return sum(use.cpu_seconds for name, use in used if name.startswith(("mysql", "mariadb")))

    time.sleep(5)
    before = gateway(), shards()
    time.sleep(IDLE_SECONDS)
    quiet = (gateway() - before[0]) / IDLE_SECONDS, (shards() - before[1]) / IDLE_SECONDS
    stop = threading.Event()
    threads = [Reader(servers.port, iterators_of(follower, "LATEST"), stop, 0.25)
               for _ in range(readers)]  # fmt: skip
    for thread in threads:
        thread.start()
    time.sleep(2)
    before, asked = (gateway(), shards()), sum(thread.requests for thread in threads)
    time.sleep(IDLE_SECONDS)
    busy = (gateway() - before[0]) / IDLE_SECONDS, (shards() - before[1]) / IDLE_SECONDS
    requests = sum(thread.requests for thread in threads) - asked
    stop.set()
    return {
        "readers": readers,
        "requests/s": requests / IDLE_SECONDS,
        "gateway, cores": busy[0] - quiet[0],
        "shards, cores": busy[1] - quiet[1],
    }


IDLE_SECONDS = 10.0


def main() -> None:
    """Run it, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1, help="of following")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="of writing by turns; 0: none")
    parser.add_argument("--pause", type=float, default=2, help="ms between a writer's requests")
    add_options(parser, "streams")
    given = parser.parse_args()
    with (
        workplace(given.out) as folder,
        running(folder, given, 2, ("writer", "indexer", "gateway")) as servers,
    ):
        for name in (PLAIN, RECORDED, FOLLOWED):
            schema = TableSchema.parse({"name": name, "hash_key": "id"})
            view: StreamView | None = None if name == PLAIN else "NEW_AND_OLD_IMAGES"
            definitions.create_table(servers.cluster, schema, stream=view)
        turns = by_turns(servers.cluster, given.writers, given.rounds)
        followed, follower = follow(servers, given)
        say("reading it again")
        reads = [read_all(servers.port, follower, count) for count in (1, 16)]
        say("reading nothing")
        resting = idle(servers, follower, 100)
    print(machine())
    rows = [
        [name, *(number(statistics.median(each[figure] for each in rounds)) for figure in
                 ("rate", "p50", "p99"))]
        for name, rounds in turns.items() if rounds
    ]  # fmt: skip
    print("\nWriters, by turns\n")
    print(table(["table", "writes/s", "p50, ms", "p99, ms"], rows))
    for title, found in (
        ("A follower", [followed]), ("GetRecords", reads), ("Readers of a quiet stream", [resting])
    ):  # fmt: skip
        print(f"\n{title}\n")
        print(table(list(found[0]), [[number(float(v)) for v in each.values()] for each in found]))
    write_json(
        given.out / "streams.json",
        {"machine": machine(), "turns": turns, "followed": followed, "reads": reads,
         "idle": resting},
    )  # fmt: skip
    if followed["missing"] or followed["doubled"] or followed["items out of order"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
