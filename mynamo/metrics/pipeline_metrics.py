"""Outboxes, relays, indexes, time to live and moves: asked of all shards at each scrape.

It costs each shard what `mynamo lag` does: what is not waiting is not read. Every writer worker has
the same figures, so queries take the largest (`max by (shard)`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.index_status import shard_progress
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import MynamoError
from mynamo.metrics import names
from mynamo.metrics.families import gauge
from mynamo.metrics.names import Metric
from mynamo.operations.due_items import DueItems, due_items_on
from mynamo.operations.lag import ShardLag, shard_lag
from mynamo.operations.resharding.ranges import copied_rows
from mynamo.runtime.parallel_checks import ParallelChecks

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
PATIENCE_SECONDS = 4.0
"""For a shard. Prometheus waits for 10 s for a scrape, unless told otherwise."""


class _State:
    """What one shard answered."""

    def __init__(self, cluster: Cluster, shard: DynamoDBShard) -> None:
        self.lag: ShardLag
        self.waiting: dict[int, tuple[int, float]]
        self.lag, self.waiting = shard_lag(shard)
        self.due: dict[str, DueItems] = {}
        snapshot = cluster.snapshot
        moves = [move for move in snapshot.open_moves if move.target == shard.id]
        self.copied_rows = copied_rows(shard, moves) if moves else None
        self.backfilled: dict[tuple[str, str], float] = {}
        owned = snapshot.slot_counts.get(shard.id, 0)
        for table in snapshot.tables.values():
            for creating in table.user_indexes if owned else ():
                if creating.status == "CREATING":
                    slots = shard_progress(cluster, shard, creating).slots
                    self.backfilled[table.name, creating.name] = slots / owned
            index = table.time_to_live
            if index is not None and index.status == "ACTIVE":
                self.due[table.name] = due_items_on(shard, index)


class PipelineMetrics(Collector):
    """Asks all shards at once, at most every two seconds however often it is asked itself.

    Args:
        cluster: whose shards.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._checks: ParallelChecks[_State] = ParallelChecks(len(cluster.configured), "metrics")
        self._asking = threading.Lock()
        self._known: list[Family] = []
        self._known_at = -FRESH_SECONDS

    def close(self) -> None:
        """End its threads once they have their answers."""
        self._checks.close()

    def describe(self) -> Iterable[Family]:
        """See `Collector`: nothing, so that no shard is asked when this is registered."""
        return ()

    def collect(self) -> Iterable[Family]:
        """See `Collector`."""
        with self._asking:
            if time.monotonic() - self._known_at >= FRESH_SECONDS:
                self._known = self._ask()
                self._known_at = time.monotonic()
            return self._known

    def _ask(self) -> list[Family]:
        began = time.monotonic()
        families: dict[str, GaugeMetricFamily] = {}

        def put(metric: Metric, value: float, *labels: object) -> None:
            if metric.name not in families:
                families[metric.name] = gauge(metric)
            families[metric.name].add_metric([str(label) for label in labels], float(value))

        snapshot = self._cluster.snapshot
        running = self._checks.run(
            {
                str(id_): partial(_State, self._cluster, shard)
                for id_, shard in sorted(self._cluster.shards.items())
            },
            PATIENCE_SECONDS,
        )
        for lacking in self._cluster.lacking:
            put(names.SHARD_UP, 0, lacking)
        for id_, future in running.items():
            state = _answer(id_, future)
            put(names.SHARD_UP, state is not None, id_)
            if state is None:
                continue
            lag = state.lag
            put(names.OUTBOX_ROWS, lag.rows, id_)
            put(names.OUTBOX_BYTES, lag.payload_bytes, id_)
            put(names.OUTBOX_OLDEST, lag.oldest_seconds, id_)
            put(names.OUTBOX_UNPUBLISHED, lag.unpublished, id_)
            put(names.OUTBOX_UNAPPLIED, lag.unapplied, id_)
            put(names.RELAY_LEASE, lag.relay_seconds if lag.relay_alive else 0, id_)
            put(names.INTENTS, lag.intents, id_)
            put(names.INTENTS_OLDEST, lag.intents_seconds, id_)
            if state.copied_rows is not None:
                put(names.MOVED_ROWS, state.copied_rows, id_)
            for table in snapshot.tables.values():
                events, seconds = state.waiting.get(table.id, (0, 0.0))
                for index in table.global_indexes if table.status != "DELETING" else ():
                    put(names.INDEX_EVENTS, events, table.name, index.name, id_)
                    put(names.INDEX_SECONDS, seconds, table.name, index.name, id_)
            for (name, index_name), share in state.backfilled.items():
                put(names.BACKFILL_DONE, share, name, index_name, id_)
            for name, due in state.due.items():
                if not due.trouble:
                    put(names.DUE_ITEMS, due.items, name, id_)
                    put(names.DUE_SECONDS, due.seconds, name, id_)
        for table in snapshot.tables.values():
            for index in table.user_indexes:
                put(names.INDEX_ACTIVE, index.status == "ACTIVE", table.name, index.name)
        put(names.OPEN_MOVES, len(snapshot.moves_left))
        put(names.SCRAPE_SECONDS, time.monotonic() - began)
        return list(families.values())


def _answer(shard_id: str, future: Future[_State]) -> _State | None:
    """What a shard answered; None: nothing."""
    if not future.done():
        return None
    try:
        return future.result()
    except MynamoError as failure:
        log.debug("metrics of shard %s are not known: %s", shard_id, failure)
        return None
