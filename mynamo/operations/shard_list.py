"""What an operator sees of the shards: their state, what they hold, and how far they are behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import MemberState, Snapshot
from mynamo.catalog.statistics import Size, figures_of
from mynamo.catalog.tables import Table
from mynamo.errors import ShardUnavailable
from mynamo.operations.lag import shard_lag

_MOST_THREADS = 16


@dataclass(frozen=True, slots=True)
class ShardReport:
    """One shard.

    Attributes:
        shard: its number.
        state: JOINING, ACTIVE, DRAINING, LEAVING or REMOVED; None: it is in the configuration, and
            no member.
        where: its server and database; None: the configuration lacks it.
        slots: how many it owns, of 4096.
        items: of all tables; rows are counted while they are few, and else InnoDB's estimate.
        bytes: of all tables and indexes, likewise.
        writes: changes of items per second, in the last ten seconds.
        moves: of slots from and to it that are not at their end, in words.
        lag: seconds that its oldest change has waited for an index; 0: none waits.
        trouble: why figures are not known (None); empty: they are.
    """

    shard: int
    state: MemberState | None
    where: str | None
    slots: int
    moves: tuple[str, ...] = ()
    items: int | None = None
    bytes: int | None = None
    lag: float | None = None
    writes: float | None = None
    trouble: str = ""


def list_shards(cluster: Cluster) -> list[ShardReport]:
    """All shards that the catalog or the configuration has, by their numbers.

    Raises:
        ShardUnavailable: the catalog does not answer. That a shard does not is in its report.
    """
    snapshot = cluster.refresh()
    tables = [table for table in snapshot.tables.values() if table.status == "ACTIVE"]
    numbers = sorted(snapshot.members.keys() | cluster.configured.keys())
    with ThreadPoolExecutor(_MOST_THREADS, "mynamo-shards") as threads:
        return list(threads.map(partial(_report, cluster, tables), numbers))


def _place(shard: DynamoDBShard) -> str:
    return f"{shard.config.host}:{shard.config.port}/{shard.config.database}"


def _moves(snapshot: Snapshot, shard_id: int) -> Iterator[str]:
    for move in snapshot.moves:
        if move.state == "ENDED":
            continue
        slots = f"slots {move.first}-{move.last}, {move.state}"
        if move.source == shard_id:
            yield f"-> {move.target}: {slots}"
        elif move.target == shard_id:
            yield f"<- {move.source}: {slots}"


def _report(cluster: Cluster, tables: Sequence[Table], shard_id: int) -> ShardReport:
    snapshot = cluster.snapshot
    member = snapshot.members.get(shard_id)
    configured = cluster.configured.get(shard_id)
    report = partial(
        ShardReport,
        shard_id,
        member.state if member is not None else None,
        _place(configured) if configured is not None else None,
        snapshot.slot_counts.get(shard_id, 0),
        tuple(_moves(snapshot, shard_id)),
    )
    shard = cluster.shards.get(shard_id)
    if shard is None:
        lacking = member is not None and member.state != "REMOVED"
        return report(trouble="the configuration does not name it" if lacking else "")
    try:
        lag, _ = shard_lag(shard)
        writes = _writes(shard)
    except ShardUnavailable as failure:
        return report(trouble=str(failure))
    items, size = 0, 0
    for table in tables:
        figures = figures_of(shard, table, snapshot)
        if figures is None:
            return report(
                lag=lag.unapplied_seconds, writes=writes, trouble=f"{shard.where}: it is too slow"
            )
        items += figures.get(sql.main_table(table.id), Size()).items
        size += sum(one.bytes for one in figures.values())
    return report(items, size, lag.unapplied_seconds, writes)


_RECENT = 10.0
"""Seconds; the outbox keeps what is done for longer."""
_MOST_CHANGES = 20_000


def _writes(shard: DynamoDBShard) -> float:
    """Changes per second in the last seconds, by the shard's clock."""
    ((count, seconds),) = shard.run(
        ("SELECT COUNT(*),"
         f" COALESCE((CAST({sql.NOW} AS SIGNED) - CAST(MIN(created) AS SIGNED)) / 1e6, 0) FROM"
         " (SELECT created FROM mynamo_outbox FORCE INDEX (PRIMARY)"
         f" ORDER BY id DESC LIMIT {_MOST_CHANGES:d}) AS newest"
         f" WHERE created > {sql.NOW} - %s", (round(_RECENT * 1e6),))
    )[0].rows  # fmt: skip
    span = _RECENT if count < _MOST_CHANGES else max(float(seconds), 0.001)
    return float(count / span)
