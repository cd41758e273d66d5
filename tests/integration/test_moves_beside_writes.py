"""Moving slots there and back while clients write, read and make transactions."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from mynamo.catalog.cluster import Cluster, SlotsMoved
from mynamo.catalog.tables import Table
from mynamo.operations import wait_until_applied
from mynamo.operations.resharding import mover as mover_module
from mynamo.operations.resharding import switch
from mynamo.operations.resharding.mover import Mover
from mynamo.producer import Producer, Update
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from tests.comparing import gsi_damage
from tests.rows import damaged_local_indexes, items_of
from tests.workers import pipeline

ITEMS = 40
SECONDS = 12.0


@pytest.fixture(autouse=True)
def quick_cleaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover_module, "CLEAN_AFTER", 0.2)
    monkeypatch.setattr(switch, "LAG", 1.0)  # everything is in one process, on a busy machine
    monkeypatch.setattr(switch, "FIRST_ATTEMPT", 1.0)


class Clients:
    """Add to numbers, some of them in transactions, and read them."""

    def __init__(self, config: ClusterConfig, stop: threading.Event) -> None:
        self._config = config
        self._stop = stop
        self.added: Counter[int] = Counter()
        self._lock = threading.Lock()

    def write(self, seed: int) -> None:
        chance = Random(seed)
        with Cluster(self._config) as cluster, Producer(cluster) as producer:
            while not self._stop.is_set():
                numbers = chance.sample(range(ITEMS), chance.choice((1, 1, 1, 3)))
                if len(numbers) == 1:
                    update = self._update(chance, numbers[0])
                    producer.transact([update])
                else:
                    updates = [self._update(chance, number) for number in numbers]
                    self._transact(producer, updates, f"{seed}-{chance.random()}")
                time.sleep(0.02)
                with self._lock:
                    self.added.update(numbers)

    @staticmethod
    def _transact(producer: Producer, updates: list[Update], token: str) -> None:
        """Again, if its slots have moved there and back during the call: nobody knows then whether
        the token was used there meanwhile."""
        while True:
            try:
                producer.transact(updates, request_token=token)
                return
            except SlotsMoved as failure:
                if "the items have moved there" not in str(failure):
                    raise

    @staticmethod
    def _update(chance: Random, number: int) -> Update:
        return Update(
            "orders",
            {"id": f"i{number}", "at": "1"},
            "ADD n :one SET #name = :name, price = :price",
            values={":one": 1, ":name": f"n{chance.randrange(30)}", ":price": chance.randrange(9)},
            names={"#name": "name"},
        )

    def read(self, seed: int) -> None:
        """A number that was read never goes back."""
        chance, seen = Random(seed), Counter[int]()
        with Cluster(self._config) as cluster:
            reader = Reader(cluster)
            while not self._stop.is_set():
                number = chance.randrange(ITEMS)
                found = reader.get("orders", {"id": f"i{number}", "at": "1"}) or {}
                assert found.get("n", 0) >= seen[number]
                seen[number] = found.get("n", 0)
                time.sleep(0.005)


def test_nothing_is_lost_while_slots_move(
    config: ClusterConfig, cluster: Cluster, orders: Table
) -> None:
    stop = threading.Event()
    clients = Clients(config, stop)
    moves = 0
    with pipeline(config), ThreadPoolExecutor(8) as pool:
        working = [pool.submit(clients.write, seed) for seed in range(3)]
        working += [pool.submit(clients.read, seed) for seed in range(1)]
        try:
            ends_at, target = time.monotonic() + SECONDS, 2
            while time.monotonic() < ends_at or moves < 2:
                Mover(cluster).move(512, 1535, target)
                moves, target = moves + 1, 3 - target
        finally:
            stop.set()
        for each in working:
            each.result(60)
        assert wait_until_applied(cluster)
    cluster.refresh()
    found = {item["id"]["S"]: int(item["n"]["N"]) for _, item in items_of(cluster, orders).values()}
    assert found == {f"i{number}": count for number, count in clients.added.items()}
    assert gsi_damage(cluster, "orders") == []
    assert damaged_local_indexes(cluster, orders, items_of(cluster, orders)) == []
