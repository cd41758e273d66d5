"""Back-pressure: writes to a table wait while its indexes are beyond their lag limits.

`Backlog` counts the changes of a shard that wait for the indexers, with two short round trips. The
shard's sequence and each stream's progress bound the number from above. The outbox itself is read
only if that bound is beyond a limit, and then no further than a multiple of it.

Where limits are set, a thread per shard looks once a second how much waits for the
indexers, as long as there are writes; a write itself asks nobody. One change goes to all
GSIs of its table at once, so they share one lag, and the tightest limit among them counts.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from weakref import ref

from mynamo.catalog import sql
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.catalog.tables import Table
from mynamo.errors import IndexBehind, MynamoError
from mynamo.mysql.pool import Result, Statement
from mynamo.runtime import deadlines, forks
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.config import IndexLimits, LimitsConfig


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

    A stream without recent events has an old position, though little or nothing waits behind it.
    So this remembers the sequence up to which nothing of the stream waits.
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
        return bound + Waiting(max(0, last_seq - floor), _age(now, oldest))

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
    return max((max(0.0, (now - created) / 1e6) for (created,) in first.rows), default=0.0)


RELAY: Statement = (f"SELECT last_seq, CAST({sql.NOW} AS SIGNED) FROM mynamo_relay", ())
STREAMS: Statement = ("SELECT part, last_seq, applied_seq FROM mynamo_stream", ())
FIRST_UNNUMBERED: Statement = (sql.first_unnumbered("created"), ())


def unnumbered(most: int) -> Statement:
    """How many changes the relay has not seen, from the index alone."""
    return (
        "SELECT COUNT(*) FROM (SELECT 1 FROM mynamo_outbox FORCE INDEX (by_sequence)"
        f" WHERE {sql.UNNUMBERED} LIMIT {most:d}) AS w",
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
    first = sql.first_unnumbered("table_id, created", most, "feeds = 1")
    return (
        f"SELECT table_id, COUNT(*), MIN(created) FROM ({first}) AS w GROUP BY table_id",
        (),
    )


log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
_MOST_OF_THE_TIME = 20
"""It spends at most one in so many parts of its time on looks: a long pause follows a long one."""
_IDLE = 10.0
"""Seconds without a write after which looking ends; the next write begins it anew."""
_FIRST_LOOK = 2.0
"""Seconds for which writes wait for the first look."""
_STALE = 5.0
"""Seconds after which a look that was due and did not come makes the last one worthless."""
_LEAST = 20_000
_MANIFOLD = 4
"""How many changes are looked at: a multiple of the largest limit, as tables share them."""


class BackPressure:
    """The back-pressure on one call's writes, the same for all of them.

    An item's writes must stay in order.
    """

    def __init__(self, limits: LimitsConfig) -> None:
        self._limits = limits
        self._answers: dict[tuple[int, int], IndexBehind | None] = {}

    def on(self, shard: DynamoDBShard, table: Table) -> IndexBehind | None:
        """Why a write to a table on a shard must not happen now, if so."""
        if not table.global_indexes:
            return None
        key = shard.id, table.id
        if key not in self._answers:
            waiting = lag_monitors.of(shard, self._limits).waiting(table.id)
            self._answers[key] = _beyond(self._limits, shard, table, waiting)
        return self._answers[key]


def _beyond(
    limits: LimitsConfig, shard: DynamoDBShard, table: Table, waiting: Waiting
) -> IndexBehind | None:
    for index in table.global_indexes:
        limit = limits.of(table.name, index.name)
        if _within(waiting, limit):
            continue
        return IndexBehind(
            f"index {index.name} of table {table.name} is {waiting.events:,} changes and "
            f"{waiting.seconds:.1f} s behind on shard {shard.id}, which is beyond its limit "
            f"({_shown(limit)}); try again once the indexers have caught up (`mynamo lag`)",
            table=table.name,
            index=index.name,
        )
    return None


def _within(waiting: Waiting, limit: IndexLimits) -> bool:
    return (limit.events is None or waiting.events <= limit.events) and (
        limit.seconds is None or waiting.seconds <= limit.seconds
    )


def _shown(limit: IndexLimits) -> str:
    parts = []
    if limit.events is not None:
        parts.append(f"{limit.events:,} changes")
    if limit.seconds is not None:
        parts.append(f"{limit.seconds:g} s")
    return ", ".join(parts)


class LagMonitor:
    """Looks at one shard's backlog, as long as somebody wants to know. Safe to share."""

    def __init__(self, shard: DynamoDBShard, limits: LimitsConfig) -> None:
        every = [IndexLimits(events=limits.index_events, seconds=limits.index_seconds)]
        every += limits.indexes.values()
        events = [limit.events for limit in every if limit.events is not None]
        seconds = [limit.seconds for limit in every if limit.seconds is not None]
        self._tightest = IndexLimits(
            events=min(events, default=None), seconds=min(seconds, default=None)
        )
        self._most = max(_LEAST, _MANIFOLD * max(events, default=0))
        self._shard = ref(shard)
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin without a thread, which will look when it is wanted."""
        self._backlog = Backlog()
        self._lock = threading.Lock()
        self._looking: threading.Thread | None = None
        self._wanted_at = 0.0
        self._waiting: dict[int, Waiting] = {}
        self._good_until = 0.0
        self._looked = threading.Event()

    def waiting(self, table_id: int) -> Waiting:
        """What of a table waits, as of the last look."""
        with self._lock:
            self._wanted_at = time.monotonic()
            if self._looking is None or not self._looking.is_alive():
                self._looked.clear()
                self._looking = threading.Thread(
                    target=self._run, name="mynamo-lag-monitor", daemon=True
                )
                self._looking.start()
        if not self._looked.is_set():
            in_thread(self._looked.wait)(deadlines.left(_FIRST_LOOK))
        if time.monotonic() > self._good_until:
            return Waiting()  # the shard does not answer: its writes fail anyway
        return self._waiting.get(table_id, Waiting())

    def _run(self) -> None:
        while True:
            started = time.monotonic()
            try:
                self._waiting = self._look()
            except MynamoError as failure:
                log.debug("how far indexes are behind is not known: %s", failure)
                rest = LOOK_EVERY
            else:
                rest = max(LOOK_EVERY, _MOST_OF_THE_TIME * (time.monotonic() - started))
                self._good_until = time.monotonic() + rest + _STALE
            finally:
                self._looked.set()
            time.sleep(rest)
            with self._lock:
                if time.monotonic() - self._wanted_at > _IDLE:
                    self._looking = None
                    return

    def _look(self) -> dict[int, Waiting]:
        shard = self._shard()
        if shard is None:
            return {}
        bound = self._backlog.bound(shard, self._most)
        if _within(bound, self._tightest):
            return {}
        return self._backlog.by_table(shard, self._most)


lag_monitors = PerShard(LagMonitor)
"""The lag monitor of each shard, one per process."""
