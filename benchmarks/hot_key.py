"""Compare two commits: writes of cold keys beside a hot key that two processes share.

    python benchmarks/hot_key.py HEAD~1 HEAD

Two processes of the library write to one shard. Each has threads that put new items, and threads
that add to one counter, the hot key, as fast as they can. In a second cell a third process holds
the hot key's row besides, for a second at a time, with as long a pause. Each commit runs in a
checkout of its own; all share one server, and commits and cells are measured by turns. The figures
are medians of the rounds: of both processes together for rates, of all their puts for latencies.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import rounds
from commits import checkout

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.catalog.sql import main_table
from mynamo.errors import MynamoError
from mynamo.local.local_cluster import LocalCluster
from mynamo.local.state import config_toml
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import TableSchema

HOT = {"id": "hot", "at": 0}
HELD = 1.0
"""Seconds for which a third process holds the hot key's row, and for which it does not."""
CELLS = ("no hot key", "hot key", "hot key, and held")
NAMES = ("cold puts/s", "cold p50 ms", "cold p99 ms", "cold max ms", "hot adds/s", "errors")


def work(config: Path, cold: int, hot: int, seconds: float) -> dict[str, Any]:
    """One process's share: wait for a line on stdin, then write until the time is over."""
    latencies: list[float] = []
    added: list[float] = []
    errors: list[str] = []
    run = uuid.uuid4().hex[:8]
    with Cluster(ClusterConfig.load(config)) as cluster:
        producer = Producer(cluster)

        def put(thread: int) -> Callable[[int], object]:
            return lambda n: producer.put(
                "orders", {"id": f"{run}-{thread}-{n}", "at": n, "note": "x" * 200}
            )

        def add(_: int) -> object:
            return producer.update("orders", HOT, expression="ADD n :x", values={":x": 1})

        def loop(write: Callable[[int], object], taken: list[float]) -> None:
            number = 0
            while time.monotonic() < ends_at:
                began = time.perf_counter()
                try:
                    write(number)
                except MynamoError as failure:
                    errors.append(str(failure))
                taken.append(time.perf_counter() - began)
                number += 1

        put(-1)(0)
        print("ready", flush=True)
        sys.stdin.readline()
        ends_at = time.monotonic() + seconds
        threads = [threading.Thread(target=loop, args=(put(n), latencies)) for n in range(cold)]
        threads += [threading.Thread(target=loop, args=(add, added)) for _ in range(hot)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {"cold": latencies, "hot": len(added), "errors": errors}


@contextmanager
def holding(cluster: Cluster) -> Iterator[None]:
    """Hold the hot key's row now and then, as another process's transaction."""
    table = cluster.table("orders")
    row = table.key_of({"id": {"S": "hot"}, "at": {"N": "0"}})
    lock = f"SELECT 1 FROM {main_table(table.id)} WHERE hash = %s AND sort = %s FOR UPDATE"
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            with cluster.shard_of(row.hash).session() as session:
                try:
                    session.run(("BEGIN", ()), (lock, row))
                except MynamoError:  # others were faster for two seconds
                    continue
                over.wait(HELD)
                session.rollback()
            over.wait(HELD)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join()


def measure(
    files: Path, config: Path, cluster: Cluster, cell: str, given: argparse.Namespace
) -> rounds.Figures:
    """Two processes of a commit."""
    hot = 0 if cell == CELLS[0] else given.hot
    command = [
        sys.executable, str(Path(__file__).resolve()), "--work", str(config),
        "--cold", str(given.cold), "--hot", str(hot), "--seconds", str(given.seconds),
    ]  # fmt: skip
    path = os.pathsep.join((str(files), str(Path(__file__).resolve().parent)))
    environment = {**os.environ, "PYTHONPATH": path}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    command, cwd=files, env=environment, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
            )
            for _ in range(2)
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdout
            worker.stdout.readline()
        if cell == CELLS[2]:
            stack.enter_context(holding(cluster))
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        found = [json.loads(worker.communicate()[0]) for worker in workers]
    taken = sorted(second for one in found for second in one["cold"])
    return {
        "cold puts/s": len(taken) / given.seconds,
        "cold p50 ms": taken[len(taken) // 2] * 1000,
        "cold p99 ms": taken[int(len(taken) * 0.99)] * 1000,
        "cold max ms": taken[-1] * 1000,
        "hot adds/s": sum(one["hot"] for one in found) / given.seconds,
        "errors": sum(len(one["errors"]) for one in found),
    }


def compare(given: argparse.Namespace) -> dict[tuple[str, str], list[rounds.Figures]]:
    """All rounds of all cells."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mynamo-hot-")))
        files = {name: stack.enter_context(checkout(name)) for name in given.commits}
        servers = LocalCluster(folder, 1, given.engine)
        stack.callback(servers.stop)
        servers.start()
        config = folder / "mynamo.toml"
        config.write_text(config_toml(servers.config))
        cluster = stack.enter_context(Cluster(servers.config))
        schema = {"name": "orders", "hash_key": "id", "sort_key": "at:N"}
        create_table(cluster, TableSchema.parse(schema))
        Producer(cluster).put("orders", {**HOT, "n": 0})
        return rounds.interleaved(
            CELLS,
            given.commits,
            given.rounds,
            lambda cell, name: measure(files[name], config, cluster, cell, given),
        )


def report(
    commits: Sequence[str], found: dict[tuple[str, str], list[rounds.Figures]], engine: str
) -> str:
    """The table."""
    lines = []
    for cell in CELLS:
        for name in commits:
            middle = rounds.medians(found[cell, name])
            lines.append([f"{cell}, {name}", *(rounds.number(middle[each]) for each in NAMES)])
    return rounds.table((engine, *NAMES), lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commits", nargs="*", default=["HEAD~1", "HEAD"])
    parser.add_argument("--engine", choices=["mysql", "mariadb"], default="mysql")
    parser.add_argument("--cold", type=int, default=16, help="threads of each process")
    parser.add_argument("--hot", type=int, default=4, help="threads of each process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(work(given.work, given.cold, given.hot, given.seconds)))
        return
    print(report(given.commits, compare(given), given.engine))


if __name__ == "__main__":
    main()
