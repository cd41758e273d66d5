"""The statements that write what a batch of writes came to, in one round trip."""

from __future__ import annotations

from mynamo.schemas.items import dump_item
from mynamo.shards import sql
from mynamo.shards.pool import Statement
from mynamo.shards.tables import Index, RowKey
from mynamo.writer.evaluation import Plan, Row
from mynamo.writer.outbox import insert_outbox


def statements_of(rows: list[Row], plan: Plan, write_id: bytes) -> tuple[list[Statement], int]:
    """Step 4, and the position of the insert into the outbox among its statements."""
    changed = [row for row in rows if row.events]
    statements = [_insert_new(row) for row in changed if row.before.item is None]
    outbox_at = len(statements)
    if plan.events:
        statements.append(insert_outbox(plan.events, write_id))
    for row in changed:
        statements.append(_update_main(row))
        statements.extend(_update_local_indexes(row))
    for command_id, event, refusal in plan.commands:
        statements.append(_insert_command(command_id, event, refusal))
    statements.append(("COMMIT", ()))
    return statements, outbox_at


def _insert_new(row: Row) -> Statement:
    data = dump_item(row.now.item) if row.now.item is not None else b""
    return (
        f"INSERT INTO {sql.main_table(row.table.id)} (hash, sort, version, item)"
        " VALUES (%s, %s, 0, %s)",
        (*row.key, data),
    )


def _update_main(row: Row) -> Statement:
    table = sql.main_table(row.table.id)
    if row.now.item is None:
        return f"DELETE FROM {table} WHERE hash = %s AND sort = %s", row.key
    # The row's last event has the number -version: its id is that of the first plus that.
    offset = -row.now.version - 1
    if row.before.item is None:
        return (
            f"UPDATE {table} SET version = LAST_INSERT_ID() + %s WHERE hash = %s AND sort = %s",
            (offset, *row.key),
        )
    return (
        f"UPDATE {table} SET version = LAST_INSERT_ID() + %s, item = %s"
        " WHERE hash = %s AND sort = %s",
        (offset, dump_item(row.now.item), *row.key),
    )


def _update_local_indexes(row: Row) -> list[Statement]:
    statements: list[Statement] = []
    for index in row.table.local_indexes:
        before, after = index.key_of(row.before.item), index.key_of(row.now.item)
        if before == after:
            continue
        if before is not None:
            statements.append(delete_local(index, row.key, before.sort))
        if after is not None:
            statements.append(insert_local(index, row.key, after.sort))
    return statements


def insert_local(index: Index, row: RowKey, index_sort: bytes) -> Statement:
    """Put an item into an LSI; it may be there already, by the index's filling."""
    return (
        f"INSERT INTO {sql.index_table(index)} (hash, index_sort, sort) VALUES (%s, %s, %s)"
        " ON DUPLICATE KEY UPDATE sort = VALUES(sort)",
        (row.hash, index_sort, row.sort),
    )


def delete_local(index: Index, row: RowKey, index_sort: bytes) -> Statement:
    """Take an item out of an LSI."""
    return (
        f"DELETE FROM {sql.index_table(index)} WHERE hash = %s AND index_sort = %s AND sort = %s",
        (row.hash, index_sort, row.sort),
    )


def _insert_command(command_id: bytes, event: int | None, refusal: str | None) -> Statement:
    version = "NULL" if event is None else f"LAST_INSERT_ID() + {event:d}"
    return (
        "INSERT INTO mynamo_command (command_id, done_at, version, refused)"
        f" VALUES (%s, {sql.NOW}, {version}, %s)",
        (command_id, None if refusal is None else refusal.encode()[:2000]),
    )
