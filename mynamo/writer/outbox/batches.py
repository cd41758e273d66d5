"""The rows of the outbox that a relay gives numbers in one step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any, NamedTuple

from mynamo.mysql.pool import Statement

BATCH_ROWS = 1000
"""Of those with a record, and of those without."""
BATCH_BYTES = 12 * 1024 * 1024
"""Payload that is on its way at a time, in the database's form; Kafka's is as much again."""
SMALL = BATCH_BYTES // BATCH_ROWS
"""Bytes of a payload that is read together with the row that gets a number, as long as all are
so small."""


class Unnumbered(NamedTuple):
    """A row without a number.

    Attributes:
        payload: None: it is large, or was not asked for.
        size: bytes of the payload.
        recorded: a record of it is written for its table's stream.
    """

    id: int
    partition: int
    feeds: int
    item_version: int | None
    created: int
    payload: bytes | None
    size: int
    recorded: int


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """Rows that get numbers together, in the order of their ids.

    Attributes:
        recorded: whether a record is written for any.
        is_full: there may be more.
    """

    rows: Sequence[Unnumbered]
    recorded: bool
    is_full: bool


def rows_without_numbers(*, with_payload: bool) -> Statement:
    """Read the next rows, those with and without a record in one view: of two rows of an item, the
    one that was committed first must not come into view behind the other one.

    Args:
        with_payload: of rows without a record too, if they are small.
    """
    small = f"IF(OCTET_LENGTH(payload) <= {SMALL:d}, payload, NULL), OCTET_LENGTH(payload)"
    kinds = [("IS NULL", small if with_payload else "NULL, 0", 0), ("= 0", small, 1)]
    halves = [
        f"(SELECT id, part, feeds, item_version, created, {payload}, {recorded:d}"
        " FROM mynamo_outbox FORCE INDEX (by_sequence)"
        f" WHERE seq {seq} ORDER BY id LIMIT {BATCH_ROWS:d})"
        for seq, payload, recorded in kinds
    ]
    return " UNION ALL ".join(halves), ()


def batch_of(found: Iterable[Sequence[Any]]) -> OutboxBatch:
    """What gets numbers now: of all rows together a prefix, by their ids.

    Args:
        found: what `rows_without_numbers` gave; a full list of one kind has more behind it.
    """
    kinds: tuple[list[Unnumbered], list[Unnumbered]] = [], []
    for row in found:
        kinds[row[7]].append(Unnumbered(*row))
    plain, recorded = kinds
    if not recorded:
        return OutboxBatch(plain, False, len(plain) >= BATCH_ROWS)
    bounds = [rows[-1].id for rows in kinds if len(rows) >= BATCH_ROWS]
    fitting = _fitting(recorded)
    if fitting < len(recorded):
        bounds.append(recorded[fitting - 1].id)
    both = merge(plain, recorded, key=lambda row: row.id)
    fit = _up_to(both, min(bounds, default=None))
    return OutboxBatch(fit, any(row.recorded for row in fit), bool(bounds))


def _fitting(rows: Sequence[Unnumbered]) -> int:
    """How many of the rows have `BATCH_BYTES` of payload together at most; one at least."""
    total = 0
    for count, row in enumerate(rows):
        total += row.size
        if total > BATCH_BYTES and count:
            return count
    return len(rows)


def _up_to(rows: Iterable[Unnumbered], bound: int | None) -> list[Unnumbered]:
    return [row for row in rows if bound is None or row.id <= bound]
