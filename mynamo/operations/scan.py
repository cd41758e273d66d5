"""Walking along a table and its indexes, chunk by chunk, in search of differences.

LSIs are committed with their items, so one consistent view of a shard decides at once.
GSIs follow behind, so what differs there is only suspected; see `recheck`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from mynamo.operations import statements
from mynamo.operations.expect import Expected, Place, Stored, by_shard, expected_row, read_item
from mynamo.operations.findings import Finding, Kind, Tally
from mynamo.operations.recheck import Suspect
from mynamo.operations.statements import SNAPSHOT, IndexRow, fitting
from mynamo.schemas.values import StoredItem
from mynamo.shards.cluster import Cluster
from mynamo.shards.pool import Session
from mynamo.shards.shard import DynamoDBShard, retry
from mynamo.shards.tables import Index, IndexKey, RowKey, Table

_COMMIT = ("COMMIT", ())


Position = tuple[bytes, ...]


class Item(NamedTuple):
    """A main row.

    Attributes:
        item: None if its bytes are not those of an item with its key.
    """

    row: RowKey
    version: int
    item: StoredItem | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one step along a table found.

    Attributes:
        last: the hash that it came to.
        findings: certain differences (LSI).
        suspects: possible differences (GSI).
    """

    last: bytes
    findings: Sequence[Finding] = ()
    suspects: Sequence[Suspect] = ()


class Scan:
    """Compares what lies on one shard with what it belongs to, wherever that lies.

    Args:
        indexes: those to compare; none of them is being filled.
        tally: is told how much was read, and of damaged items.
    """

    def __init__(
        self,
        cluster: Cluster,
        shard: DynamoDBShard,
        table: Table,
        indexes: Sequence[Index],
        tally: Tally,
    ) -> None:
        self._cluster = cluster
        self._shard = shard
        self._table = table
        self._local = [index for index in indexes if index.kind == "LSI"]
        self._global = [index for index in indexes if index.kind == "GSI"]
        self._tally = tally

    def items(self) -> Iterator[Chunk]:
        """Every item of the shard: has it its rows in the indexes?

        Raises:
            ShardUnavailable: a shard does not answer.
            MissingTable: the table or an index was dropped.
        """
        after: Position | None = None
        while True:
            items, existing = retry(partial(self._read_items, after))
            if not items:
                return
            after = items[-1].row
            self._tally.add_items(len(items))
            sound = [item for item in items if self._is_sound(item)]
            findings = [f for i in self._local for f in self._missing_local(i, sound, existing)]
            suspects = [s for i in self._global for s in self._suspect_items(i, sound)]
            yield Chunk(after[0], findings, suspects)

    def local_rows(self, index: Index) -> Iterator[Chunk]:
        """Every row of an LSI on the shard: has an item this row?

        Raises:
            ShardUnavailable, MissingTable: see `items`.
        """
        after: Position | None = None
        while True:
            rows = retry(partial(self._read_local, index, after))
            if not rows:
                return
            after = rows[-1][:3]
            self._tally.add_rows(index, len(rows))
            yield Chunk(rows[-1][0], [g for row in rows for g in self._local_ghost(index, *row)])

    def global_rows(self, index: Index) -> Iterator[Chunk]:
        """Every row of a GSI on the shard: has an item, wherever it lies, this row?

        Raises:
            ShardUnavailable, MissingTable: see `items`.
        """
        after: Position | None = None
        while True:
            rows = self._shard.run(statements.global_rows(index, after))[0].rows
            if not rows:
                return
            after = rows[-1][:4]
            self._tally.add_rows(index, len(rows))
            seen = {IndexRow(*row[:4]): int(row[4]) for row in rows}
            yield Chunk(rows[-1][0], suspects=list(self._suspect_rows(index, seen)))

    def _read_items(self, after: Position | None) -> tuple[list[Item], dict[int, set[Position]]]:
        """The next items and, by index id, those of their rows in the LSIs that exist."""
        with self._shard.session() as session:
            sizes = session.run(*SNAPSHOT, statements.item_sizes(self._table, after))[-1].rows
            items: list[Item] = []
            if sizes:
                chunk = statements.items(self._table, after, fitting(row[2] for row in sizes))
                for hash16, sort, version, data in session.run(chunk)[0].rows:
                    row = RowKey(hash16, sort)
                    items.append(Item(row, version, read_item(self._table, row, data)))
            existing = {i.id: self._existing(session, i, items) for i in self._local}
            session.run(_COMMIT)
        return items, existing

    def _existing(self, session: Session, index: Index, items: Sequence[Item]) -> set[Position]:
        wanted = [place for _, place in _local_places(index, items)]
        if not wanted:
            return set()
        return set(session.run(statements.local_rows_of(index, wanted))[0].rows)

    def _is_sound(self, item: Item) -> bool:
        what = f"the row {item.row.hash.hex()} {item.row.sort.hex()} of {self._shard.where}"
        owner = self._cluster.shard_of(item.row.hash)
        if item.item is None:
            self._tally.add_unreadable(f"{what} does not hold an item with its key")
        elif owner is not self._shard:
            self._tally.add_unreadable(f"{what} belongs on shard {owner.id}")
        else:
            return True
        return False

    def _missing_local(
        self, index: Index, items: Sequence[Item], existing: dict[int, set[Position]]
    ) -> Iterator[Finding]:
        for item, place in _local_places(index, items):
            if place not in existing[index.id]:
                detail = "it is not in the index"
                yield self._local_finding("missing", index, place, item.item, detail)

    def _read_local(self, index: Index, after: Position | None) -> tuple[tuple[Any, ...], ...]:
        with self._shard.session() as session:
            sizes = session.run(*SNAPSHOT, statements.local_row_sizes(index, after))[-1].rows
            rows: tuple[tuple[Any, ...], ...] = ()
            if sizes:
                chunk = statements.local_rows(index, after, fitting(row[3] for row in sizes))
                rows = session.run(chunk)[0].rows
            session.run(_COMMIT)
        return rows

    def _local_ghost(
        self, index: Index, hash16: bytes, index_sort: bytes, sort: bytes, data: bytes | None
    ) -> Iterator[Finding]:
        place = (hash16, index_sort, sort)
        if data is None:
            detail = "the index has it, but there is no such item"
            yield self._local_finding("ghost", index, place, None, detail)
            return
        item = read_item(self._table, RowKey(hash16, sort), data)
        key = index.key_of(item)
        if item is not None and (key is None or key.sort != index_sort):
            detail = "the index has it under a sort key that it does not have"
            yield self._local_finding("ghost", index, place, item, detail)

    def _local_finding(
        self, kind: Kind, index: Index, place: Position, item: StoredItem | None, detail: str
    ) -> Finding:
        hash16, index_sort, sort = place
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
        expected: dict[RowKey, Expected] = {}
        by_place: dict[int, list[IndexRow]] = {}
        for item in items:
            wanted = expected_row(self._cluster, index, item.item, item.version)
            if wanted is not None:
                expected[item.row] = wanted
                by_place.setdefault(wanted.place.shard, []).append(wanted.place.of(item.row))
        for shard_id, targets in by_place.items():
            query = statements.global_rows_of(index, sorted(targets))
            rows = self._cluster.shards[shard_id].run(query)[0].rows
            found = {IndexRow(*row[:4]): Stored(*row[4:]) for row in rows}
            for target in targets:
                content = expected[target.item].content
                if found.get(target) != content:
                    yield Suspect(index, target.item)

    def _suspect_rows(self, index: Index, seen: dict[IndexRow, int]) -> Iterator[Suspect]:
        places = dict(self._places(index, {row.item for row in seen}))
        for row, version in seen.items():
            place = Place(self._shard.id, row.key)
            if places.get(row.item) != place:
                yield Suspect(index, row.item, place, version)

    def _places(self, index: Index, rows: set[RowKey]) -> Iterator[tuple[RowKey, Place]]:
        """Where the rows of items must lie in a GSI."""
        for shard, owned in by_shard(self._cluster, rows).items():
            found = shard.run(statements.item_sizes_of(self._table, owned))[0].rows
            for group in statements.groups([(RowKey(h, s), size) for h, s, size in found]):
                query = statements.items_of(self._table, group)
                for hash16, sort, version, data in shard.run(query)[0].rows:
                    row = RowKey(hash16, sort)
                    item = read_item(self._table, row, data)
                    expected = expected_row(self._cluster, index, item, version)
                    if expected is not None:
                        yield row, expected.place


def _local_places(index: Index, items: Sequence[Item]) -> Iterator[tuple[Item, Position]]:
    """Where items must lie in an LSI."""
    for item in items:
        key = index.key_of(item.item)
        if key is not None:
            yield item, (item.row.hash, key.sort, item.row.sort)
