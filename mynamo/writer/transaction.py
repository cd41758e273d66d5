"""The write transaction: main rows, LSI rows and outbox rows, all or nothing.

Two round trips, whatever the number of writes:

1.  BEGIN; lock the fences shared; lock the rows, in key order.  A crash here: nothing
    happened.
2.  Check the fences: a write that knows an outdated definition goes no further.
3.  Evaluate each write on the item as the one before left it. One that is refused
    leaves the others alone.
4.  Insert new rows (a duplicate: somebody was faster, start again), then the outbox rows
    (their ids become the versions: the row's lock is held, so ids order the changes of an
    item), then update main and LSI rows; COMMIT.  A crash before the commit: nothing
    happened; after it: all of it is on disk, and the relay finds the outbox rows.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from mynamo.errors import (
    ConditionFailed,
    CorruptData,
    InvalidItem,
    MynamoError,
    ShardUnavailable,
    WriteOutcomeUnknown,
)
from mynamo.schemas.events import outbox_payload
from mynamo.schemas.items import dump_item, load_item
from mynamo.schemas.sizes import check_size
from mynamo.schemas.values import StoredItem
from mynamo.shards import sql
from mynamo.shards.cluster import Cluster
from mynamo.shards.failures import Contention, DuplicateKey, LostConnection, MissingTable
from mynamo.shards.pool import Result, Session, Statement
from mynamo.shards.shard import DynamoDBShard, retry
from mynamo.shards.tables import Index, RowKey, Table
from mynamo.writer.outbox import OutboxRow, insert_outbox
from mynamo.writer.requests import Current, Write

OUTBOX_KEEPS = 30.0
"""Seconds for which the outbox keeps a row at the least, so that a writer that lost its
connection during commit can find out what became of it."""


class StaleDefinition(MynamoError):  # noqa: N818
    """The write knew an outdated definition of its table, or of the slots."""

    def __init__(self, table_ids: set[int]) -> None:
        super().__init__()
        self.table_ids = table_ids


@dataclass(frozen=True, slots=True)
class Done:
    """A write that was applied.

    Attributes:
        version: of the change, which is the id of its outbox row; 0 if nothing changed.
        old: the item before.
        new: the item after.
        repeated: it is a queued write that had been applied before.
    """

    version: int
    old: StoredItem | None = None
    new: StoredItem | None = None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A write that was not applied: why, for its caller alone.

    Attributes:
        repeated: it is a queued write that had been refused before.
    """

    error: MynamoError
    repeated: bool = False


Outcome = Done | Refused


@dataclass(slots=True)
class _Row:
    """A main row in the course of the transaction."""

    table: Table
    key: RowKey
    before: Current
    now: Current
    events: int = 0


@dataclass(slots=True)
class _Plan:
    """What step 3 found out."""

    outcomes: list[Outcome] = field(default_factory=list)
    events: list[OutboxRow] = field(default_factory=list)
    commands: list[tuple[bytes, int | None, str | None]] = field(default_factory=list)


def commit(cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]) -> list[Outcome]:
    """Apply writes that belong to one shard, in order, in one transaction.

    Returns:
        One outcome per write.

    Raises:
        StaleDefinition: nothing was written; refresh the catalog and try again.
        ShardUnavailable: nothing was written; the server does not answer.
        WriteOutcomeUnknown: the connection was lost and its commit's fate is not known.
    """
    return retry(
        lambda: _attempt(cluster, shard, writes),
        mends=(Contention, DuplicateKey, LostConnection),
    )


def _attempt(cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]) -> list[Outcome]:
    with shard.session() as session:
        rows, seen_commands = _lock(cluster, shard, session, writes)  # steps 1 and 2
        plan = _evaluate(cluster, writes, rows, seen_commands)  # step 3
        if not plan.events and not plan.commands:
            session.rollback()
            return plan.outcomes
        write_id = uuid.uuid4().bytes
        statements, outbox_at = _statements(list(rows.values()), plan, write_id)
        thread, sent_at = session.thread_id, time.monotonic()
        try:
            results = session.run(*statements)  # step 4
        except LostConnection as failure:
            lost = failure
        else:
            first_id = results[outbox_at].insert_id if plan.events else 0
            return _with_versions(plan.outcomes, first_id)
    # The dead connection is given back first: finding out needs another one.
    fate = _fate(shard, thread, write_id, sent_at)
    if fate is None:
        raise lost
    return _with_versions(plan.outcomes, fate)


def _lock(
    cluster: Cluster, shard: DynamoDBShard, session: Session, writes: Sequence[Write]
) -> tuple[dict[tuple[int, RowKey], _Row], dict[bytes, Outcome]]:
    tables = {write.table.id: write.table for write in writes}
    keys = sorted({(write.table.id, write.row) for write in writes})
    commands = [write.command_id for write in writes if write.command_id]
    fences = (0, *sorted(tables))
    statements: list[Statement] = [
        ("BEGIN", ()),
        # By primary key even when there are few: a scan would wait for other tables' changes.
        ("SELECT id, version FROM mynamo_fence FORCE INDEX (PRIMARY)"
         f" WHERE id IN ({_marks(fences)}) ORDER BY id LOCK IN SHARE MODE", fences),
    ]  # fmt: skip
    for table_id, row in keys:
        statements.append(
            (f"SELECT version, item FROM {sql.main_table(table_id)}"
             " WHERE hash = %s AND sort = %s FOR UPDATE", row)
        )  # fmt: skip
    if commands:  # after the locks, to see what whoever held them has committed
        statements.append(
            ("SELECT command_id, version, refused FROM mynamo_command"
             f" WHERE command_id IN ({_marks(commands)})", commands)
        )  # fmt: skip
    try:
        results = session.run(*statements)
    except MissingTable:
        raise StaleDefinition(set(tables)) from None
    known = {0: cluster.slot_epoch(shard.id)} | {t.id: t.version for t in tables.values()}
    _check_fences(known, dict(results[1].rows))
    rows = {
        (table_id, row): _row(tables[table_id], row, result)
        for (table_id, row), result in zip(keys, results[2:], strict=False)
    }
    return rows, _seen(results[-1]) if commands else {}


def _check_fences(known: dict[int, int], found: dict[int, int]) -> None:
    if found != known:
        raise StaleDefinition({i for i in known if i and found.get(i) != known[i]})


def _row(table: Table, key: RowKey, result: Result) -> _Row:
    if result.rows:
        version, data = result.rows[0]
        current = Current(load_item(data), version)
    else:
        current = Current(None, 0)
    return _Row(table, key, current, current)


def _seen(result: Result) -> dict[bytes, Outcome]:
    return {
        command_id: Refused(ConditionFailed(refused.decode("utf-8", "replace")), repeated=True)
        if refused is not None
        else Done(version or 0, repeated=True)
        for command_id, version, refused in result.rows
    }


def _evaluate(
    cluster: Cluster,
    writes: Sequence[Write],
    rows: dict[tuple[int, RowKey], _Row],
    seen: dict[bytes, Outcome],
) -> _Plan:
    plan = _Plan()
    for write in writes:
        if write.command_id in seen:
            plan.outcomes.append(seen[write.command_id])
            continue
        row = rows[write.table.id, write.row]
        try:
            outcome: Outcome = _evaluate_one(cluster, write, row, plan)
        except (ConditionFailed, InvalidItem) as error:
            outcome = Refused(error)
        plan.outcomes.append(outcome)
        if write.command_id:
            refusal = str(outcome.error) if isinstance(outcome, Refused) else None
            event = len(plan.events) - 1 if isinstance(outcome, Done) and outcome.version else None
            plan.commands.append((write.command_id, event, refusal))
            seen[write.command_id] = outcome
    return plan


def _evaluate_one(cluster: Cluster, write: Write, row: _Row, plan: _Plan) -> Done:
    old = row.now.item
    if old is not None and any(old.get(name) != value for name, value in write.key.items()):
        raise CorruptData(
            f"table {write.table.name}: two hash keys have the same 128-bit hash: "
            f"{write.key} and {write.table.key_attributes(old)}"
        )
    new = write.change(row.now)
    if new is None and old is None:
        return Done(0)
    if new is not None:
        check_size(new)
        write.table.check(new)
    plan.events.append(_event(cluster, write, old, new))
    row.now = Current(new, -len(plan.events))
    row.events += 1
    # Its version is known only after the insert: the event's number stands for it.
    return Done(len(plan.events), old, new)


def _event(
    cluster: Cluster, write: Write, old: StoredItem | None, new: StoredItem | None
) -> OutboxRow:
    table = write.table
    return OutboxRow(
        partition=cluster.partition_of(table.id, write.row.slot),
        feeds=bool(table.global_indexes),
        table_id=table.id,
        payload=outbox_payload(
            table_id=table.id,
            table=table.name,
            schema_version=table.version,
            operation="INSERT" if old is None else "REMOVE" if new is None else "MODIFY",
            keys=write.key,
            old_image=old,
            new_image=new,
        ),
    )


def _statements(rows: list[_Row], plan: _Plan, write_id: bytes) -> tuple[list[Statement], int]:
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


def _insert_new(row: _Row) -> Statement:
    data = dump_item(row.now.item) if row.now.item is not None else b""
    return (
        f"INSERT INTO {sql.main_table(row.table.id)} (hash, sort, version, item)"
        " VALUES (%s, %s, 0, %s)",
        (*row.key, data),
    )


def _update_main(row: _Row) -> Statement:
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


def _update_local_indexes(row: _Row) -> list[Statement]:
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


def _with_versions(outcomes: list[Outcome], first_id: int) -> list[Outcome]:
    """Put the real versions in place of the events' numbers."""
    return [
        Done(first_id + o.version - 1, o.old, o.new)
        if isinstance(o, Done) and o.version and not o.repeated
        else o
        for o in outcomes
    ]


def _fate(shard: DynamoDBShard, thread: int, write_id: bytes, sent_at: float) -> int | None:
    """Find out whether a transaction committed whose connection was lost.

    Returns:
        The id of its first outbox row, or None if it did not commit and never will.

    Raises:
        WriteOutcomeUnknown: the server cannot be asked in time.
    """
    while True:
        asked_after = time.monotonic() - sent_at
        try:
            with shard.session() as session:
                alive, uptime, rows = session.run(
                    ("SELECT 1 FROM information_schema.processlist WHERE id = %s", (thread,)),
                    ("SHOW GLOBAL STATUS LIKE 'Uptime'", ()),
                    ("SELECT MIN(id) FROM mynamo_outbox WHERE write_id = %s", (write_id,)),
                )
        except ShardUnavailable:
            pass
        else:
            if rows.rows[0][0] is not None:
                return int(rows.rows[0][0])
            # Its session is over, so what it did is decided; a server that was started
            # since then gives the session's number to others.
            over = not alive.rows or float(uptime.rows[0][1]) + 1 < asked_after
            if over and time.monotonic() - sent_at < OUTBOX_KEEPS * 0.8:
                return None
        if asked_after >= OUTBOX_KEEPS * 0.8:  # from now on, absent may mean deleted
            break
        time.sleep(0.1)
    raise WriteOutcomeUnknown(
        f"{shard.where}: the connection was lost during commit and the server does not answer; "
        "read the item to see whether it was written"
    )


def _marks(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))
