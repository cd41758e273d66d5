"""How many changes of a shard wait for the indexers, at the cost of two short round trips.

The shard's sequence and each stream's progress bound it from above; the outbox itself is
read only when that bound is beyond a limit, and then no further than a multiple of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mynamo.shards import sql
from mynamo.shards.pool import Result, Statement
from mynamo.shards.shard import DynamoDBShard


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for the indexers.

    Attributes:
        events: how many changes.
        seconds: age of the oldest, by the shard's clock.
    """

    events: int = 0
    seconds: float = 0.0

    def __add__(self, other: Waiting) -> Waiting:
        return Waiting(self.events + other.events, max(self.seconds, other.seconds))


class Backlog:
    """What waits on one shard, always the same one. Use by one thread.

    A stream that had nothing for a while has an old position, though little or nothing
    waits behind it. So it is remembered up to which sequence nothing of a stream waits.
    """

    def __init__(self) -> None:
        self._clear: dict[int, int] = {}
        self._floor = 0

    def bound(self, shard: DynamoDBShard, most: int) -> Waiting:
        """No more than this waits, of all tables together.

        Args:
            most: count no further than to here, where counting has a cost.

        Raises:
            ShardUnavailable: the shard does not answer.
        """
        relay, streams, count, first = _run(
            shard, RELAY, STREAMS, unnumbered(most), FIRST_UNNUMBERED
        )
        last_seq, now = relay.rows[0]
        bound = Waiting(count.rows[0][0], _age(now, first))
        floor = self._learn(last_seq, {part: given for part, *given in streams.rows})
        if floor is None:
            return bound
        self._floor = floor
        (oldest,) = _run(shard, first_after(floor))
        return bound + Waiting(last_seq - floor, _age(now, oldest))

    def by_table(self, shard: DynamoDBShard, most: int) -> dict[int, Waiting]:
        """What waits, by table id, as far as `bound` has just said there may be any.

        Args:
            most: look at so many changes at the most, the oldest.

        Raises:
            ShardUnavailable: the shard does not answer.
        """
        relay, *parts = _run(
            shard, RELAY, waiting_above(self._floor, most), waiting_unnumbered(most)
        )
        now = relay.rows[0][1]
        found: dict[int, Waiting] = {}
        for part in parts:
            for table_id, events, oldest in part.rows:
                more = Waiting(events, max(0.0, (now - oldest) / 1e6))
                found[table_id] = found.get(table_id, Waiting()) + more
        return found

    def _learn(self, last_seq: int, streams: dict[int, list[int]]) -> int | None:
        """The sequence after which there may be events not applied; None: there are none.

        Args:
            last_seq: of the shard, read before the streams: what was given later is larger.
            streams: by partition the last sequence given, and applied.
        """
        if any(sequence > last_seq for sequence in self._clear.values()):
            self._clear = {}  # the database is an older one than it was
        behind = []
        for part, (last, applied) in streams.items():
            if last <= applied:
                self._clear[part] = last_seq
            else:
                behind.append(max(applied, self._clear.get(part, 0)))
        return min(behind, default=None)


def _run(shard: DynamoDBShard, *statements: Statement) -> list[Result]:
    with shard.session() as session:
        return session.run(*statements)


def _age(now: int, first: Result) -> float:
    return max(0.0, (now - first.rows[0][0]) / 1e6) if first.rows else 0.0


RELAY: Statement = (f"SELECT last_seq, CAST({sql.NOW} AS SIGNED) FROM mynamo_relay", ())
STREAMS: Statement = ("SELECT part, last_seq, applied_seq FROM mynamo_stream", ())
FIRST_UNNUMBERED: Statement = (
    "SELECT created FROM mynamo_outbox FORCE INDEX (by_sequence)"
    " WHERE seq IS NULL ORDER BY id LIMIT 1",
    (),
)


def unnumbered(most: int) -> Statement:
    """How many changes the relay has not seen, from the index alone."""
    return (
        "SELECT COUNT(*) FROM (SELECT 1 FROM mynamo_outbox FORCE INDEX (by_sequence)"
        f" WHERE seq IS NULL LIMIT {most:d}) AS w",
        (),
    )


def first_after(sequence: int) -> Statement:
    """When the first change after a sequence was committed."""
    return (
        "SELECT created FROM mynamo_outbox FORCE INDEX (by_sequence)"
        " WHERE seq > %s ORDER BY seq LIMIT 1",
        (sequence,),
    )


def waiting_above(sequence: int, most: int) -> Statement:
    """Changes with a number that an index waits for, by table."""
    return (
        "SELECT table_id, COUNT(*), MIN(created) FROM (SELECT o.table_id, o.created"
        " FROM mynamo_outbox o FORCE INDEX (by_sequence)"
        " STRAIGHT_JOIN mynamo_stream s ON s.part = o.part"
        " WHERE o.seq > %s AND o.seq > s.applied_seq AND o.feeds = 1"
        f" ORDER BY o.seq LIMIT {most:d}) AS w GROUP BY table_id",
        (sequence,),
    )


def waiting_unnumbered(most: int) -> Statement:
    """Changes that an index waits for and that have no number yet, by table."""
    return (
        "SELECT table_id, COUNT(*), MIN(created) FROM (SELECT table_id, created"
        " FROM mynamo_outbox FORCE INDEX (by_sequence)"
        f" WHERE seq IS NULL AND feeds = 1 ORDER BY id LIMIT {most:d}) AS w GROUP BY table_id",
        (),
    )
