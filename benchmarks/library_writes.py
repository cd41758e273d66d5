"""Measure puts by the library against the same transaction written by hand with PyMySQL.

    python benchmarks/library_writes.py --rounds 5 --seconds 4 --threads 1 4 16 64

Each put is a new item of about 300 bytes with one row in an LSI and one change event for a GSI, as
one durable transaction on one private server (innodb_flush_log_at_trx_commit=1, sync_binlog=1).
By hand it is written in three ways, all with a connection for each thread:

* `by hand, steps`: BEGIN, the item read under a lock, three writes, COMMIT: six round trips.
* `by hand, two trips`: the same, as two multi-statement requests. That is the best there is for a
  write that must know the item before it.
* `by hand, blind`: one request that takes it for granted that the item is new. Not a put: a second
  one for the same key would fail. It shows what reading before writing costs.

Contenders are measured by turns; the figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pymysql
import rounds
from pymysql.constants import CLIENT

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.local.local_cluster import LocalCluster
from mynamo.producer import Producer
from mynamo.schemas.config import PoolConfig
from mynamo.schemas.table import TableSchema

LIBRARY = "library"
BY_HAND = ("by hand, steps", "by hand, two trips", "by hand, blind")
TABLES = (
    "CREATE TABLE hand_main (id VARBINARY(64), at BIGINT, item LONGBLOB, PRIMARY KEY (id, at))",
    "CREATE TABLE hand_lsi (id VARBINARY(64), price BIGINT, at BIGINT,"
    " PRIMARY KEY (id, price, at))",
    "CREATE TABLE hand_outbox (id BIGINT AUTO_INCREMENT PRIMARY KEY, write_id BINARY(16),"
    " created DATETIME(6), payload LONGBLOB)",
)
Put = Callable[[int], object]
Writer = Callable[[ExitStack, str], Put]
"""Gives a thread what it puts with; what that opens is closed with the stack."""


def item_of(run: str, number: int) -> dict[str, Any]:
    """An item of about 300 bytes."""
    return {
        "id": f"{run}-{number}", "at": number, "price": number % 100,
        "status": f"status-{number % 50}", "note": "x" * 200,
    }  # fmt: skip


def by_library(cluster: Cluster) -> Writer:
    """All threads share a producer."""
    producer = Producer(cluster)

    def writer(_: ExitStack, run: str) -> Put:
        return lambda number: producer.put("orders", item_of(run, number))

    return writer


def by_hand(cluster: LocalCluster, way: str) -> Writer:
    """As one would write it for one's own tables."""
    place = cluster.config.shards[0]

    def writer(stack: ExitStack, run: str) -> Put:
        connection = pymysql.connect(
            host=place.host, port=place.port, user=place.user, database=place.database,
            password=place.password.get_secret_value(), ssl_disabled=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
        )  # fmt: skip
        stack.callback(connection.close)
        cursor = connection.cursor()
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

        def send(*statements: tuple[str, Sequence[Any]]) -> None:
            cursor.execute(";".join(cursor.mogrify(*each) for each in statements))
            while cursor.nextset():
                pass

        def put(number: int) -> None:
            item = item_of(run, number)
            data = json.dumps(item).encode()
            key = (item["id"], item["at"])
            event = json.dumps({"new": item, "old": None}).encode()
            before = (
                ("BEGIN", ()),
                ("SELECT item FROM hand_main WHERE id = %s AND at = %s FOR UPDATE", key),
            )
            after = (
                ("INSERT INTO hand_main VALUES (%s, %s, %s)", (*key, data)),
                ("INSERT INTO hand_lsi VALUES (%s, %s, %s)", (key[0], item["price"], key[1])),
                ("INSERT INTO hand_outbox (write_id, created, payload) VALUES (%s, NOW(6), %s)",
                 (uuid.uuid4().bytes, event)),
                ("COMMIT", ()),
            )  # fmt: skip
            if way == "by hand, steps":
                for each in (*before, *after):
                    cursor.execute(*each)
            elif way == "by hand, two trips":
                send(*before)
                send(*after)
            else:
                send(before[0], *after)

        return put

    return writer


def measure(writer: Writer, threads: int, seconds: float) -> rounds.Figures:
    """Let threads put as fast as they can."""
    run = uuid.uuid4().hex[:8]
    latencies: list[float] = []
    failures: list[BaseException] = []
    ready = threading.Barrier(threads + 1)
    stop = threading.Event()

    def work(thread: int) -> None:
        with ExitStack() as stack:
            put = writer(stack, f"{run}-{thread}")
            put(-1)
            ready.wait()
            number = 0
            try:
                while not stop.is_set():
                    began = time.perf_counter()
                    put(number)
                    latencies.append(time.perf_counter() - began)
                    number += 1
            except BaseException as failure:
                failures.append(failure)

    working = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for thread in working:
        thread.start()
    ready.wait()
    began, used = time.perf_counter(), time.process_time()
    stop.wait(seconds)
    stop.set()
    for thread in working:
        thread.join()
    taken, used = time.perf_counter() - began, time.process_time() - used
    if failures:
        raise failures[0]
    latencies.sort()
    return {
        "puts/s": len(latencies) / taken,
        "p50 ms": latencies[len(latencies) // 2] * 1000,
        "p99 ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "client CPU us": used / len(latencies) * 1e6,
    }


@contextmanager
def contenders(engine: str, folder: Path) -> Iterator[dict[str, Writer]]:
    """All of them on one server, each with tables of its own."""
    servers = LocalCluster(folder, 1, engine, buffer_pool="1G")  # type: ignore[arg-type]
    servers.start()
    try:
        config = servers.config.model_copy(update={"pool": PoolConfig(size=16)})
        with Cluster(config) as cluster:
            create_table(
                cluster,
                TableSchema.parse(
                    {
                        "name": "orders", "hash_key": "id", "sort_key": "at:N",
                        "local_indexes": [{"name": "by_price", "sort_key": "price:N"}],
                        "global_indexes": [{"name": "by_status", "hash_key": "status"}],
                    }
                ),
            )  # fmt: skip
            (shard,) = cluster.shards.values()
            shard.run(*((statement, ()) for statement in TABLES))
            yield {
                LIBRARY: by_library(cluster),
                **{way: by_hand(servers, way) for way in BY_HAND},
            }
    finally:
        servers.stop()


def report(
    engine: str, found: dict[tuple[int, str], list[rounds.Figures]], threads: Sequence[int]
) -> str:
    """The tables for one engine."""
    names = ("puts/s", "p50 ms", "p99 ms", "client CPU us")
    lines = []
    for count in threads:
        middle = {name: rounds.medians(found[count, name]) for name in (LIBRARY, *BY_HAND)}
        rows = [
            [
                name,
                *(rounds.number(figures[each]) for each in names),
                rounds.number(middle[LIBRARY]["puts/s"] / figures["puts/s"], 2),
            ]
            for name, figures in middle.items()
        ]
        head = (f"{engine}, {count} threads", *names, "library is so many times as fast")
        lines.append(rounds.table(head, rows))
    return "\n\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engines", nargs="+", default=["mysql", "mariadb"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    results: dict[str, Any] = {"machine": rounds.machine(), "seconds": given.seconds}
    panels = []
    for engine in given.engines:
        with (
            tempfile.TemporaryDirectory(prefix="mynamo-bench-") as folder,
            contenders(engine, Path(folder)) as writers,
        ):
            found = rounds.interleaved(
                given.threads,
                list(writers),
                given.rounds,
                lambda count, name: measure(writers[name], count, given.seconds),
            )
        print(report(engine, found, given.threads), end="\n\n", flush=True)
        results[engine] = [
            {"threads": count, "contender": name, "rounds": figures}
            for (count, name), figures in found.items()
        ]
        panels.append(
            rounds.Panel(
                title=f"puts on {engine}",
                unit="puts/s",
                groups=[f"{count} threads" for count in given.threads],
                series={
                    name: [rounds.medians(found[c, name])["puts/s"] for c in given.threads]
                    for name in writers
                },
            )
        )
    rounds.write_json(given.out / "library_writes.json", results)
    if rounds.can_draw():
        rounds.draw(given.out / "library_writes.png", "Puts with one LSI and one GSI", panels)


if __name__ == "__main__":
    os.environ.setdefault("MYNAMO_CACHE", str(Path(__file__).parents[1] / ".cache"))
    main()
