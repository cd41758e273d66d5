"""M6: whether the target has what the source has of a range.

Both servers sum up their rows, slot by slot. Where the sums differ, because of writes or because
something is wrong, the rows are compared one by one. A row that differs, and of which the log has
no entry, was copied wrongly.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import IS_ITEM, OWN_VERSION
from mynamo.catalog.shard import DynamoDBShard, pause, retry
from mynamo.catalog.snapshot import SlotMove
from mynamo.catalog.tables import Index, Table
from mynamo.errors import CorruptData
from mynamo.mysql.pool import Statement
from mynamo.operations.resharding.changed_rows import catch_up
from mynamo.operations.resharding.ranges import held, tables_of
from mynamo.schemas.keys import slot_range


def compare(cluster: Cluster, move: SlotMove) -> None:
    """Compare all rows of a range on source and target.

    Raises:
        CorruptData: a row differs though the log does not name it.
        NoLongerMover: another mover has the range.
        ShardUnavailable: a shard does not answer.
    """
    source, target = cluster.shards[move.source], cluster.shards[move.target]
    for compared in _all_of(cluster):
        first, count = move.first, _MOST_SLOTS
        while first <= move.last:
            last = min(move.last, first + count - 1)
            began = time.monotonic()
            found, copied = (_sums(shard, compared, first, last) for shard in (source, target))
            for slot in sorted(found.keys() | copied.keys()):
                if found.get(slot) != copied.get(slot):
                    _compare_rows(cluster, move, compared, slot)
            took, first = time.monotonic() - began, last + 1
            if took > _SLOW:
                count = max(1, count // 2)
            elif took < _QUICK:
                count = min(_MOST_SLOTS, count * 2)


def missing_items(cluster: Cluster, move: SlotMove) -> int:
    """How many items of a range the source has, and the target lacks.

    Raises:
        ShardUnavailable: a shard does not answer.
    """
    count = 0
    for table in tables_of(cluster):
        items = _Compared(table, None)
        for slot in range(move.first, move.last + 1):
            where, values = items.within(slot, slot)
            query = f"SELECT hash, sort FROM {items.name} FORCE INDEX (PRIMARY) WHERE {where}"
            had, has = (
                set(cluster.shards[number].run((query, values))[0].rows)
                for number in (move.source, move.target)
            )
            count += len(had - has)
    return count


_MOST_SLOTS = 256
_PATIENCE = 5.0
"""Seconds for which a row may differ that the log does not name: after a switch that was taken back
behind M10 the target may have changes that the source's indexers are about to apply."""
_SLOW, _QUICK = 1.0, 0.2
"""Slots and seconds of one statement that sums up."""


class _Compared:
    """The rows of one physical table."""

    def __init__(self, table: Table, index: Index | None) -> None:
        self.table = table
        self.index = index
        if index is None:
            self.name = sql.main_table(table.id)
            self.order: tuple[str, ...] = ("hash", "sort")
            lengths = f"LENGTH(sort), '/', {OWN_VERSION}, '/'"
            self.row = f"CONCAT({lengths}, hash, sort, item)"
            self.where = f" AND {IS_ITEM}"
        elif index.is_local:
            self.name = sql.index_table(index)
            self.order = ("hash", "index_sort", "sort")
            self.row = "CONCAT(LENGTH(index_sort), '/', LENGTH(sort), '/', hash, index_sort, sort)"
            self.where = ""
        else:
            self.name = sql.index_table(index)
            self.order = ("index_hash", "index_sort", "hash", "sort")
            lengths = "LENGTH(index_sort), '/', LENGTH(sort), '/', version, '/'"
            self.row = f"CONCAT({lengths}, index_hash, index_sort, hash, sort, item)"
            self.where = ""

    def entry(self, key: tuple[bytes, ...]) -> tuple[object, ...]:
        """What an entry of the log says of a row: table, index, and keys."""
        if self.index is not None and self.index.kind == "GSI":
            return self.table.id, self.index.id, *key
        return self.table.id, 0, key[0], key[-1], None, None

    def within(self, first: int, last: int) -> tuple[str, list[bytes]]:
        low, high = slot_range(first, last)
        if high is None:
            return f"{self.order[0]} >= %s{self.where}", [low]
        return f"{self.order[0]} >= %s AND {self.order[0]} < %s{self.where}", [low, high]


def _all_of(cluster: Cluster) -> list[_Compared]:
    return [
        _Compared(table, index)
        for table in tables_of(cluster)
        for index in (None, *table.indexes_beside, *table.global_indexes)
    ]


def _sums(
    shard: DynamoDBShard, compared: _Compared, first: int, last: int
) -> dict[int, tuple[int, int]]:
    """Per slot that has any: how many rows, and the exclusive or of their checksums."""
    where, values = compared.within(first, last)
    checksum = f"CAST(CONV(LEFT(SHA2({compared.row}, 256), 16), 16, 10) AS UNSIGNED)"
    slot = f"CAST(CONV(LEFT(HEX({compared.order[0]}), 3), 16, 10) AS UNSIGNED)"
    (found,) = shard.run(
        (f"SELECT {slot} AS slot, COUNT(*), BIT_XOR({checksum}) FROM {compared.name}"
         f" FORCE INDEX (PRIMARY) WHERE {where} GROUP BY slot", values)
    )  # fmt: skip
    return {slot: (count, bits) for slot, count, bits in found.rows}


def _compare_rows(cluster: Cluster, move: SlotMove, compared: _Compared, slot: int) -> None:
    where, values = compared.within(slot, slot)
    order = ", ".join(compared.order)
    query = (
        f"SELECT {order}, SHA2({compared.row}, 256) FROM {compared.name} FORCE INDEX (PRIMARY)"
        f" WHERE {where}",
        values,
    )
    found, copied = (
        {row[:-1]: row[-1] for row in cluster.shards[number].run(query)[0].rows}
        for number in (move.source, move.target)
    )
    keys = [key for key in found.keys() | copied.keys() if found.get(key) != copied.get(key)]
    for start in range(0, len(keys), 100):
        _settle(cluster, move, compared, sorted(keys[start : start + 100]))


def _settle(
    cluster: Cluster, move: SlotMove, compared: _Compared, keys: Sequence[tuple[bytes, ...]]
) -> None:
    """Catch up, and look at certain rows again. Those that the log names will be copied again.

    Raises:
        CorruptData: another one differs.
    """
    ends_at, attempt = time.monotonic() + _PATIENCE, 0
    while True:
        catch_up(cluster, move)
        different = retry(lambda: _look(cluster, move, compared, keys))
        if not different:
            return
        if time.monotonic() >= ends_at:
            break
        pause(attempt)
        attempt += 1
    raise CorruptData(
        f"{cluster.shards[move.target].where}: {compared.name}: {len(different)} rows of slots "
        f"{move.first}-{move.last} are not those of the source though nobody has changed "
        "them; the slots are not moved: run `mynamo verify` and `mynamo repair`, then `mynamo "
        "slots resume`; if that does not help, `mynamo slots cancel`, and report this"
    )


def _look(
    cluster: Cluster, move: SlotMove, compared: _Compared, keys: Sequence[tuple[bytes, ...]]
) -> list[tuple[bytes, ...]]:
    """Those of certain rows that differ though the log does not name them."""
    one = "(" + " AND ".join(f"{column} = %s" for column in compared.order) + ")"
    query: Statement = (
        f"SELECT {', '.join(compared.order)}, SHA2({compared.row}, 256) FROM {compared.name}"
        f" FORCE INDEX (PRIMARY) WHERE ({' OR '.join([one] * len(keys))}){compared.where}",
        list(chain.from_iterable(keys)),
    )
    with held(cluster.shards[move.target], move) as (session, _):
        with cluster.shards[move.source].session() as source:
            _, _, entries, rows, _ = source.run(
                ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ()),
                ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", ()),
                ("SELECT table_id, index_id, hash, sort, item_hash, item_sort"
                 " FROM mynamo_move_log WHERE move_id = %s", (move.id,)),
                query,
                ("COMMIT", ()),
            )  # fmt: skip
        copied = {row[:-1]: row[-1] for row in session.run(query, ("COMMIT", ()))[0].rows}
    found = {row[:-1]: row[-1] for row in rows.rows}
    named = set(entries.rows)
    return [
        key
        for key in keys
        if found.get(key) != copied.get(key) and compared.entry(key) not in named
    ]
