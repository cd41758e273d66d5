"""Re-emitting items: an index is mended by the same pipeline that maintains it.

A re-emitted event has the item as it is now. It is inserted into the outbox under the item's row
lock, so it is in order with the item's other changes, and the indexer applies it like those.
"""

from __future__ import annotations

import uuid

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster, Route
from mynamo.catalog.intents import OWN_VERSION
from mynamo.catalog.shard import retry
from mynamo.catalog.slot_guard import LOCK_EPOCH, by_newest_slots, check_epoch, epoch_in
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.mysql.failures import DuplicateKey
from mynamo.mysql.pool import Session
from mynamo.runtime.local_wakeups import relay_wake_ups, wake_up
from mynamo.schemas.events import Origin, outbox_payload
from mynamo.schemas.items import load_item
from mynamo.schemas.values import StoredItem
from mynamo.writer.transaction.evaluation import OutboxRow
from mynamo.writer.transaction.statements import insert_outbox


def re_emitted_event(
    cluster: Cluster,
    table: Table,
    row: RowKey,
    item: StoredItem | None,
    ghost: StoredItem | None,
    version: int,
    origin: Origin,
    index: Index,
) -> OutboxRow:
    """The event that makes an index say what the table says of one item.

    Args:
        item: as it is now; None if there is none.
        ghost: what the index wrongly says of it; its row goes.
        version: of the item.
    """
    known = item if item is not None else ghost or {}
    return OutboxRow(
        partition=cluster.partition_of(table.id, row.slot),
        feeds=True,
        table_id=table.id,
        item_version=version,
        payload=outbox_payload(
            table_id=table.id,
            table=table.name,
            schema_version=table.version,
            operation="REMOVE" if item is None else "MODIFY",
            origin=origin,
            index_id=index.id,
            keys=table.key_attributes(known),
            old_image=ghost,
            new_image=item,
        ),
    )


def re_emit(
    cluster: Cluster,
    table: Table,
    index: Index,
    row: RowKey,
    ghost: StoredItem | None = None,
) -> int:
    """Make an index say what the table says of one item, in order with its changes.

    Args:
        row: of the item, which may be gone.
        ghost: what the index wrongly holds of it (keys at least), if anything.

    Returns:
        The id of the event's outbox row; 0 if there is nothing to say.
    """

    def once() -> int:
        route = cluster.route(table.id, row.hash)
        with route.shard.session() as session:
            outbox_id = _re_emit(cluster, session, route, table, index, row, ghost)
        wake_up(cluster.id, relay_wake_ups(route.shard.id))
        return outbox_id

    return by_newest_slots(cluster, lambda: retry(once))


def _re_emit(
    cluster: Cluster,
    session: Session,
    route: Route,
    table: Table,
    index: Index,
    row: RowKey,
    ghost: StoredItem | None,
) -> int:
    main = sql.main_table(table.id)
    locked = (
        f"SELECT {OWN_VERSION}, item FROM {main} WHERE hash = %s AND sort = %s FOR UPDATE",
        row,
    )
    _, guard, rows = session.run(("BEGIN", ()), LOCK_EPOCH, locked)
    check_epoch(epoch_in(guard), route)
    found = rows.rows
    version, data = found[0] if found else (0, b"")
    if not version and ghost is None:
        session.rollback()
        return 0
    if not found:
        try:  # only a row, this one or the placeholder of an intent, keeps an absent item absent
            session.run((f"INSERT INTO {main} VALUES (%s, %s, 0, '')", row))
        except DuplicateKey:
            session.rollback()
            return _re_emit(cluster, session, route, table, index, row, ghost)
    item = load_item(data) if version else None
    event = re_emitted_event(cluster, table, row, item, ghost, version, "repair", index)
    done = session.run(insert_outbox([event], uuid.uuid4().bytes))
    if not found:
        session.run((f"DELETE FROM {main} WHERE hash = %s AND sort = %s", row))
    session.run(("COMMIT", ()))
    return done[0].insert_id
