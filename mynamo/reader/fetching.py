"""Reading one page of rows: bounded statements until the page is full or all is read.

Statements of concurrent reads share a round trip (see `mynamo.runtime.batching`); equal statements
share an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mynamo.catalog.cluster import Owner, RangeStopped
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.catalog.slot_guard import READ_EPOCH, check_epoch, epoch_in
from mynamo.errors import MynamoError
from mynamo.mysql.failures import MissingTable
from mynamo.mysql.pool import Result, Statement
from mynamo.reader.access_paths import Access, Position, select
from mynamo.runtime.batching import Batcher, Entry
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.items import item_size, load_item, spliced
from mynamo.schemas.keys import Comparison
from mynamo.schemas.values import StoredItem

AT_ONCE = 2
"""Round trips to a shard at the same time."""
MOST_ROWS = 1600
"""That the statements of one round trip for several callers may give."""

_READ_GUARDS = "SELECT id, version FROM mynamo_fence FORCE INDEX (PRIMARY) WHERE id IN (0, %s)"
"""The slot guard and a table's definition guard."""

_Request = tuple[DynamoDBShard, Sequence[Statement]]


class StatementBatcher:
    """Batches the statements that read from one shard.

    It has no reference to its shard, so that it ends with it.
    """

    def __init__(self) -> None:
        self.batcher: Batcher[_Request, list[Result]] = Batcher(
            _run_batch, max_running=AT_ONCE, max_count=MOST_ROWS, max_size=0, name="read rows"
        )


def run_together(shard: DynamoDBShard, statements: Sequence[Statement], rows: int) -> list[Result]:
    """Run statements that read, in their order and side by side with those of others.

    Args:
        statements: with tuples of values.
        rows: that they may give.

    Raises:
        MissingTable, ShardUnavailable: see `DynamoDBShard.ask`.
    """
    with shard.admission:
        found = batcher_of(shard).batcher.submit(Entry((shard, statements), rows, 0))
        return shard.ask(*statements) if found is None else found


def _run_batch(callers: Sequence[Entry[_Request, list[Result]]]) -> None:
    order: dict[Statement, None] = {}  # equal ones once, at the position of the last
    for caller in callers:
        for statement in caller.request[1]:
            order.pop(statement, None)
            order[statement] = None
    try:
        with callers[0].request[0].session() as session:
            found = dict(zip(order, session.run(*order), strict=True))
    except MynamoError:  # patience, and a table that is gone, are each caller's own
        return
    for caller in callers:
        caller.answer = [found[statement] for statement in caller.request[1]]


batcher_of = PerShard(lambda _: StatementBatcher()).of
"""The batcher of a shard's reading statements, one per process."""


Rows: TypeAlias = tuple[tuple[Any, ...], ...]

PAGE_BYTES = 1024 * 1024
"""A page ends with the item that brings its size to so many bytes, as DynamoDB counts them."""
FIRST_CHUNK = 101
"""Rows that the first statement of a page asks for at most: 100 and the one behind them."""
MAX_CHUNK = 256
"""Rows that any statement asks for at most: a hundred megabytes of the largest items."""
LARGE = 64 * 1024
"""Bytes of items that a task does not decode in the thread that it shares."""


@dataclass(slots=True)
class ShardRange:
    """A range of rows on one shard.

    Attributes:
        owner: the shard that owns the rows' slots, and what its slot guard must say.
        bounds: columns of the access, and what they must be.
        stopped: why nothing of it is read at the moment.
    """

    owner: Owner
    bounds: tuple[tuple[str, Comparison], ...]
    stopped: RangeStopped | None = None


@dataclass(slots=True)
class Fetched:
    """A page of rows.

    Attributes:
        items: what is answered with, whole items or parts of them, and the part of each that
            this access shows.
        last: where the last one lies.
        more: whether reading ended before the rows did.
        raw: in place of `items`: what is answered with as it is stored.
        size: of all parts together, in bytes; of raw items it is not known.
        weight: of all that is answered with together; of raw items no less than that.
        shards: numbers of those that were asked.
    """

    items: list[tuple[StoredItem, StoredItem]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    last: Position | None = None
    more: bool = False
    size: int = 0
    weight: int = 0
    shards: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many items."""
        return len(self.items) + len(self.raw)

    def last_item(self) -> StoredItem:
        """The last of them, whole."""
        return load_item(self.raw[-1]) if self.raw else self.items[-1][0]

    def take(
        self,
        rows: Rows,
        part: Callable[[StoredItem], StoredItem],
        *,
        whole: bool,
        raw: bool,
        limit: int | None,
    ) -> None:
        """Add rows; `more` if they do not all fit in.

        Args:
            raw: as they are. Then their bytes do not fill the page.
            others: see `fetch`.
        """
        if raw:
            fitting = rows if limit is None else rows[: limit - self.count]
            self._take_raw(fitting)
            self.more = len(fitting) < len(rows)
            return
        for *key, data in rows:
            if self.count == limit or self.weight >= PAGE_BYTES:
                self.more = True  # as this row shows
                return
            self._add(data, part, whole)
            self.last = tuple(key)

    def _take_raw(self, rows: Rows) -> None:
        self.raw += [spliced(row[-1]) for row in rows]
        self.weight += sum([len(row[-1]) for row in rows])
        if rows:
            self.last = rows[-1][:-1]

    def parse(self, part: Callable[[StoredItem], StoredItem]) -> None:
        """Turn raw items into parsed ones."""
        raw, self.raw, self.weight = self.raw, [], 0
        for data in raw:
            self._add(data, part, whole=False)

    def _add(self, data: bytes, part: Callable[[StoredItem], StoredItem], whole: bool) -> None:
        item = load_item(data)
        shown = part(item)
        size = item_size(shown)
        self.size += size
        self.weight += item_size(item) if whole else size
        self.items.append((item if whole else shown, shown))


def fetch(
    access: Access,
    shard_ranges: Iterable[ShardRange],
    after: Position | None,
    *,
    part: Callable[[StoredItem], StoredItem],
    whole: bool = False,
    raw: bool = False,
    descending: bool = False,
    limit: int | None = None,
    look_ahead: bool = False,
) -> Fetched:
    """Read a page.

    Args:
        shard_ranges: in the order to read them; `after` lies in or before the first.
        after: the row to go on behind.
        part: the part of an item that this access shows, which the page's size counts.
        whole: whether the answer has more of an item than that part. Then whole items make a
            page full, lest a megabyte of keys become gigabytes of items; otherwise only
            parts are kept.
        raw: whether items are wanted as they are stored. As long as their bytes cannot fill a
            page, DynamoDB's size does not matter.
        limit: items, at most.
        look_ahead: whether a page that `limit` ends says that there is more only if there
            is, for which it reads one row more. DynamoDB does not do that.

    Raises:
        MissingTable: the catalog's knowledge of the table or index is outdated.
        SlotsMoved: that of the slots is.
        ShardUnavailable: a shard does not answer.
    """
    page = Fetched()
    most = limit + 1 if limit is not None and look_ahead else limit
    for shard_range in shard_ranges:
        if shard_range.stopped is not None:
            raise shard_range.stopped
        _note(page.shards, shard_range.owner.shard.id)
        reached = after
        while True:
            rows = _chunk_rows(most, page)
            statement = select(
                access, shard_range.bounds, reached, descending, rows, guarded=access.index is None
            )
            found = fetch_rows(shard_range.owner, access, statement, rows)
            size = sum([len(row[-1]) for row in found])
            if raw and page.weight + size >= PAGE_BYTES:
                raw = False
                page.parse(part)
            take = page.take if size < LARGE else in_thread(page.take)
            take(found, part, whole=whole, raw=raw, limit=limit)
            page.more = page.more or (page.count == limit and not look_ahead)
            if page.more:
                return page
            if len(found) < rows:
                break
            reached = page.last
        after = None
    return page


def fetch_rows(owner: Owner, access: Access, statement: Statement, most: int) -> Rows:
    """Run a statement; check that the shard owned the rows' slots at that moment and, for an
    index, that writes still maintained it.

    What guards still have when rows were read, or afterwards, was valid when they were read. A
    statement on a table is `guarded`. If it finds nothing, the slot guard is asked for by itself.
    For an index the guards come behind the rows, in the same round trip.

    Args:
        most: rows that it may give.

    Raises:
        MissingTable: the table's definition is newer than `access` knows.
        SlotsMoved: the slot guard does not fit.
    """
    shard, table = owner.shard, access.table
    if access.index is None:
        rows = run_together(shard, [statement], most)[0].rows
        epoch = rows[0][0] if rows else epoch_in(run_together(shard, [READ_EPOCH], 1)[0])
        rows = tuple([row[1:] for row in rows])
    else:
        found, guards = run_together(shard, [statement, (_READ_GUARDS, (table.id,))], most)
        versions, rows = dict(guards.rows), found.rows
        epoch = versions.get(0)
        if versions.get(table.id, 0) > table.version:
            raise MissingTable(f"{shard.where}: table {table.name} has a newer definition")
    check_epoch(epoch, owner)
    return rows


def _chunk_rows(most: int | None, page: Fetched) -> int:
    """Rows to ask for: up to the one behind the page's last, judged by the rows so far."""
    count = page.count
    rows = FIRST_CHUNK
    if count:
        left = max(PAGE_BYTES - page.weight, 0)
        rows = min(MAX_CHUNK, left * count // max(page.weight, 1) + 2)
    return rows if most is None else min(rows, most - count)


def _note(shards: list[int], shard_id: int) -> None:
    if shard_id not in shards:
        shards.append(shard_id)
