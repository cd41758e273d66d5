"""Definitions that change while everything runs.

Global indexes are added to the workload's table, and some are dropped again: they are filled beside
writes, under faults, and by processes that die and freeze at a step of it. In the end each must be
ACTIVE and equal to its table, or gone. Small tables come and go as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index, create_table, drop_index, drop_table
from mynamo.errors import AlreadyExists, NotFound, Unavailable
from mynamo.producer import Producer, Put
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema, TableSchema
from tests.faults.model import TABLE

MOST = 8
"""Indexes that are added."""
DROPPED_EVERY = 3
"""Each third index is dropped when the next one is added."""
_SHORTEST = 3.0
"""Seconds from one change to the next."""
_PAUSE = 0.5
_ITEMS = 20
_KEYS: tuple[dict[str, Any], ...] = (
    {"hash_key": "op"},  # every write moves its item to another place
    {"hash_key": "status", "sort_key": "counter:N"},
    {"hash_key": "grade:N", "projection": {"type": "INCLUDE", "attributes": ["op"]}},
)
_LAST: dict[str, Any] = {"hash_key": "last"}
"""Of the lists: every append moves its item to another place."""
_SMALL = {
    "hash_key": "id",
    "global_indexes": [{"name": "by_color", "hash_key": "color"}],
}


class ChangingDefinitions:
    """Changes a definition now and then.

    Args:
        config: how the servers are reached.
        seconds: of the run that the changes are spread over.
        names: of the tables that get indexes, by turns.

    Attributes:
        tables: the small tables that are there, with items.
        changes: how many there were.
    """

    def __init__(
        self, config: ClusterConfig, seconds: float, names: Sequence[str] = (TABLE,)
    ) -> None:
        self._config = config
        self._names = names
        self._gap = max(_SHORTEST, seconds / (MOST + 1))
        self._stop = threading.Event()
        self._added: list[tuple[str, str]] = []  # table and index
        self._dropped: list[tuple[str, str]] = []
        self.tables: list[str] = []
        self.changes = 0

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change them in a thread while the block runs."""
        thread = threading.Thread(target=self._change, name="changing-definitions")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def unfinished(self, seconds: float) -> list[str]:
        """Wait until all is ACTIVE or gone; returns what is not when the time is over."""
        deadline = time.monotonic() + seconds
        with Cluster(self._config) as cluster:
            while True:
                tables = cluster.refresh().names
                indexes = {(n, i.name): i.status for n in self._names for i in tables[n].indexes}
                missing = [each[1] for each in self._added if indexes.get(each) != "ACTIVE"]
                missing += [each[1] for each in self._dropped if each in indexes]
                if not missing or time.monotonic() > deadline:
                    return missing
                time.sleep(_PAUSE)

    def _change(self) -> None:
        for number in range(1, MOST + 1):
            if self._stop.wait(self._gap):
                return
            table = self._names[number % len(self._names)]
            keys = _KEYS[number % len(_KEYS)] if table == TABLE else _LAST
            self._add(table, GlobalIndexSchema.model_validate({"name": f"added_{number}", **keys}))
            if number % DROPPED_EVERY == 1 and number > 1:
                self._drop(self._names[(number - 1) % len(self._names)], f"added_{number - 1}")
            self._pass(f"small_{number}")

    def _add(self, table: str, index: GlobalIndexSchema) -> None:
        if self._insist(lambda c: add_index(c, table, index), AlreadyExists):
            self._added.append((table, index.name))

    def _drop(self, table: str, name: str) -> None:
        there = (table, name)
        if there in self._added and self._insist(lambda c: drop_index(c, table, name), NotFound):
            self._added.remove(there)
            self._dropped.append(there)

    def _pass(self, name: str) -> None:
        """Make a table with some items, and drop the one before it."""
        schema = TableSchema.parse({"name": name, **_SMALL})
        if not self._insist(lambda c: create_table(c, schema), AlreadyExists):
            return
        puts = [Put(name, {"id": f"i{n}", "color": f"c{n % 3}"}) for n in range(_ITEMS)]
        self._insist(lambda c: Producer(c).write_batch(puts), NotFound)
        if self.tables and self._insist(lambda c: drop_table(c, self.tables[-1]), NotFound):
            self.tables.pop()
        self.tables.append(name)

    def _insist(self, change: Callable[[Cluster], object], done: type[Exception]) -> bool:
        """Try until a change is known to have been begun; whoever works finishes it.

        Args:
            done: says that an earlier try had been further than it seemed.
        """
        while True:
            try:
                with Cluster(self._config) as cluster:
                    change(cluster)
            except done:
                pass
            except Unavailable:
                if self._stop.wait(_PAUSE):
                    return False
                continue
            self.changes += 1
            return True
