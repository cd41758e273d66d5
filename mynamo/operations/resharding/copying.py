"""M3 and M4: the copy of a range, a chunk at a time.

a.  On the target: begin, lock the fences of the range's slots, and compare move and term.
b.  On the source: read the next rows, without locks.
c.  On the target: write them, note the position, commit.

A crash before the commit: nothing happened; after it: the next mover goes on from the position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import IS_ITEM, OWN_VERSION
from mynamo.catalog.members import insert_copies, read_commands
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.snapshot import SlotMove
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.mysql.pool import Session
from mynamo.operations.comparison_statements import CHUNK_ROWS, Span, fitting, within
from mynamo.operations.resharding.hidden_rows import (
    GSI_COLUMNS,
    Item,
    gsi_change,
    read_applied,
    read_tokens,
    write_applied,
    write_gsi_rows,
    write_items,
    write_tokens,
)
from mynamo.operations.resharding.ranges import (
    Progress,
    Range,
    delete_range,
    held,
    note,
    tables_of,
    take,
)
from mynamo.runtime.crash_points import crash_point

ROW_BYTES = 4096
"""An item counts as a row for each so many bytes."""

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one physical table that belong to the range.

    Attributes:
        name: of the table.
        order: its primary key, of which the first column bounds the range.
        columns: what is read, the primary key first.
        where: conditions of these rows, besides the range.
        table: whose rows they are.
        write: writes rows to the target.
    """

    name: str
    order: tuple[str, ...]
    columns: str
    where: tuple[str, ...]
    table: Table
    write: Callable[[Session, Sequence[Row]], None]


def make_room(cluster: Cluster, move: SlotMove, again: bool) -> Progress:
    """M3: take the range's slots on the target, delete what it has of the range unless that is this
    move's copy, and make all checkpoints, which M10 locks.

    Args:
        again: what has been copied is to be copied again.

    Raises:
        NoLongerMover: another mover has the range.
        ShardUnavailable: a shard does not answer.
    """
    source, target = cluster.shards[move.source], cluster.shards[move.target]
    progress = retry(lambda: take(target, move, again))
    if not progress.empty:
        delete_range(target, move, cluster)

        def empty() -> None:
            with held(target, move) as (session, found):
                found.empty = True
                session.run(note(move, found), ("COMMIT", ()))

        retry(empty)
        progress.empty = True
    streams = [
        (shard, part)
        for shard, member in cluster.snapshot.members.items()
        if member.state != "REMOVED"
        for part in range(cluster.partitions)
    ]
    for shard in (source, target):
        for start in range(0, len(streams), 500):
            some = streams[start : start + 500]
            places = ", ".join(["(%s, %s, 0)"] * len(some))
            shard.run(
                (f"INSERT IGNORE INTO mynamo_checkpoint (shard, part, seq) VALUES {places}",
                 [value for stream in some for value in stream])
            )  # fmt: skip
    crash_point("move.3")
    return progress


class Copy:
    """The copy of one range. For one thread."""

    def __init__(self, cluster: Cluster, move: SlotMove) -> None:
        self._move = move
        self._cluster = cluster
        self._source: DynamoDBShard = cluster.shards[move.source]
        self._target: DynamoDBShard = cluster.shards[move.target]
        self._range = Range.of(move)
        self._parts: list[Part] = []

    def _begin_again(self, progress: Progress) -> None:
        """Begin again with tables that have a newer definition than they were copied by."""
        for part in self._parts:
            number, version = str(part.table.id), part.table.version
            if progress.definitions.get(number) != version:
                for each in self._parts:
                    if each.table is part.table:
                        progress.after.pop(each.name, None)
                progress.definitions[number] = version

    def chunks(self) -> Iterator[int]:
        """M4: copy what is not copied yet, by the definitions that this process knows.

        Yields:
            How many rows of `ROW_BYTES` each chunk had.

        Raises:
            NoLongerMover: another mover has the range.
            ShardUnavailable: a shard does not answer.
        """
        self._parts = []
        for table in tables_of(self._cluster):
            self._parts.append(_items_of(table))
            self._parts += [_gsi_rows_of(table, index) for index in table.global_indexes]
        for part in self._parts:
            while (rows := retry(partial(self._copy, part))) is not None:
                crash_point("move.4")
                yield rows
        for name, copy in (
            ("mynamo_token", self._copy_tokens),
            ("mynamo_applied", self._copy_applied),
            ("mynamo_command", self._copy_commands),
        ):
            while (rows := retry(partial(self._control, name, copy))) is not None:
                yield rows

    def _copy(self, part: Part) -> int | None:
        """One chunk; None: the part is complete."""
        with held(self._target, self._move) as (session, progress):  # a
            self._begin_again(progress)
            after = progress.after.get(part.name, [])
            if after is None:
                session.rollback()
                return None
            rows, more = self._read(part, [bytes.fromhex(value) for value in after])  # b
            if rows:
                part.write(session, rows)  # c
            last = rows[-1][: len(part.order)] if rows else ()
            progress.after[part.name] = [value.hex() for value in last] if more else None
            size = sum(1 + len(row[-1]) // ROW_BYTES for row in rows)
            progress.rows += len(rows)
            session.run(note(self._move, progress), ("COMMIT", ()))
        return size

    def _read(self, part: Part, after: Sequence[bytes]) -> tuple[Sequence[Row], bool]:
        span = Span(self._range.low, self._range.high, tuple(after) or None)
        where, values = within(part.order, span)
        condition = " AND ".join([*where, *part.where])
        order = ", ".join(part.order)
        text = f"FROM {part.name} FORCE INDEX (PRIMARY)"
        text += f"{f' WHERE {condition}' if condition else ''} ORDER BY {order}"
        with self._source.session() as session:
            sizes = session.run(
                (f"SELECT OCTET_LENGTH(item) {text} LIMIT {CHUNK_ROWS:d}", values)
            )[0].rows  # fmt: skip
            fit = fitting(size for (size,) in sizes)
            if not fit:
                return (), False
            rows = session.run((f"SELECT {part.columns} {text} LIMIT {fit:d}", values))[0].rows
        # As many as asked for: there may be more, also where the sizes were of all rows. One that
        # has come in front of them since has taken the place of the last one.
        return rows, len(rows) == fit

    def _control(
        self, name: str, copy: Callable[[Session, Session, list[bytes]], list[bytes] | None]
    ) -> int | None:
        with held(self._target, self._move) as (target, progress):
            after = progress.after.get(name, [])
            if after is None:
                target.rollback()
                return None
            with self._source.session() as source:
                last = copy(source, target, [bytes.fromhex(value) for value in after])
            progress.after[name] = None if last is None else [value.hex() for value in last]
            target.run(note(self._move, progress), ("COMMIT", ()))
        return 0

    def _copy_tokens(
        self, source: Session, target: Session, after: list[bytes]
    ) -> list[bytes] | None:
        rows = source.run(
            (read_tokens("token > %s") + f" ORDER BY token LIMIT {_CONTROL_ROWS:d}",
             (after[0] if after else b"",))
        )[0].rows  # fmt: skip
        own = [row for row in rows if self._move.first <= row[1] <= self._move.last]
        if own:
            target.run(write_tokens(own))
        return [rows[-1][0]] if len(rows) == _CONTROL_ROWS else None

    def _copy_applied(
        self, source: Session, target: Session, after: list[bytes]
    ) -> list[bytes] | None:
        slot = int.from_bytes(after[0], "big") if after else self._move.first
        rows = source.run(
            (read_applied("(slot = %s AND command_id > %s) OR (slot > %s AND slot <= %s)")
             + f" ORDER BY slot, command_id LIMIT {_CONTROL_ROWS:d}",
             (slot, after[1] if after else b"", slot, self._move.last))
        )[0].rows  # fmt: skip
        if rows:
            target.run(write_applied(rows))
        if len(rows) < _CONTROL_ROWS:
            return None
        return [rows[-1][0].to_bytes(2, "big"), rows[-1][1]]

    def _copy_commands(
        self, source: Session, target: Session, after: list[bytes]
    ) -> list[bytes] | None:
        rows = source.run(read_commands(after[0] if after else b"", _CONTROL_ROWS))[0].rows
        if rows:
            target.run(insert_copies(rows))
        return [rows[-1][0]] if len(rows) == _CONTROL_ROWS else None


_CONTROL_ROWS = 2000


def _items_of(table: Table) -> Part:
    def write(session: Session, rows: Sequence[Row]) -> None:
        items = {RowKey(hash_, sort): Item(version, data) for hash_, sort, version, data in rows}
        write_items(session, table, items)

    return Part(
        sql.main_table(table.id), ("hash", "sort"), f"hash, sort, {OWN_VERSION}, item",
        (IS_ITEM,), table, write,
    )  # fmt: skip


def _gsi_rows_of(table: Table, index: Index) -> Part:
    def write(session: Session, rows: Sequence[Row]) -> None:
        session.run(*write_gsi_rows([gsi_change(index, row) for row in rows]))

    return Part(
        sql.index_table(index), ("index_hash", "index_sort", "hash", "sort"), GSI_COLUMNS,
        (), table, write,
    )  # fmt: skip
