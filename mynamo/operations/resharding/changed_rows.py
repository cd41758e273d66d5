"""M5: what has changed since it was copied, by the source's move log.

a.  On the target: begin, lock the fences of the range's slots, and compare move and term.
b.  On the source: read the next entries of the log, **then** the rows that they name.
c.  On the target: write or delete these rows; commit.
d.  On the source: delete the entries that b has read, by their ids.

A crash before the commit: nothing happened; after it: the entries are read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mynamo.catalog import move_log, sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import GsiRow, RowChange
from mynamo.catalog.intents import read_items
from mynamo.catalog.shard import retry
from mynamo.catalog.snapshot import SlotMove
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.operations.resharding.hidden_rows import (
    Item,
    gsi_change,
    read_applied,
    read_gsi_rows,
    read_tokens,
    write_applied,
    write_gsi_rows,
    write_items,
    write_tokens,
)
from mynamo.operations.resharding.ranges import held
from mynamo.runtime.crash_points import crash_point

ENTRIES = 1000
_ROWS = 250
"""Of items and index rows in one transaction, which may be large."""


def catch_up(cluster: Cluster, move: SlotMove) -> int:
    """M5, once.

    Returns:
        How many entries of the log it has worked off.

    Raises:
        NoLongerMover: another mover has the range.
        ShardUnavailable: a shard does not answer.
    """
    return retry(lambda: _catch_up(cluster, move))


def waiting_entries(cluster: Cluster, move: SlotMove, kinds: Sequence[int]) -> bool:
    """Whether the log has entries of these kinds."""
    (found,) = cluster.shards[move.source].run(
        ("SELECT 1 FROM mynamo_move_log WHERE move_id = %s"
         f" AND kind IN ({sql.placeholders(kinds)}) LIMIT 1", (move.id, *kinds))
    )  # fmt: skip
    return bool(found.rows)


def _catch_up(cluster: Cluster, move: SlotMove) -> int:
    source, target = cluster.shards[move.source], cluster.shards[move.target]
    with held(target, move) as (session, _):  # a
        with source.session() as reading:  # b
            entries = reading.run(
                ("SELECT id, kind, table_id, index_id, hash, sort, item_hash, item_sort"
                 " FROM mynamo_move_log FORCE INDEX (PRIMARY) WHERE move_id = %s"
                 f" ORDER BY id LIMIT {ENTRIES:d}", (move.id,))
            )[0].rows  # fmt: skip
            if entries:
                _write(cluster, entries, reading, session)  # c
        session.run(("COMMIT", ()))
    crash_point("move.5")
    if entries:  # d
        ids = [entry[0] for entry in entries]
        source.run((f"DELETE FROM mynamo_move_log WHERE id IN ({sql.placeholders(ids)})", ids))
    return len(entries)


def _write(
    cluster: Cluster, entries: Sequence[Sequence[Any]], source: Session, target: Session
) -> None:
    """Read the rows that entries name, as they are now, and write them to the target."""
    items: dict[int, dict[RowKey, None]] = {}
    rows: dict[tuple[int, int], dict[GsiRow, None]] = {}
    tokens: list[bytes] = []
    commands: list[tuple[int, bytes]] = []
    for _, kind, table_id, index_id, hash_, sort, item_hash, item_sort in entries:
        if kind == move_log.ITEM:
            items.setdefault(table_id, {})[RowKey(hash_, sort)] = None
        elif kind == move_log.GSI_ROW:
            row = GsiRow(hash_, sort, item_hash, item_sort)
            rows.setdefault((table_id, index_id), {})[row] = None
        elif kind == move_log.TOKEN:
            tokens.append(hash_)
        else:
            commands.append((index_id, hash_))
    for table_id, keys in items.items():
        table = cluster.table_by_id(table_id)
        if table is not None and table.status != "DELETING":
            _write_items(table, sorted(keys), source, target)
    for (table_id, index_id), keys_ in rows.items():
        index = _index(cluster.table_by_id(table_id), index_id)
        if index is not None:
            _write_gsi_rows(index, sorted(keys_), source, target)
    if tokens:
        found = _run(source, (read_tokens(f"token IN ({sql.placeholders(tokens)})"), tokens))
        if found.rows:
            target.run(write_tokens(found.rows))
    if commands:
        one = "(slot = %s AND command_id = %s)"
        where = " OR ".join([one] * len(commands))
        found = _run(source, (read_applied(where), [v for each in commands for v in each]))
        if found.rows:
            target.run(write_applied(found.rows))


def _write_items(table: Table, keys: Sequence[RowKey], source: Session, target: Session) -> None:
    for start in range(0, len(keys), _ROWS):
        some = keys[start : start + _ROWS]
        found = {
            RowKey(hash_, sort): Item(version, data)
            for hash_, sort, version, data in _run(source, read_items(table.id, some)).rows
        }
        write_items(target, table, {key: found.get(key) for key in some})


def _write_gsi_rows(index: Index, rows: Sequence[GsiRow], source: Session, target: Session) -> None:
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        found = {
            GsiRow(*row[:4]): gsi_change(index, row)
            for row in _run(source, read_gsi_rows(index, some)).rows
        }
        target.run(
            *write_gsi_rows([found.get(row) or RowChange(index, row, 0, None) for row in some])
        )


def _index(table: Table | None, index_id: int) -> Index | None:
    if table is None:
        return None
    return next((index for index in table.global_indexes if index.id == index_id), None)


def _run(session: Session, statement: Statement) -> Result:
    return session.run(statement)[0]
