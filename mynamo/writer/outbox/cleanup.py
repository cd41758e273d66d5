"""`OutboxCleanup`: deletes the outbox rows that nobody needs any more."""

from __future__ import annotations

import time
from collections import deque

from mynamo.catalog import sql
from mynamo.catalog.incarnation import incarnation_of
from mynamo.catalog.shard import DynamoDBShard
from mynamo.mysql.pool import Session
from mynamo.runtime.batch_sizes import BatchSize

OUTBOX_KEEPS = 60.0
"""Seconds for which the outbox keeps a row at the least, so that a writer that lost its
connection during commit can find out what became of it: longer than it waits for an answer
(`pool.read_timeout`). Writers and clean-ups each count them by a clock of their own that never
jumps: a writer from before its commit, a clean-up from after it."""
LEAST_ROWS = 500
MOST_ROWS = 8_000
"""Of one look, and of the transaction that deletes what it found: the relay numbers up to 1,000
rows between two looks, and the clean-up must be faster than that."""
CHUNK_SECONDS = 0.1
"""For which one look holds up its relay at the most."""
PAUSE = 1.0
"""Seconds between two looks at an outbox that had nothing to delete."""


class OutboxCleanup:
    """Reads a shard's outbox, a chunk at a time, and begins again at its end.

    A row is deleted once it is published, every index that it feeds has applied it, and it was
    published `OUTBOX_KEEPS` seconds ago: until then a writer that lost its connection during
    commit may ask for it. The seconds are measured by this process, as a server's clock may jump.
    These conditions stay true once they are, so no lease is needed.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self._shard = shard
        self._after = 0
        self._size = BatchSize(LEAST_ROWS, MOST_ROWS, CHUNK_SECONDS)
        self._resting_until = 0.0
        self._published: deque[tuple[float, int]] = deque()
        """When we learned up to which number rows are published; the first has been so for
        longer than they are kept, if any has."""

    def step(self, busy: bool = False) -> int:
        """Look at the next chunk, if it is time to.

        Args:
            busy: rows are being added: do not rest as long as there is something to delete.

        Returns:
            How many rows it deleted.
        """
        if time.monotonic() < self._resting_until:
            return 0
        with self._shard.session() as session:
            deleted, at_end = self._chunk(session)
        if at_end or not (deleted or busy):
            self._resting_until = time.monotonic() + PAUSE
        return deleted

    def _chunk(self, session: Session) -> tuple[int, bool]:
        began_at, limit = time.monotonic(), self._size.rows
        published, rows = session.run(
            ("SELECT published_seq FROM mynamo_relay", ()),
            ("SELECT o.id, o.seq, o.feeds = 0 OR o.seq <= s.applied_seq"
             " FROM mynamo_outbox o FORCE INDEX (by_sequence)"
             " STRAIGHT_JOIN mynamo_stream s ON s.part = o.part"
             " WHERE o.seq > %s AND o.seq <= (SELECT LEAST(published_seq, %s) FROM mynamo_relay)"
             f" ORDER BY o.seq LIMIT {limit:d}",
             (self._after, self._old())),
        )  # fmt: skip
        self._note(published.rows[0][0])
        done = [row_id for row_id, _, needless in rows.rows if needless]
        if done:
            # By primary key: a scan would wait for uncommitted rows.
            session.run(
                ("DELETE o FROM mynamo_outbox o FORCE INDEX (PRIMARY)"
                 f" WHERE o.id IN ({sql.placeholders(done)})", done)
            )  # fmt: skip
        self._size.note(len(rows.rows), time.monotonic() - began_at)
        at_end = len(rows.rows) < limit
        self._after = 0 if at_end else int(rows.rows[-1][1])
        return len(done), at_end

    def _old(self) -> int:
        """The number up to which rows have been published for long enough."""
        limit = time.monotonic() - OUTBOX_KEEPS
        while len(self._published) > 1 and self._published[1][0] <= limit:
            self._published.popleft()
        known = self._published and self._published[0][0] <= limit
        return self._published[0][1] if known else 0

    def _note(self, published: int) -> None:
        now = time.monotonic()
        if self._published and incarnation_of(published) != incarnation_of(self._published[-1][1]):
            self._published.clear()  # numbers of another incarnation say nothing of these rows
        if not self._published or (
            published > self._published[-1][1] and now - self._published[-1][0] >= PAUSE
        ):
            self._published.append((now, published))
