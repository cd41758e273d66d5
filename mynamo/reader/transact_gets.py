"""Reading several items as of one moment, without locks and without writing.

**One shard.** In the isolation level that sessions have here (READ COMMITTED), each statement reads
from one snapshot, its own. So items of one table are read in one statement, which may have others'
keys too. Items of several tables take a statement each, in a transaction that has one snapshot for
all of them. If no item has an intent, that is all: what happened on other shards before this
moment is applied here, or was not prepared here.

**Several shards, or an intent** (see `mynamo.catalog.intents`):

G1. On all shards side by side, in one round trip: the outbox's highest id, then items and their
    versions with the slot guard. Where there are marks or placeholders, a second one reads the
    intents.
G2. If there are intents, and once G1 has ended everywhere: ask their deciding shards for the
    decisions. If one is COMMITTED, begin again, after a pause, in which somebody applies it: this
    process, if it may write and has seen it for `RESOLVE_AFTER`. ABORTED or none: what was read is
    right.
G3. After G2, on all shards side by side, in one round trip, by a statement each and in this order:
    versions; intents; of each item that is absent, whether the outbox has an event of it above the
    id of G1; the outbox's highest id; the slot guard. All must be as in G1, there must be no such
    event, and the highest id must be of the same incarnation. Otherwise begin again.

Why this is right: let t be any moment after the last read of G1 and before the first of G2.
Versions never come back, so each item is at t as it was read. An item that was absent both times
may have been inserted and deleted between; then the deletion took its id after the insertion was
committed, hence above every id of G1, and was committed before G3 read versions. The outbox keeps
it for `OUTBOX_KEEPS` seconds; what was begun more than `LONGEST` seconds ago begins again. An
intent is never placed twice, so one that is there in G1 and in G3 was there all the time: then its
transaction was not decided at t, or G2 has found COMMITTED, which stays for as long as there are
intents. A transaction that has no intent on any of the items at t is applied on all of them, or
happens later.

G1 and G3 share no round trips with others. Those drop statements that equal a later one, which
would change the order.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from mynamo.catalog.cluster import Cluster, Owner
from mynamo.catalog.incarnation import incarnation_of
from mynamo.catalog.intents import (
    Decision,
    Intent,
    intents_in,
    is_free,
    read_decision,
    read_intents,
)
from mynamo.catalog.shard import PerShard
from mynamo.catalog.slot_guard import READ_EPOCH, check_epoch, epoch_in
from mynamo.catalog.tables import RowKey
from mynamo.errors import (
    InvalidRequest,
    MynamoError,
    TransactionCanceled,
    TransactionConflict,
)
from mynamo.mysql.pool import Result, Statement
from mynamo.reader.batch_gets import (
    Found,
    GetBatcher,
    Items,
    TableRow,
    Wanted,
    by_owner,
    got,
    item_statement,
    rows_of,
    statements_for,
)
from mynamo.reader.read_requests import Get, Got
from mynamo.runtime import deadlines
from mynamo.runtime.side_by_side import side_by_side
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.events import keys_in_payload
from mynamo.schemas.transaction_limits import SAME_ITEM

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for which items are read again, unless the call has less."""
RESOLVE_AFTER = 0.05
"""Seconds from when an intent of a committed transaction was first seen, until this process applies
it. Its coordinator does so, as a rule."""
LONGEST = 30.0
"""Seconds from the beginning of G1 to the end of G3."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05

Resolve = Callable[[Intent], None]
"""Finishes the transaction of an intent on the intent's shard, or waits until somebody has."""
Row = tuple[int, bytes]
"""Version, as stored, and item."""

_BEGIN: tuple[Statement, ...] = (
    ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ()),  # of the next transaction only
    ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", ()),
)
_END: Statement = ("COMMIT", ())
_NEWEST_EVENT: Statement = ("SELECT MAX(id) FROM mynamo_outbox", ())
_COLUMNS = ("version", "item")
_MOVING = (
    "other writes changed the items while they were read, or a transaction that has happened is "
    "not applied to them yet; nothing was read, try again"
)


def transact_get(
    cluster: Cluster, gets: Sequence[Get], resolve: Resolve | None = None
) -> list[Got]:
    """Read items by key, of one table or several, all as of one moment.

    Args:
        resolve: finishes transactions that have happened, where this process may write; None:
            others do.

    Returns:
        What was there, in the order of `gets`.

    Raises:
        TableNotFound: there is no such table.
        InvalidItem: a key is not one of its table.
        InvalidRequest: an item is named twice.
        TransactionCanceled: items kept changing; each of them has a TransactionConflict as its
            reason.
        MissingTable: the catalog's knowledge of a table is outdated.
        SlotsMoved: that of the slots is.
        ShardUnavailable: a shard does not answer.
    """
    rows = rows_of(cluster, gets)
    if len({*rows}) < len(rows):
        raise InvalidRequest(SAME_ITEM)
    owners = by_owner(cluster, rows)
    found = _read_one_shard(*next(iter(owners.items()))) if len(owners) == 1 else None
    if found is None:
        found = _Reading(cluster, gets, rows, owners, resolve).items()
    return got(gets, rows, found)


def _read_one_shard(owner: Owner, wanted: Wanted) -> Items | None:
    """Read rows of one shard, in one round trip; None: one of them has an intent."""
    with owner.shard.admission:
        if len(wanted) == 1:
            found = _batcher_of(owner.shard).read(owner, wanted)
        else:
            results = owner.shard.ask(*_BEGIN, *_statements_for(wanted), _END)
            seen = _rows_in(wanted, results[len(_BEGIN) : -1])
            check_epoch(seen.epoch, owner)
            found = seen.rows
    own = [(table_id, key) for table_id, keys in wanted.items() for key in keys]
    there = {row: found[row] for row in own if row in found}
    if not all(is_free(version) for version, _ in there.values()):
        return None
    return {row: item for row, (_, item) in there.items()}


def _statements_for(wanted: Wanted) -> list[Statement]:
    return statements_for(wanted, _COLUMNS)


def _rows_in(wanted: Wanted, results: Sequence[Result]) -> Found[Row]:
    """What `_statements_for` the same gave."""
    epoch = results[-1].rows[0][-1] if results[-1].rows else None
    rows = {
        (table_id, RowKey(h, s)): (version, item)
        for table_id, result in zip(wanted, results, strict=True)
        for h, s, version, item, *_ in result.rows
        if h is not None
    }
    return Found(rows, epoch)


_batcher_of = PerShard(lambda _: GetBatcher(_statements_for, _rows_in)).of
"""The batcher of a shard's reads of one table in transactions, one per process. A batch has one
statement for each table, so each caller's items are of one snapshot."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What G1 saw on one shard.

    Attributes:
        newest: id of an event.
        rows: those that are there, placeholders among them.
        marked: those of them that have an intent.
        intents: on these.
    """

    owner: Owner
    wanted: Wanted
    newest: int
    rows: dict[TableRow, Row]
    marked: list[TableRow]
    intents: list[Intent]

    @property
    def absent(self) -> list[TableRow]:
        """The rows that are not there, or are placeholders."""
        wanted = [(table_id, key) for table_id, keys in self.wanted.items() for key in keys]
        return [row for row in wanted if not self.rows.get(row, (0, b""))[0]]


class _Reading:
    """Reads items of several shards, or such as have intents, as of one moment."""

    def __init__(
        self,
        cluster: Cluster,
        gets: Sequence[Get],
        rows: Sequence[TableRow],
        owners: dict[Owner, Wanted],
        resolve: Resolve | None,
    ) -> None:
        self._cluster = cluster
        self._rows = rows
        self._owners = owners
        self._resolve = resolve
        self._keys = {row: _event_keys(cluster, get) for row, get in zip(rows, gets, strict=True)}
        self._committed_since: dict[bytes, float] = {}

    def items(self) -> Items:
        """The items that are there.

        Raises:
            TransactionCanceled, SlotsMoved, MissingTable, ShardUnavailable: see `transact_get`.
        """
        ends_at = time.monotonic() + deadlines.left(PATIENCE)
        attempt = 0
        while True:
            began_at = time.monotonic()
            seen = side_by_side([partial(_first_look, *each) for each in self._owners.items()])
            committed = self._committed(seen)
            if committed:
                moving = {(intent.table_id, intent.row) for intent in committed}
            else:
                moving = self._moving(seen)
                if time.monotonic() - began_at > LONGEST:
                    moving = {*self._rows}
                if not moving:
                    return {row: item for one in seen for row, (_, item) in one.rows.items()}
            if time.monotonic() >= ends_at:
                reasons = [
                    TransactionConflict(_MOVING) if r in moving else None for r in self._rows
                ]
                raise TransactionCanceled(_MOVING, reasons=reasons)
            _pause(attempt, ends_at)
            self._resolve_old(committed, ends_at)
            attempt += 1

    def _committed(self, seen: Sequence[_Seen]) -> list[Intent]:
        """G2: the intents whose transactions are COMMITTED, one for each row."""
        intents = [intent for one in seen for intent in one.intents]
        by_decider: dict[int, set[bytes]] = {}
        for intent in intents:
            by_decider.setdefault(intent.decider, set()).add(intent.transaction_id)
        found = side_by_side([partial(self._decided, *each) for each in by_decider.items()])
        committed = {transaction_id for some in found for transaction_id in some}
        return [intent for intent in intents if intent.transaction_id in committed]

    def _decided(self, decider: int, ids: Collection[bytes]) -> set[bytes]:
        """Which of the transactions that a shard decides are COMMITTED."""
        shard = self._cluster.member(decider)
        ordered = sorted(ids)
        with shard.admission:
            found = shard.ask(*(read_decision(each) for each in ordered))
        return {
            transaction_id
            for transaction_id, result in zip(ordered, found, strict=True)
            if result.rows and result.rows[0][0] == Decision.COMMITTED
        }

    def _moving(self, seen: Sequence[_Seen]) -> set[TableRow]:
        """G3: the rows that are not as they were in G1."""
        found = side_by_side([partial(_second_look, one, self._keys) for one in seen])
        return {row for some in found for row in some}

    def _resolve_old(self, committed: Sequence[Intent], ends_at: float) -> None:
        """Finish transactions that were COMMITTED some time ago and are not applied yet."""
        now = time.monotonic()
        parts = {(i.transaction_id, self._cluster.shard_of(i.row.hash)): i for i in committed}
        for intent in parts.values():
            since = self._committed_since.setdefault(intent.transaction_id, now)
            if self._resolve is None or now - since < RESOLVE_AFTER:
                continue
            try:
                deadlines.until(ends_at, partial(self._resolve, intent))
            except MynamoError as failure:  # others may do it, or this process the next time
                log.debug("a committed transaction is not applied yet: %s", failure)


def _event_keys(cluster: Cluster, get: Get) -> tuple[int, bytes]:
    """By what an item's events are found: their partition, and bytes in their payload."""
    table = cluster.table(get.table)
    partition = cluster.partition_of(table.id, table.key_of(get.key).slot)
    return partition, keys_in_payload(table.key_attributes(get.key))


def _first_look(owner: Owner, wanted: Wanted) -> _Seen:
    """G1, on one shard."""
    with owner.shard.admission:
        newest, *results = owner.shard.ask(_NEWEST_EVENT, *_statements_for(wanted))
        found = _rows_in(wanted, results)
        check_epoch(found.epoch, owner)
        marked = [row for row, (version, _) in found.rows.items() if not is_free(version)]
        intents = intents_in(owner.shard.ask(read_intents(marked))[0]) if marked else []
    return _Seen(owner, wanted, newest.rows[0][0] or 0, found.rows, marked, intents)


def _second_look(seen: _Seen, event_keys: dict[TableRow, tuple[int, bytes]]) -> set[TableRow]:
    """G3, on one shard: the rows that are not as they were in G1."""
    owner, wanted, marked, absent = seen.owner, seen.wanted, seen.marked, seen.absent
    looks = [item_statement(*each, ("version",)) for each in wanted.items()]
    held = [read_intents(marked)] if marked else []
    events = [event_above(seen.newest, row[0], *event_keys[row]) for row in absent]
    with owner.shard.admission:
        results = owner.shard.ask(*looks, *held, *events, _NEWEST_EVENT, READ_EPOCH)
    *results, newest, guard = results
    check_epoch(epoch_in(guard), owner)
    everything = {(table_id, key) for table_id, keys in wanted.items() for key in keys}
    if incarnation_of(newest.rows[0][0] or 0) != incarnation_of(seen.newest):
        return everything  # the shard has gone back in time, perhaps
    versions = {
        (table_id, RowKey(h, s)): version
        for table_id, result in zip(wanted, results, strict=False)
        for h, s, version in result.rows
    }
    before = {row: version for row, (version, _) in seen.rows.items()}
    moving = {row for row in everything if versions.get(row) != before.get(row)}
    if marked:
        moving |= _intents_moving(marked, seen.intents, intents_in(results[len(looks)]))
    with_events = results[len(looks) + len(held) :]
    moving |= {row for row, result in zip(absent, with_events, strict=True) if result.rows}
    return moving


def _intents_moving(
    marked: Sequence[TableRow], before: Sequence[Intent], after: Sequence[Intent]
) -> set[TableRow]:
    """The rows whose intents have changed, or went when their marks had just been read."""

    def of(intents: Sequence[Intent]) -> set[tuple[TableRow, bytes]]:
        return {((i.table_id, i.row), i.transaction_id) for i in intents}

    lacking = {*marked} - {row for row, _ in of(before)}
    return lacking | {row for row, _ in of(before) ^ of(after)}


def event_above(newest: int, table_id: int, partition: int, keys: bytes) -> Statement:
    """Whether an item has an event above an id.

    Args:
        keys: of the item, as its events spell them.
    """
    return (
        "SELECT 1 FROM mynamo_outbox FORCE INDEX (PRIMARY)"
        " WHERE id > %s AND table_id = %s AND part = %s AND LOCATE(%s, payload) > 0 LIMIT 1",
        (newest, table_id, partition, keys),
    )


@in_thread
def _pause(attempt: int, ends_at: float) -> None:
    """Wait a random time that grows with the attempt."""
    longest = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 1.5 ** min(attempt, 10))
    left = max(0.0, ends_at - time.monotonic())
    time.sleep(min(left, random.uniform(0, longest)))  # noqa: S311
