"""The move log: keys of moving slots whose rows have changed.

While slots move, whoever changes one of their rows on the source adds its key here, in the same
transaction. The mover reads the keys, and copies these rows again. The insert is the last statement
before `COMMIT`, since it changes LAST_INSERT_ID(), which versions are made of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from mynamo.catalog.gsi_rows import RowChange
from mynamo.catalog.snapshot import SlotMove
from mynamo.catalog.tables import RowKey
from mynamo.mysql.pool import Statement
from mynamo.schemas.keys import slot_of

ITEM = 1
"""An item: hash and sort of its key."""
GSI_ROW = 2
"""A GSI row: hash and sort of the index, and the item's."""
TOKEN = 3
"""A request token, as hash."""
COMMAND = 4
"""The id of a queued write, as hash, and its slot, in place of the index."""
_ENTRIES = 500
"""In one statement."""
_COLUMNS = "move_id, kind, table_id, index_id, hash, sort, item_hash, item_sort"


class Entry(NamedTuple):
    """One row of `mynamo_move_log`, but for its id. What a kind does not have is 0, empty or NULL.

    Attributes:
        hash, sort: of the kind; see there.
        item_hash, item_sort: of a GSI row: its item's.
    """

    move_id: int
    kind: int
    table_id: int
    index_id: int
    hash: bytes
    sort: bytes = b""
    item_hash: bytes | None = None
    item_sort: bytes | None = None


def insert_log(entries: Sequence[Entry]) -> list[Statement]:
    """Add entries, in the transaction that changes their rows, as the last statements of it."""
    row = f"({', '.join(['%s'] * 8)})"
    statements: list[Statement] = []
    for start in range(0, len(entries), _ENTRIES):
        some = entries[start : start + _ENTRIES]
        statements.append((
            f"INSERT INTO mynamo_move_log ({_COLUMNS}) VALUES "
            + ", ".join([row] * len(some)),
            list(chain.from_iterable(some)),
        ))  # fmt: skip
    return statements


def item_entry(move: SlotMove, table_id: int, row: RowKey) -> Entry:
    """Of an item that is written."""
    return Entry(move.id, ITEM, table_id, 0, row.hash, row.sort)


def log_gsi_rows(rows: Iterable[RowChange], moves: Collection[SlotMove]) -> list[Statement]:
    """Log the GSI rows among some whose slots are moving.

    Args:
        rows: that are written or deleted on one shard.
        moves: of slots of the shard.
    """
    if not moves:
        return []
    return insert_log(
        [
            Entry(move.id, GSI_ROW, change.index.table_id, change.index.id, *change.row)
            for change in rows
            for move in moves
            if move.has(slot_of(change.row.index_hash))
        ]
    )


def lock_fence(slot: int) -> list[Statement]:
    """Lock a slot's row of `mynamo_move`, which is made if there is none: until the transaction
    ends, no mover changes rows of the slot that the shard does not own."""
    return [
        ("INSERT IGNORE INTO mynamo_move VALUES (%s, 0, 0, NULL)", (slot,)),
        ("SELECT 1 FROM mynamo_move WHERE slot = %s FOR UPDATE", (slot,)),
    ]
