"""Applying write requests: routed to their shards, by the newest definition of their table."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from mynamo.catalog.cluster import Cluster, RangeStopped
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import (
    ConfigError,
    MynamoError,
    ShardNotConfigured,
    ShardUnavailable,
    Unavailable,
)
from mynamo.runtime.side_by_side import side_by_side
from mynamo.writer.outbox.back_pressure import BackPressure
from mynamo.writer.transaction.catching_up import CatchingUp
from mynamo.writer.transaction.commit import StaleDefinition
from mynamo.writer.transaction.evaluation import (
    ItemInTransaction,
    Outcome,
    Refused,
    unforeseen,
)
from mynamo.writer.transaction.group_commit import commit_with_others
from mynamo.writer.transaction.meeting import Caller, wait_for
from mynamo.writer.transaction.statements import LockedRow
from mynamo.writer.transaction.write_requests import Write, WriteRequest, prepare

PART_WRITES = 200
PART_BYTES = 2 * 1024 * 1024
"""Of items in one transaction, by DynamoDB's count, unless one alone is larger."""

Answer = tuple[int, Outcome]
"""The shard's number (0 if the write could not be routed), and the outcome."""
Member = tuple[int, Write]
"""A write, and its request's position."""


def apply(cluster: Cluster, requests: Sequence[WriteRequest]) -> list[Answer]:
    """Apply writes, those of one shard in their order and, if they are not too many, in one
    transaction.

    Returns:
        Per request: the shard's number (0 if it could not be routed) and the outcome.

    Raises:
        ShardUnavailable, IndexBehind, WriteOutcomeUnknown: some of them may have been applied.
    """
    answers = apply_each(cluster, requests)
    for _, outcome in answers:
        if isinstance(outcome, Refused) and outcome.whole:
            raise outcome.error
    return answers


def apply_each(cluster: Cluster, requests: Sequence[WriteRequest]) -> list[Answer]:
    """Like `apply`, but what a shard fails to do is refused to those who asked for it.

    Writes of items that a transaction over several shards has wait for it, and the others go on.

    Returns:
        As `apply`; besides, writes whose transaction failed are `Refused` with its error.
        After a ShardUnavailable or an IndexBehind such a write did not happen; after a
        WriteOutcomeUnknown it may have happened. A TransactionConflict is one that waited in vain.
    """
    answers: list[Answer | None] = [None] * len(requests)
    waiting: Sequence[int] = range(len(requests))
    caller: Caller | None = None
    catching_up: CatchingUp | None = None
    while True:
        groups, stale, stopped = _by_shard(cluster, requests, waiting, answers)
        table_ids: set[int] = set()
        met: list[Member] = []
        for part in _commit_groups(cluster, groups):
            for position, answer in part.answers:
                answers[position] = answer
            stale += part.stale
            table_ids |= part.table_ids
            met += part.met
        if met:
            caller = caller or Caller()
            stale += _wait_for_transactions(cluster, met, caller, answers)
        if not stale:
            return cast(list[Answer], answers)
        waiting = sorted(stale)
        if not table_ids and met:
            continue
        catching_up = catching_up or CatchingUp(cluster)
        try:
            catching_up.wait(table_ids, stopped)
        except (Unavailable, ConfigError) as failure:
            return _refused(answers, failure)


def _wait_for_transactions(
    cluster: Cluster, met: Sequence[Member], caller: Caller, answers: list[Answer | None]
) -> list[int]:
    """Wait until items have no intents any more; returns the positions of those to try again."""
    again: list[int] = []
    by_place: dict[tuple[DynamoDBShard, LockedRow], list[int]] = {}
    for position, write in met:
        place = write.route.shard, (write.table.id, write.row)
        by_place.setdefault(place, []).append(position)
    for (shard, row), positions in by_place.items():
        try:
            wait_for(cluster, shard, row, caller)
            again += positions
        except MynamoError as failure:  # a TransactionConflict, or what the shard cannot do
            refused = Refused(failure, whole=isinstance(failure, Unavailable | ConfigError))
            for position in positions:
                answers[position] = (shard.id, refused)
    return again


def _refused(answers: Sequence[Answer | None], error: MynamoError) -> list[Answer]:
    return [answer or (0, Refused(error, whole=True)) for answer in answers]


@dataclass(slots=True)
class _Progress:
    """How far the writes of one shard have come.

    Attributes:
        answers: by the request's position.
        stale: positions of those that wait for newer definitions, of these tables.
        met: those whose items a transaction over several shards has.
    """

    answers: list[tuple[int, Answer]] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    table_ids: set[int] = field(default_factory=set)
    met: list[Member] = field(default_factory=list)


def _commit_groups(cluster: Cluster, groups: dict[DynamoDBShard, list[Member]]) -> list[_Progress]:
    """Commit on all shards at once: one that does not answer delays no other."""
    if len(groups) < 2:  # as mostly: without another file
        return [_commit_group(cluster, shard, group) for shard, group in groups.items()]
    return side_by_side([partial(_commit_group, cluster, *each) for each in groups.items()])


def _commit_group(cluster: Cluster, shard: DynamoDBShard, group: list[Member]) -> _Progress:
    """Commit the writes of one shard, in transactions that are not too large."""
    progress = _Progress()
    parts = deque(_parts(group))
    while parts:
        part = parts.popleft()
        try:
            outcomes = commit_with_others(cluster, shard, [write for _, write in part])
        except StaleDefinition as failure:
            progress.table_ids = failure.table_ids
            progress.stale = [position for each in (part, *parts) for position, _ in each]
            break
        except (Unavailable, ConfigError) as failure:
            # To go on with the rest would turn an item's writes around.
            rest = [member for each in parts for member in each]
            _refuse(progress, shard, part, failure)
            _refuse(progress, shard, rest, _not_tried(failure))
            break
        except MynamoError as failure:  # `TooMuch`, or one of them spoils it for the others
            if len(part) > 1:
                middle = len(part) // 2
                parts.extendleft((part[middle:], part[:middle]))
            else:
                _refuse(progress, shard, part, failure)
            continue
        for member, outcome in zip(part, outcomes, strict=True):
            if isinstance(outcome, Refused) and isinstance(outcome.error, ItemInTransaction):
                progress.met.append(member)
            else:
                progress.answers.append((member[0], (shard.id, outcome)))
        if progress.met and parts:
            parts = _without_met(progress, parts)
    return progress


def _without_met(progress: _Progress, parts: Iterable[list[Member]]) -> deque[list[Member]]:
    """Take writes out whose item an earlier one has found in a transaction, so that they keep their
    order."""
    rows = {(write.table.id, write.row) for _, write in progress.met}
    left: deque[list[Member]] = deque()
    for part in parts:
        free = [member for member in part if (member[1].table.id, member[1].row) not in rows]
        progress.met += [m for m in part if (m[1].table.id, m[1].row) in rows]
        if free:
            left.append(free)
    return left


def _refuse(
    progress: _Progress, shard: DynamoDBShard, members: list[Member], error: MynamoError
) -> None:
    whole = isinstance(error, Unavailable | ConfigError)
    for position, _ in members:
        progress.answers.append((position, (shard.id, Refused(error, whole=whole))))


def _not_tried(failure: MynamoError) -> MynamoError:
    return ShardUnavailable(f"not tried, because writes before it failed: {failure}")


def _parts(group: list[Member]) -> list[list[Member]]:
    """The writes in their order, in parts of a bounded size."""
    if len(group) == 1:
        return [group]
    parts: list[list[Member]] = [[]]
    total = 0
    for member in group:
        size = member[1].size
        total += size
        if parts[-1] and (total > PART_BYTES or len(parts[-1]) == PART_WRITES):
            parts.append([])
            total = size
        parts[-1].append(member)
    return parts


def _by_shard(
    cluster: Cluster,
    requests: Sequence[WriteRequest],
    positions: Sequence[int],
    answers: list[Answer | None],
) -> tuple[dict[DynamoDBShard, list[Member]], list[int], RangeStopped | None]:
    """Route requests, all by one slot map, so that an item's writes keep their order.

    Returns:
        The writes by shard; positions of those that wait for their slots; why.
    """
    held: list[int] = []
    stopped: RangeStopped | None = None
    groups: dict[DynamoDBShard, list[Member]] = {}
    tables: dict[str, Table | MynamoError] = {}
    limits = cluster.config.limits
    limited = limits.index_events or limits.index_seconds or limits.indexes
    pressure = BackPressure(limits) if limited else None
    snapshot = cluster.snapshot
    for position in positions:
        request = requests[position]
        # Looked up once: an item's writes must not be answered by different catalogs.
        if request.table not in tables:
            tables[request.table] = _table(cluster, request.table)
        table = tables[request.table]
        if isinstance(table, MynamoError):
            answers[position] = (0, Refused(table, whole=isinstance(table, Unavailable)))
            continue
        try:
            write = prepare(cluster, request, table, snapshot)
        except RangeStopped as failure:
            stopped = failure
            held.append(position)
            continue
        except ShardNotConfigured as failure:
            answers[position] = (failure.shard, Refused(failure, whole=True))
            continue
        except MynamoError as error:
            answers[position] = (0, Refused(error))
            continue
        except Exception as error:
            refusal = Refused(unforeseen(f"a write to table {table.name}", error))
            answers[position] = (0, refusal)
            continue
        shard = write.route.shard
        behind = pressure.on(shard, table) if pressure else None
        if behind is not None:
            answers[position] = (shard.id, Refused(behind, whole=True))
            continue
        groups.setdefault(shard, []).append((position, write))
    return groups, held, stopped


def _table(cluster: Cluster, name: str) -> Table | MynamoError:
    try:
        return cluster.table(name)
    except MynamoError as error:
        return error
