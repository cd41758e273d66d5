"""Records of tables' streams, which relays write as they number: R2 of `docs/design/streams.md`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from mynamo.catalog import sql
from mynamo.errors import CorruptData
from mynamo.mysql.pool import Session, Statement
from mynamo.schemas.stream_records import body_of
from mynamo.writer.outbox.batches import OutboxBatch


class NewRecord(NamedTuple):
    """A record to write."""

    stream_id: int
    seq: int
    slot: int
    created: int
    size: int
    body: bytes


def records_of(
    session: Session, batch: OutboxBatch, numbers: Sequence[tuple[int, int, int]]
) -> list[NewRecord]:
    """R2: the records of rows that are getting their numbers, in the transaction that gives them.

    Args:
        numbers: per row its id, its number, and one more.

    Raises:
        CorruptData: a payload cannot be read.
    """
    payloads = {row.id: row.payload for row in batch.rows if row.recorded}
    large = [row_id for row_id, payload in payloads.items() if payload is None]
    if large:
        (found,) = session.run(
            ("SELECT id, payload FROM mynamo_outbox FORCE INDEX (PRIMARY)"
             f" WHERE id IN ({sql.placeholders(large)})", large)
        )  # fmt: skip
        payloads |= dict(found.rows)
    records = []
    for row, (_, seq, _) in zip(batch.rows, numbers, strict=True):
        payload = payloads.get(row.id)
        if payload is None:
            continue
        try:
            event = orjson.loads(payload)
            body = body_of(event)
            if body is not None:
                records.append(
                    NewRecord(event["stream"], seq, event["slot"], row.created, len(body), body)
                )
        except (ValueError, LookupError, TypeError):
            raise CorruptData(f"the payload of row {row.id} of the outbox is no event") from None
    return records


def insert_records(records: Sequence[NewRecord]) -> Statement:
    """Write records."""
    places = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(records))
    return (
        f"INSERT INTO mynamo_record (stream_id, seq, slot, created, bytes, body) VALUES {places}",
        [value for record in records for value in record],
    )
