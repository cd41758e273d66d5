"""Reading items by their keys: one round trip to each shard for any number of items. Threads of
one process that read at the same time share round trips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.catalog.tables import RowKey
from mynamo.errors import MynamoError
from mynamo.mysql.pool import Result, Statement
from mynamo.reader.read_requests import Get, Got
from mynamo.runtime.batching import Batcher, Entry

_TableRow = tuple[int, RowKey]
"""A table's id, and the key of one of its rows."""
_Wanted = dict[int, list[RowKey]]
"""Keys of items on one shard, by their table's id."""
_Found = dict[_TableRow, bytes]

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
        ShardUnavailable: a shard does not answer.
    """
    rows: list[_TableRow] = []
    for get in gets:
        table = cluster.table(get.table)
        rows.append((table.id, table.key_only(get.key)))
    found: _Found = {}
    for shard, wanted in _by_shard(cluster, rows).items():
        with shard.admission:
            found.update(batcher_of(shard).read(shard, wanted))
    return [Got(found.get(row), get.projection) for get, row in zip(gets, rows, strict=True)]


class GetBatcher:
    """Batches the reads by key from one shard (see `mynamo.runtime.batching`).

    A request joins a batch before its statements are sent, so it sees every write that had
    returned when it began. The batcher has no reference to its shard, so that it ends with it.
    """

    def __init__(self) -> None:
        self.batcher: Batcher[tuple[DynamoDBShard, _Wanted], _Found] = Batcher(
            _run_batch, max_running=AT_ONCE, max_count=MAX_TOGETHER, max_size=0
        )

    def read(self, shard: DynamoDBShard, wanted: _Wanted) -> _Found:
        """The items with these keys that are there, and perhaps others.

        Raises:
            MissingTable, ShardUnavailable: see `get_each`.
        """
        count = sum(map(len, wanted.values()))
        if count < MAX_TOGETHER:
            found = self.batcher.submit(Entry((shard, wanted), count, 0))
            if found is not None:
                return found
        return _found(wanted, shard.ask(*_statements(wanted)))


def _run_batch(callers: Sequence[Entry[tuple[DynamoDBShard, _Wanted], _Found]]) -> None:
    together: dict[int, dict[RowKey, None]] = {}
    for caller in callers:
        for table_id, keys in caller.request[1].items():
            together.setdefault(table_id, {}).update(dict.fromkeys(keys))
    wanted = {table_id: list(keys) for table_id, keys in together.items()}
    try:
        with callers[0].request[0].session() as session:
            found = _found(wanted, session.run(*_statements(wanted)))
    except MynamoError:  # patience, and a table that is gone, are each caller's own
        return
    for caller in callers:
        caller.answer = found


batcher_of = PerShard(lambda _: GetBatcher()).of
"""The batcher of a shard's reads by key, one per process."""


def _statements(wanted: _Wanted) -> list[Statement]:
    return [item_statement(table_id, keys) for table_id, keys in wanted.items()]


def _found(wanted: _Wanted, results: Sequence[Result]) -> _Found:
    return {
        (table_id, RowKey(h, s)): data
        for table_id, result in zip(wanted, results, strict=True)
        for h, s, data in result.rows
    }


def item_statement(table_id: int, keys: Iterable[RowKey]) -> Statement:
    """The items with these keys; ORs of ANDs, which both servers make ranges of."""
    keys = list(keys)
    statement = (
        f"SELECT hash, sort, item FROM {sql.main_table(table_id)} FORCE INDEX (PRIMARY)"
        f" WHERE {sql.any_row(keys)}"
    )
    return statement, [part for key in keys for part in key]


def _by_shard(cluster: Cluster, rows: Iterable[_TableRow]) -> dict[DynamoDBShard, _Wanted]:
    wanted: dict[DynamoDBShard, _Wanted] = {}
    for table, key in dict.fromkeys(rows):
        wanted.setdefault(cluster.shard_of(key.hash), {}).setdefault(table, []).append(key)
    return wanted
