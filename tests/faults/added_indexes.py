"""Global indexes that are added to the workload's table while everything runs.

So they are filled beside writes, under faults, and by processes that die and freeze at a step of
it. In the end each must be ACTIVE and equal to its table.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index
from mynamo.errors import AlreadyExists, Unavailable
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema
from tests.faults.model import TABLE

MOST = 8
_SHORTEST = 3.0
"""Seconds from one to the next."""
_PAUSE = 0.5
_KEYS: tuple[dict[str, Any], ...] = (
    {"hash_key": "op"},  # every write moves its item to another place
    {"hash_key": "status", "sort_key": "counter:N"},
    {"hash_key": "grade:N", "projection": {"type": "INCLUDE", "attributes": ["op"]}},
)


class AddedIndexes:
    """Adds an index now and then.

    Args:
        config: how the servers are reached.
        seconds: of the run that they are spread over.
    """

    def __init__(self, config: ClusterConfig, seconds: float) -> None:
        self._config = config
        self._gap = max(_SHORTEST, seconds / (MOST + 1))
        self._stop = threading.Event()
        self._added: list[str] = []

    @contextmanager
    def being_added(self) -> Iterator[None]:
        """Add them in a thread while the block runs."""
        thread = threading.Thread(target=self._add_some, name="added-indexes")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def unfinished(self, seconds: float) -> list[str]:
        """Wait until all are ACTIVE; returns those that are not when the time is over."""
        deadline = time.monotonic() + seconds
        with Cluster(self._config) as cluster:
            while True:
                indexes = {i.name: i.status for i in cluster.refresh().names[TABLE].global_indexes}
                missing = [name for name in self._added if indexes.get(name) != "ACTIVE"]
                if not missing or time.monotonic() > deadline:
                    return missing
                time.sleep(_PAUSE)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._added)

    def _add_some(self) -> None:
        for number in range(1, MOST + 1):
            if self._stop.wait(self._gap):
                return
            schema = {"name": f"added_{number}", **_KEYS[number % len(_KEYS)]}
            while not self._add(GlobalIndexSchema.model_validate(schema)):
                if self._stop.wait(_PAUSE):
                    return

    def _add(self, schema: GlobalIndexSchema) -> bool:
        """Returns whether the index is known to have been begun; then whoever works finishes it."""
        try:
            with Cluster(self._config) as cluster:
                add_index(cluster, TABLE, schema)
        except AlreadyExists:  # an earlier try had been further than it seemed
            pass
        except Unavailable:
            return False
        self._added.append(schema.name)
        return True
