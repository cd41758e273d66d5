"""What the other shards' clients get while a shard is away.

A table of its own has items whose rows, index rows included, are all on one shard, so each put and
each query needs that shard alone.
"""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.errors import AlreadyExists, MynamoError
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import TableSchema

TABLE = "neighbours"
INDEX = "by_place"
GRACE = 12.0
"""Seconds from a shard's end after which the circuit breakers have opened."""
PUT_MS = 1_500.0
"""Bound for a put's 99th percentile."""
LAG_MS = 2_000.0
"""Bound for the 99th percentile of the time from a put's answer until the index has its row."""
LEAST = 5
"""Puts that make a percentile worth looking at."""
_LONGEST = 3.0
"""Seconds to wait for a row in the index."""
_PAUSE = 0.05


@dataclass
class Measured:
    """What one client of a shard got.

    Attributes:
        puts: milliseconds of each put.
        lags: milliseconds from each put's answer until the index had its row.
        late: rows that the index did not have in time.
        errors: puts and queries that failed.
    """

    puts: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    late: int = 0
    errors: list[str] = field(default_factory=list)

    def violations(self, what: str) -> list[str]:
        """Where a bound is not kept."""
        found = [f"{what}: {error}" for error in self.errors[:3]]
        if len(self.puts) < LEAST:
            return [*found, f"{what}: only {len(self.puts)} puts in the time"]
        p99 = percentile(self.puts, 0.99)
        if p99 > PUT_MS:
            found.append(f"{what}: p99 of a put is {p99:.0f} ms, the bound is {PUT_MS:.0f} ms")
        lags = [*self.lags, *[1000 * _LONGEST] * self.late]
        if lags and (lag := percentile(lags, 0.99)) > LAG_MS:
            found.append(f"{what}: p99 of the lag is {lag:.0f} ms, the bound is {LAG_MS:.0f} ms")
        return found

    def __str__(self) -> str:
        def words(values: list[float]) -> str:
            if not values:
                return "none"
            return f"p50 {percentile(values, 0.5):.0f} ms, p99 {percentile(values, 0.99):.0f} ms"

        return (
            f"{len(self.puts)} puts ({words(self.puts)}), lag {words(self.lags)}, "
            f"{self.late} rows late by more than {_LONGEST:g} s, {len(self.errors)} errors"
        )


class Neighbours:
    """Clients of single shards.

    Args:
        config: of the cluster, past any proxies.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._cluster = Cluster(config)
        self._producer, self._reader = Producer(self._cluster), Reader(self._cluster)
        schema = {
            "name": TABLE,
            "hash_key": "id",
            "global_indexes": [{"name": INDEX, "hash_key": "place"}],
        }
        with suppress(AlreadyExists):
            create_table(self._cluster, TableSchema.parse(schema))
        self._numbers = itertools.count()

    def close(self) -> None:
        """Close the connections."""
        self._producer.close()
        self._cluster.close()

    def watch(self, shard_id: int, until: threading.Event, seconds: float) -> Measured:
        """Put items of one shard, and wait for each in the index, for so long.

        Args:
            until: ends it sooner.
        """
        measured = Measured()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until.is_set():
            item = self._item_of(shard_id)
            began = time.monotonic()
            try:
                self._producer.put(TABLE, item)
                answered = time.monotonic()
                measured.puts.append(1000 * (answered - began))
                if self._has_row(item["place"], answered + _LONGEST, until):
                    measured.lags.append(1000 * (time.monotonic() - answered))
                else:
                    measured.late += 1
            except MynamoError as error:
                measured.errors.append(f"{type(error).__name__}: {error}")
            until.wait(_PAUSE)
        return measured

    def _has_row(self, place: str, deadline: float, until: threading.Event) -> bool:
        """Wait for a row in the index; whether it came in time."""
        while not self._reader.query(TABLE, place, index=INDEX).items:
            if time.monotonic() > deadline or until.wait(_PAUSE / 2):
                return False
        return True

    def _item_of(self, shard_id: int) -> dict[str, str]:
        """A new item that lies, with its index row, on this shard."""
        table = self._cluster.table(TABLE)
        index = table.index(INDEX)
        names = (f"n{next(self._numbers)}" for _ in itertools.repeat(None))
        while True:
            item = {"id": next(names), "place": next(names)}
            stored = to_stored(item)
            place = index.key_of(stored)
            assert place is not None
            hashes = (table.key_of(stored).hash, place.hash)
            if all(self._cluster.shard_of(h).id == shard_id for h in hashes):
                return item


def percentile(values: list[float], share: float) -> float:
    """The value that so many are not above."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
