"""`RecordTrimmer`: deletes records of tables' streams when they are old."""

from __future__ import annotations

import time

from mynamo.catalog import sql
from mynamo.catalog.shard import DynamoDBShard
from mynamo.mysql.pool import Session, Statement
from mynamo.runtime.batch_sizes import BatchSize

LEAST_ROWS = 100
MOST_ROWS = 4_000
"""Records that one transaction deletes."""
TRIM_SECONDS = 0.05
"""For which it holds up its relay at the most."""
TRIM_EVERY = 5.0
"""Seconds between two looks at what is old, if the last one found little."""


class RecordTrimmer:
    """R3 of `docs/design/streams.md`: deletes the records and stream shards of one shard that are
    older than the retention.

    The streams are those that the shard has something of, whatever the catalog says. All is true
    again or still if it is done twice, so no lease is needed.

    Args:
        retention: seconds, by the shard's clock.
    """

    def __init__(self, shard: DynamoDBShard, retention: float) -> None:
        self._shard = shard
        self._age = round(retention * 1_000_000)
        self._size = BatchSize(LEAST_ROWS, MOST_ROWS, TRIM_SECONDS)
        self._resting_until = 0.0

    def step(self) -> int:
        """Delete what is old, if it is time to look: of each stream a bounded number of records.

        Returns:
            How many records were deleted.
        """
        if time.monotonic() < self._resting_until:
            return 0
        deleted, more = 0, False
        with self._shard.session() as session:
            (shards,) = session.run(
                ("SELECT DISTINCT stream_id FROM mynamo_stream_shard WHERE end_seq IS NOT NULL",
                 ())
            )  # fmt: skip
            for stream_id in _recorded(session):
                began_at, limit = time.monotonic(), self._size.rows
                count = self._trim(session, stream_id, limit)
                self._size.note(count, time.monotonic() - began_at)
                deleted += count
                more = more or count == limit
            for (stream_id,) in shards.rows:
                self._forget_shards(session, stream_id)
        if not more:
            self._resting_until = time.monotonic() + TRIM_EVERY
        return deleted

    def _trim(self, session: Session, stream_id: int, limit: int) -> int:
        """Delete the first records of a stream that are old."""
        now, found = session.run(
            (f"SELECT {sql.NOW}", ()),
            ("SELECT seq, slot, created FROM mynamo_record FORCE INDEX (PRIMARY)"
             f" WHERE stream_id = %s ORDER BY seq LIMIT {limit:d}", (stream_id,)),
        )  # fmt: skip
        before = now.rows[0][0] - self._age
        old = []
        for seq, slot, created in found.rows:
            if created > before:
                break
            old.append((seq, slot))
        if not old:
            return 0
        last = old[-1][0]
        _, shards = session.run(
            ("BEGIN", ()),
            ("SELECT name, first_slot, last_slot, above_seq, end_seq FROM mynamo_stream_shard"
             " WHERE stream_id = %s FOR UPDATE", (stream_id,)),
        )  # fmt: skip
        raised: list[Statement] = []
        for name, first_slot, last_slot, above, end in shards.rows:
            own = [
                seq
                for seq, slot in old
                if first_slot <= slot <= last_slot and above < seq and (end is None or seq <= end)
            ]
            if own:
                raised.append(
                    ("UPDATE mynamo_stream_shard SET trimmed_seq = GREATEST(trimmed_seq, %s)"
                     " WHERE name = %s", (own[-1], name))
                )  # fmt: skip
        done = session.run(
            *raised,
            _raise_trimmed(stream_id, last),
            ("DELETE FROM mynamo_record WHERE stream_id = %s AND seq <= %s", (stream_id, last)),
            ("COMMIT", ()),
        )  # fmt: skip
        return done[-2].count

    def _forget_shards(self, session: Session, stream_id: int) -> None:
        """Delete the stream shards of a stream that ended long ago and have no records left."""
        _, old = session.run(
            ("BEGIN", ()),
            ("SELECT name, end_seq FROM mynamo_stream_shard s WHERE stream_id = %s"
             f" AND ended_at < {sql.NOW} - %s AND NOT EXISTS (SELECT 1 FROM mynamo_record r"
             " WHERE r.stream_id = s.stream_id AND r.seq <= s.end_seq) FOR UPDATE",
             (stream_id, self._age)),
        )  # fmt: skip
        if not old.rows:
            session.rollback()
            return
        names = [name for name, _ in old.rows]
        session.run(
            _raise_trimmed(stream_id, max(end for _, end in old.rows)),
            (f"DELETE FROM mynamo_stream_shard WHERE name IN ({sql.placeholders(names)})", names),
            ("COMMIT", ()),
        )  # fmt: skip


def _recorded(session: Session) -> list[int]:
    """The streams of which there are records, each found by one look."""
    found: list[int] = []
    while True:
        rows = session.run(
            ("SELECT stream_id FROM mynamo_record FORCE INDEX (PRIMARY)"
             " WHERE stream_id > %s ORDER BY stream_id, seq LIMIT 1", (found[-1] if found else 0,))
        )[0].rows  # fmt: skip
        if not rows:
            return found
        found.append(rows[0][0])


def _raise_trimmed(stream_id: int, up_to: int) -> Statement:
    return (
        "INSERT INTO mynamo_stream_trimmed (stream_id, trimmed_seq) VALUES (%s, %s)"
        " ON DUPLICATE KEY UPDATE trimmed_seq = GREATEST(trimmed_seq, VALUES(trimmed_seq))",
        (stream_id, up_to),
    )
