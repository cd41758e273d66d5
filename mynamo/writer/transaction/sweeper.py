"""The sweeper: finishes transactions over several shards whose intents nobody meets.

Each writer worker has one. It looks at the intents of every shard in its rounds, and finishes what
it has seen for `SEEN_FOR`, by its own clock that does not jump. Any number may do so at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import incarnation_of
from mynamo.catalog.intents import delete_intents_of, read_open
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import MynamoError, Unavailable
from mynamo.runtime import deadlines
from mynamo.schemas.keys import slot_of
from mynamo.writer.transaction.resolver import WentBack, resolve

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

SEEN_FOR = 5.0
"""Seconds after which a transaction counts as left alone by its coordinator."""
MOST = 1000
"""Intents that one look reads; the next one goes on behind them."""
_LOOK_SECONDS = 2.0
_ROUND_SECONDS = 2.0
"""For which one round finishes transactions of one shard."""


@dataclass(slots=True)
class _Seen:
    """What a sweeper has seen of a shard.

    Attributes:
        since: by a transaction's id, when it was first seen (monotonic).
        after: the id behind which the next look begins.
    """

    since: dict[bytes, float] = field(default_factory=dict)
    after: bytes = b""


class Sweeper:
    """Use by one thread.

    Args:
        cluster: whose catalog is read again before each round.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: dict[int, _Seen] = {}

    def round(self) -> None:
        """Look at each shard once, and finish what has been there for long."""
        for shard in self._cluster.shards.values():
            try:
                self._sweep(shard)
            except Unavailable as failure:  # the others' are finished nevertheless
                log.debug("intents are not looked at: %s", failure)

    def _sweep(self, shard: DynamoDBShard) -> None:
        seen = self._seen.setdefault(shard.id, _Seen())
        rows = _within(_LOOK_SECONDS, lambda: shard.ask(read_open(seen.after, MOST)))[0].rows
        if not rows and not seen.since:
            seen.after = b""
            return
        now = time.monotonic()
        old = _note(seen, [row[0] for row in rows], now)
        self._delete_dropped(shard, {row[3] for row in rows if row[0] in old})
        # Others are left from before a move of slots, or have come with one that is under way.
        owners = self._cluster.snapshot.shard_ids
        own = {r[0]: (r[1], r[2]) for r in rows if owners[slot_of(r[4])] == shard.id}
        for transaction_id, (decider, generation) in own.items():
            if transaction_id in old and time.monotonic() - now < _ROUND_SECONDS:
                self._finish(shard, decider, transaction_id, generation)

    def _delete_dropped(self, shard: DynamoDBShard, table_ids: set[int]) -> None:
        """Delete the intents of tables that the catalog lacks. It was read after they were seen,
        and whoever placed them knew their table from it."""
        for table_id in table_ids - set(self._cluster.snapshot.tables):
            deleted = shard.ask(delete_intents_of(table_id))[0].count
            log.info("%s: %d intents of a dropped table are deleted", shard.where, deleted)

    def _finish(
        self, shard: DynamoDBShard, decider: int, transaction_id: bytes, generation: int
    ) -> None:
        try:
            _within(
                _ROUND_SECONDS,
                lambda: resolve(self._cluster, shard, decider, transaction_id, generation),
            )
        except WentBack as failure:
            log.warning("%s", failure)
            self._cluster.member(decider).adopt(incarnation_of(generation) + 1)
        except MynamoError as failure:  # in a later round
            log.debug("a transaction on %s is not finished: %s", shard.where, failure)


def _note(seen: _Seen, ids: list[bytes], now: float) -> set[bytes]:
    """Take note of a look; returns the transactions that have been there for `SEEN_FOR`."""
    found, is_rest = set(ids), len(ids) < MOST
    last = seen.after if is_rest else ids[-1]

    def was_looked_at(transaction_id: bytes) -> bool:
        return transaction_id > seen.after and (is_rest or transaction_id <= last)

    seen.since = {
        transaction_id: since
        for transaction_id, since in seen.since.items()
        if transaction_id in found or not was_looked_at(transaction_id)
    }
    for transaction_id in found:
        seen.since.setdefault(transaction_id, now)
    seen.after = b"" if is_rest else last
    return {each for each in found if now - seen.since[each] >= SEEN_FOR}


def _within(seconds: float, work: Callable[[], Answer]) -> Answer:
    return deadlines.until(time.monotonic() + seconds, work)
