"""What the other shards' clients get while a shard is away.

A table of its own has items whose rows, index rows included, are all on one shard, so each put and
each query needs that shard alone.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.errors import AlreadyExists, MynamoError
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.schemas.keys import slot_of
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

    def look(self) -> None:
        """Read the slot map: while the catalog is away, a client that has an old one cannot."""
        with suppress(MynamoError):
            self._cluster.refresh()

    def watch(self, shard_id: int, until: threading.Event, seconds: float) -> Measured | None:
        """Put items of one shard, and wait for each in the index, for so long.

        Args:
            until: ends it sooner.

        Returns:
            None: the shard has no slots that stay there.
        """
        slots = {
            slot
            for slot, owned in enumerate(self._cluster.snapshot.owners)
            if owned.shard_id == shard_id and not (owned.move and owned.move.is_open)
        }
        if not slots:
            return None
        measured = Measured()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until.is_set():
            item = self._item_in(slots)
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

    def _item_in(self, slots: Collection[int]) -> dict[str, str]:
        """A new item that lies, with its index row, in some slots."""
        table = self._cluster.table(TABLE)
        index = table.index(INDEX)

        def name_in(slot_of_name: Callable[[str], int]) -> str:
            names = (f"n{next(self._numbers)}" for _ in itertools.repeat(None))
            return next(name for name in names if slot_of_name(name) in slots)

        def place_of(name: str) -> int:
            found = index.key_of(to_stored({"id": "", "place": name}))
            assert found is not None
            return slot_of(found.hash)

        return {
            "id": name_in(lambda name: slot_of(table.key_of(to_stored({"id": name})).hash)),
            "place": name_in(place_of),
        }


def percentile(values: list[float], share: float) -> float:
    """The value that so many are not above."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
