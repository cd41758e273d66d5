"""Measure `mynamo verify` on a table of many small items with two GSIs, on private servers.

    python benchmarks/verify_at_size.py DIR 250000 1000000 --threads 1 2 4

Makes two shards below DIR (about 1.5 GB per million items), and a table of each size. Its rows
are written in bulk by SQL, each index row as the indexer would write it: loading them through the
pipeline would take longer than all that is measured, and verify finds out if they were wrong.
Then prints seconds and peak memory for each size and number of threads, each measured by a process
of its own. `--writes 200` adds a run beside so many writes per second, with a writer and an
indexer; `--engine mariadb` takes MariaDB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.catalog.tables import Table
from mynamo.gsi_indexer import run_indexer
from mynamo.local.local_cluster import LocalCluster
from mynamo.operations import verify
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item, to_stored
from mynamo.schemas.table import TableSchema
from mynamo.writer.worker import run_writer

GLOBAL_INDEXES = [
    {"name": "by_status", "hash_key": "status", "sort_key": "at:N"},
    {
        "name": "by_product",
        "hash_key": "product",
        "sort_key": "price:N",
        "projection": {"type": "INCLUDE", "attributes": ["city"]},
    },
]
BLOCK = 20_000
STATEMENT_ROWS = 1000

Row = tuple[Any, ...]


def order(number: int) -> dict[str, Any]:
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


def load(cluster: Cluster, size: int) -> None:
    """Make a table, if there is none yet, and write its rows."""
    name = f"orders_{size}"
    if name in cluster.refresh().names:
        return
    schema = {"name": name, "hash_key": "customer", "sort_key": "at:N"}
    table = create_table(cluster, TableSchema.parse({**schema, "global_indexes": GLOBAL_INDEXES}))
    started = time.monotonic()
    for first in range(0, size, BLOCK):
        for (shard_id, name), rows in block(cluster, table, first, min(size, first + BLOCK)):
            insert(cluster, shard_id, name, rows)
    print(f"{size:,} items written in {time.monotonic() - started:.0f} s", flush=True)


def block(
    cluster: Cluster, table: Table, first: int, end: int
) -> Iterator[tuple[tuple[int, str], list[Row]]]:
    """Rows of some items, by shard and physical table."""
    rows: dict[tuple[int, str], list[Row]] = {}
    for number in range(first, end):
        item = to_stored(order(number))
        row, version = table.key_of(item), number + 1
        home = cluster.shard_of(row.hash).id
        main = rows.setdefault((home, sql.main_table(table.id)), [])
        main.append((*row, version, dump_item(item)))
        for index in table.indexes:
            key = index.key_of(item)
            assert key is not None
            place = cluster.shard_of(key.hash).id, sql.index_table(index)
            projected = dump_item(index.project(item))
            rows.setdefault(place, []).append((*key, *row, version, projected))
    for place, some in rows.items():
        yield place, sorted(some)


def insert(cluster: Cluster, shard_id: int, name: str, rows: Sequence[Row]) -> None:
    """Write rows."""
    one = f"({sql.placeholders(rows[0])})"
    statements = []
    for start in range(0, len(rows), STATEMENT_ROWS):
        some = rows[start : start + STATEMENT_ROWS]
        values = [value for row in some for value in row]
        statements.append((f"INSERT INTO {name} VALUES {', '.join([one] * len(some))}", values))
    with cluster.shards[shard_id].session() as session:
        session.run(("BEGIN", ()))
        for statement in statements:
            session.run(statement)
        session.run(("COMMIT", ()))


def measure(file: str, size: str, threads: str) -> None:
    """Verify once; print the figures as JSON."""
    with Cluster(ClusterConfig.load(Path(file))) as cluster:
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.monotonic()
        verdict = verify(cluster, f"orders_{size}", parallel=int(threads))
        seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {
        "seconds": seconds,
        "cpu": cpu,
        "megabytes": peak_kilobytes() / 1e3,
        "said": "CLEAN" if verdict.ok else str(verdict)[:2000],
    }
    print(json.dumps(figures))


def peak_kilobytes() -> int:
    """Of this process's memory. Not `ru_maxrss`, which begins with that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@contextmanager
def writing(config: ClusterConfig, size: int, rate: int) -> Iterator[list[int]]:
    """A writer, an indexer, and so many updates of random items per second."""
    stop = threading.Event()
    written = [0]

    def work(run: Any) -> None:
        with Cluster(config) as cluster:
            run(cluster, stop)

    def write() -> None:
        with Cluster(config) as cluster, Producer(cluster) as producer:
            started = time.monotonic()
            while not stop.is_set():
                number = written[0] * 7_368_787 % size
                changed = {"status": "sent", "price": written[0] % 997}
                producer.put(f"orders_{size}", order(number) | changed)
                written[0] += 1
                stop.wait(started + written[0] / rate - time.monotonic())

    with ExitStack() as stack:
        for target, arguments in ((work, (run_writer,)), (work, (run_indexer,)), (write, ())):
            thread = threading.Thread(target=target, args=arguments)
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)
        stop.wait(10)  # until the indexer has its partitions
        yield written


def report(file: Path, size: int, threads: int, note: str = "") -> None:
    """Measure in a process of its own, and print a line."""
    child = [sys.executable, __file__, "measure", str(file), str(size), str(threads)]
    figures = json.loads(subprocess.run(child, check=True, capture_output=True).stdout)
    print(
        f"{size:>10,} items, {threads} threads: {figures['seconds']:6.1f} s, of which "
        f"{figures['cpu']:5.1f} s of its own CPU, {figures['megabytes']:4.0f} MB, "
        f"{figures['said']}{note}",
        flush=True,
    )


def main() -> None:
    """Run what the command line says."""
    if sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--writes", type=int, default=0)
    parser.add_argument("--engine", choices=["mysql", "mariadb"])
    asked = parser.parse_args()
    local = LocalCluster(asked.folder, 2, asked.engine, "embedded", buffer_pool="1G")
    with local.start(print):
        with Cluster(local.config) as cluster:
            for size in asked.sizes:
                load(cluster, size)
        for size in asked.sizes:
            for threads in asked.threads:
                report(local.config_file, size, threads)
            if asked.writes:
                with writing(local.config, size, asked.writes) as written:
                    before = written[0]
                    report(local.config_file, size, 2, f" beside {asked.writes} writes/s")
                    print(f"{written[0] - before:,} writes meanwhile", flush=True)


if __name__ == "__main__":
    main()
