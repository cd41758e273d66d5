"""The first pass of a comparison: it reads items, and only sums up index rows.

Each step says what the ledger must add or subtract; see `checksums`. The pass finds items that
are damaged themselves, and marks and intents that seem not to go together; it decides nothing else.
It leaves out rows that are hidden (see `visible_slots`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import is_free, is_item, unmarked
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.mysql.pool import Session
from mynamo.operations import comparison_statements
from mynamo.operations.checksums import (
    Sums,
    bucket_of,
    global_checksum,
    local_checksum,
    taken_away,
)
from mynamo.operations.comparison_statements import SNAPSHOT, Span, fitting
from mynamo.operations.counts import Counts
from mynamo.operations.expected_rows import read_claim, read_item
from mynamo.operations.findings import Damaged, Unmatched
from mynamo.operations.scan_parts import Position, Step
from mynamo.operations.unmatched import unmatched_among
from mynamo.operations.visible_slots import VisibleSlots, end_of
from mynamo.schemas.items import dump_item
from mynamo.schemas.keys import slot_of
from mynamo.schemas.values import StoredItem

COMMIT = ("COMMIT", ())
FEWEST, MOST = 50, 4000
_SLOW, _QUICK = 0.5, 0.1
"""Rows and seconds of one statement that sums up: the servers read whole items for it."""

Row = tuple[Any, ...]


class ChecksumPass:
    """Sums up what lies on one shard. For one thread."""

    def __init__(
        self, cluster: Cluster, shard: DynamoDBShard, table: Table, indexes: Sequence[Index]
    ) -> None:
        self._shard = shard
        self._table = table
        self._local = [index for index in indexes if index.is_local]
        self._global = [index for index in indexes if index.kind == "GSI"]
        self._slots = VisibleSlots(cluster, shard.id)
        self._rows = min(500, MOST)

    def items(self, span: Span) -> Iterator[Step]:
        """Sum up the rows that the items must have.

        Raises:
            ShardUnavailable: the shard does not answer.
            MissingTable: the table was dropped.
        """
        while (part := self._slots.first_part(span)) is not None:
            read, unmatched = retry(partial(self._read, part))
            owners = self._slots.owners
            counts = Counts(items=len(read.rows))
            sums: dict[int, Sums] = {index.id: {} for index in (*self._local, *self._global)}
            for hash16, sort, version, data in read.rows:
                row = RowKey(hash16, sort)
                item = read_item(self._table, row, data)
                if item is None or owners[slot_of(hash16)] != self._shard.id:
                    damaged = damage_of(self._table, self._shard.id, owners, row, item, data)
                    counts.add_unreadable(damaged)
                else:
                    self._expect(row, version, item, data, sums, counts)
            if counts.unreadable and self._slots.renew():
                continue  # slots may have moved since
            after = (
                read.last
                if read.more
                else end_of(part, span, len(comparison_statements.ITEM_ORDER))
            )
            yield Step(after, len(read.rows), counts, sums=sums, unmatched=unmatched)
            if after is None:
                return
            span = span.beyond(after)
        yield Step(None)

    def rows(self, index: Index, span: Span) -> Iterator[Step]:
        """Sum up the rows that an index has.

        Raises:
            ShardUnavailable: the shard does not answer.
            MissingTable: the index was dropped.
        """
        while (part := self._slots.first_part(span)) is not None:
            started = time.monotonic()
            digests, last = retry(partial(self._digests, index, part))
            self._adapt(time.monotonic() - started)
            sums = {index.id: taken_away(digest for (digest,) in digests)}
            after = last or end_of(part, span, len(comparison_statements.index_order(index)))
            yield Step(after, len(digests), sums=sums)
            if after is None:
                return
            span = span.beyond(after)
        yield Step(None)

    def _read(self, span: Span) -> tuple[Read, list[Unmatched]]:
        with self._shard.session() as session:
            read = next_items(session, self._table, span)
            last = read.last if read.more else None
            look = comparison_statements.intents_on_rows(self._table, span, last)
            intents = session.run(look, COMMIT)[0].rows
        unmatched = [
            each
            for each in unmatched_among(self._table, self._shard.id, read.occupied, intents)
            if self._slots.owns(each.row.hash)
        ]
        return read, unmatched

    def _digests(
        self, index: Index, span: Span
    ) -> tuple[tuple[Row, ...], tuple[bytes, ...] | None]:
        """The next rows' digests; and the last row's key, if others may follow."""
        with self._shard.session() as session:
            *_, digests, last, _ = session.run(
                *SNAPSHOT,
                comparison_statements.index_digests(index, self._shard.id, span, self._rows),
                comparison_statements.index_row_at(index, span, self._rows),
                COMMIT,
            )
        return digests.rows, last.rows[0] if last.rows else None

    def _adapt(self, seconds: float) -> None:
        if seconds > _SLOW:
            self._rows = max(FEWEST, self._rows // 2)
        elif seconds < _QUICK:
            self._rows = min(MOST, self._rows * 2)

    def _expect(
        self,
        row: RowKey,
        version: int,
        item: StoredItem,
        data: bytes,
        sums: dict[int, Sums],
        counts: Counts,
    ) -> None:
        bucket = bucket_of(row.hash)
        for index in self._global:
            key = index.key_of(item)
            if key is None:
                continue
            whole = index.projection.type == "ALL"
            projected = data if whole else dump_item(index.project(item))
            owner = self._slots.owners[slot_of(key.hash)]
            number = global_checksum(owner, key, row, version, projected)
            some = sums[index.id]
            some[bucket] = some.get(bucket, 0) + number
            counts.expected[index.id] += 1
        for index in self._local:
            key = index.key_of(item)
            if key is None:
                continue
            some = sums[index.id]
            number = local_checksum(self._shard.id, row, key.sort)
            some[bucket] = some.get(bucket, 0) + number
            counts.expected[index.id] += 1


def damage_of(
    table: Table,
    shard_id: int,
    owners: Sequence[int],
    row: RowKey,
    item: StoredItem | None,
    data: bytes,
) -> Damaged:
    """What is wrong with an item that is damaged, or lies on another shard than its own.

    Args:
        shard_id: where it lies.
        owners: the shard of each slot.
    """
    keys = table.key_attributes(item) if item else None
    if item is not None:
        owner = owners[slot_of(row.hash)]
        detail = f"it lies on shard {shard_id}, but belongs on shard {owner}"
    elif claim := read_claim(table, data):
        detail = f"its bytes are those of the item {claim}"
    else:
        detail = "its bytes are not an item"
    return Damaged.at(table, row, shard_id, keys, detail)


class Read(NamedTuple):
    """The next items.

    Attributes:
        rows: hash, sort, own version and bytes of each.
        size: of all their bytes.
        more: others may follow.
        last: row that was read, be it an item or a placeholder; None: there is none.
        occupied: items with a mark, and placeholders, with their versions.
    """

    rows: Sequence[Row]
    size: int
    more: bool
    last: Position | None
    occupied: Mapping[RowKey, int]


def next_items(session: Session, table: Table, span: Span) -> Read:
    """Read as many items as make a chunk, in a transaction that the caller ends."""
    ((rows, size),) = session.run(*SNAPSHOT, comparison_statements.item_bytes(table, span))[-1].rows
    more = rows >= comparison_statements.CHUNK_ROWS
    if size > comparison_statements.CHUNK_BYTES:
        sizes = [
            row[2] for row in session.run(comparison_statements.item_sizes(table, span))[0].rows
        ]
        fit = fitting(sizes)
        rows, size, more = fit, sum(sizes[:fit]), more or fit < rows
    found = session.run(comparison_statements.items(table, span, rows))[0].rows if rows else ()
    return Read(
        rows=[(h, s, unmarked(version), data) for h, s, version, data in found if is_item(version)],
        size=int(size),
        more=more,
        last=found[-1][:2] if found else None,
        occupied={RowKey(h, s): version for h, s, version, _ in found if not is_free(version)},
    )
