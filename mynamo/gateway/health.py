"""The health endpoint's report: whether the catalog and the shards answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from mynamo.errors import MynamoError
from mynamo.shards.cluster import Cluster

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 2.0


class Health:
    """Asks all servers at once, at most once a second however often it is asked itself.

    Args:
        cluster: whose servers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._checks: dict[str, Callable[[], object]] = {"catalog": cluster.catalog.exists}
        self._checks |= {f"shard {s.id}": s.health for s in cluster.shards.values()}
        self._threads = ThreadPoolExecutor(len(self._checks), thread_name_prefix="health")
        self._running: dict[str, Future[object]] = {}
        self._asking = threading.Lock()
        self._known: dict[str, str] = {}
        self._known_at = -FRESH_SECONDS

    def close(self) -> None:
        """End its threads once they have their answers."""
        self._threads.shutdown(wait=False)

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether all is well, and each server's state."""
        with self._asking:
            if time.monotonic() - self._known_at >= FRESH_SECONDS:
                self._known = self._ask()
                self._known_at = time.monotonic()
        well = all(state == "ok" for state in self._known.values())
        return well, {"status": "ok" if well else "unavailable", "servers": self._known}

    def _ask(self) -> dict[str, str]:
        for name, check in self._checks.items():
            before = self._running.get(name)
            if before is None or before.done():  # one that hangs is not asked twice
                self._running[name] = self._threads.submit(check)
        wait(self._running.values(), PATIENCE_SECONDS)
        return {name: _state(future) for name, future in self._running.items()}


def _state(future: Future[object]) -> str:
    """In words without addresses or names: who asks need not be known to us."""
    if not future.done():
        return "no answer"
    failure = future.exception()
    if failure is None:
        return "ok"
    return "unavailable" if isinstance(failure, MynamoError) else "failed"
