"""What became of a transaction whose connection was lost during commit."""

from __future__ import annotations

import time

from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import ShardUnavailable, WriteOutcomeUnknown
from mynamo.mysql.pool import Statement
from mynamo.runtime import deadlines
from mynamo.runtime.counters import counters
from mynamo.runtime.tasks import in_thread
from mynamo.writer.outbox.cleanup import OUTBOX_KEEPS

IDS_KEEP = 1.0
"""Seconds after which a writer asks for the outbox's highest id again, in the first round trip of
its next write. One that writes more often knows it from its own rows."""
HIGHEST_ID: Statement = ("SELECT COALESCE(MAX(id), 0) FROM mynamo_outbox", ())
_LONGEST_PAUSE = 1.0


@in_thread
def outcome_of_commit(
    shard: DynamoDBShard, identity: tuple[int, str], write_id: bytes, after: int, sent_at: float
) -> int | None:
    """Find out whether a transaction committed whose connection was lost.

    Args:
        identity: of the lost session (`Session.identity`).
        write_id: what its outbox rows bear.
        after: an id that the outbox had given before the transaction's own, so that only what was
            written since is read.
        sent_at: when the commit was sent, by `time.monotonic`.

    Returns:
        The id of its first outbox row, or None if it did not commit and never will.

    Raises:
        WriteOutcomeUnknown: the server cannot be asked in time.
    """
    counters.add("commit_lookups", 1, shard.id)
    seconds = min(deadlines.outcome_timeout(shard.outcome_timeout), OUTBOX_KEEPS * 0.8)
    ends_at = sent_at + seconds
    find = first_row(write_id, after)
    return deadlines.until(ends_at, lambda: _ask_until(shard, identity, find, ends_at, seconds))


def first_row(write_id: bytes, after: int) -> Statement:
    """The id of the first outbox row of a write; see `outcome_of_commit`."""
    return (
        "SELECT id FROM mynamo_outbox FORCE INDEX (PRIMARY) WHERE id > %s AND write_id = %s"
        " ORDER BY id LIMIT 1",
        (after, write_id),
    )


def _ask_until(
    shard: DynamoDBShard,
    identity: tuple[int, str],
    find: Statement,
    ends_at: float,
    seconds: float,
) -> int | None:
    pause = 0.1
    while True:
        over = False
        try:
            with shard.session() as session:
                alive, found = session.run(
                    (
                        "SELECT 1 FROM information_schema.processlist WHERE id = %s AND host = %s",
                        identity,
                    ),
                    find,
                )
        except ShardUnavailable:
            pass
        else:
            if found.rows:
                return int(found.rows[0][0])
            over = not alive.rows  # looked for first: what an ended session did is decided
        if time.monotonic() >= ends_at:
            break  # from now on, absent may mean deleted
        if over:
            return None
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, 1.5 * pause)
    raise WriteOutcomeUnknown(
        f"{shard.where}: the connection was lost during commit, and the server did not say within "
        f"the outcome_timeout of {seconds:g} s what became of it; read the item to see whether it "
        "was written"
    )
