"""How late the index rows of one shard are while the other is well, dead, frozen and slow.

    python benchmarks/lag_beside_one_shard_away.py                   # of this code
    python benchmarks/lag_beside_one_shard_away.py --code FOLDER     # of another folder's workers

A writer and an indexer run, on two shards and a broker with few partitions. Four threads put items
of the one shard, 100 a second together, with index rows on both shards, so that every stream soon
has changes for the other one. A probe puts items of the one shard, index rows included, and waits
for each in the index. "Slow" means that each packet to the other shard and from it comes half a
second late. "Back" is measured from the moment at which the dead shard takes connections again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from one_shard_away import AWAY, DELAY, WELL, Relay

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.local import LocalCluster
from mynamo.local.state import config_toml
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import TableSchema

TABLE = {
    "name": "items",
    "hash_key": "id",
    "global_indexes": [{"name": "by_place", "hash_key": "place"}],
}
THREADS = 4
EVERY = 0.04
"""Seconds from one put of a thread to the next."""
GRACE = 12.0
"""Seconds from a shard's end until circuit breakers are open and workers have noticed."""
COLUMNS = ("the other shard is", "puts", "put p50, ms", "put p99, ms", "rows in the index",
           "lag p50, ms", "lag p99, ms", "lag max, ms")  # fmt: skip


@contextmanager
def relayed(servers: LocalCluster) -> Iterator[tuple[Relay, ClusterConfig]]:
    """A relay before the other shard, and the configuration that uses it."""
    relay = Relay(servers.shards[AWAY].port)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(relay.listen(), loop).result(10)
    shards = tuple(
        one.model_copy(update={"port": relay.port}) if one.id == AWAY else one
        for one in servers.config.shards
    )
    try:
        yield relay, servers.config.model_copy(update={"shards": shards})
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@contextmanager
def workers(config: ClusterConfig, code: Path) -> Iterator[Path]:
    """A writer and an indexer; gives their folder."""
    folder = Path(tempfile.mkdtemp())
    (folder / "mynamo.toml").write_text(config_toml(config))
    environment = os.environ | {
        "MYNAMO_CONFIG": str(folder / "mynamo.toml"), "PYTHONPATH": str(code),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    with ExitStack() as stack:
        running = []
        for name in ("writer", "indexer"):
            log = stack.enter_context((folder / name).open("wb"))
            running.append(stack.enter_context(subprocess.Popen(
                [sys.executable, "-m", "mynamo", name],
                env=environment, cwd=code, stdout=log, stderr=log,
            )))  # fmt: skip
        try:
            yield folder
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)


class Load:
    """Puts of the one shard, and the probe.

    Args:
        config: of the cluster, without the relay.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._cluster = Cluster(config)
        self._producer, self._reader = Producer(self._cluster), Reader(self._cluster)
        create_table(self._cluster, TableSchema.parse(TABLE))
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._put) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the load."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._producer.close()
        self._cluster.close()

    def _put(self) -> None:
        for turn in itertools.count():
            began = time.monotonic()
            self._producer.put("items", self._item(AWAY if turn % 2 else WELL))
            if self._over.wait(max(0.0, began + EVERY - time.monotonic())):
                return

    def _item(self, place_on: int) -> dict[str, str]:
        """A new item of the one shard, with its index row on the given one."""
        table = self._cluster.table("items")
        index = table.index("by_place")
        while True:
            item = {"id": f"n{next(self._numbers)}", "place": f"p{next(self._numbers)}"}
            stored = to_stored(item)
            place = index.key_of(stored)
            assert place is not None
            hashes = (table.key_of(stored).hash, place.hash)
            if tuple(self._cluster.shard_of(h).id for h in hashes) == (WELL, place_on):
                return item

    def settle(self) -> None:
        """Wait until the workers have begun, and keep up."""
        soon = 0
        while soon < 20:
            item = self._item(WELL)
            self._producer.put("items", item)
            answered = time.monotonic()
            while not self._reader.query("items", item["place"], index="by_place").items:
                time.sleep(0.02)
            soon = soon + 1 if time.monotonic() - answered < 0.5 else 0

    def probe(self, name: str, seconds: float) -> str:
        """Measure for so long; a row of the table."""
        puts: list[float] = []
        waiting: dict[str, float] = {}
        lags: list[float] = []
        ends_at = time.monotonic() + seconds

        def look() -> None:
            for place, answered in list(waiting.items())[:5]:
                if self._reader.query("items", place, index="by_place").items:
                    lags.append(time.monotonic() - answered)
                    del waiting[place]

        while time.monotonic() < ends_at:
            item = self._item(WELL)
            began = time.monotonic()
            self._producer.put("items", item)
            answered = waiting[item["place"]] = time.monotonic()
            puts.append(answered - began)
            while (left := answered + 0.1 - time.monotonic()) > 0:
                look()
                time.sleep(min(left, 0.01))
        # What is not there yet is at least so late.
        late = [time.monotonic() - answered for answered in waiting.values()]
        lags_ms = sorted(1000 * lag for lag in (*lags, *late))
        puts_ms = sorted(1000 * put for put in puts)
        cells = [
            name, f"{len(puts)}", f"{at(puts_ms, 0.5):.0f}", f"{at(puts_ms, 0.99):.0f}",
            f"{len(lags)}", f"{at(lags_ms, 0.5):.0f}", f"{at(lags_ms, 0.99):.0f}",
            f"{lags_ms[-1]:.0f}",
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def at(values: list[float], share: float) -> float:
    """The value that so many of these, which are sorted, are not above."""
    return values[min(len(values) - 1, int(share * len(values)))]


def measure(servers: LocalCluster, code: Path, seconds: float) -> None:
    """Run workers of the code, measure each phase, and print."""
    shard = servers.shards[AWAY]
    with relayed(servers) as (relay, config), workers(config, code) as folder:
        load = Load(servers.config)
        try:
            print(f"| {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * (len(COLUMNS) - 1)}", flush=True)
            load.settle()
            print(load.probe("well", seconds), flush=True)
            shard.kill()
            time.sleep(GRACE)
            print(load.probe("dead", seconds), flush=True)
            shard.start()
            print(load.probe("back", seconds), flush=True)
            os.kill(shard.pid or 0, signal.SIGSTOP)
            time.sleep(GRACE)
            print(load.probe("frozen", seconds), flush=True)
            os.kill(shard.pid or 0, signal.SIGCONT)
            load.settle()
            relay.delay = DELAY
            time.sleep(GRACE)
            print(load.probe("slow", seconds), flush=True)
            relay.delay = 0.0
        finally:
            load.close()
    for name in ("writer", "indexer"):
        print(f"{name}: {(folder / name).read_text()[-2000:]}", file=sys.stderr)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--code", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--engine", default="mysql")
    parser.add_argument("--kafka", default="apache")
    asked = parser.parse_args()
    with LocalCluster(Path(tempfile.mkdtemp()), 2, asked.engine, asked.kafka) as servers:
        measure(servers, asked.code.resolve(), asked.seconds)


if __name__ == "__main__":
    main()
