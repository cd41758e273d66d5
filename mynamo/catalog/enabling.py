"""Enabling what an earlier release does not know, in a cluster that it has set up.

Transactions over several shards (format 3): processes of earlier releases know of no intents; one
that writes an item with a mark would take the mark away, and one that reads a placeholder would
answer an empty item. Shards that come and go, and moves of slots (format 4): such a process would
write items of slots that are on their way to another shard. Time to live (format 5): it would not
keep the expiries up. Streams (format 6): it would take a change without a number yet for one that
all indexes have. So none of them may read or write any more. Once all processes are of this
release:

E1. Every shard has the control tables (`migrations.INTENTS`, `MOVES`, `STREAMS`).  A crash here:
    nothing happened.
E2. One transaction in the catalog: the format, and the epoch of every shard's slots is raised; from
    format 4 on the shards are recorded (`mynamo_shards`). From here on an old process that reads
    the catalog refuses to work.  A crash here: reads and writes by the new slot map are refused by
    the slot guards until E3 is done, by `enable` called again or by a writer worker.
E3. One transaction on each shard: its slot guard is raised to the new epoch, which waits for the
    transactions that hold it shared; its generation is raised to that of its incarnation, which
    older processes did not do; and `oldest` in `mynamo_format` is raised, which says that this step
    is done. From here on every read and write of an old process is refused by the slot guard,
    whatever connection it has; it reads the catalog then.  A crash here: as after E2, for the other
    shards.

An intent is placed, and a row moved, only where the slot guard is that of a slot map of the format,
so after E3. From format 4 to 5 no epoch is raised: a table that gets time to live refuses, by its
definition guard, writes that do not know it, and a mover reads the catalog before it switches. A
new cluster begins with the newest format. Formats may be left out. There is no way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mynamo.catalog import catalog
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import base, newest, raise_epoch
from mynamo.catalog.migrations import GENERATION_ROW, READ_FORMAT, SHARD, require
from mynamo.catalog.shard import PASSING, DynamoDBShard, retry
from mynamo.errors import ConfigError, InvalidRequest, MynamoError, ShardUnavailable


@dataclass(frozen=True, slots=True)
class Feature:
    """What a format of the catalog allows.

    Attributes:
        catalog: the format.
        refusal: what to say where it is not allowed.
    """

    catalog: int
    refusal: str

    @property
    def shards(self) -> int:
        """The format of shards that it needs."""
        return catalog.shard_format(self.catalog)


TRANSACTIONS = Feature(
    catalog.TRANSACTIONS,
    "the items of this transaction are on several shards, and this cluster does not allow that "
    "yet: once all processes are of this release, run `mynamo transaction enable`",
)
MOVES = Feature(
    catalog.MOVES,
    "an earlier release has set this cluster up, and its shards cannot change yet: once all "
    "processes are of this release, run `mynamo shard enable`",
)
EXPIRY = Feature(
    catalog.EXPIRY,
    "an earlier release has set this cluster up, and its tables cannot have time to live yet: once "
    "all processes are of this release, run `mynamo upgrade`",
)
STREAMS = Feature(
    catalog.STREAMS,
    "an earlier release has set this cluster up, and its tables cannot have streams yet: once all "
    "processes are of this release, run `mynamo upgrade`",
)
NEWEST = STREAMS
_RAISE_GENERATION = "UPDATE mynamo_fence SET version = GREATEST(version, %s) WHERE id = %s"


def enable(cluster: Cluster, say: Callable[[str], None], feature: Feature = TRANSACTIONS) -> None:
    """Allow what a format allows; safe to repeat, also beside others who do it.

    Args:
        say: told of each step what was done, or that it was done before.

    Raises:
        ConfigError: a shard lacks the control tables; nothing was changed.
        ShardUnavailable: a server does not answer. The message says what is not done.
        ShardNotConfigured: the configuration lacks a shard; nothing was changed.
    """
    cluster.refresh()
    cluster.check_complete()
    _check_formats(cluster, say, feature)  # E1
    if cluster.catalog.raise_format(feature.catalog):  # E2
        say(
            f"catalog: format {feature.catalog}; from now on processes of earlier releases refuse "
            "to work"
        )
    else:
        say(f"catalog: it has format {cluster.snapshot.format} already")
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


def is_enabled(cluster: Cluster, feature: Feature = TRANSACTIONS) -> bool:
    """Whether it is allowed, as far as this process knows."""
    return cluster.snapshot.format >= feature.catalog


def check_enabled(cluster: Cluster, feature: Feature = TRANSACTIONS) -> None:
    """Refuse what is not allowed.

    Raises:
        InvalidRequest: the message says what to run.
    """
    if not is_enabled(cluster, feature):
        cluster.refresh()
        if not is_enabled(cluster, feature):
            raise InvalidRequest(feature.refusal)


def raise_slot_guard(cluster: Cluster, shard: DynamoDBShard) -> bool:
    """E3 on one shard, if E2 is done; safe to repeat. `mynamo_format` says if there is a need, not
    the guard itself, which other steps raise too.

    Returns:
        Whether it was still to do.

    Raises:
        ShardUnavailable: the shard does not answer.
    """
    snapshot = cluster.snapshot
    needed = catalog.shard_format(snapshot.format)
    epoch = snapshot.epochs.get(shard.id, 0)

    def once() -> bool:
        with shard.session() as session:
            _, found = session.run(("BEGIN", ()), (f"{READ_FORMAT} FOR UPDATE", (SHARD.kind,)))
            if found.rows[0][1] >= needed:
                session.rollback()
                return False
            last = newest(session)
            session.run(
                raise_epoch(epoch),
                (_RAISE_GENERATION, (base(0 if last is None else last.number), GENERATION_ROW)),
                require(needed),
                ("COMMIT", ()),
            )
        return True

    return retry(once, shard.timeout, PASSING) if needed else False


def _check_formats(cluster: Cluster, say: Callable[[str], None], feature: Feature) -> None:
    """E1. A new connection brings a shard's control tables up to date, if its user may."""
    lacking: list[MynamoError] = []
    for shard in cluster.shards.values():
        try:
            number = shard.run((READ_FORMAT, (SHARD.kind,)))[0].rows[0][0]
            if number < feature.shards:
                raise ConfigError(f"{shard.where}: it is of format {number}, not {feature.shards}")
        except (ConfigError, ShardUnavailable) as failure:
            lacking.append(failure)
        else:
            say(f"{shard.where}: it has the control tables")
    if lacking:
        raise type(lacking[0])(f"nothing was changed: {'; '.join(map(str, lacking))}")
