"""Meeting an intent: whoever would write an item that a transaction has waits, and tries again.

Without a lock, a mutex or a place in a batch:

1.  Read the intent by its key. It is gone: try again.
2.  Wait until it is gone, for 1 s; for 50 ms if this is a transaction and the other one is
    younger, so that the oldest one comes through. A coordinator of this process says so; beside
    that one of the callers in a process that wait for the same transaction on a shard looks, with
    growing pauses of 5 to 50 ms.
3.  Finish the other transaction (T6, see `resolver`), and try again.
4.  After 5 s in all, or the call's own time: it is a conflict.

An intent of the same request token is of another attempt of the same request. One of an earlier
attempt is treated like any other. Who meets one of a later attempt never aborts it, so two attempts
do not abort each other in turns. Once the patience is over, the request is in progress elsewhere.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import NoReturn

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Intent, intents_in, read_intents
from mynamo.catalog.shard import DynamoDBShard, PerShard, pause
from mynamo.errors import (
    MynamoError,
    ShardUnavailable,
    TransactionConflict,
    TransactionInProgress,
)
from mynamo.mysql.circuit_breaker import State
from mynamo.mysql.failures import CircuitOpen
from mynamo.mysql.pool import Result, Statement
from mynamo.runtime import deadlines, forks
from mynamo.runtime.counters import counters
from mynamo.runtime.tasks import in_thread
from mynamo.writer.transaction.resolver import resolve
from mynamo.writer.transaction.statements import LockedRow
from mynamo.writer.transaction.transaction_ids import age_of

PATIENCE = 5.0
"""Seconds for which one call waits for transactions, in all."""
BEFORE_OTHERS = 1.0
"""Seconds of waiting for a transaction before it is finished by whoever waits."""
BEFORE_YOUNGER = 0.05
"""The same, where an older transaction waits."""
FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.05
_NO_INTENT = (
    "the item is marked as if a transaction had it, but no transaction has; nothing was written; "
    "other programs' SQL may have left it so; `mynamo repair` takes the mark away"
)


@dataclass(slots=True)
class Caller:
    """One call that may meet intents.

    Attributes:
        age: of a transaction: what its attempts' ids begin with; empty: of plain writes.
        token: of a transaction's request.
        ends_at: when its patience ends (monotonic); it begins with the first intent.
        times: how often it has met one.
        failure: what it hears if its patience is over.
    """

    age: bytes = b""
    token: bytes | None = None
    ends_at: float | None = None
    times: int = 0
    failure: MynamoError = field(default_factory=TransactionConflict)

    def begin(self) -> float:
        """It has met something; returns when its patience ends (monotonic)."""
        if self.ends_at is None:
            self.ends_at = time.monotonic() + deadlines.left(PATIENCE)
        return self.ends_at

    def check(self) -> None:
        """Raises its failure if its patience is over."""
        if time.monotonic() >= self.begin():
            self.refuse()

    def refuse(self) -> NoReturn:
        """Raises its failure."""
        if isinstance(self.failure, TransactionConflict):
            counters.add("transaction_conflicts")
        raise self.failure from None


@dataclass(slots=True, eq=False)
class _Meeting:
    """Callers of one process that wait for one transaction on one shard.

    Attributes:
        resolving: one of them finishes the transaction.
        over: it is gone, or whoever asked or finished it has given up.
    """

    resolving: bool = False
    over: threading.Event = field(default_factory=threading.Event)


class _Meetings:
    """Those of a shard, by the transaction's id."""

    def __init__(self) -> None:
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin with none: those who wait are the parent's."""
        self.lock = threading.Lock()
        self.known: dict[bytes, _Meeting] = {}

    def join(self, transaction_id: bytes) -> tuple[_Meeting, bool]:
        """The meeting, and whether the caller is the first one, who asks."""
        with self.lock:
            meeting = self.known.get(transaction_id)
            if meeting is not None:
                return meeting, False
            meeting = self.known[transaction_id] = _Meeting()
            return meeting, True

    def end(self, transaction_id: bytes, meeting: _Meeting) -> None:
        """Let all go on: each looks for itself."""
        with self.lock:
            if self.known.get(transaction_id) is meeting:
                del self.known[transaction_id]
        meeting.over.set()

    def may_resolve(self, meeting: _Meeting) -> bool:
        """Whether the caller is the one who finishes the transaction."""
        with self.lock:
            first = not meeting.resolving
            meeting.resolving = True
            return first


_meetings_of = PerShard(lambda _: _Meetings()).of


def note_gone(shard: DynamoDBShard, transaction_id: bytes) -> None:
    """A transaction's intents have just gone from a shard: wake whoever waits for it here."""
    meetings = _meetings_of(shard)
    meeting = meetings.known.get(transaction_id)
    if meeting is not None:
        meetings.end(transaction_id, meeting)


@in_thread
def wait_for(cluster: Cluster, shard: DynamoDBShard, place: LockedRow, caller: Caller) -> None:
    """Wait until a transaction no longer has an item. To try again may meet another one.

    Args:
        place: of the item.

    Raises:
        TransactionConflict: the caller's patience is over, or the transaction's deciding shard does
            not answer.
        TransactionInProgress: likewise, if it is another attempt of the caller's own request.
        ShardUnavailable: this shard does not answer.
    """
    caller.check()
    caller.times += 1
    counters.add("transaction_waits")
    found = intents_in(_ask(shard, read_intents([place]), caller))
    if not found:
        caller.failure = TransactionConflict(_NO_INTENT)
        pause(caller.times - 1)
        return
    intent, meetings = found[0], _meetings_of(shard)
    is_own = intent.token is not None and intent.token == caller.token
    caller.failure = TransactionInProgress() if is_own else TransactionConflict()
    if is_own and age_of(intent.transaction_id) > caller.age:
        resolve_at = caller.begin()
    else:
        seconds = _pause_before(cluster, intent, caller)
        resolve_at = min(caller.begin(), time.monotonic() + seconds)
    meeting, asks = meetings.join(intent.transaction_id)
    try:
        if not asks:
            is_gone = meeting.over.wait(max(0.0, resolve_at - time.monotonic()))
        else:
            is_gone = _is_gone(shard, intent, caller, meeting, resolve_at)
        if is_gone:
            return
        caller.check()
        if not meetings.may_resolve(meeting):
            meeting.over.wait(max(0.0, caller.begin() - time.monotonic()))
            caller.check()
            return
        try:
            _resolve(cluster, shard, intent, caller)
        finally:
            meetings.end(intent.transaction_id, meeting)
    finally:
        if asks:
            meetings.end(intent.transaction_id, meeting)


def finish_transaction(cluster: Cluster, intent: Intent) -> None:
    """Step 3 for whoever reads: finish the transaction of an intent on the intent's shard, at once.
    Of several callers in one process one does, and the others wait for it.

    Raises:
        ShardUnavailable: this shard or the deciding one does not answer.
    """
    _finish(cluster, intent, time.monotonic() + deadlines.left(PATIENCE))


@in_thread
def _finish(cluster: Cluster, intent: Intent, ends_at: float) -> None:
    shard = cluster.shard_of(intent.row.hash)
    meetings = _meetings_of(shard)
    meeting, _ = meetings.join(intent.transaction_id)
    if not meetings.may_resolve(meeting):
        meeting.over.wait(max(0.0, ends_at - time.monotonic()))
        return
    one = (intent.decider, intent.transaction_id, intent.generation)
    try:
        deadlines.until(ends_at, lambda: resolve(cluster, shard, *one))
    finally:
        meetings.end(intent.transaction_id, meeting)


def _pause_before(cluster: Cluster, intent: Intent, caller: Caller) -> float:
    """Seconds to wait before an intent's transaction is finished."""
    decider = cluster.configured.get(intent.decider)
    if decider is not None and decider.breaker.state is not State.CLOSED:
        return 0.0  # nobody can decide it now; to ask tells whether the shard is back
    is_younger = caller.age and caller.age < age_of(intent.transaction_id)
    return BEFORE_YOUNGER if is_younger else BEFORE_OTHERS


def _is_gone(
    shard: DynamoDBShard, intent: Intent, caller: Caller, meeting: _Meeting, until: float
) -> bool:
    """Step 2, of the one who asks; returns whether the intent went by itself."""
    seconds = FIRST_PAUSE
    look = read_intents([(intent.table_id, intent.row)], intent.transaction_id)
    while (left := until - time.monotonic()) > 0:
        if meeting.over.wait(min(seconds, left)) or not _ask(shard, look, caller).rows:
            return True
        seconds = min(1.5 * seconds, LONGEST_PAUSE)
    return False


def _ask(shard: DynamoDBShard, statement: Statement, caller: Caller) -> Result:
    try:
        return shard.ask(statement)[0]
    except ShardUnavailable:
        caller.check()  # it had no time left for the answer
        raise


def _resolve(cluster: Cluster, shard: DynamoDBShard, intent: Intent, caller: Caller) -> None:
    """Step 3."""
    try:
        deadlines.until(
            caller.begin(),
            lambda: resolve(
                cluster, shard, intent.decider, intent.transaction_id, intent.generation
            ),
        )
    except ShardUnavailable as failure:
        if isinstance(caller.failure, TransactionConflict):
            caller.failure = TransactionConflict(
                "a transaction has the item, and cannot be finished at the moment; nothing was "
                f"written, try again ({failure})"
            )
        if isinstance(failure, CircuitOpen):
            caller.refuse()
        caller.check()
        pause(caller.times)
