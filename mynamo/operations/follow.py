"""Comparing an index with an item that is written all the time.

Such an item has another version at each look. But each shard has a checkpoint: the last event
that its GSI tables contain, which moves in the transaction that changes them. In one consistent
view of that shard, the item's row must be what the item's last event up to the checkpoint says.
The outbox still has that event.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.mysql.pool import Statement
from mynamo.operations import comparison_statements
from mynamo.operations.comparison_statements import IndexRow
from mynamo.operations.expected_rows import Expected, Stored, expected_row
from mynamo.schemas.events import keys_in_payload


def follow(
    cluster: Cluster, table: Table, index: Index, row: RowKey, version: int
) -> tuple[Expected, Stored | None] | None:
    """Compare an item's row in a GSI with the last event that its shard has applied.

    Args:
        version: of the item, a moment ago; the change that made it has been applied.

    Returns:
        The row that the index must have, and the one it has; None: it cannot be told now.

    Raises:
        ShardUnavailable: a shard does not answer.
        MissingTable: the index was dropped.
    """
    home = cluster.member(cluster.shard_id_of(row.hash))
    known = home.run(comparison_statements.event_of(version))[0].rows
    if not known:
        return None  # forgotten: it is not written that often
    first, partition, payload = known[0]
    keys = keys_in_payload(orjson.loads(payload)["keys"])
    said = _said(cluster, table, index, row, payload, version)
    if said is None:
        return None
    shard = cluster.shards[said.location.shard]
    checkpoint = comparison_statements.checkpoint(home.id, partition)

    def last_event(reached: int) -> tuple[int, bytes] | None:
        query = comparison_statements.last_event(table, keys, partition, first, reached)
        rows = home.run(query)[0].rows
        return rows[0] if rows else None

    reached = shard.run(checkpoint)[0].rows
    event = last_event(reached[0][0]) if reached else None
    if event is None:
        return None
    expected = _said(cluster, table, index, row, event[1], event[0])
    if expected is None or expected.location.shard != shard.id:
        return None  # it has moved on, to another shard or out of the index
    target = expected.location.of(row)
    reached, rows = retry(partial(_view, shard, checkpoint, index, target))
    if last_event(reached[0][0]) != event:
        return None  # another one was applied before the view
    return expected, Stored(*rows[0][-2:]) if rows else None


def _view(
    shard: DynamoDBShard, checkpoint: Statement, index: Index, target: IndexRow
) -> tuple[tuple[tuple[Any, ...], ...], tuple[tuple[Any, ...], ...]]:
    """A checkpoint and a row of a GSI, at the same moment."""
    with shard.session() as session:
        *_, reached, rows, _ = session.run(
            *comparison_statements.SNAPSHOT,
            checkpoint,
            comparison_statements.global_rows_of(index, [target]),
            ("COMMIT", ()),
        )
    return reached.rows, rows.rows


def _said(
    cluster: Cluster, table: Table, index: Index, row: RowKey, payload: bytes, version: int
) -> Expected | None:
    """The row that an item must have by an event; None: none, or it is not of this item."""
    event = orjson.loads(payload)
    if table.key_of(event["keys"]) != row:
        return None
    return expected_row(cluster, index, event["new_image"], version)
