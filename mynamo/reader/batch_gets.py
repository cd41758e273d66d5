"""Reading items by their keys: one round trip to each shard for any number of items. Threads of
one process that read at the same time share round trips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster, Owner
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.catalog.slot_guard import check_epoch
from mynamo.catalog.tables import RowKey
from mynamo.errors import MynamoError
from mynamo.mysql.pool import Result, Statement
from mynamo.reader.read_requests import Get, Got
from mynamo.runtime.batching import Batcher, Entry

TableRow = tuple[int, RowKey]
"""A table's id, and the key of one of its rows."""
Wanted = dict[int, list[RowKey]]
"""Keys of items on one shard, by their table's id."""
Items = dict[TableRow, bytes]
Kept = TypeVar("Kept")


@dataclass(slots=True)
class Found(Generic[Kept]):
    """What a round trip gave.

    Attributes:
        rows: those that are there, and what was read of each.
        epoch: what the slot guard said afterwards.
    """

    rows: dict[TableRow, Kept]
    epoch: int | None


AT_ONCE = 1
"""Round trips to a shard at the same time: two would be half as large each."""
MAX_TOGETHER = 64
"""Items in one round trip for several callers, of 400 KB each at the most."""


def get_each(cluster: Cluster, gets: Sequence[Get]) -> list[Got]:
    """Read items by key, of one table or several.

    Returns:
        What was there, in the order of `gets`.

    Raises:
        TableNotFound: there is no such table.
        InvalidItem: a key is not one of its table.
        MissingTable: the catalog's knowledge of a table is outdated.
        SlotsMoved: that of the slots is.
        ShardUnavailable: a shard does not answer.
    """
    rows = rows_of(cluster, gets)
    found: Items = {}
    for owner, wanted in by_owner(cluster, rows).items():
        with owner.shard.admission:
            found.update(batcher_of(owner.shard).read(owner, wanted))
    return got(gets, rows, found)


def rows_of(cluster: Cluster, gets: Sequence[Get]) -> list[TableRow]:
    """Where the items lie.

    Raises:
        TableNotFound: there is no such table.
        InvalidItem: a key is not one of its table.
    """
    rows: list[TableRow] = []
    for get in gets:
        table = cluster.table(get.table)
        rows.append((table.id, table.key_only(get.key)))
    return rows


def got(gets: Sequence[Get], rows: Sequence[TableRow], found: Items) -> list[Got]:
    """What was there, in the order of `gets`, whose rows these are. An empty item is the
    placeholder of an intent, which is no item."""
    return [
        Got(found.get(row) or None, get.projection) for get, row in zip(gets, rows, strict=True)
    ]


class GetBatcher(Generic[Kept]):
    """Batches the reads by key from one shard (see `mynamo.runtime.batching`).

    A request joins a batch before its statements are sent, so it sees every write that had
    returned when it began. The batcher has no reference to its shard, so that it ends with it.

    Args:
        statements_for: gives the statements that read rows, one for each table.
        found_in: reads what these gave.
    """

    def __init__(
        self,
        statements_for: Callable[[Wanted], list[Statement]],
        found_in: Callable[[Wanted, Sequence[Result]], Found[Kept]],
    ) -> None:
        self._statements_for = statements_for
        self._found_in = found_in
        self.batcher: Batcher[tuple[DynamoDBShard, Wanted], Found[Kept]] = Batcher(
            self._run_batch, max_running=AT_ONCE, max_count=MAX_TOGETHER, max_size=0,
            name="get items",
        )  # fmt: skip

    def read(self, owner: Owner, wanted: Wanted) -> dict[TableRow, Kept]:
        """The rows with these keys that are there, and perhaps others.

        Raises:
            MissingTable, SlotsMoved, ShardUnavailable: see `get_each`.
        """
        shard, found = owner.shard, None
        count = sum(map(len, wanted.values()))
        if count < MAX_TOGETHER:
            found = self.batcher.submit(Entry((shard, wanted), count, 0))
        if found is None:
            found = self._found_in(wanted, shard.ask(*self._statements_for(wanted)))
        check_epoch(found.epoch, owner)
        return found.rows

    def _run_batch(
        self, callers: Sequence[Entry[tuple[DynamoDBShard, Wanted], Found[Kept]]]
    ) -> None:
        together: dict[int, dict[RowKey, None]] = {}
        for caller in callers:
            for table_id, keys in caller.request[1].items():
                together.setdefault(table_id, {}).update(dict.fromkeys(keys))
        wanted = {table_id: list(keys) for table_id, keys in together.items()}
        try:
            with callers[0].request[0].session() as session:
                found = self._found_in(wanted, session.run(*self._statements_for(wanted)))
        except MynamoError:  # patience, and a table that is gone, are each caller's own
            return
        for caller in callers:
            caller.answer = found


def statements_for(wanted: Wanted, columns: Sequence[str] = ("item",)) -> list[Statement]:
    """Statements that read columns of rows, one for each table.

    The last one has the slot guard too: if that has an epoch still, the shard owned the slots
    when the statements before it read."""
    *others, (table_id, keys) = wanted.items()
    return [
        *(item_statement(*each, columns) for each in others),
        guarded_statement(table_id, keys, columns),
    ]


def found_in(wanted: Wanted, results: Sequence[Result]) -> Found[bytes]:
    """What `statements_for` the same gave."""
    *others, last = results
    epoch = last.rows[0][3] if last.rows else None
    items = {
        (table_id, RowKey(h, s)): data
        for table_id, result in zip(wanted, others, strict=False)
        for h, s, data in result.rows
    }
    table_id = next(reversed(wanted))
    for h, s, data, _ in last.rows:
        if h is not None:
            items[table_id, RowKey(h, s)] = data
    return Found(items, epoch)


batcher_of = PerShard(lambda _: GetBatcher(statements_for, found_in)).of
"""The batcher of a shard's reads by key, one per process."""


def item_statement(
    table_id: int, keys: Iterable[RowKey], columns: Sequence[str] = ("item",)
) -> Statement:
    """The items with these keys; ORs of ANDs, which both servers make ranges of."""
    keys = list(keys)
    statement = (
        f"SELECT hash, sort, {', '.join(columns)} FROM {sql.main_table(table_id)}"
        f" FORCE INDEX (PRIMARY) WHERE {sql.any_row(keys)}"
    )
    return statement, [part for key in keys for part in key]


def guarded_statement(
    table_id: int, keys: Iterable[RowKey], columns: Sequence[str] = ("item",)
) -> Statement:
    """As `item_statement`, with the slot guard's epoch beside each item, or beside NULL if there is
    none of them. A statement of its own for the guard would make a read a tenth dearer."""
    keys = list(keys)
    shown = ", ".join([f"t.{column}" for column in columns])
    statement = (
        f"SELECT t.hash, t.sort, {shown}, f.version FROM mynamo_fence f FORCE INDEX (PRIMARY)"
        f" LEFT JOIN {sql.main_table(table_id)} t FORCE INDEX (PRIMARY) ON {sql.any_row(keys)}"
        " WHERE f.id = 0"
    )
    return statement, [part for key in keys for part in key]


def by_owner(cluster: Cluster, rows: Sequence[TableRow]) -> dict[Owner, Wanted]:
    """The rows by the shards that own them, each shard once, all by one slot map.

    Raises:
        RangeStopped: some are not read at the moment.
    """
    if len(rows) == 1:  # as mostly
        ((table, key),) = rows
        return {cluster.owner_of(key.hash): {table: [key]}}
    snapshot = cluster.snapshot
    owners: dict[DynamoDBShard, Owner] = {}
    wanted: dict[DynamoDBShard, Wanted] = {}
    for table, key in dict.fromkeys(rows):
        owner = cluster.owner_of(key.hash, snapshot)
        owners[owner.shard] = owners.get(owner.shard, owner).and_of(owner)
        wanted.setdefault(owner.shard, {}).setdefault(table, []).append(key)
    return {owners[shard]: some for shard, some in wanted.items()}
