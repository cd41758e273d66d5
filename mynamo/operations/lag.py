"""How far the pipeline is behind: outboxes, relays, indexes, queued writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.errors import MynamoError, ShardUnavailable
from mynamo.log import kafka_errors, open_consumer
from mynamo.log.clients import group_members, uncommitted
from mynamo.mysql.pool import Result, Statement
from mynamo.operations import standstill
from mynamo.operations.pipeline import wait_until_applied as wait_until_applied
from mynamo.runtime.side_by_side import side_by_side
from mynamo.schemas.config import KafkaConfig

_SAMPLE = 100
_RESTART = 1.5
"""Seconds that an indexer may be away from its group while it starts again."""
_PATIENCE = 3.0
"""Seconds after which a shard counts as not answering."""


@dataclass(frozen=True, slots=True)
class ShardLag:
    """How far one shard's outbox is behind.

    Attributes:
        shard: its number.
        rows: in the outbox; done ones stay for a minute.
        payload_bytes: of all of them, estimated from a sample.
        oldest_seconds: age of the oldest of them, by the shard's clock; 0 if there are none.
        unsequenced: rows that the relay has not seen yet.
        unpublished: rows that are not in Kafka yet, the unsequenced ones included.
        unapplied: rows that an index waits for.
        unapplied_seconds: age of the oldest of those, by the shard's clock; 0 if none.
        relay: the name of the worker that relays the shard's changes; None: nobody does.
        relay_seconds: for which its lease still holds; negative: it has expired, so the
            worker has died and another one takes over.
        intents: items that a transaction over several shards has at the moment.
        intents_seconds: age of the oldest of these intents, by the shard's clock; 0 if none.
    """

    shard: int
    rows: int
    payload_bytes: int
    unsequenced: int
    unpublished: int
    unapplied: int
    unapplied_seconds: float
    relay: str | None
    relay_seconds: float
    oldest_seconds: float = 0.0
    intents: int = 0
    intents_seconds: float = 0.0

    @property
    def relay_alive(self) -> bool:
        """Whether a worker relays this shard's changes."""
        return self.relay is not None and self.relay_seconds > 0

    @property
    def open_intents(self) -> str:
        """What to say of intents; empty: there are none."""
        if not self.intents:
            return ""
        return (
            f", {self.intents:,} intents of transactions (the oldest "
            f"{self.intents_seconds:.1f} s old)"
        )


@dataclass(frozen=True, slots=True)
class IndexLag:
    """How far one GSI is behind the items of one shard.

    Attributes:
        table, index: names.
        status: of the index.
        shard: on which the items are.
        events: changes of the table that are not applied yet; some may not concern the index.
        seconds: age of the oldest of them, by the shard's clock; 0 if none.
    """

    table: str
    index: str
    status: str
    shard: int
    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LagReport:
    """How far everything is behind.

    Attributes:
        shards: by number.
        indexes: by table, index and shard.
        queued_writes: commands in Kafka that no writer has taken; None: Kafka was not asked.
        indexers: members of the indexers' group; None: not known.
        standing: numbers of the shards of which some events stand still: they are published,
            have waited for 30 s, and none of them was applied in 10 s of looking.
        moves: of slots that have not ended, in words.
        notes: what could not be found out, and why.
        complete: every shard has answered.
    """

    shards: tuple[ShardLag, ...]
    indexes: tuple[IndexLag, ...]
    queued_writes: int | None
    notes: tuple[str, ...] = ()
    complete: bool = True
    indexers: int | None = None
    standing: tuple[int, ...] = ()
    moves: tuple[str, ...] = ()

    @property
    def indexer_missing(self) -> bool:
        """Whether there are GSIs and no indexer is in its group, as Kafka says."""
        return bool(self.indexes) and self.indexers == 0

    @property
    def standstill(self) -> str:
        """What stands still, and what to do; empty: nothing does."""
        if not self.standing:
            return ""
        if self.indexer_missing:
            todo = "run `mynamo indexer`"
        elif self.indexers:
            todo = f"the logs of the indexers ({self.indexers} at work) say what they wait for"
        else:
            todo = "look whether an indexer is at work, and into its log"
        shards = ", ".join(map(str, self.standing))
        return (
            f"indexes stand still: events from shard {shards} are in Kafka, have waited for more"
            f" than {standstill.WAITED:.0f} s, and none was applied in {standstill.UNMOVED:.0f} s;"
            f" {todo}"
        )

    @property
    def seconds(self) -> float:
        """How far the GSI that is furthest behind is behind."""
        return max((index.seconds for index in self.indexes), default=0.0)

    @property
    def events(self) -> int:
        """Changes that some index waits for."""
        return sum(shard.unapplied for shard in self.shards)

    def __str__(self) -> str:
        lines = []
        for s in self.shards:
            relay = f"relay {s.relay}" if s.relay_alive else "NO RELAY: run `mynamo writer`"
            lines.append(
                f"shard {s.shard}: outbox {s.rows:,} rows ({s.payload_bytes:,} bytes, the oldest "
                f"{s.oldest_seconds:.0f} s old), "
                f"{s.unpublished:,} unpublished, {s.unapplied:,} unapplied "
                f"({s.unapplied_seconds:.1f} s), {relay}{s.open_intents}"
            )
        for i in self.indexes:
            lines.append(
                f"{i.table}.{i.index} ({i.status}) from shard {i.shard}: "
                f"{i.events:,} events, {i.seconds:.1f} s behind"
            )
        if self.indexer_missing:
            lines.append("NO INDEXER: run `mynamo indexer`")
        if self.standing:
            lines.append(self.standstill.replace("indexes stand still", "INDEXES STAND STILL"))
        if self.queued_writes is not None:
            lines.append(f"queued writes waiting: {self.queued_writes:,}")
        lines += self.moves
        return "\n".join([*lines, *self.notes])


def lag(cluster: Cluster) -> LagReport:
    """Look how far everything is behind. Cheap: what is not waiting is not read.

    Takes 10 s where published events have waited for more than 30 s and none is applied.

    Raises:
        ShardUnavailable: the catalog does not answer. That a shard or Kafka does not is a
            note in the report.
    """
    snapshot = cluster.refresh()
    looked = shard_lags(cluster)
    notes = list(looked.notes)
    queued: int | None = None
    indexers: int | None = None
    try:
        queued, indexers = consumers_lag(cluster.config.kafka, bool(looked.indexes))
    except MynamoError as failure:
        notes.append(f"queued writes are not known: {failure}")
    return LagReport(
        standing=_standing(cluster, looked.shards),
        shards=looked.shards,
        indexes=looked.indexes,
        queued_writes=queued,
        notes=tuple(notes),
        complete=len(looked.shards) == len(cluster.snapshot.epochs),
        indexers=indexers,
        moves=tuple(map(str, snapshot.moves_left)),
    )


class ShardLags(NamedTuple):
    """What the shards know of how far everything is behind; see `LagReport`.

    Attributes:
        notes: of shards that did not answer.
    """

    shards: tuple[ShardLag, ...]
    indexes: tuple[IndexLag, ...]
    notes: tuple[str, ...]


def shard_lags(cluster: Cluster) -> ShardLags:
    """Ask all shards at once how far they are behind, by the tables that this process knows."""
    tables = cluster.snapshot.tables
    notes = [f"shard {id_} is not in the configuration" for id_ in cluster.lacking]
    shards: list[ShardLag] = []
    indexes: list[IndexLag] = []
    for looked in side_by_side([partial(_looked, s) for s in cluster.shards.values()]):
        if isinstance(looked, str):
            notes.append(looked)
            continue
        entry, waiting = looked
        shards.append(entry)
        for table in tables.values():
            events, seconds = waiting.get(table.id, (0, 0.0))
            for index in table.global_indexes if table.status != "DELETING" else ():
                indexes.append(
                    IndexLag(table.name, index.name, index.status, entry.shard, events, seconds)
                )
    return ShardLags(
        tuple(sorted(shards, key=lambda s: s.shard)),
        tuple(sorted(indexes, key=lambda i: (i.table, i.index, i.shard))),
        tuple(notes),
    )


def _looked(shard: DynamoDBShard) -> tuple[ShardLag, dict[int, tuple[int, float]]] | str:
    """As `shard_lag`; a text says why it is not known."""
    try:
        return shard_lag(shard)
    except ShardUnavailable as failure:
        return f"shard {shard.id} is not known: {failure}"


def consumers_lag(config: KafkaConfig, indexed: bool) -> tuple[int, int]:
    """How many queued writes wait, and how many indexers are at work, as Kafka says.

    Args:
        indexed: there are GSIs, so that a first indexer is waited for.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    queued = _queued_writes(config)
    return queued, group_members(config, config.indexer_group, _RESTART if indexed else 0.0)


def _standing(cluster: Cluster, lags: Sequence[ShardLag]) -> tuple[int, ...]:
    """The shards that answered of which some events stand still."""
    waiting = [s.shard for s in lags if s.unapplied_seconds > standstill.WAITED]
    try:
        found = standstill.standing([cluster.shards[shard_id] for shard_id in waiting])
    except ShardUnavailable:  # it does no more: the next report says so
        return ()
    return tuple(sorted({one.stream.shard for one in found}))


def shard_lag(shard: DynamoDBShard) -> tuple[ShardLag, dict[int, tuple[int, float]]]:
    """A shard's lag, and per table how many events wait and for how many seconds.

    Raises:
        ShardUnavailable: it does not answer.
    """

    def look() -> list[Result]:
        with shard.session() as session:
            return session.run(RELAY_STATE, ROWS, UNSEQUENCED, INTENTS, UNSEQUENCED_FEEDING)

    relay, counted, unsequenced, intents, waiting_first = retry(look, _PATIENCE)
    owner, left, published, lowest, now = relay.rows[0]
    count, first, last, oldest = counted.rows[0]
    sequenced, waiting_next, size = shard.run(
        unpublished_above(published), unapplied_above(lowest), average_size(first or 0, last or 0)
    )
    by_table: dict[int, tuple[int, float]] = {}
    for table_id, events, since in (*waiting_first.rows, *waiting_next.rows):
        before, seconds = by_table.get(table_id, (0, 0.0))
        age = max(seconds, (now - since) / 1e6, 0.0)
        by_table[table_id] = (before + events, age)
    open_intents, placed = intents.rows[0]
    entry = ShardLag(
        shard=shard.id,
        rows=count,
        payload_bytes=round(count * float(size.rows[0][0] or 0)),
        unsequenced=unsequenced.rows[0][0],
        unpublished=unsequenced.rows[0][0] + sequenced.rows[0][0],
        unapplied=sum(events for events, _ in by_table.values()),
        unapplied_seconds=max((seconds for _, seconds in by_table.values()), default=0.0),
        relay=owner.decode("utf-8", "replace") if owner is not None else None,
        relay_seconds=left / 1e6 if owner is not None else 0.0,
        oldest_seconds=0.0 if oldest is None else max(0.0, (now - oldest) / 1e6),
        intents=open_intents,
        intents_seconds=0.0 if placed is None else max(0.0, (now - placed) / 1e6),
    )
    return entry, by_table


RELAY_STATE: Statement = (
    f"SELECT owner, CAST(expires AS SIGNED) - CAST({sql.NOW} AS SIGNED), published_seq,"
    " COALESCE((SELECT MIN(applied_seq) FROM mynamo_stream WHERE applied_seq < last_seq),"
    f" last_seq), CAST({sql.NOW} AS SIGNED) FROM mynamo_relay",
    (),
)
"""The lease, and the lowest sequence after which there may be an event not applied."""

ROWS: Statement = (
    "SELECT COUNT(*), MIN(id), MAX(id),"
    " (SELECT created FROM mynamo_outbox ORDER BY id LIMIT 1) FROM mynamo_outbox",
    (),
)
"""Rows and their ids, and when the first was committed: ids are about in that order."""

UNSEQUENCED: Statement = (
    f"SELECT COUNT(*) FROM mynamo_outbox FORCE INDEX (by_sequence) WHERE {sql.UNNUMBERED}",
    (),
)

INTENTS: Statement = ("SELECT COUNT(*), MIN(placed_at) FROM mynamo_intent", ())

UNSEQUENCED_FEEDING: Statement = (
    "SELECT table_id, COUNT(*), MIN(created) FROM mynamo_outbox FORCE INDEX (by_sequence)"
    f" WHERE {sql.UNNUMBERED} AND feeds = 1 GROUP BY table_id",
    (),
)
"""Events that wait for their number already."""


def average_size(first: int, last: int) -> Statement:
    """The size of a payload, from a sample of the rows between two ids."""
    ids = sorted({first + (last - first) * n // _SAMPLE for n in range(_SAMPLE + 1)})
    where = f"id IN ({sql.placeholders(ids)})"
    return f"SELECT AVG(OCTET_LENGTH(payload)) FROM mynamo_outbox WHERE {where}", ids


def unpublished_above(published_seq: int) -> Statement:
    """Rows with a number that are not in Kafka yet."""
    return "SELECT COUNT(*) FROM mynamo_outbox WHERE seq > %s", (published_seq,)


def unapplied_above(lowest: int) -> Statement:
    """Events with a number that an index waits for, by table."""
    return (
        "SELECT o.table_id, COUNT(*), MIN(o.created)"
        " FROM mynamo_outbox o FORCE INDEX (by_sequence)"
        " STRAIGHT_JOIN mynamo_stream s ON s.part = o.part"
        " WHERE o.seq > %s AND o.seq > s.applied_seq AND o.feeds = 1 GROUP BY o.table_id",
        (lowest,),
    )


def _queued_writes(config: KafkaConfig) -> int:
    """Commands that Kafka has and the writers' group has not committed.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    consumer = open_consumer(config, config.writer_group)
    with kafka_errors(config):
        try:
            return uncommitted(consumer, config.writes_topic)
        finally:
            consumer.close()
