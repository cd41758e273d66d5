"""M6 to M11: the moment at which a range moves.

Each step has the number that it has in `docs/design/resharding.md`, with what a crash after it, a
mover that stands still, and an answer that is lost mean. An attempt that takes too long is taken
back, by the mover or by whoever waits: the range belongs to the source, as before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mynamo.catalog import move_log, moves
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import READ_GENERATION
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.snapshot import SlotMove
from mynamo.catalog.sql import UNNUMBERED
from mynamo.catalog.stream_shards import follow_all
from mynamo.errors import ShardUnavailable
from mynamo.mysql.failures import Contention, DuplicateKey
from mynamo.mysql.pool import Session, Statement
from mynamo.operations.resharding.changed_rows import ENTRIES, catch_up, waiting_entries
from mynamo.operations.resharding.checkpoints import SwitchTooLong, bring_together
from mynamo.operations.resharding.ranges import Range
from mynamo.runtime.crash_points import crash_point
from mynamo.writer.outbox.back_pressure import Backlog

FEW_ENTRIES = 100
"""In the last round of M5 before a switch."""
LAG = 0.1
MOST_LAG = 0.8
"""Seconds for which a change of the source may wait for the indexers when a switch begins: at
first, and where they are always behind: twice as long for each `LAG_DOUBLES` seconds of waiting."""
LAG_DOUBLES = 5.0
FIRST_ATTEMPT = 0.15
LAST_ATTEMPT = 1.5
"""Seconds that the first and the last attempts may take for M8; each has twice the time of the one
before. Whoever waits takes a switch back after 2 s (`slot_guard.TAKE_BACK_AFTER`)."""
PROBE_SECONDS = 1
_OUTBOX_INSERT = (
    "INSERT INTO mynamo_outbox (id, part, feeds, table_id, write_id, created, payload)"
    " VALUES (%s, 0, 0, 0, %s, 1, '')"
)


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch took, in seconds.

    Attributes:
        writes: for which items of the range were not written.
        reads: for which it was not read.
        taken_back: likewise, of each attempt that was taken back.
    """

    writes: float
    reads: float
    taken_back: tuple[float, ...] = ()

    @property
    def pauses(self) -> tuple[float, ...]:
        """Of writes, at all attempts."""
        return *self.taken_back, self.writes


class Switch:
    """The switch of one move. For one thread."""

    def __init__(self, cluster: Cluster, move: SlotMove) -> None:
        self._cluster = cluster
        self._source = cluster.shards[move.source]
        self._target = cluster.shards[move.target]
        self._backlog = Backlog()
        self.move = move
        """As it is now."""

    def not_ready(self, entries: int, waited: float) -> str | None:
        """M6: what a switch has to wait for; None: nothing.

        Args:
            entries: of the last round of M5.
            waited: seconds since the range was found complete.

        Raises:
            ShardUnavailable: a member does not answer.
        """
        if entries >= FEW_ENTRIES:
            return f"the copy to catch up ({entries} changes a round)"
        for shard in self._cluster.shards.values():
            shard.health()
        waiting = self._backlog.bound(self._source, 5000)
        if waiting.events and waiting.seconds > lag_after(waited):
            return f"the indexes (lag {waiting.seconds:.1f} s)"
        if (unfinished := self._backfills()) is not None:
            return f"the backfill of index {unfinished}"
        if (stream := self._streams()) is not None:
            return f"the stream of table {stream} to follow the moves before"
        return self._probe()

    def run(self, known: moves.Definitions, attempt: int) -> Switched:
        """M7 to M11, once.

        Args:
            attempt: 0 for the first one.

        Raises:
            SwitchTooLong: it was taken back.
            NoLongerMover: likewise, or the move is another mover's.
            SwitchBusy: another move is at its switch.
            ShardUnavailable: a server does not answer; the switch is taken back as far as possible.
        """
        catalog = self._cluster.catalog
        limit = min(LAST_ATTEMPT, FIRST_ATTEMPT * 2**attempt)
        began = time.monotonic()
        self.move = moves.stop(catalog, self.move)  # M7
        crash_point("move.7")
        try:
            generations = self._stop(began + limit)  # M8
            crash_point("move.8")
            self.move = moves.close(catalog, self.move)  # M9
            closed = time.monotonic()
            since = self._raise_guards(self._source, self._target)[self._target.id]
            crash_point("move.9")
            while catch_up(self._cluster, self.move) == ENTRIES:  # M10
                pass
            bring_together(self._cluster, self.move)
            crash_point("move.10")
            self.move = moves.open_on_target(  # M11
                catalog, self.move, known, generations, since
            )
        except BaseException:
            if moves.take_back(catalog, self.move):
                self.move = self.move._replace(state="COPYING")
                self._cluster.refresh()
            raise
        ended = time.monotonic()
        self._cluster.refresh()
        crash_point("move.11")
        self._follow_streams()
        return Switched(ended - began, ended - closed)

    def _follow_streams(self) -> None:
        """Have stream shards of the range begin on the target, and end on the source. Writer
        workers do what is left."""
        if self._cluster.snapshot.streams:
            with suppress(ShardUnavailable):
                follow_all(self._cluster)

    def _stop(self, deadline: float) -> tuple[int, int]:
        """M8. Returns the generations of source and target."""
        self._raise_guards(self._source)
        goals = _Goals(self._source)
        with ThreadPoolExecutor(1) as pool:
            numbers = pool.submit(self._numbers)  # c
            kinds = (move_log.ITEM, move_log.TOKEN, move_log.COMMAND)
            while waiting_entries(self._cluster, self.move, kinds):  # a
                _check(deadline, "the last changes")
                catch_up(self._cluster, self.move)
            while not goals.are_reached():  # b
                _check(deadline, "the indexes")
                time.sleep(0.003)
            return numbers.result()

    def _numbers(self) -> tuple[int, int]:
        """M8 c. Returns the generations of source and target."""
        raise_ids(self._source, self._target)
        source, target = (
            int(shard.ask(READ_GENERATION)[0].rows[0][0]) for shard in (self._source, self._target)
        )
        return source, target

    def _raise_guards(self, *shards: DynamoDBShard) -> dict[int, int]:
        """Raise slot guards to the epochs in the catalog, side by side.

        Returns:
            These epochs.

        Raises:
            SwitchTooLong: a transaction holds one for too long.
        """
        epochs = self._cluster.refresh().epochs
        try:
            with ThreadPoolExecutor(len(shards)) as pool:
                list(pool.map(lambda shard: moves.raise_guard(shard, epochs[shard.id]), shards))
        except Contention:
            raise SwitchTooLong("a transaction that lasts long on one of the shards") from None
        return epochs

    def _backfills(self) -> str | None:
        """An index whose backfill on the source has not passed the range, if there is one."""
        range_ = Range.of(self.move)
        creating = [
            index
            for table in self._cluster.refresh().tables.values()
            for index in table.live_indexes
            if index.status == "CREATING"
        ]
        if not creating:
            return None
        rows = self._source.run(("SELECT index_id, after_hash, finished FROM mynamo_backfill", ()))[
            0
        ].rows
        positions = {index_id: (after, finished) for index_id, after, finished in rows}
        for index in creating:
            after, finished = positions.get(index.id, (None, 0))
            if finished or (after is not None and range_.high and after >= range_.high):
                continue
            return index.name
        return None

    def _streams(self) -> str | None:
        """The table of a stream whose stream shards do not fit the slot map, if there is one: on
        the source one must have the range, and what the target had of it must have ended."""
        if not self._cluster.snapshot.streams:
            return None
        return next((stream.table for stream in follow_all(self._cluster)), None)

    def _probe(self) -> str | None:
        """Whether both slot guards can be locked, for a moment."""
        for shard in (self._source, self._target):
            with shard.session() as session:
                try:
                    session.run_with_lock_wait(
                        PROBE_SECONDS,
                        ("BEGIN", ()),
                        ("SELECT version FROM mynamo_fence WHERE id = 0 FOR UPDATE", ()),
                        ("ROLLBACK", ()),
                    )
                except Contention:
                    return f"a transaction that lasts long on {shard.where}"
        return None


def lag_after(waited: float) -> float:
    """Seconds for which changes may wait for the indexers, after so many seconds of waiting for
    less."""
    return min(MOST_LAG, LAG * 2 ** min(waited / LAG_DOUBLES, 10.0))


def _check(deadline: float, what: str) -> None:
    if time.monotonic() >= deadline:
        raise SwitchTooLong(what)


class _Goals:
    """M8 b: what the source had committed at one moment is published, and applied everywhere.

    Raises:
        ShardUnavailable: the source does not answer.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self._shard = shard
        (found,) = shard.run(("SELECT COALESCE(MAX(id), 0) FROM mynamo_outbox", ()))
        self._highest: int = found.rows[0][0]
        self._published: int | None = None
        self._applied: dict[int, int] = {}

    def are_reached(self) -> bool:
        """Whether it is."""
        # In this order: what is numbered between two statements counts as not numbered.
        unnumbered, relay, streams = self._shard.run(
            ("SELECT 1 FROM mynamo_outbox FORCE INDEX (by_sequence)"
             f" WHERE {UNNUMBERED} AND id <= %s LIMIT 1", (self._highest,)),
            ("SELECT last_seq, published_seq FROM mynamo_relay", ()),
            ("SELECT part, last_seq, applied_seq FROM mynamo_stream", ()),
        )  # fmt: skip
        if self._published is None:
            if unnumbered.rows:
                return False
            self._published = relay.rows[0][0]
            self._applied = {part: last for part, last, _ in streams.rows}
        return relay.rows[0][1] >= self._published and all(
            applied >= self._applied.get(part, 0) for part, _, applied in streams.rows
        )


def raise_ids(source: DynamoDBShard, target: DynamoDBShard) -> None:
    """M8 c: ids of the target's outbox, which become versions, are above those of the source from
    now on, for ever.

    Raises:
        ShardUnavailable: a shard does not answer.
    """

    def once() -> None:
        highest = _next_id(source)
        if _next_id(target) > highest:
            return
        with target.session() as session:
            session.run(
                ("BEGIN", ()),
                (_OUTBOX_INSERT, (highest, bytes(16))),
                ("DELETE FROM mynamo_outbox WHERE id = %s", (highest,)),
                ("COMMIT", ()),
            )

    def attempt() -> None:
        try:
            once()
        except DuplicateKey:  # the target has come so far meanwhile
            once()

    retry(attempt)


def _next_id(shard: DynamoDBShard) -> int:
    """An id of the outbox that nobody has, and nobody gets."""

    def once() -> int:
        with _rolled_back(shard) as session:
            return session.run(_next_row())[0].insert_id

    return retry(once)


def _next_row() -> Statement:
    return (
        "INSERT INTO mynamo_outbox (part, feeds, table_id, write_id, created, payload)"
        " VALUES (0, 0, 0, %s, 1, '')",
        (bytes(16),),
    )


@contextmanager
def _rolled_back(shard: DynamoDBShard) -> Iterator[Session]:
    with shard.session() as session:
        session.run(("BEGIN", ()))
        yield session
        session.rollback()
        if session.broken:
            raise ShardUnavailable(f"{shard.where}: the connection was lost; try again")
