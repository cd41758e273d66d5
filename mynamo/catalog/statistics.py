"""How many items and bytes a table and its indexes have: exact while they are small.

Counting reads all rows, so it is bounded, per shard, in rows of each physical table and in
bytes of all of them. What exceeds the bounds is told by InnoDB's own statistics: the
number of rows is kept with every change but was sampled once, the size is that of pages and
follows within seconds after a tenth of the table has changed. DynamoDB itself updates these
figures "approximately every six hours" (API reference, TableDescription).

Rows of slots that are being moved count on the shard that owns these. InnoDB's figures do not tell
slots apart: they are reduced by the share of slots of which the shard may have rows that are not
its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import IS_ITEM
from mynamo.catalog.shard import PASSING, DynamoDBShard, retry
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.tables import Table
from mynamo.errors import ShardUnavailable
from mynamo.mysql.failures import MissingTable
from mynamo.mysql.pool import Statement
from mynamo.runtime import deadlines, forks
from mynamo.schemas.keys import slot_range

EXACT_ROWS = 20_000
EXACT_BYTES = 64 * 1024 * 1024
MAX_AGE = 3.0
"""Seconds for which figures are used again."""
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Size:
    """Figures of a table or an index.

    Attributes:
        items: how many.
        bytes: as stored: of items as JSON, of an LSI its keys; where `exact` is False, of
            the pages that hold them.
        exact: whether they were counted.
    """

    items: int = 0
    bytes: int = 0
    exact: bool = True

    def __add__(self, other: Size) -> Size:
        return Size(self.items + other.items, self.bytes + other.bytes, self.exact and other.exact)

    def times(self, share: float) -> Size:
        """A part of it."""
        return Size(round(self.items * share), round(self.bytes * share), self.exact)


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Figures of a table and of its indexes, from all shards.

    Attributes:
        indexes: by name.
    """

    table: Size
    indexes: Mapping[str, Size]


@dataclass(slots=True)
class _Known:
    """Figures of one table: by shard and physical table, and when they were taken."""

    counting: threading.Lock = field(default_factory=threading.Lock)
    taken_at: float | None = None
    shards: dict[int, dict[str, Size]] = field(default_factory=dict)


class Statistics:
    """Figures of tables, kept for a few seconds. Safe to share between threads."""

    def __init__(self, cluster: Cluster, max_age: float = MAX_AGE) -> None:
        self._cluster = cluster
        self._max_age = max_age
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin without figures: threads of the parent may be counting them."""
        self._lock = threading.Lock()
        self._known: dict[int, _Known] = {}

    def of(self, table: Table) -> TableStatistics:
        """The figures of a table. Of a shard that does not answer, the last known ones count, and
        of one that the configuration lacks none."""
        known = self._known_of(table)
        # One caller counts. A shard may keep it waiting for long; the others take what is known.
        if known.counting.acquire(blocking=known.taken_at is None):
            try:
                taken_at = known.taken_at
                if taken_at is None or time.monotonic() - taken_at >= self._max_age:
                    figures = known.shards | self._count(table)
                    members = self._cluster.shards
                    known.shards = {id_: one for id_, one in figures.items() if id_ in members}
                    known.taken_at = time.monotonic()
            finally:
                known.counting.release()
        found = list(known.shards.values())
        return TableStatistics(
            table=_total(found, sql.main_table(table.id)),
            indexes={i.name: _total(found, sql.index_table(i)) for i in table.indexes},
        )

    def _known_of(self, table: Table) -> _Known:
        with self._lock:
            if table.id not in self._known:
                there = self._cluster.snapshot.tables
                self._known = {id_: one for id_, one in self._known.items() if id_ in there}
            return self._known.setdefault(table.id, _Known())

    def _count(self, table: Table) -> dict[int, dict[str, Size]]:
        with suppress(ShardUnavailable):  # by what is known then
            deadlines.until(time.monotonic() + _PATIENCE, partial(self._cluster.refresh, MAX_AGE))
        snapshot = self._cluster.snapshot
        shards = list(self._cluster.shards.values())
        with ThreadPoolExecutor(len(shards), "mynamo-statistics") as threads:
            figures = threads.map(lambda shard: figures_of(shard, table, snapshot), shards)
            return {s.id: found for s, found in zip(shards, figures, strict=True) if found}


def _total(shards: Iterable[Mapping[str, Size]], name: str) -> Size:
    return sum((figures.get(name, Size()) for figures in shards), Size())


def figures_of(shard: DynamoDBShard, table: Table, snapshot: Snapshot) -> dict[str, Size] | None:
    """Figures of the physical tables on one shard; None if it does not answer."""
    hidden = snapshot.hidden.get(shard.id, ())
    share = _visible_share(snapshot, shard.id)

    def once() -> dict[str, Size]:
        with shard.session() as session:
            rows = session.run(estimates(table))[0].rows
            figures = {name: Size(int(n), int(size), exact=False) for name, n, size in rows}
            small = tables_to_count(figures)
            figures = {name: size.times(share) for name, size in figures.items()}
            if not small:
                return figures
            try:
                counted = session.run(*(count_rows(name, table, hidden) for name in small))
            except MissingTable:  # dropped in this moment
                return figures
            for name, result in zip(small, counted, strict=True):
                items, size = result.rows[0]
                if items <= EXACT_ROWS:
                    figures[name] = Size(items, int(size))
            return figures

    try:
        return retry(once, _PATIENCE, PASSING)
    except ShardUnavailable:
        return None


def _visible_share(snapshot: Snapshot, shard_id: int) -> float:
    """Of the slots that a shard may have rows of, the share that it owns."""
    hidden = sum(last + 1 - first for first, last in snapshot.hidden.get(shard_id, ()))
    owned = snapshot.shard_ids.count(shard_id) if hidden else 0
    return owned / (owned + hidden) if hidden else 1.0


def tables_to_count(figures: Mapping[str, Size]) -> list[str]:
    """Which tables to count, the smallest first, within the bounds of one shard."""
    chosen: list[str] = []
    total = 0
    for name, size in sorted(figures.items(), key=lambda entry: entry[1].bytes):
        total += size.bytes
        # The estimate may be far off; counting ends at the bound, whatever it says.
        if total <= EXACT_BYTES and size.items <= 2 * EXACT_ROWS:
            chosen.append(name)
    return chosen


def estimates(table: Table) -> Statement:
    """What InnoDB says of a table's physical tables: rows, and bytes of pages."""
    names = [sql.main_table(table.id), *(sql.index_table(index) for index in table.indexes)]
    return (
        "SELECT TABLE_NAME, COALESCE(TABLE_ROWS, 0), COALESCE(DATA_LENGTH, 0)"
        " FROM information_schema.TABLES"
        f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({sql.placeholders(names)})",
        names,
    )


def count_rows(name: str, table: Table, hidden: Sequence[tuple[int, int]] = ()) -> Statement:
    """The rows and bytes of a physical table, of which no more are counted than the bound.

    Args:
        hidden: first and last slots of ranges that do not count.
    """
    local = {sql.index_table(i) for i in table.indexes if i.is_local}
    size = "LENGTH(hash) + LENGTH(index_sort) + LENGTH(sort)" if name in local else "LENGTH(item)"
    conditions, values = [IS_ITEM] if name == sql.main_table(table.id) else [], list[bytes]()
    column = "index_hash" if name in {sql.index_table(i) for i in table.global_indexes} else "hash"
    for low, high in (slot_range(*slots) for slots in hidden):
        conditions.append(f"({column} < %s" + (f" OR {column} >= %s)" if high else ")"))
        values += [low, high] if high else [low]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return (
        "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM"
        f" (SELECT {size} AS size FROM {name}{where} LIMIT {EXACT_ROWS + 1:d}) AS counted",
        values,
    )
