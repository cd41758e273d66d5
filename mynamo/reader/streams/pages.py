"""Pages of records of one stream shard.

The order of what is read decides that a page is right, each statement having a view of its own:

1.  The shard's last number: all records up to it are there.
2.  The next records, of which there may be later ones too. Numbers are given and records written
    in one transaction, so what is seen has no gaps.
3.  The stream shard: if it is open now, all that was read before is its own; else what is not above
    its end. What was deleted before is told by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.stream_rows import COLUMNS, stream_shards_in
from mynamo.errors import RecordsTrimmed, StreamShardNotFound
from mynamo.mysql.pool import Statement
from mynamo.reader.streams.positions import Position
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.stream_records import StreamRecord

MOST_RECORDS = 1000
"""Of a page."""
MOST_BYTES = 1024 * 1024
"""Of a page's records, as they are stored; a page has one record at least."""
SCANS = 5
"""A page looks at so many times `SCAN_ROWS` records of its stream at most, those of slots that the
stream shard does not have too."""
SCAN_ROWS = 1000
MANY = 50
"""Records from which on reading them takes so long that a task has a thread for it."""
LAST_SEQ: Statement = ("SELECT last_seq FROM mynamo_relay", ())


@dataclass(frozen=True, slots=True)
class RecordPage:
    """One page.

    Attributes:
        records: in their order; there may be none though there are more.
        next: where to read on.
        at_end: the stream shard has ended, and all of its records were read.
        behind: whether there may be more of them right now.
    """

    records: list[StreamRecord]
    next: Position
    at_end: bool
    behind: bool


def read_page(shard: DynamoDBShard, position: Position, limit: int = MOST_RECORDS) -> RecordPage:
    """Read the next records of a stream shard.

    Args:
        shard: that has it.
        limit: records at most, 1 to `MOST_RECORDS`.

    Raises:
        StreamShardNotFound: the stream shard is gone, with all of its records.
        RecordsTrimmed: records behind the position have been deleted, as they are too old.
        ShardUnavailable: the shard does not answer.
    """
    found: list[int] = []
    size, reached, behind = 0, position.seq, True
    end: int | None = None
    for _ in range(SCANS):
        last, heads, own = shard.ask(
            LAST_SEQ,
            _heads(position.stream_id, reached),
            (f"SELECT {COLUMNS} FROM mynamo_stream_shard WHERE name = %s",
             (position.name.encode(),)),
        )  # fmt: skip
        if not own.rows:
            raise StreamShardNotFound
        (stream_shard,) = stream_shards_in(own, shard.id)
        if position.seq < stream_shard.trimmed and not position.from_horizon:
            raise RecordsTrimmed
        end, is_full = stream_shard.end, False
        for seq, slot, record_size in heads.rows:
            if end is not None and seq > end:
                reached = end
                break
            if position.first <= slot <= position.last:
                is_full = len(found) == limit or (bool(found) and size + record_size > MOST_BYTES)
                if is_full:
                    break
                found.append(seq)
                size += record_size
            reached = seq
        if is_full:
            break
        if len(heads.rows) < SCAN_ROWS:
            # Not more than was there before the records were read, even if it has ended since.
            known = last.rows[0][0]
            reached, behind = max(reached, known if end is None else min(known, end)), False
            break
        if end is not None and reached >= end:
            break
    read = in_thread(_records) if len(found) > MANY else _records
    records = read(shard, position, found) if found else []
    at_end = end is not None and reached >= end
    moved = position.moved(reached, stream_shard.trimmed)
    return RecordPage(records, moved, at_end, behind and not at_end)


def _heads(stream_id: int, after: int) -> Statement:
    return (
        "SELECT seq, slot, bytes FROM mynamo_record FORCE INDEX (PRIMARY)"
        f" WHERE stream_id = %s AND seq > %s ORDER BY seq LIMIT {SCAN_ROWS:d}",
        (stream_id, after),
    )


def _records(shard: DynamoDBShard, position: Position, found: list[int]) -> list[StreamRecord]:
    (rows,) = shard.ask(
        ("SELECT seq, created, body FROM mynamo_record FORCE INDEX (PRIMARY)"
         " WHERE stream_id = %s AND seq >= %s AND seq <= %s AND slot >= %s AND slot <= %s"
         " ORDER BY seq",
         (position.stream_id, found[0], found[-1], position.first, position.last))
    )  # fmt: skip
    if len(rows.rows) < len(found) and not position.from_horizon:
        raise RecordsTrimmed
    return [StreamRecord.load(position.generation, *row) for row in rows.rows]
