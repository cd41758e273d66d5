"""What became of a transaction whose connection was lost during commit."""

from __future__ import annotations

import time

from mynamo.catalog.incarnation import BITS
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import ShardUnavailable, WriteOutcomeUnknown
from mynamo.runtime import deadlines
from mynamo.runtime.tasks import in_thread
from mynamo.writer.outbox.cleanup import OUTBOX_KEEPS

_LOOK_BACK = 1_000_000
"""Ids among which it looks for its own; far more than are given in that time."""


@in_thread
def outcome_of_commit(
    shard: DynamoDBShard, identity: tuple[int, str], write_id: bytes, sent_at: float
) -> int | None:
    """Find out whether a transaction committed whose connection was lost.

    Args:
        identity: of the lost session (`Session.identity`).
        write_id: what its outbox rows bear.
        sent_at: when the commit was sent, by `time.monotonic`.

    Returns:
        The id of its first outbox row, or None if it did not commit and never will.

    Raises:
        WriteOutcomeUnknown: the server cannot be asked in time.
    """
    seconds = min(deadlines.outcome_timeout(shard.outcome_timeout), OUTBOX_KEEPS * 0.8)
    ends_at = sent_at + seconds
    return deadlines.until(ends_at, lambda: _ask_until(shard, identity, write_id, ends_at, seconds))


def _ask_until(
    shard: DynamoDBShard, identity: tuple[int, str], write_id: bytes, ends_at: float, seconds: float
) -> int | None:
    while True:
        over = False
        try:
            with shard.session() as session:
                alive, _, rows, older = session.run(
                    (
                        "SELECT 1 FROM information_schema.processlist WHERE id = %s AND host = %s",
                        identity,
                    ),
                    (
                        "SET @before = (SELECT MAX(id) FROM mynamo_outbox WHERE id <="
                        f" (SELECT MAX(incarnation) << {BITS:d} FROM mynamo_incarnation))",
                        (),
                    ),
                    (
                        "SELECT MIN(id) FROM mynamo_outbox WHERE write_id = %s AND id > CAST("
                        "(SELECT COALESCE(MAX(id), 0) FROM mynamo_outbox) AS SIGNED)"
                        f" - {_LOOK_BACK:d}",
                        (write_id,),
                    ),
                    # Or it is among the last ones of the incarnation before.
                    (
                        "SELECT MIN(id) FROM mynamo_outbox WHERE write_id = %s AND id <= @before"
                        f" AND id > CAST(@before AS SIGNED) - {_LOOK_BACK:d}",
                        (write_id,),
                    ),
                )
        except ShardUnavailable:
            pass
        else:
            for found in (rows, older):
                if found.rows[0][0] is not None:
                    return int(found.rows[0][0])
            over = not alive.rows  # looked for first: what an ended session did is decided
        if time.monotonic() >= ends_at:
            break  # from now on, absent may mean deleted
        if over:
            return None
        time.sleep(0.1)
    raise WriteOutcomeUnknown(
        f"{shard.where}: the connection was lost during commit, and the server did not say within "
        f"the outcome_timeout of {seconds:g} s what became of it; read the item to see whether it "
        "was written"
    )
