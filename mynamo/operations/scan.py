"""Comparing row by row what the checksum pass found to be different, chunk by chunk.

LSIs are committed with their items, so one consistent view of a shard decides at once.
GSIs are updated later, so a difference there is only suspected; see `recheck`.

Slots that have moved since the comparison began are compared as a whole, whatever their sums are:
one pass may have read them on no shard or on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.tables import Index, IndexKey, RowKey, Table
from mynamo.mysql.pool import Session
from mynamo.operations import comparison_statements
from mynamo.operations.checksum_pass import COMMIT, Read, damage_of, next_items
from mynamo.operations.checksums import bucket_of, buckets_of
from mynamo.operations.comparison_statements import SNAPSHOT, IndexRow, Span, fitting
from mynamo.operations.counts import Counts
from mynamo.operations.expected_rows import (
    Expected,
    Location,
    Stored,
    by_shard,
    expected_row,
    read_ghost,
    read_item,
)
from mynamo.operations.findings import Damaged, Finding, Kind
from mynamo.operations.recheck import Suspect
from mynamo.operations.scan_parts import Position, Step, spans_of
from mynamo.operations.visible_slots import VisibleSlots, end_of
from mynamo.schemas.keys import slot_of
from mynamo.schemas.values import StoredItem

Different = Mapping[int, frozenset[int]]
"""By index id, the buckets to compare."""


class Item(NamedTuple):
    """A main row.

    Attributes:
        item: None if its bytes are not those of an item with its key.
    """

    row: RowKey
    version: int
    item: StoredItem | None


class _Gathered:
    """Items of several spans, until it is worth looking for their rows. Of a bounded size."""

    def __init__(self) -> None:
        self.after: Position | None = None
        self.rows = 0
        self.sound: list[Item] = []
        self.findings: list[Finding] = []
        self.counts = Counts()
        self._size = 0

    def add(
        self,
        read: Read,
        sound: Sequence[Item],
        findings: Sequence[Finding],
        damaged: Sequence[Damaged],
    ) -> None:
        """What one statement read."""
        if read.last:
            self.after = read.last
        self.rows += len(read.rows)
        self.sound += sound
        self.findings += findings
        for each in damaged:
            self.counts.add_unreadable(each)
        self._size += read.size

    @property
    def enough(self) -> bool:
        """Whether it is a chunk."""
        full = (
            len(self.sound) >= comparison_statements.CHUNK_ROWS // 2
            or self._size >= comparison_statements.CHUNK_BYTES // 2
        )
        return self.after is not None and full


class Scan:
    """Compares the rows of one shard with the rows that they belong to, on any shard.

    Args:
        indexes: those to compare; none of them is being backfilled.
        different: which buckets.
        gap: see `spans_of`.
        moved: slots that have moved since the comparison began, of those that are scanned.
        known: some of the damaged items that have been counted.
    """

    def __init__(
        self,
        cluster: Cluster,
        shard: DynamoDBShard,
        table: Table,
        indexes: Sequence[Index],
        different: Different,
        gap: int,
        moved: frozenset[int] = frozenset(),
        known: frozenset[RowKey] = frozenset(),
    ) -> None:
        self._cluster = cluster
        self._shard = shard
        self._table = table
        self._local = [index for index in indexes if index.is_local]
        self._global = [index for index in indexes if index.kind == "GSI"]
        moved_buckets = buckets_of(moved)
        self._different = different
        if moved:
            self._different = {id_: buckets | moved_buckets for id_, buckets in different.items()}
        self._of_rows = different  # of GSIs; rows of slots that have moved come to these
        self._moved = moved
        self._known = known
        self._buckets = moved_buckets.union(*different.values())
        self._gap = gap
        self._slots = VisibleSlots(cluster, shard.id)

    def items(self, span: Span) -> Iterator[Step]:
        """Find items that lack a row in an index.

        Raises:
            ShardUnavailable: a shard does not answer.
            MissingTable: the table or an index was dropped.
        """
        gathered = _Gathered()
        for part in spans_of(self._buckets, span, self._gap):
            rest, more = part, True
            while more:
                read, items, existing = retry(partial(self._read_items, rest))
                sound = [item for item in items if self._is_sound(item)]
                missing = [f for i in self._local for f in self._missing_local(i, sound, existing)]
                damaged = list(self._damaged(read)) if self._moved else []
                if (missing or damaged) and self._slots.renew():
                    continue  # slots may have moved since
                more = read.more
                gathered.add(read, sound, missing, damaged)
                if read.last:
                    rest = part.beyond(read.last)
                if gathered.enough:
                    yield self._step(gathered)
                    gathered = _Gathered()
        gathered.after = None
        yield self._step(gathered)

    def _step(self, gathered: _Gathered) -> Step:
        suspects = [s for i in self._global for s in self._suspect_items(i, gathered.sound)]
        return Step(gathered.after, gathered.rows, gathered.counts, gathered.findings, suspects)

    def _damaged(self, read: Read) -> Iterator[Damaged]:
        """Damaged items of slots that have moved; the checksum pass may have missed them."""
        for hash16, sort, _, data in read.rows:
            row = RowKey(hash16, sort)
            if row.slot not in self._moved or row in self._known or not self._slots.owns(hash16):
                continue
            if read_item(self._table, row, data) is None:
                yield damage_of(self._table, self._shard.id, self._slots.owners, row, None, data)

    def local_rows(self, index: Index, span: Span) -> Iterator[Step]:
        """Find rows of an LSI that no item has.

        Raises:
            ShardUnavailable, MissingTable: see `items`.
        """
        for part in spans_of(self._different[index.id], span, self._gap):
            rest = part
            while True:
                rows = retry(partial(self._read_local, index, rest))
                if not rows:
                    break
                counts = Counts()
                ghosts = [g for row in rows for g in self._local_ghost(index, counts, *row)]
                if ghosts and self._slots.renew():
                    continue  # slots may have moved since
                rest = part.beyond(rows[-1][:3])
                yield Step(rest.after, len(rows), counts, ghosts)
        yield Step(None)

    def global_rows(self, index: Index, span: Span) -> Iterator[Step]:
        """Find rows of a GSI that no item, on any shard, has.

        Raises:
            ShardUnavailable, MissingTable: see `items`.
        """
        different = self._of_rows[index.id]
        while (different or self._moved) and (part := self._slots.first_part(span)) is not None:
            rows = self._shard.run(comparison_statements.global_rows(index, part))[0].rows
            after = rows[-1][:4] if rows else end_of(part, span, 4)
            if after is None:
                break
            span = span.beyond(after)
            seen = {
                IndexRow(*row[:4]): int(row[4])
                for row in rows
                if bucket_of(row[2]) in different or slot_of(row[0]) in self._moved
            }
            counts = Counts()
            suspects = list(self._suspect_rows(index, seen, counts))
            yield Step(span.after, len(rows), counts, suspects=suspects)
        yield Step(None)

    def _read_items(self, span: Span) -> tuple[Read, list[Item], dict[int, set[Position]]]:
        """The next rows; the items of them that are in different buckets; and by index id,
        those of their rows in the LSIs that exist."""
        with self._shard.session() as session:
            read = next_items(session, self._table, span)
            items: list[Item] = []
            for hash16, sort, version, data in read.rows:
                if bucket_of(hash16) in self._buckets:
                    row = RowKey(hash16, sort)
                    items.append(Item(row, version, read_item(self._table, row, data)))
            existing = {i.id: self._existing(session, i, items) for i in self._local}
            session.run(COMMIT)
        return read, items, existing

    def _existing(self, session: Session, index: Index, items: Sequence[Item]) -> set[Position]:
        wanted = [location for _, location in self._local_locations(index, items)]
        if not wanted:
            return set()
        return set(session.run(comparison_statements.local_rows_of(index, wanted))[0].rows)

    def _is_sound(self, item: Item) -> bool:
        return item.item is not None and self._slots.owns(item.row.hash)

    def _missing_local(
        self, index: Index, items: Sequence[Item], existing: dict[int, set[Position]]
    ) -> Iterator[Finding]:
        for item, location in self._local_locations(index, items):
            if location not in existing[index.id]:
                detail = "it is not in the index"
                yield self._local_finding("missing", index, location, item.item, detail)

    def _local_locations(
        self, index: Index, items: Sequence[Item]
    ) -> Iterator[tuple[Item, Position]]:
        """Where items must lie in an LSI."""
        different = self._different[index.id]
        for item in items:
            key = index.key_of(item.item) if bucket_of(item.row.hash) in different else None
            if key is not None:
                yield item, (item.row.hash, key.sort, item.row.sort)

    def _read_local(self, index: Index, span: Span) -> tuple[tuple[Any, ...], ...]:
        with self._shard.session() as session:
            sizes = session.run(*SNAPSHOT, comparison_statements.local_row_sizes(index, span))[
                -1
            ].rows
            rows: tuple[tuple[Any, ...], ...] = ()
            if sizes:
                chunk = comparison_statements.local_rows(
                    index, span, fitting(row[3] for row in sizes)
                )
                rows = session.run(chunk)[0].rows
            session.run(COMMIT)
        return rows

    def _local_ghost(
        self,
        index: Index,
        counts: Counts,
        hash16: bytes,
        index_sort: bytes,
        sort: bytes,
        data: bytes | None,
    ) -> Iterator[Finding]:
        location = (hash16, index_sort, sort)
        if bucket_of(hash16) not in self._different[index.id] or self._slots.is_hidden(hash16):
            return
        if data is None:
            detail = "the index has it, but there is no such item"
            yield self._local_finding("ghost", index, location, None, detail)
            return
        item = read_item(self._table, RowKey(hash16, sort), data)
        key = index.key_of(item)
        if item is None or not self._slots.owns(hash16):
            counts.kept[index.id] += 1
        elif key is None or key.sort != index_sort:
            detail = "the index has it under a sort key that it does not have"
            yield self._local_finding("ghost", index, location, item, detail)

    def _local_finding(
        self, kind: Kind, index: Index, location: Position, item: StoredItem | None, detail: str
    ) -> Finding:
        hash16, index_sort, sort = location
        return Finding(
            kind=kind,
            index=index,
            row=RowKey(hash16, sort),
            shard=self._shard.id,
            index_key=IndexKey(hash16, index_sort),
            index_shard=self._shard.id,
            keys=self._table.key_attributes(item) if item is not None else None,
            detail=detail,
        )

    def _suspect_items(self, index: Index, items: Sequence[Item]) -> Iterator[Suspect]:
        different = self._different[index.id]
        expected: dict[RowKey, Expected] = {}
        by_shard_id: dict[int, list[IndexRow]] = {}
        for item in items:
            if bucket_of(item.row.hash) not in different:
                continue
            wanted = expected_row(self._cluster, index, item.item, item.version)
            if wanted is not None:
                expected[item.row] = wanted
                by_shard_id.setdefault(wanted.location.shard, []).append(
                    wanted.location.of(item.row)
                )
        for shard_id, targets in by_shard_id.items():
            query = comparison_statements.global_rows_of(index, sorted(targets))
            rows = self._cluster.shards[shard_id].run(query)[0].rows
            found = {IndexRow(*row[:4]): Stored(*row[4:]) for row in rows}
            for target in targets:
                content = expected[target.item].content
                if found.get(target) != content:
                    yield Suspect(index, target.item)

    def _suspect_rows(
        self, index: Index, seen: dict[IndexRow, int], counts: Counts
    ) -> Iterator[Suspect]:
        locations, damaged = self._locations(index, {row.item for row in seen})
        for row, version in seen.items():
            if row.item in damaged:
                self._keep(index, row, counts)
            elif locations.get(row.item) != Location(self._shard.id, row.key):
                location = Location(self._shard.id, row.key)
                yield Suspect(index, row.item, location, version)

    def _locations(
        self, index: Index, rows: set[RowKey]
    ) -> tuple[dict[RowKey, Location], set[RowKey]]:
        """Where the rows of items must lie in a GSI; and which items are damaged."""
        locations: dict[RowKey, Location] = {}
        damaged: set[RowKey] = set()
        for shard, owned in by_shard(self._cluster, rows).items():
            found = shard.run(comparison_statements.item_sizes_of(self._table, owned))[0].rows
            for group in comparison_statements.groups(
                [(RowKey(h, s), size) for h, s, size in found]
            ):
                query = comparison_statements.items_of(self._table, group)
                for hash16, sort, version, data in shard.run(query)[0].rows:
                    row = RowKey(hash16, sort)
                    item = read_item(self._table, row, data)
                    expected = expected_row(self._cluster, index, item, version)
                    if item is None:
                        damaged.add(row)
                    elif expected is not None:
                        locations[row] = expected.location
        return locations, damaged

    def _keep(self, index: Index, row: IndexRow, counts: Counts) -> None:
        """The key of a damaged item, from an index row: often nothing else has it any more."""
        counts.kept[index.id] += 1
        found = self._shard.run(comparison_statements.global_rows_of(index, [row]))[0].rows
        ghost = read_ghost(self._table, index, row, found[0][5]) if found else None
        if ghost is not None:
            counts.names[row.item] = self._table.key_attributes(ghost)
