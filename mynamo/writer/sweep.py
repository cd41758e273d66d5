"""`Sweep`: deletes the outbox rows that nobody needs any more."""

from __future__ import annotations

import time

from mynamo.shards import sql
from mynamo.shards.pool import Session
from mynamo.shards.shard import DynamoDBShard
from mynamo.writer.fate import OUTBOX_KEEPS

CHUNK_ROWS = 500
_PAUSE = 1.0
"""Seconds between two looks at an outbox that had nothing to delete."""


class Sweep:
    """Walks over a shard's outbox, a chunk at a time, and begins anew at its end.

    A row may go once it is published, every index that it feeds has applied it, and it is
    older than `OUTBOX_KEEPS`: so long a writer that lost its connection during commit may
    ask for it. None of this can become untrue again, so no lease guards it.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self._shard = shard
        self._after = 0
        self._resting_until = 0.0

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
            self._resting_until = time.monotonic() + _PAUSE
        return deleted

    def _chunk(self, session: Session) -> tuple[int, bool]:
        rows, uptime = session.run(
            ("SELECT o.id, o.seq, o.feeds = 0 OR o.seq <= s.applied_seq,"
             f" o.created < {sql.NOW} - %s"
             " FROM mynamo_outbox o FORCE INDEX (by_sequence)"
             " STRAIGHT_JOIN mynamo_stream s ON s.part = o.part"
             " WHERE o.seq > %s AND o.seq <= (SELECT published_seq FROM mynamo_relay)"
             f" ORDER BY o.seq LIMIT {CHUNK_ROWS:d}",
             (round(OUTBOX_KEEPS * 1_000_000), self._after)),
            ("SHOW GLOBAL STATUS LIKE 'Uptime'", ()),
        )  # fmt: skip
        # The time that a server was down counts for nobody's patience.
        if float(uptime.rows[0][1]) < OUTBOX_KEEPS:
            return 0, True
        old = [row for row in rows.rows if row[3]]
        done = [row_id for row_id, _, needless, _ in old if needless]
        if done:
            # By primary key: a scan would wait for uncommitted rows.
            session.run(
                ("DELETE o FROM mynamo_outbox o FORCE INDEX (PRIMARY)"
                 f" WHERE o.id IN ({sql.marks(done)})", done)
            )  # fmt: skip
        at_end = len(old) < CHUNK_ROWS
        self._after = 0 if at_end else int(old[-1][1])
        return len(done), at_end
