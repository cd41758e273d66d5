"""Rows of the outbox, as a transaction inserts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.catalog import sql
from mynamo.mysql.pool import Statement

OUTBOX_KEEPS = 60.0
"""Seconds for which the outbox keeps a row at the least, so that a writer that lost its
connection during commit can find out what became of it: longer than it waits for an answer
(`pool.read_timeout`). Writers and clean-ups each count them by a clock of their own that never
jumps: a writer from before its commit, a clean-up from after it."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One change event before it has an id.

    Attributes:
        partition: of the `changes` topic.
        feeds: whether an index waits for it.
        payload: see `mynamo.schemas.events.outbox_payload`.
        item_version: of the item, where the event re-emits it; None: the row's own id.
    """

    partition: int
    feeds: bool
    table_id: int
    payload: bytes
    item_version: int | None = None


def insert_outbox(rows: Sequence[OutboxRow], write_id: bytes) -> Statement:
    """Insert rows; their ids are consecutive, and the statement's insert id is the first."""
    values: list[Any] = []
    for row in rows:
        values += (
            row.partition, row.feeds, row.table_id, row.item_version, write_id, row.payload,
        )  # fmt: skip
    row_values = f"(%s, %s, %s, %s, %s, {sql.NOW}, %s)"
    return (
        "INSERT INTO mynamo_outbox"
        " (part, feeds, table_id, item_version, write_id, created, payload) VALUES "
        + ", ".join([row_values] * len(rows)),
        values,
    )
