"""`Expirer`: deletes the items of one shard whose time to live has ended.

A round, on one shard:

1.  Take the shard's lock of expiry, which saves work: nothing rests on it. A crash here or later:
    the lock ends with its connection, and another worker goes on.
2.  Read the shard's clock; then, of one table after another, the next rows of the index of its
    expiries that are due, and their items.  A crash here: nothing happened.
3.  Delete them as any client would, on condition that they are due **still**: that is decided under
    the item's lock, so one that was prolonged meanwhile stays. The condition names the table's time
    to live as well, which the definition guard holds until the commit.  A crash here: what is
    committed is deleted as a whole, with its rows in all indexes and its change event.
4.  Rest, so that clients and indexers go first; the rate has a limit. Then the next table.

Each table has a turn of one batch, so none waits until another one is done. The round ends when
each has come to the end of what was due when it began.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import read_items
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.errors import CorruptData, Unavailable
from mynamo.mysql.failures import MissingTable
from mynamo.mysql.pool import Session, Statement
from mynamo.runtime.counters import counters
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.throttle import Throttle
from mynamo.schemas.expiry import due_between, sort_of
from mynamo.schemas.items import load_item
from mynamo.writer.backfill.backfiller import rest_after
from mynamo.writer.outbox.back_pressure import Backlog
from mynamo.writer.transaction.evaluation import Done, Refused
from mynamo.writer.transaction.routing import apply_each
from mynamo.writer.transaction.write_requests import StillDue, WriteRequest

log = logging.getLogger(__name__)

BATCH = 100
"""Items that are deleted at once."""
MOST_SKEW = 60
"""Seconds by which the shard's clock and this machine's may differ: beyond, one of them is wrong,
and nothing is deleted."""
_BESIDE = 0.5
"""Times as long as a batch took, to rest after it while changes wait, which its own do."""
_BEHIND_EVENTS = 2_001
"""How many waiting changes are counted, at most."""

Place = tuple[bytes, bytes, bytes]
"""A row of the index of expiries, in its order: expiry, hash and sort key of the item."""


@dataclass(slots=True)
class _Turn:
    """A table whose turn will come.

    Attributes:
        after: the last row that was looked at.
    """

    table: Table
    index: Index
    after: Place | None = None


class Expirer:
    """Deletes what has expired on one shard. Use by one thread; any number may work on a shard.

    Args:
        cluster: of the shard.
        shard: to look at.
        stop: ends a round.
    """

    def __init__(self, cluster: Cluster, shard: DynamoDBShard, stop: threading.Event) -> None:
        self.shard = shard
        self._cluster = cluster
        self._stop = stop
        self._throttle = Throttle(cluster.config.expiry.rate)
        self._backlog = Backlog()
        self._skewed = False

    def round(self) -> int:
        """Delete what is due now.

        Returns:
            How many items were deleted.

        Raises:
            ShardUnavailable, IndexBehind: some of it was not done; call again later.
        """
        turns = deque(_Turn(table, index) for table, index in self._tables())
        if not turns:
            return 0
        deleted = 0
        with self._lock() as session:
            if session is None or (now := self._clock(session)) is None:
                return 0
            while turns and not self._stop.is_set():
                turn = turns.popleft()
                began = time.monotonic()
                try:
                    requests, more = self._due(session, turn, now)
                    crash_point("expiry.2")
                    count, going = self._delete(requests)
                except MissingTable:  # dropped in the meantime
                    continue
                crash_point("expiry.3")
                deleted += count
                counters.add("expiry_deleted_items", count, turn.table.name)
                if more and going:
                    turns.append(turn)
                if count:
                    self._rest(time.monotonic() - began, count)
        return deleted

    def _tables(self) -> Iterator[tuple[Table, Index]]:
        if self.shard.id not in self._cluster.shards:
            return
        for table in self._cluster.snapshot.tables.values():
            index = table.time_to_live
            if table.status == "ACTIVE" and index is not None and index.status == "ACTIVE":
                yield table, index

    @contextmanager
    def _lock(self) -> Iterator[Session | None]:
        """The session that has the shard's lock; None: another worker has it."""
        with self.shard.session() as session:
            name = "CONCAT('mynamo.expiry.', LEFT(DATABASE(), 50))"
            (got,) = session.run((f"SELECT GET_LOCK({name}, 0)", ()))
            if got.rows != ((1,),):
                yield None
                return
            session.broken = True  # it is closed afterwards, which releases the lock
            yield session

    def _clock(self, session: Session) -> int | None:
        """The shard's clock, seconds since 1970; None: it is not to be trusted."""
        now = int(session.run(("SELECT UNIX_TIMESTAMP()", ()))[0].rows[0][0])
        skew = now - time.time()
        skewed = abs(skew) > MOST_SKEW
        if skewed and not self._skewed:
            log.error(
                "%s: its clock and this machine's differ by %+.0f s, so no items expire there",
                self.shard.where,
                skew,
            )
        self._skewed = skewed
        return None if skewed else now

    def _due(self, session: Session, turn: _Turn, now: int) -> tuple[list[WriteRequest], bool]:
        """Step 2, of one batch: deletions, and whether there may be more to look at."""
        places = session.run(due_rows(turn.index, now, turn.after, BATCH))[0].rows
        if not places:
            return [], False
        turn.after = places[-1]
        snapshot = self._cluster.snapshot
        keys = [RowKey(hash_, sort) for _, hash_, sort in places]
        own = [key for key in keys if snapshot.shard_ids[key.slot] == self.shard.id]
        requests = []
        found = session.run(read_items(turn.table.id, own))[0].rows if own else ()
        for hash_, sort, _, data in found:
            try:
                key = turn.table.key_attributes(load_item(data))
            except (CorruptData, KeyError):
                log.warning(
                    "table %s: item %s/%s cannot be read, so it does not expire; `mynamo verify` "
                    "names it", turn.table.name, hash_.hex(), sort.hex(),
                )  # fmt: skip
                continue
            condition = StillDue(turn.table.id, turn.index.expiry or "", now)
            requests.append(WriteRequest(turn.table.name, "DELETE", key, condition=condition))
        return requests, len(places) == BATCH

    def _delete(self, requests: list[WriteRequest]) -> tuple[int, bool]:
        """Step 3: how many were deleted, and whether to go on with the table.

        Raises:
            Unavailable: of the shard, or an index is too far behind.
        """
        count, going = 0, True
        for _, outcome in apply_each(self._cluster, requests):
            if isinstance(outcome, Done):
                count += bool(outcome.version)
            elif isinstance(outcome, Refused) and outcome.whole:
                if isinstance(outcome.error, Unavailable):
                    raise outcome.error
                going = False
        return count, going

    def _rest(self, took: float, count: int) -> None:
        """Step 4."""
        waiting = self._backlog.bound(self.shard, _BEHIND_EVENTS)
        self._stop.wait(max(rest_after(took, waiting, beside=_BESIDE), self._throttle.spend(count)))


def due_rows(index: Index, now: int, after: Place | None, rows: int) -> Statement:
    """The next rows of an index of expiries that are due, the earliest first.

    Args:
        now: seconds since 1970.
        after: they follow on this one.
        rows: at most.
    """
    first, behind = due_between(now)
    where, values = "index_sort >= %s AND index_sort < %s", [sort_of(first), sort_of(behind)]
    if after is not None:
        expiry, hash_, sort = after
        where += (
            " AND index_sort >= %s AND (index_sort > %s OR hash > %s OR (hash = %s AND sort > %s))"
        )
        values += [expiry, expiry, hash_, hash_, sort]
    return (
        f"SELECT index_sort, hash, sort FROM {sql.index_table(index)} FORCE INDEX (by_expiry)"
        f" WHERE {where} ORDER BY index_sort, hash, sort LIMIT {rows:d}",
        values,
    )
