"""The health endpoint's report: whether the catalog and the shards answer, and indexes move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.errors import MynamoError
from mynamo.operations.standstill import Standstill

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 2.0


class Health:
    """Asks all servers at once, at most once a second however often it is asked itself.

    Args:
        cluster: whose servers.
    """

    def __init__(self, cluster: Cluster) -> None:
        shards = cluster.shards.values()
        self._checks: dict[str, Callable[[], object]] = {"catalog": cluster.catalog.exists}
        self._checks |= {f"shard {s.id}": s.health for s in shards}
        looks = {f"indexes from shard {s.id}": Standstill(s).look for s in shards}
        self._indexes = list(looks)
        self._checks |= looks
        self._threads = ThreadPoolExecutor(len(self._checks), thread_name_prefix="health")
        self._running: dict[str, Future[Any]] = {}
        self._asking = threading.Lock()
        self._known: dict[str, object] = {}
        self._known_at = -FRESH_SECONDS

    def close(self) -> None:
        """End its threads once they have their answers."""
        self._threads.shutdown(wait=False)

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether all servers are well; each one's state; whether the indexes move.

        A gateway whose indexes stand still is well: it writes, and reads tables.
        """
        with self._asking:
            if time.monotonic() - self._known_at >= FRESH_SECONDS:
                self._known = self._ask()
                self._known_at = time.monotonic()
        return self._known["status"] == "ok", dict(self._known)

    def _ask(self) -> dict[str, object]:
        for name, check in self._checks.items():
            before = self._running.get(name)
            if before is None or before.done():  # one that hangs is not asked twice
                self._running[name] = self._threads.submit(check)
        wait(self._running.values(), PATIENCE_SECONDS)
        servers = {n: _state(f) for n, f in self._running.items() if n not in self._indexes}
        well = all(state == "ok" for state in servers.values())
        return {
            "status": "ok" if well else "unavailable",
            "servers": servers,
            "indexes": _movement([self._running[name] for name in self._indexes]),
        }


def _movement(looks: Sequence[Future[Any]]) -> str:
    """Whether the indexes move: what stands still counts for more than what is not known."""
    known = [look.result() for look in looks if look.done() and look.exception() is None]
    if any(known):
        return "standing still"
    return "ok" if len(known) == len(looks) else "not known"


def _state(future: Future[Any]) -> str:
    """In words without addresses or names: who asks need not be known to us."""
    if not future.done():
        return "no answer"
    failure = future.exception()
    if failure is None:
        return "ok"
    return "unavailable" if isinstance(failure, MynamoError) else "failed"
