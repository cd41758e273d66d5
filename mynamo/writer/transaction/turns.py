"""Turns: transactions of one process that contend for the same items go one after another.

Without turns all of them would place intents, meet each other's, release, wait and try again. A
transaction over several shards that finds an item of its own contended, or has met another
transaction, waits for its turn, first come first served, before it goes on. It passes its turn on
once it is decided: the next one's intents may go into the same local transaction that applies this
one's. Transactions of other processes do not take part; intents decide between processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from mynamo.catalog.shard import PerShard
from mynamo.errors import MynamoError, TransactionCanceled, TransactionConflict
from mynamo.runtime import deadlines
from mynamo.runtime.mutexes import MutexTimeout
from mynamo.runtime.tasks import in_thread
from mynamo.writer.transaction.commit import mutexes_for, places_of
from mynamo.writer.transaction.meeting import Caller
from mynamo.writer.transaction.transacted import Met
from mynamo.writer.transaction.write_requests import Write

_mutexes_of = PerShard(mutexes_for).of
"""Of the rows of a shard, for transactions over several shards; one set per process."""


class Turn:
    """One transaction's turn at its items; a context manager, at whose end it is passed on."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._is_taken = False

    def __enter__(self) -> Turn:
        """Begin without it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Pass it on, if it is taken."""
        self.pass_on()

    def pass_on(self) -> None:
        """Let the next one go on."""
        self._is_taken = False
        self._held.close()

    def take(self, writes: Sequence[Write], caller: Caller) -> None:
        """Wait for it, unless nobody contends.

        Args:
            writes: of the transaction.
            caller: which waits no longer than it has patience.

        Raises:
            Met: it has waited in vain.
        """
        if self._is_taken:
            return
        if caller.times or any(
            (write.table.id, write.row) in _mutexes_of(write.route.shard).held_keys
            for write in writes
        ):
            self._wait(writes, caller)

    @in_thread
    def _wait(self, writes: Sequence[Write], caller: Caller) -> None:
        try:
            deadlines.until(caller.begin(), lambda: self._enter(writes))
        except MutexTimeout:
            self.pass_on()
            reasons: list[MynamoError | None] = [TransactionConflict() for _ in writes]
            raise Met([], TransactionCanceled(reasons=reasons)) from None
        self._is_taken = True

    def _enter(self, writes: Sequence[Write]) -> None:
        shards = {write.route.shard for write in writes}
        for shard in sorted(shards, key=lambda each: each.id):
            places = places_of([write for write in writes if write.route.shard is shard])
            self._held.enter_context(_mutexes_of(shard).held(places))
