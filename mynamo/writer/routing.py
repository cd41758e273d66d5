"""Applying write requests: routed to their shards, by the newest definition of their table."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mynamo.errors import MynamoError, ShardUnavailable, Unavailable
from mynamo.shards.cluster import Cluster
from mynamo.shards.definitions import settle
from mynamo.shards.shard import DynamoDBShard, pause
from mynamo.writer.evaluation import Outcome, Refused
from mynamo.writer.requests import Write, WriteRequest, prepare
from mynamo.writer.transaction import StaleDefinition, commit

log = logging.getLogger(__name__)

_PATIENT_ATTEMPTS = 12


def apply(cluster: Cluster, requests: Sequence[WriteRequest]) -> list[tuple[int, Outcome]]:
    """Apply writes, those of one shard in one transaction and in their order.

    Returns:
        Per request: the shard's number (0 if it could not be routed) and the outcome.

    Raises:
        ShardUnavailable, WriteOutcomeUnknown: some of them may have been applied, on other
            shards.
    """
    outcomes: list[tuple[int, Outcome] | None] = [None] * len(requests)
    waiting = list(range(len(requests)))
    for attempt in range(_PATIENT_ATTEMPTS):
        stale: list[int] = []
        for shard, members in _by_shard(cluster, requests, waiting, outcomes).items():
            try:
                done = commit(cluster, shard, [write for _, write in members])
            except StaleDefinition as failure:
                _catch_up(cluster, failure.table_ids, attempt)
                stale += [position for position, _ in members]
                continue
            for (position, _), outcome in zip(members, done, strict=True):
                outcomes[position] = (shard.id, outcome)
        if not stale:
            return [outcome for outcome in outcomes if outcome is not None]
        waiting = sorted(stale)
        pause(attempt)
    raise ShardUnavailable(
        "the table's definition keeps changing; a change of it may have stopped half-way: "
        "`mynamo writer` finishes it once all shards answer"
    )


def _by_shard(
    cluster: Cluster,
    requests: Sequence[WriteRequest],
    positions: Sequence[int],
    outcomes: list[tuple[int, Outcome] | None],
) -> dict[DynamoDBShard, list[tuple[int, Write]]]:
    groups: dict[DynamoDBShard, list[tuple[int, Write]]] = {}
    for position in positions:
        request = requests[position]
        try:
            write = prepare(request, cluster.table(request.table))
        except Unavailable:  # nobody's fault: to go on would turn an item's writes around
            raise
        except MynamoError as error:
            outcomes[position] = (0, Refused(error))
            continue
        groups.setdefault(cluster.shard_of(write.row.hash), []).append((position, write))
    return groups


def _catch_up(cluster: Cluster, table_ids: set[int], attempt: int) -> None:
    """Learn the newest definitions; where the shard is behind the catalog, bring it up."""
    before = {i: cluster.snapshot.tables.get(i) for i in table_ids}
    snapshot = cluster.refresh()
    for table_id in table_ids:
        table = snapshot.tables.get(table_id)
        if table is not None and table == before[table_id] and attempt > 0:
            try:
                settle(cluster, table_id)
            except ShardUnavailable as failure:  # what matters is the shard of this write
                log.debug("a change of table %s is not finished: %s", table.name, failure)
