"""Queries and scans, resolved: from names and values to ranges of rows on shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mynamo.catalog.cluster import Cluster, Owner, RangeStopped
from mynamo.catalog.index_status import progress
from mynamo.catalog.tables import Index, Table
from mynamo.errors import IndexNotFound, IndexNotReady, InvalidRequest
from mynamo.expressions import KeyCondition
from mynamo.reader.access_paths import Access, KeyRange, Position, access_to, key_range
from mynamo.reader.fetching import ShardRange
from mynamo.reader.page_tokens import Order, Reading, fingerprint
from mynamo.reader.read_requests import Plan, PlanKind
from mynamo.schemas.keys import Comparison, segment_range, slot_range


@dataclass(slots=True)
class Resolved:
    """A query or scan that knows where its rows are.

    Attributes:
        shard_ranges: what to read, in order.
        order: in which order.
        conditions: what tells its page tokens from those of other readings, see `reading`.
        within: of a query, its key conditions.
        segment: of a scan, which one of how many; None: of all.
        kind, summary: for its plan.
    """

    access: Access
    shard_ranges: tuple[ShardRange, ...]
    order: Order
    conditions: tuple[object, ...]
    kind: PlanKind
    summary: str
    within: KeyRange | None = None
    segment: tuple[int, int] | None = None

    @property
    def reading(self) -> Reading:
        """What its page tokens belong to."""
        index = self.access.index
        return Reading(
            self.access.table.id,
            index.id if index else 0,
            self.order,
            fingerprint(*self.conditions),
        )

    def plan(self, shards: Sequence[int]) -> Plan:
        """How it was, or would be, answered."""
        index = self.access.index
        return Plan(self.kind, index.name if index else None, tuple(shards), self.summary)

    def behind(self, position: Position | None) -> tuple[ShardRange, ...]:
        """The ranges that are not read yet, when `position` is the last row read."""
        if position is None or self.order is not Order.SCAN:
            return self.shard_ranges
        return tuple(s for s in self.shard_ranges if not _ends_before(s, position[0]))


def ready_table(cluster: Cluster, name: str, index_name: str | None) -> tuple[Table, Index | None]:
    """The table and the index; the catalog is read again before one counts as missing.

    Raises:
        TableNotFound, IndexNotFound: there is none of that name.
        IndexNotReady: the index is still being backfilled; the message has its progress.
    """
    table = cluster.table(name)
    if index_name is None:
        return table, None
    index = _index(table, index_name)
    if index is None or index.status != "ACTIVE":
        cluster.refresh()
        table = cluster.table(name)
        index = _index(table, index_name)
    if index is None:
        missing = IndexNotFound(f"The table does not have the specified index: {index_name}")
        names = ", ".join(index.name for index in table.user_indexes) or "none"
        missing.add_note(f"indexes of table {name}: {names}")
        raise missing
    if index.status != "ACTIVE":
        raise _not_ready(cluster, table, index)
    return table, index


def _index(table: Table, name: str) -> Index | None:
    try:
        return table.index(name)
    except IndexNotFound:
        return None


def _not_ready(cluster: Cluster, table: Table, index: Index) -> IndexNotReady:
    done = progress(cluster, index)
    left_out = f", {done.skipped} unfit for it" if done.skipped else ""
    return IndexNotReady(
        f"index {index.name} of table {table.name} is {index.status}: {done.fraction:.0%} of the "
        f"table is read, {done.rows} items are on their way into it{left_out}; "
        "`mynamo writer` and `mynamo indexer` fill it, wait until it is ACTIVE"
    )


_KINDS: dict[str, PlanKind] = {"LSI": "local index", "GSI": "global index"}


def resolve_query(
    cluster: Cluster,
    table: Table,
    index: Index | None,
    conditions: Sequence[KeyCondition],
    descending: bool,
) -> Resolved:
    """Where the items of one hash key are: on one shard, whatever the index.

    Raises:
        InvalidItem, InvalidRequest: see `key_range`.
    """
    within = key_range(index or table, conditions)
    access = access_to(table, index)
    hash_column, sort_column = access.columns[:2]
    bounds: list[tuple[str, Comparison]] = [(hash_column, ("=", within.hash16))]
    bounds += [(sort_column, comparison) for comparison in within.comparisons]
    kind = _KINDS[index.kind] if index else "primary key"
    return Resolved(
        access=access,
        shard_ranges=(ShardRange(cluster.owner_of(within.hash16), tuple(bounds)),),
        order=Order.DESCENDING if descending else Order.ASCENDING,
        conditions=(cluster.fingerprint, within.hash16, within.comparisons),
        kind=kind,
        summary=_summary(access.columns[: 2 if within.comparisons else 1], kind),
        within=within,
    )


@lru_cache(64)
def _summary(columns: tuple[str, ...], kind: PlanKind) -> str:
    joined = ", each with its row of the table" if kind == "local index" else ""
    return f"range of ({', '.join([_bare(column) for column in columns])}){joined}"


def resolve_scan(
    cluster: Cluster,
    table: Table,
    index: Index | None,
    segment: int | None,
    total_segments: int | None,
) -> Resolved:
    """Where all items are, or those of one segment: on every shard, in the order of hashes.

    Raises:
        InvalidRequest: only one of segment and total is given, or they are out of range.
        ShardNotConfigured: some are on a shard that the configuration lacks.
    """
    if (segment is None) != (total_segments is None):
        raise InvalidRequest(
            "segment and total_segments belong together: give both, or neither for one segment"
        )
    low, high = segment_range(segment or 0, total_segments or 1)
    access = access_to(table, index)
    column = access.columns[0]
    shard_ranges = []
    snapshot = cluster.snapshot
    for first_slot, last_slot, owned in snapshot.neighbours:
        first, end = slot_range(first_slot, last_slot)
        begin, stop = max(low, first), _lower(high, end)
        if stop is not None and stop <= begin:
            continue
        bounds: list[tuple[str, Comparison]] = [(column, (">=", begin))]
        if stop is not None:
            bounds.append((column, ("<", stop)))
        owner = Owner(cluster.member(owned.shard_id), owned.since, owned.epoch)
        stopped = None
        if owned.move is not None:
            stopped = RangeStopped(owner.shard, owned.move, snapshot)
        shard_ranges.append(ShardRange(owner, tuple(bounds), stopped))
    source = f"{index.kind} {index.name}" if index else "the table"
    part = "" if total_segments is None else f", segment {segment} of {total_segments}"
    return Resolved(
        access=access,
        shard_ranges=tuple(shard_ranges),
        order=Order.SCAN,
        conditions=(cluster.fingerprint, segment or 0, total_segments or 1),
        kind="scan",
        summary=f"all of {source} by {_bare(column)}{part}",
        segment=None if segment is None or total_segments is None else (segment, total_segments),
    )


def _lower(one: bytes | None, other: bytes | None) -> bytes | None:
    """The lower of two upper bounds, where None is above everything."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


def _ends_before(shard_range: ShardRange, hash16: bytes) -> bool:
    return any(operator == "<" and bound <= hash16 for _, (operator, bound) in shard_range.bounds)


def _bare(column: str) -> str:
    return column.rpartition(".")[2]
