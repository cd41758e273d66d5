"""Enabling transactions over several shards, in a cluster that an earlier release has set up.

Processes of earlier releases know of no intents: one that writes an item with a mark would take the
mark away, and one that reads a placeholder would answer an empty item. So none of them may read or
write a shard on which intents can be. Once all processes are of this release:

E1. Every shard has the control tables of intents (`migrations.INTENTS`).  A crash here: nothing
    happened.
E2. One transaction in the catalog: format 3, and the epoch of every shard's slots is raised. From
    here on an old process that reads the catalog refuses to work.  A crash here: reads and writes
    by the new slot map are refused by the slot guards until E3 is done, by `enable` called again or
    by a writer worker.
E3. One transaction on each shard: its slot guard is raised to the new epoch, which waits for the
    transactions that hold it shared; its generation is raised to that of its incarnation, which
    older processes did not do; and `oldest` in `mynamo_format` is raised, which says that this step
    is done. From here on every read and write of an old process is refused by the slot guard,
    whatever connection it has; it reads the catalog then.  A crash here: as after E2, for the other
    shards.

An intent is placed only where the slot guard is that of a slot map of format 3, so after E3. A new
cluster begins with format 3. There is no way back.
"""

from __future__ import annotations

from collections.abc import Callable

from mynamo.catalog.catalog import FORMAT
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import base, newest
from mynamo.catalog.migrations import (
    GENERATION_ROW,
    INTENTS,
    READ_FORMAT,
    REQUIRE_INTENTS,
    SHARD,
)
from mynamo.catalog.shard import PASSING, DynamoDBShard, retry
from mynamo.errors import ConfigError, InvalidRequest, MynamoError, ShardUnavailable

_RAISE = "UPDATE mynamo_fence SET version = GREATEST(version, %s) WHERE id = %s"
_NOT_ENABLED = (
    "the items of this transaction are on several shards, and this cluster does not allow that "
    "yet: once all processes are of this release, run `mynamo transaction enable`"
)


def enable(cluster: Cluster, say: Callable[[str], None]) -> None:
    """Allow transactions over several shards; safe to repeat, also beside others who do it.

    Args:
        say: told of each step what was done, or that it was done before.

    Raises:
        ConfigError: a shard lacks the control tables; nothing was changed.
        ShardUnavailable: a server does not answer. The message says what is not done.
    """
    cluster.refresh()
    cluster.check_complete()
    _check_formats(cluster, say)  # E1
    if cluster.catalog.allow_transactions():  # E2
        say("catalog: format 3; from now on processes of earlier releases refuse to work")
    else:
        say("catalog: it has format 3 already")
    cluster.refresh()
    waiting = []
    for shard in cluster.shards.values():  # E3
        try:
            done = raise_slot_guard(cluster, shard)
        except ShardUnavailable as failure:
            waiting.append(str(failure))
        else:
            say(f"{shard.where}: its slot guard is raised" + ("" if done else " already"))
    if waiting:
        raise ShardUnavailable(
            f"not done yet: {'; '.join(waiting)}. Reads and writes there are refused until the "
            "slot guard is raised: run the command again, or leave it to a writer worker"
        )


def is_enabled(cluster: Cluster) -> bool:
    """Whether transactions over several shards are allowed, as far as this process knows."""
    return cluster.snapshot.format >= FORMAT


def check_enabled(cluster: Cluster) -> None:
    """Refuse a transaction over several shards where they are not allowed.

    Raises:
        InvalidRequest: the message says what to run.
    """
    if not is_enabled(cluster):
        cluster.refresh()
        if not is_enabled(cluster):
            raise InvalidRequest(_NOT_ENABLED)


def raise_slot_guard(cluster: Cluster, shard: DynamoDBShard) -> bool:
    """E3 on one shard, if E2 is done; safe to repeat. `mynamo_format` says if there is a need, not
    the guard itself, which other steps raise too.

    Returns:
        Whether it was still to do.

    Raises:
        ShardUnavailable: the shard does not answer.
    """
    if not is_enabled(cluster):
        return False
    epoch = cluster.snapshot.epochs.get(shard.id, 0)

    def once() -> bool:
        with shard.session() as session:
            _, found = session.run(("BEGIN", ()), (f"{READ_FORMAT} FOR UPDATE", (SHARD.kind,)))
            if found.rows[0][1] >= INTENTS:
                session.rollback()
                return False
            last = newest(session)
            session.run(
                (_RAISE, (epoch, 0)),
                (_RAISE, (base(0 if last is None else last.number), GENERATION_ROW)),
                REQUIRE_INTENTS,
                ("COMMIT", ()),
            )
        return True

    return retry(once, shard.timeout, PASSING)


def _check_formats(cluster: Cluster, say: Callable[[str], None]) -> None:
    """E1. A new connection brings a shard's control tables up to date, if its user may."""
    lacking: list[MynamoError] = []
    for shard in cluster.shards.values():
        try:
            number = shard.run((READ_FORMAT, (SHARD.kind,)))[0].rows[0][0]
            if number < INTENTS:
                raise ConfigError(f"{shard.where}: it is of format {number}, not {INTENTS}")
        except (ConfigError, ShardUnavailable) as failure:
            lacking.append(failure)
        else:
            say(f"{shard.where}: it has the control tables")
    if lacking:
        raise type(lacking[0])(f"nothing was changed: {'; '.join(map(str, lacking))}")
