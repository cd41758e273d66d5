"""The health endpoint's report: whether the catalog and the shards answer, and indexes move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.errors import MynamoError
from mynamo.operations.standstill import Standstill
from mynamo.runtime.parallel_checks import ParallelChecks

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 2.0


class Health:
    """Asks all servers at once, at most once a second however often it is asked itself.

    Args:
        cluster: whose servers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._looks = {id_: Standstill(s).look for id_, s in cluster.configured.items()}
        self._checks: ParallelChecks[Any] = ParallelChecks(1 + 2 * len(self._looks), "health")
        self._asking = threading.Lock()
        self._known: dict[str, object] = {}
        self._known_at = -FRESH_SECONDS

    def close(self) -> None:
        """End its threads once they have their answers."""
        self._checks.close()

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether all servers are well; each one's state; whether the indexes move.

        A gateway whose indexes stand still is well: it writes, and reads tables. One whose
        configuration lacks a shard is well until slots are there.
        """
        with self._asking:
            if time.monotonic() - self._known_at >= FRESH_SECONDS:
                self._known = self._ask()
                self._known_at = time.monotonic()
        return self._known["status"] == "ok", dict(self._known)

    def _ask(self) -> dict[str, object]:
        members = self._cluster.shards.items()
        checks: dict[str, Callable[[], object]] = {"catalog": self._cluster.refresh}
        checks |= {f"shard {id_}": shard.health for id_, shard in members}
        looks = {f"indexes from shard {id_}": self._looks[id_] for id_, _ in members}
        running = self._checks.run(checks | looks, PATIENCE_SECONDS)
        servers = {name: _state(running[name]) for name in checks}
        servers |= {f"shard {id_}": "not configured" for id_ in self._lacking()}
        well = all(state == "ok" for state in servers.values())
        return {
            "status": "ok" if well else "unavailable",
            "servers": servers,
            "indexes": _movement([running[name] for name in looks]),
        }

    def _lacking(self) -> list[int]:
        """The shards with slots that the configuration lacks."""
        slots = self._cluster.snapshot.slots
        return sorted({owned.shard_id for owned in slots} - self._cluster.configured.keys())


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
