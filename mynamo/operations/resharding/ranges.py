"""What belongs to a range of slots on a shard, and the fences that let one mover write it.

Whoever changes rows of slots that a shard does not own locks the slots' rows of `mynamo_move`
there, before it reads anything that it writes. So of two movers only the newer one writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.moves import NoLongerMover
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import SlotMove
from mynamo.catalog.tables import Table
from mynamo.mysql.failures import MissingTable
from mynamo.mysql.pool import Session, Statement
from mynamo.schemas.keys import slot_range


@dataclass(slots=True)
class Progress:
    """How far a copy has come.

    Attributes:
        empty: what the target had of the range has been deleted.
        after: by name of a physical table, the primary key of the last row that was copied, in
            hexadecimal; None: all of it is copied.
        definitions: by table's id, the version of its definition that its copy was made by.
        rows: copied so far, in all tables.
    """

    empty: bool = False
    after: dict[str, list[str] | None] = field(default_factory=dict)
    definitions: dict[str, int] = field(default_factory=dict)
    rows: int = 0

    def dump(self) -> bytes:
        """As it is stored."""
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, stored: bytes | None) -> Progress:
        """What `dump` gave."""
        return cls(**orjson.loads(stored)) if stored else cls()


@dataclass(frozen=True, slots=True)
class Range:
    """The hashes of a move's slots: `low` is the lowest one, `high` the first one above them, or
    None if there is none."""

    low: bytes
    high: bytes | None

    @classmethod
    def of(cls, move: SlotMove) -> Range:
        """That of a move."""
        return cls(*slot_range(move.first, move.last))

    def within(self, column: str) -> tuple[str, list[Any]]:
        """The condition that a column is in it."""
        if self.high is None:
            return f"{column} >= %s", [self.low]
        return f"{column} >= %s AND {column} < %s", [self.low, self.high]

    def has(self, hash16: bytes) -> bool:
        """Whether a hash is in it."""
        return self.low <= hash16 and (self.high is None or hash16 < self.high)


@contextmanager
def held(shard: DynamoDBShard, move: SlotMove) -> Iterator[tuple[Session, Progress]]:
    """Begin a transaction that changes rows of the range on a shard that does not own them.

    The caller ends the transaction; if it raises, it is rolled back.

    Raises:
        NoLongerMover: another mover has taken some of the slots.
        ShardUnavailable: the shard does not answer.
    """
    with shard.session() as session:
        _, found = session.run(("BEGIN", ()), _lock(move))
        fences = {(move_id, term) for _, move_id, term, _ in found.rows}
        if fences != {(move.id, move.term)} or len(found.rows) != move.last + 1 - move.first:
            raise _taken(shard, move)
        yield session, Progress.load(found.rows[0][-1])


def note(move: SlotMove, progress: Progress) -> Statement:
    """Note how far the copy has come, in the transaction that has copied."""
    return (
        "UPDATE mynamo_move SET progress = %s WHERE slot = %s",
        (progress.dump(), move.first),
    )


def copied_rows(shard: DynamoDBShard, moves: Iterable[SlotMove]) -> int:
    """Rows that moves have copied to their target so far.

    Args:
        shard: the target of all of them.

    Raises:
        ShardUnavailable: it does not answer.
    """
    stored = [
        shard.run(
            ("SELECT progress FROM mynamo_move WHERE slot = %s AND move_id = %s",
             (move.first, move.id))
        )[0].rows
        for move in moves
    ]  # fmt: skip
    return sum(Progress.load(rows[0][0]).rows for rows in stored if rows)


def take(shard: DynamoDBShard, move: SlotMove, again: bool = False) -> Progress:
    """Take the range's slots: no earlier mover, of this move or an earlier one, changes rows of
    them on this shard from now on.

    The rows of `mynamo_move` are never deleted, and (move, term) in them only grows. So a mover
    that slept through others' moves finds it out, however late it wakes up.

    Args:
        again: what has been copied is to be copied again.

    Returns:
        How far the copy of this move has come.

    Raises:
        NoLongerMover: a later mover has taken some of them.
        ShardUnavailable: the shard does not answer; `Contention` among them.
    """
    mine = (move.id, move.term)
    places = ", ".join(["(%s, 0, 0, NULL)"] * (move.last + 1 - move.first))
    with shard.session() as session:
        *_, found = session.run(
            ("BEGIN", ()),
            (f"INSERT IGNORE INTO mynamo_move VALUES {places}", range(move.first, move.last + 1)),
            _lock(move),
        )
        if any((move_id, term) > mine for _, move_id, term, _ in found.rows):
            raise _taken(shard, move)
        _, move_id, _, stored = found.rows[0]
        goes_on = move_id == move.id and not again
        progress = Progress.load(stored) if goes_on else Progress()
        session.run(
            ("UPDATE mynamo_move SET move_id = %s, term = %s, progress = NULL"
             " WHERE slot BETWEEN %s AND %s", (*mine, move.first, move.last)),
            note(move, progress),
            ("COMMIT", ()),
        )  # fmt: skip
    return progress


def expected_rows(cluster: Cluster, move: SlotMove) -> int:
    """About how many rows a copy of the range has, by InnoDB's estimates of whole tables.

    Raises:
        ShardUnavailable: the source does not answer.
    """
    names = [
        name
        for table in tables_of(cluster)
        for name in (sql.main_table(table.id), *map(sql.index_table, table.global_indexes))
    ]
    if not names:
        return 0
    snapshot = cluster.snapshot
    slots = snapshot.slot_counts.get(move.source, 0) + sum(
        last + 1 - first for first, last in snapshot.hidden.get(move.source, ())
    )
    ((rows,),) = cluster.shards[move.source].run(
        ("SELECT COALESCE(SUM(table_rows), 0) FROM information_schema.tables"
         f" WHERE table_schema = DATABASE() AND table_name IN ({sql.placeholders(names)})", names)
    )[0].rows  # fmt: skip
    return round(int(rows) * (move.last + 1 - move.first) / slots) if slots else 0


def _lock(move: SlotMove) -> Statement:
    return (
        "SELECT slot, move_id, term, progress FROM mynamo_move FORCE INDEX (PRIMARY)"
        " WHERE slot BETWEEN %s AND %s ORDER BY slot FOR UPDATE",
        (move.first, move.last),
    )


def _taken(shard: DynamoDBShard, move: SlotMove) -> NoLongerMover:
    return NoLongerMover(
        f"{shard.where}: another process has moved slots {move.first}-{move.last}, or some of them"
    )


def delete_range(shard: DynamoDBShard, move: SlotMove, cluster: Cluster, most: int = 1000) -> int:
    """Delete what a shard that does not own the range has of it, a chunk at a time, each behind the
    fences. No events are made.

    Returns:
        How many rows.

    Raises:
        NoLongerMover: another mover has the range.
        ShardUnavailable: the shard does not answer.
    """
    total = 0
    for text, values in _deletions(move, cluster):
        while True:
            try:
                with held(shard, move) as (session, _):
                    (deleted, _) = session.run((f"{text} LIMIT {most:d}", values), ("COMMIT", ()))
            except MissingTable:  # dropped in the meantime
                break
            total += deleted.count
            if deleted.count < most:
                break
    return total


def _deletions(move: SlotMove, cluster: Cluster) -> Iterator[Statement]:
    range_ = Range.of(move)
    by_hash, hashes = range_.within("hash")
    by_index_hash, index_hashes = range_.within("index_hash")
    for table in tables_of(cluster):
        yield f"DELETE FROM {sql.main_table(table.id)} WHERE {by_hash} ORDER BY hash", hashes
        for index in table.live_indexes:
            name = sql.index_table(index)
            if index.is_local:
                yield f"DELETE FROM {name} WHERE {by_hash} ORDER BY hash", hashes
            else:
                yield (
                    f"DELETE FROM {name} WHERE {by_index_hash} ORDER BY index_hash",
                    index_hashes,
                )
    yield f"DELETE FROM mynamo_intent WHERE {by_hash}", hashes
    slots = (move.first, move.last)
    yield "DELETE FROM mynamo_token WHERE slot BETWEEN %s AND %s", slots
    yield "DELETE FROM mynamo_applied WHERE slot BETWEEN %s AND %s", slots


def tables_of(cluster: Cluster) -> list[Table]:
    """The tables with something to copy; others change the catalog once they have."""
    return [table for table in cluster.snapshot.tables.values() if table.status == "ACTIVE"]
