"""Steps of transactions over several shards, made by hand in plain SQL."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import (
    MARK,
    Action,
    Decision,
    Intent,
    delete_intents,
    insert_intents,
)
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import RowKey, Table
from mynamo.mysql.pool import Session
from mynamo.schemas.events import outbox_payload
from mynamo.schemas.items import dump_item, load_item, to_stored
from tests.rows import select

NEVER = 10**9
"""A generation that no shard has: nobody can decide the transaction, nor say that it is over."""
_OF_ROW = "WHERE hash = %s AND sort = %s"


def place(
    cluster: Cluster,
    table: Table,
    item: dict[str, Any],
    action: Action = Action.PUT,
    *,
    decider: int = 1,
    transaction_id: bytes | None = None,
    generation: int = NEVER,
) -> Intent:
    """T3 of one item: an intent, and its mark or placeholder.

    Args:
        item: as it shall be, in Python form; of other actions its key.
    """
    stored = to_stored(item)
    intent = Intent(
        table.id, table.key_of(stored), transaction_id or uuid.uuid4().bytes, decider, generation,
        action, dump_item(stored) if action == Action.PUT else None,
    )  # fmt: skip
    main = sql.main_table(table.id)
    with _shard(cluster, intent.row).session() as session:
        marked = session.run(
            ("BEGIN", ()),
            (f"UPDATE {main} SET version = version | {MARK:d} {_OF_ROW}", intent.row),
        )[1].count
        if not marked:
            session.run((f"INSERT INTO {main} VALUES (%s, %s, 0, '')", intent.row))
        session.run(insert_intents([intent]), ("COMMIT", ()))
    return intent


def decide(shard: DynamoDBShard, transaction_id: bytes, decision: Decision) -> None:
    """Make the decision of a transaction."""
    shard.run(
        ("INSERT INTO mynamo_transaction (id, decision, generation, decided_at)"
         " VALUES (%s, %s, 1, 0)", (transaction_id, int(decision)))
    )  # fmt: skip


def commit(cluster: Cluster, table: Table, item: dict[str, Any], transaction_id: bytes) -> None:
    """T4: put the deciding shard's own item, and COMMITTED, in one local transaction."""
    stored = to_stored(item)
    row = table.key_of(stored)
    with _shard(cluster, row).session() as session:
        session.run(("BEGIN", ()))
        _write(session, cluster, table, row, dump_item(stored))
        session.run(
            ("INSERT INTO mynamo_transaction (id, decision, generation, decided_at)"
             " VALUES (%s, %s, 1, 0)", (transaction_id, int(Decision.COMMITTED))),
            ("COMMIT", ()),
        )  # fmt: skip


def apply(cluster: Cluster, table: Table, *intents: Intent) -> None:
    """T5, with events and without index rows; of intents that are there still."""
    for intent in intents:
        with _shard(cluster, intent.row).session() as session:
            session.run(("BEGIN", ()))
            if not session.run(delete_intents([intent]))[0].count:
                session.rollback()
                continue
            if intent.action == Action.CHECK:
                _unmark(session, table, intent.row)
            else:
                _write(session, cluster, table, intent.row, intent.item)
            session.run(("COMMIT", ()))


def release(cluster: Cluster, table: Table, *intents: Intent) -> None:
    """Take intents away without effect."""
    for intent in intents:
        with _shard(cluster, intent.row).session() as session:
            session.run(("BEGIN", ()), delete_intents([intent]))
            _unmark(session, table, intent.row)
            session.run(("COMMIT", ()))


def placed(cluster: Cluster, intents: Sequence[Intent]) -> bool:
    """Whether intents are there, each with its mark or placeholder."""
    return all(
        select(
            _shard(cluster, intent.row),
            f"SELECT 1 FROM {sql.main_table(intent.table_id)} t JOIN mynamo_intent i"
            " ON i.hash = t.hash AND i.sort = t.sort"
            " WHERE t.hash = %s AND t.sort = %s AND (t.version >= %s OR t.version = 0)"
            " AND i.table_id = %s AND i.transaction_id = %s",
            *intent.row, MARK, intent.table_id, intent.transaction_id,
        )
        for intent in intents
    )  # fmt: skip


def _shard(cluster: Cluster, row: RowKey) -> DynamoDBShard:
    return cluster.shard_of(row.hash)


def _unmark(session: Session, table: Table, row: RowKey) -> None:
    main = sql.main_table(table.id)
    session.run(
        (f"DELETE FROM {main} {_OF_ROW} AND version = 0", row),
        (f"UPDATE {main} SET version = version & {MARK - 1:d} {_OF_ROW}", row),
    )


def _write(
    session: Session, cluster: Cluster, table: Table, row: RowKey, data: bytes | None
) -> None:
    """An event, and the main row with its id; `data` None: delete it."""
    main = sql.main_table(table.id)
    locked = session.run((f"SELECT item FROM {main} {_OF_ROW} FOR UPDATE", row))[0].rows
    old = load_item(locked[0][0]) if locked and locked[0][0] else None
    new = None if data is None else load_item(data)
    known = new or old
    if known is not None:
        payload = outbox_payload(
            table_id=table.id, table=table.name, schema_version=table.version,
            operation="REMOVE" if new is None else "INSERT" if old is None else "MODIFY",
            keys=table.key_attributes(known), old_image=old, new_image=new,
        )  # fmt: skip
        version = session.run(
            ("INSERT INTO mynamo_outbox (part, feeds, table_id, write_id, created, payload)"
             " VALUES (%s, %s, %s, '', 0, %s)",
             (cluster.partition_of(table.id, row.slot), bool(table.global_indexes), table.id,
              payload))
        )[0].insert_id  # fmt: skip
        if data is not None:
            session.run((f"REPLACE INTO {main} VALUES (%s, %s, %s, %s)", (*row, version, data)))
    if data is None:
        session.run((f"DELETE FROM {main} {_OF_ROW}", row))
