"""Removing a shard from a cluster, once all of its slots have been moved to others.

Each step is safe to repeat, and `remove_shard` called again goes on where it stopped:

D2. The catalog: the shard has no slots, and no move leads to it or from it; it is LEAVING, and the
    epochs of all shards are raised. Then all slot guards: from here on no transaction by an older
    map names it as its deciding shard.  A crash here: again.
D3. Wait: its changes are published and applied everywhere, and no shard has an intent that it
    decides. It has nothing of streams that can be read, unless that is to be discarded: that would
    take a day.  A crash here: again.
D4. The catalog: REMOVED, for ever. Its number is not given again, tokens of it count as applied,
    and late events of it are dropped. It may leave the configuration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from mynamo.catalog import sql
from mynamo.catalog.catalog import RAISE_ALL_EPOCHS
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import MOVES, check_enabled
from mynamo.catalog.incarnation import raise_epoch
from mynamo.catalog.members import state_of
from mynamo.errors import InvalidRequest, ShardUnavailable
from mynamo.mysql.pool import Session, Statement
from mynamo.operations.lag import shard_lag
from mynamo.operations.pipeline import doze
from mynamo.runtime.crash_points import crash_point

TIMEOUT = 60.0
"""Seconds that D3 may take, unless the caller says otherwise."""


def remove_shard(
    cluster: Cluster,
    shard_id: int,
    say: Callable[[str], None] = lambda line: None,
    timeout: float = TIMEOUT,
    discard_streams: bool = False,
) -> None:
    """Remove a member without slots, D2 to D4; safe to repeat.

    Args:
        say: told of each step that was done.
        timeout: seconds to wait for what is left of its changes and transactions.
        discard_streams: remove it though records of streams are there that can be read.

    Raises:
        InvalidRequest: it is no member, or has slots, or moves are open. Nothing was changed. Or it
            has such records: it is LEAVING then; call again when they are old.
        ShardUnavailable: a server does not answer, or something is left of its changes; call again.
        ShardNotConfigured: the configuration lacks a shard; nothing was changed.
    """
    check_enabled(cluster, MOVES)
    cluster.refresh()
    cluster.check_complete()
    cluster.catalog.decide(partial(_leave, shard_id))  # D2
    if cluster.refresh().members[shard_id].state == "REMOVED":
        say(f"shard {shard_id} is removed already")
        return
    for each in cluster.shards.values():
        each.run(raise_epoch(cluster.snapshot.epochs[each.id]))
    say(f"shard {shard_id}: it is LEAVING; all slot guards are raised")
    crash_point("shard.remove.2")
    _wait_until_done(cluster, shard_id, timeout)  # D3
    say(f"shard {shard_id}: all of its changes are applied, and it decides no transaction")
    if not discard_streams:
        _check_streams(cluster, shard_id)
    crash_point("shard.remove.3")
    cluster.catalog.decide(partial(_remove, shard_id))  # D4
    cluster.refresh()
    crash_point("shard.remove.4")
    say(f"shard {shard_id}: it is REMOVED, and may leave the configuration")


def _leave(shard_id: int, session: Session, _: int) -> Sequence[Statement]:
    """D2 in the catalog, unless it is done."""
    state = state_of(session, shard_id)
    if state is None:
        raise InvalidRequest(f"the cluster has no shard {shard_id}")
    if state in ("LEAVING", "REMOVED"):
        return ()
    slots, moves = session.run(
        ("SELECT first_slot, last_slot FROM mynamo_slots WHERE shard_id = %s", (shard_id,)),
        ("SELECT first_slot, last_slot FROM mynamo_moves"
         " WHERE %s IN (source, target) AND state <> 'ENDED'", (shard_id,)),
    )  # fmt: skip
    for first, last in slots.rows:
        raise InvalidRequest(f"shard {shard_id} has slots {first}-{last}; move them away first")
    for first, last in moves.rows:
        raise InvalidRequest(f"a move of slots {first}-{last} of shard {shard_id} is not ended")
    return [
        ("UPDATE mynamo_shards SET state = 'LEAVING' WHERE shard_id = %s", (shard_id,)),
        RAISE_ALL_EPOCHS,
    ]


def _remove(shard_id: int, session: Session, _: int) -> Sequence[Statement]:
    """D4, unless it is done."""
    if state_of(session, shard_id) != "LEAVING":
        return ()
    return [("UPDATE mynamo_shards SET state = 'REMOVED' WHERE shard_id = %s", (shard_id,))]


def _check_streams(cluster: Cluster, shard_id: int) -> None:
    """Refuse to remove what consumers of streams have not read, or may need for the order."""
    shard = cluster.shards[shard_id]
    ended, open_, now = shard.run(
        ("SELECT COUNT(*), MAX(ended_at) FROM mynamo_stream_shard", ()),
        ("SELECT COUNT(*) FROM mynamo_stream_shard WHERE end_seq IS NULL", ()),
        (f"SELECT {sql.NOW}", ()),
    )
    ((count, last),) = ended.rows
    if not count:
        return
    if open_.rows[0][0]:
        raise ShardUnavailable(
            f"shard {shard_id} is LEAVING, and the streams have not followed its slots yet; a "
            "writer worker does that: run the command again"
        )
    age = (now.rows[0][0] - last) / 1e6
    left = max(0.0, cluster.config.streams.retention - age)
    raise InvalidRequest(
        f"shard {shard_id} is LEAVING, and has records of streams that can be read for another "
        f"{left / 3600:.1f} h; run the command again then, or with --discard-streams"
    )


def _wait_until_done(cluster: Cluster, shard_id: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    attempt = 0
    while left := _left(cluster, shard_id):
        if time.monotonic() >= deadline:
            raise ShardUnavailable(
                f"shard {shard_id} is LEAVING, and not done within {timeout:g} s: {left}; run the "
                "command again"
            )
        doze(attempt, deadline)
        attempt += 1


def _left(cluster: Cluster, shard_id: int) -> str:
    """What D3 waits for; empty: for nothing."""
    lag, _ = shard_lag(cluster.shards[shard_id])
    if lag.unpublished or lag.unapplied:
        return f"{lag.unpublished} changes are not published, {lag.unapplied} not applied"
    for each in cluster.shards.values():
        found = each.run(
            ("SELECT COUNT(*) FROM mynamo_intent WHERE decider = %s", (shard_id,))
        )[0].rows  # fmt: skip
        if found[0][0]:
            return f"{each.where} has {found[0][0]} intents that it decides"
    return ""
