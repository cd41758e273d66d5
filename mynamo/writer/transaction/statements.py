"""The statements that write what a batch of writes came to, in one round trip.

Each is for all rows of a table at once: a server takes as long to parse a statement as to
write a row. None has a join or an alias: MySQL and MariaDB scan small tables then, and a scan
waits for the rows of other writers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, groupby
from typing import Any, Literal

from mynamo.catalog import sql
from mynamo.catalog.intents import MARK, read_decisions
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.move_log import COMMAND, TOKEN, Entry, insert_log, item_entry
from mynamo.catalog.tables import Index, RowKey
from mynamo.mysql.pool import Statement
from mynamo.schemas.items import dump_item
from mynamo.writer.transaction.evaluation import DoneCommand, OutboxRow, Plan, Row
from mynamo.writer.transaction.request_tokens import insert_tokens, look_up
from mynamo.writer.transaction.write_requests import AllOrNothing, Write

LockedRow = tuple[int, RowKey]
"""A table's id and a row of it."""


def statements_of(
    rows: Sequence[Row],
    plan: Plan,
    write_id: bytes,
    generation: int,
    besides: Sequence[Statement] = (),
    log: Sequence[Statement] = (),
    *,
    by_slot: bool = True,
) -> tuple[list[Statement], int]:
    """Step 4, and the position of the insert into the outbox among its statements.

    Args:
        rows: those of one table side by side.
        generation: the shard's, if there are tokens to keep.
        besides: what else belongs into the transaction.
        log: what `log_of` gave.
        by_slot: see `insert_commands`.
    """
    changed = changed_by_table(rows)
    statements = new_rows(changed)
    outbox_at = len(statements)
    if plan.events:
        statements.append(insert_outbox(plan.events, write_id))
    statements += final_rows(changed)
    if plan.commands:
        statements.append(insert_commands(plan.commands, by_slot))
    statements += besides
    if plan.tokens:
        statements.append(insert_tokens(plan.tokens, generation))
    statements += log
    statements.append(("COMMIT", ()))
    return statements, outbox_at


def log_of(callers: Iterable[Sequence[Write]], rows: Mapping[LockedRow, Row]) -> list[Statement]:
    """What is logged of writes to slots that are moving: items, tokens and ids of commands.

    Args:
        rows: as the writes left them.
    """
    entries: dict[Entry, None] = {}
    for writes in callers:
        for write in writes:
            move = write.route.log
            if move is None:
                continue
            if rows[write.table.id, write.row].events:
                entries[item_entry(move, write.table.id, write.row)] = None
            if write.request.command_id:
                entries[Entry(move.id, COMMAND, 0, write.row.slot, write.request.command_id)] = None
        if isinstance(writes, AllOrNothing) and writes.token is not None:
            move = writes[0].route.log
            if move is not None:
                entries[Entry(move.id, TOKEN, 0, 0, writes.token.token)] = None
    return insert_log(list(entries))


Changed = Sequence[tuple[str, Sequence[Row]]]
"""Rows to write, by the name of their table."""


def changed_by_table(rows: Iterable[Row]) -> Changed:
    """Those that changed, or are held."""
    return [
        (sql.main_table(table_id), list(changed))
        for table_id, changed in groupby(
            (row for row in rows if row.events or row.held), lambda row: row.table.id
        )
    ]


def _is_new(row: Row) -> bool:
    """Whether it must be inserted: there is neither an item nor an intent's placeholder."""
    return row.before.item is None and not row.placeholder


def new_rows(tables: Changed) -> list[Statement]:
    """Insert rows that were absent, before the outbox gives their versions."""
    statements: list[Statement] = []
    for table, changed in tables:
        statements += _insert_new(table, [row for row in changed if _is_new(row)])
    return statements


def final_rows(tables: Changed) -> list[Statement]:
    """Bring main and LSI rows to their final state, behind the insert into the outbox."""
    statements: list[Statement] = []
    for table, changed in tables:
        statements += _finish_new(table, [row for row in changed if _is_new(row)])
        statements += _update(table, [row for row in changed if not _is_new(row)])
        for index in changed[0].table.indexes_beside:
            statements += _update_local(index, changed)
    return statements


IfHeld = Literal["", "SKIP LOCKED"]
"""What is done about a row that somebody else holds: wait for it, or leave it out."""


def lock_statements(
    table_ids: Collection[int],
    rows: Sequence[LockedRow],
    commands: Sequence[tuple[int, bytes]],
    tokens: Sequence[bytes],
    if_held: IfHeld,
    decisions: Sequence[bytes] = (),
) -> list[Statement]:
    """Step 1: begin, lock the definition guards shared, then the rows, and read them.

    All by primary key, even where there are few rows: a scan would wait for others' rows.

    Args:
        table_ids: in ascending order.
        rows: in ascending order.
        commands: slots and ids of queued writes, looked up after the locks, to see what whoever
            held them has committed.
        tokens: of transactions, looked up likewise. The shard's generation is locked with the
            guards then.
        decisions: of transactions with these ids, likewise.

    Returns:
        BEGIN, the guards, one statement for each table, one for the commands, one for the decisions
        and one for the tokens, if there are any.
    """
    guards, by_table = (0, *table_ids), by_table_of(rows)
    if tokens or decisions:
        guards = (*guards, GENERATION_ROW)
    shared = _SHARED.format(if_held) if if_held else "LOCK IN SHARE MODE"
    statements: list[Statement] = [
        ("BEGIN", ()),
        ("SELECT id, version FROM mynamo_fence FORCE INDEX (PRIMARY)"
         f" WHERE id IN ({sql.placeholders(guards)}) ORDER BY id {shared}", guards),
    ]  # fmt: skip
    exclusive = f"FOR UPDATE {if_held}".rstrip()
    for table_id, keys in by_table:
        statements.append((
            f"SELECT hash, sort, version, item FROM {sql.main_table(table_id)}"
            f" FORCE INDEX (PRIMARY) WHERE {sql.any_row(keys)} {exclusive}",
            list(chain.from_iterable(keys)),
        ))  # fmt: skip
    if commands:
        statements.append(look_up_commands(commands))
    if decisions:
        statements.append(read_decisions(decisions))
    if tokens:
        statements.append(look_up(tokens))
    return statements


_SHARED = "/*!80000 FOR SHARE {0} *//*M!100600 LOCK IN SHARE MODE {0} */"
"""Each server has words of its own for a shared lock that does not wait, and skips the other's."""


def looks(rows: Sequence[LockedRow]) -> tuple[list[Statement], list[Statement]]:
    """Step 1b: which rows there are, locked or not: before and after `lock_statements`.

    Those before see rows that others are inserting; those after, what is committed. An inserted
    row that is not committed is invisible to the latter, a deleted one to the former.

    Returns:
        Statements whose rows, if they have any, are (table's id, hash, sort).
    """
    reads = [
        (
            f"SELECT {table_id:d}, hash, sort FROM {sql.main_table(table_id)}"
            f" FORCE INDEX (PRIMARY) WHERE {sql.any_row(keys)}",
            _flat(keys),
        )
        for table_id, keys in by_table_of(rows)
    ]
    uncommitted: list[Statement] = [
        ("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", ()),
        ("BEGIN", ()),
        *reads,
        ("COMMIT", ()),
    ]
    return uncommitted, list(reads)


def by_table_of(rows: Iterable[LockedRow]) -> list[tuple[int, list[RowKey]]]:
    """Keys of rows by their table's id, in their order."""
    found: dict[int, list[RowKey]] = {}
    for table_id, key in rows:
        found.setdefault(table_id, []).append(key)
    return list(found.items())


def mark(rows: Iterable[LockedRow]) -> list[Statement]:
    """Mark items that get an intent; their rows are locked."""
    return _set_versions(rows, f"version | {MARK:d}")


def unmark(rows: Iterable[LockedRow]) -> list[Statement]:
    """Leave items as they are, without an intent."""
    return _set_versions(rows, f"version & {MARK - 1:d}")


def _set_versions(rows: Iterable[LockedRow], version: str) -> list[Statement]:
    return [
        (f"UPDATE {sql.main_table(table_id)} FORCE INDEX (PRIMARY) SET version = {version}"
         f" WHERE {sql.any_row(keys)}", _flat(keys))
        for table_id, keys in by_table_of(rows)
    ]  # fmt: skip


def insert_placeholders(rows: Iterable[LockedRow]) -> list[Statement]:
    """Rows for items that are absent and get an intent; a duplicate says that one is there."""
    return [
        (f"INSERT INTO {sql.main_table(table_id)} (hash, sort, version, item) VALUES "
         + ", ".join(["(%s, %s, 0, '')"] * len(keys)), _flat(keys))
        for table_id, keys in by_table_of(rows)
    ]  # fmt: skip


def delete_rows(rows: Iterable[LockedRow]) -> list[Statement]:
    """Delete rows, of items or of placeholders."""
    return [
        statement
        for table_id, keys in by_table_of(rows)
        for statement in _delete(sql.main_table(table_id), keys)
    ]


def _insert_new(table: str, rows: Sequence[Row]) -> list[Statement]:
    """With the number of its last event in place of the version, which is not known yet."""
    if not rows:
        return []
    values: list[Any] = []
    for row in rows:
        values += (*row.key, _event_of(row) if row.events else 0, _data_of(row))
    return [
        (f"INSERT INTO {table} (hash, sort, version, item) VALUES {_tuples(4, len(rows))}", values)
    ]


def _finish_new(table: str, rows: Sequence[Row]) -> list[Statement]:
    stay = [row.key for row in rows if row.now.item is not None]
    statements: list[Statement] = []
    if stay:
        statements.append(
            (f"UPDATE {table} FORCE INDEX (PRIMARY) SET version = version + LAST_INSERT_ID()"
             f" WHERE {sql.any_row(stay)}", _flat(stay))
        )  # fmt: skip
    return [*statements, *_delete(table, [row.key for row in rows if row.now.item is None])]


def _update(table: str, rows: Sequence[Row]) -> list[Statement]:
    stay = [row for row in rows if row.now.item is not None]
    gone = [row.key for row in rows if row.now.item is None]
    statements = _delete(table, gone) if gone else []
    if stay:
        values: list[Any] = []
        for row in stay:
            values += (*row.key, _event_of(row), _data_of(row))
        places = ", ".join(["(%s, %s, LAST_INSERT_ID() + %s, %s)"] * len(stay))
        statements.append(
            (f"INSERT INTO {table} (hash, sort, version, item) VALUES {places}"
             " ON DUPLICATE KEY UPDATE version = VALUES(version), item = VALUES(item)", values)
        )  # fmt: skip
    return statements


def _delete(table: str, keys: Sequence[RowKey]) -> list[Statement]:
    if not keys:
        return []
    return [(f"DELETE FROM {table} WHERE {sql.any_row(keys)}", _flat(keys))]


def _event_of(row: Row) -> int:
    """The number of its last event: the id is that of the first plus this."""
    return -row.now.version - 1


def _data_of(row: Row) -> bytes:
    """The item; of one that came and went in the same transaction nothing."""
    now = row.now
    if now.item is None:
        return b""
    return dump_item(now.item) if now.data is None else now.data


def _update_local(index: Index, rows: Sequence[Row]) -> list[Statement]:
    gone: list[tuple[bytes, bytes, bytes]] = []
    come: list[tuple[bytes, bytes, bytes]] = []
    for row in rows:
        before, after = index.sort_of(row.before.item), index.sort_of(row.now.item)
        if before == after:
            continue
        if before is not None:
            gone.append((row.key.hash, before, row.key.sort))
        if after is not None:
            come.append((row.key.hash, after, row.key.sort))
    statements = [delete_local(index, gone)] if gone else []
    return [*statements, insert_local(index, come)] if come else statements


def insert_local(index: Index, places: Sequence[tuple[bytes, bytes, bytes]]) -> Statement:
    """Put items into an LSI; they may be there already, by the index's backfill.

    Args:
        places: hash, the index's sort key, and the item's own.
    """
    return (
        f"INSERT INTO {sql.index_table(index)} (hash, index_sort, sort)"
        f" VALUES {_tuples(3, len(places))} ON DUPLICATE KEY UPDATE sort = VALUES(sort)",
        _flat(places),
    )


def delete_local(index: Index, places: Sequence[tuple[bytes, bytes, bytes]]) -> Statement:
    """Take items out of an LSI; see `insert_local`."""
    place = "(hash = %s AND index_sort = %s AND sort = %s)"
    return (
        f"DELETE FROM {sql.index_table(index)} WHERE {' OR '.join([place] * len(places))}",
        _flat(places),
    )


def insert_outbox(rows: Sequence[OutboxRow], write_id: bytes) -> Statement:
    """Insert rows; their ids are consecutive, and the statement's insert id is the first."""
    values: list[Any] = []
    places = []
    for row in rows:
        values += (
            row.partition, row.feeds, row.table_id, row.item_version, write_id, row.payload,
        )  # fmt: skip
        places.append(_RECORDED if row.records else _NOT_RECORDED)
    return (
        "INSERT INTO mynamo_outbox"
        " (seq, part, feeds, table_id, item_version, write_id, created, payload) VALUES "
        + ", ".join(places),
        values,
    )


_NOT_RECORDED = f"(NULL, %s, %s, %s, %s, %s, {sql.NOW}, %s)"
_RECORDED = f"(0, %s, %s, %s, %s, %s, {sql.NOW}, %s)"


def look_up_commands(commands: Sequence[tuple[int, bytes]]) -> Statement:
    """Queued writes that are done: id, version, and why it was refused.

    They may be remembered in either form, see `insert_commands`; of both, the later row counts.

    Args:
        commands: slots and ids.
    """
    places = sql.any_pair("slot", "command_id", commands)
    return (
        "SELECT command_id, version, refused FROM mynamo_command"
        f" WHERE command_id IN ({sql.placeholders(commands)}) UNION ALL"
        " SELECT command_id, version, refused"
        f" FROM mynamo_applied FORCE INDEX (PRIMARY) WHERE ({places})",
        [*(command_id for _, command_id in commands), *chain.from_iterable(commands)],
    )


def insert_commands(commands: Sequence[DoneCommand], by_slot: bool) -> Statement:
    """Remember queued writes.

    Args:
        by_slot: with their slots, with which they move to other shards; up to format 3 of the
            catalog without, as older processes look for them.
    """
    row_values: list[str] = []
    values: list[Any] = []
    for slot, command_id, event, refusal in commands:
        version = "NULL" if event is None else f"LAST_INSERT_ID() + {event:d}"
        row_values.append(f"({'%s, ' if by_slot else ''}%s, {sql.NOW}, {version}, %s)")
        values += [slot] if by_slot else []
        values += [command_id, None if refusal is None else refusal.encode()[:2000]]
    insert = (
        "INSERT INTO mynamo_applied (slot, command_id, done_at, version, refused)"
        if by_slot
        else "INSERT INTO mynamo_command (command_id, done_at, version, refused)"
    )
    return f"{insert} VALUES {', '.join(row_values)}", values


def _tuples(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join(['%s'] * columns)})"] * rows)


def _flat(keys: Iterable[Sequence[bytes]]) -> list[bytes]:
    return [part for key in keys for part in key]
