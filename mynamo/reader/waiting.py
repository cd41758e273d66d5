"""Reading one's own writes from a global index: which writes, and waiting for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Index
from mynamo.errors import ConsistencyTimeout, InvalidToken, ShardUnavailable
from mynamo.mysql.pool import Statement
from mynamo.runtime import forks
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.events import SEPARATOR, ConsistencyToken

PendingTokens = frozenset[ConsistencyToken]


class OwnWrites:
    """The newest writes to each table, by their tokens. Safe to share between threads.

    A token replaces an older one of the same stream if the older write had returned before the
    newer one began. The older write then has the lower sequence number, and indexes apply a
    stream in order. `begin` remembers which writes had returned. So there are never more tokens
    than streams times threads that write.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, set[ConsistencyToken]] = {}
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Have a lock of its own; a child's reads wait for what its parent wrote before."""
        self._lock = threading.Lock()

    def begin(self, table: str) -> PendingTokens:
        """A write is about to begin: the writes that have returned by now."""
        with self._lock:
            return frozenset(self._tokens.get(table, ()))

    def end(self, table: str, pending: PendingTokens, token: ConsistencyToken) -> None:
        """The write has returned."""
        if not token.version:
            return
        stream = (token.shard, token.partition)
        older = {t for t in pending if (t.shard, t.partition) == stream}
        with self._lock:
            self._tokens.setdefault(table, set()).difference_update(older)
            self._tokens[table].add(token)

    def waiting(self, table: str) -> PendingTokens:
        """The writes that an index must have applied, so that it has all writes of this process."""
        return self.begin(table)

    def applied(self, table: str, tokens: PendingTokens) -> None:
        """These are applied, so nobody needs to wait for them again."""
        with self._lock:
            self._tokens.get(table, set()).difference_update(tokens)


FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.05
_IDS_PER_STATEMENT = 500


class Written(Protocol):
    """Anything with a consistency token, such as a producer's receipt."""

    @property
    def token(self) -> str:
        """The token's text."""


After = str | Written | Iterable[str | Written] | None
"""Which writes an index must contain: a token, a receipt, or several of either."""


def tokens_of(after: After, cluster: Cluster) -> list[ConsistencyToken]:
    """The tokens that a caller gave.

    Raises:
        InvalidToken: one is damaged, or of another cluster.
    """
    if after is None:
        return []
    tokens = []
    for text in token_texts(after):
        token = ConsistencyToken.parse(text)
        if token.cluster != cluster.fingerprint or token.shard not in cluster.shards:
            raise InvalidToken(f"the consistency token {token} belongs to another cluster")
        tokens.append(token)
    return tokens


def token_texts(after: After) -> list[str]:
    """The tokens in what a caller gave for `after`, as text.

    Raises:
        InvalidToken: it has something else.
    """
    if after is None:
        return []
    if isinstance(after, str):
        return after.split(SEPARATOR)
    if isinstance(after, Iterable):
        return [text for each in after for text in token_texts(each)]
    token = getattr(after, "token", None)
    if not isinstance(token, str):
        raise InvalidToken(f"after takes a receipt or its token, not {after!r}")
    return token.split(SEPARATOR)


def wait_until_applied(
    cluster: Cluster, index: Index, tokens: Sequence[ConsistencyToken], timeout: float
) -> None:
    """Wait until every index has applied these writes.

    Args:
        index: for the message.
        timeout: seconds.

    Raises:
        ConsistencyTimeout: it has not, in that time.
        ShardUnavailable: a shard that has one of the writes does not answer.
    """
    waiting = _by_shard(tokens)
    if waiting:
        _wait(cluster, index, waiting, timeout)


@in_thread
def _wait(cluster: Cluster, index: Index, waiting: dict[int, list[int]], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        try:
            waiting = {shard: ids for shard, ids in _pending(cluster, waiting) if ids}
        except ShardUnavailable:
            if time.monotonic() < deadline:
                raise  # else the time was up before it said whether they are applied
        if not waiting:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            count = sum(len(ids) for ids in waiting.values())
            shards = ", ".join(str(shard) for shard in sorted(waiting))
            raise ConsistencyTimeout(
                f"index {index.name} has not applied {count} of the writes to wait for (committed "
                f"on shard {shards}) within the timeout of {timeout:g} s; `mynamo lag` shows how "
                "far behind it is: check that `mynamo writer` and `mynamo indexer` run and that "
                "Kafka answers"
            )
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def pending_statement(ids: Sequence[int]) -> Statement:
    """Those of these outbox rows of a shard that some index has not applied yet.

    A row that is gone was published and applied, or no index waits for it.
    """
    return (
        "SELECT o.id FROM mynamo_outbox AS o FORCE INDEX (PRIMARY)"
        " STRAIGHT_JOIN mynamo_stream AS s FORCE INDEX (PRIMARY) ON s.part = o.part"
        f" WHERE o.id IN ({sql.placeholders(ids)}) AND o.feeds = 1"
        " AND (o.seq IS NULL OR o.seq > s.applied_seq)",
        ids,
    )


def _by_shard(tokens: Sequence[ConsistencyToken]) -> dict[int, list[int]]:
    waiting: dict[int, list[int]] = {}
    for token in set(tokens):
        if token.version:
            waiting.setdefault(token.shard, []).append(token.version)
    return waiting


def _pending(cluster: Cluster, waiting: dict[int, list[int]]) -> Iterable[tuple[int, list[int]]]:
    for shard, ids in waiting.items():
        pending: list[int] = []
        for start in range(0, len(ids), _IDS_PER_STATEMENT):
            some = ids[start : start + _IDS_PER_STATEMENT]
            found = cluster.shards[shard].ask(pending_statement(some))[0].rows
            pending += [row[0] for row in found]
        yield shard, pending
