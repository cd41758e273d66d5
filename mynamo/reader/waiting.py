"""Reading one's own writes from a global index: which writes, and waiting for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import Stream, read_checkpoints
from mynamo.catalog.incarnation import incarnation_of
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index
from mynamo.errors import ConsistencyTimeout, InvalidToken, ShardUnavailable
from mynamo.mysql.pool import Statement
from mynamo.runtime import deadlines, forks
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

    def begin_all(self) -> dict[str, PendingTokens]:
        """As `begin`, for writes of several tables: those of each."""
        with self._lock:
            return {table: frozenset(tokens) for table, tokens in self._tokens.items()}

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
_ASK_TARGETS_AFTER = 0.3
"""Seconds of waiting, after which the shards to be read are asked themselves: most writes are
applied everywhere by then."""


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
        if token.cluster != cluster.fingerprint or not _is_known(cluster, token.shard):
            raise InvalidToken(f"the consistency token {token} belongs to another cluster")
        if token.shard in cluster.shards:  # one that was removed has no write left to wait for
            tokens.append(token)
    return tokens


def _is_known(cluster: Cluster, shard_id: int) -> bool:
    """Whether a shard is a member, or was one.

    Raises:
        ShardNotConfigured: it is one, and the configuration lacks it.
    """
    if shard_id in cluster.shards:
        return True
    known = cluster.refresh().members.get(shard_id)
    if known is not None and known.state != "REMOVED":
        cluster.member(shard_id)
    return known is not None


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
    cluster: Cluster,
    index: Index,
    tokens: Sequence[ConsistencyToken],
    timeout: float,
    targets: Collection[DynamoDBShard],
) -> None:
    """Wait until these writes are applied on the shards that are to be read.

    Args:
        index: for the message.
        timeout: seconds.
        targets: these shards.

    Raises:
        ConsistencyTimeout: they are not, in that time.
        ShardUnavailable: a shard that has one of the writes does not answer.
    """
    waiting = _by_shard(tokens)
    if waiting:
        _wait(cluster, index, waiting, timeout, targets)


@in_thread
def _wait(
    cluster: Cluster,
    index: Index,
    waiting: dict[int, list[int]],
    timeout: float,
    targets: Collection[DynamoDBShard],
) -> None:
    began = time.monotonic()
    deadline = began + deadlines.left(timeout)  # the call began before
    pause = FIRST_PAUSE
    while True:
        try:
            pending = _pending(cluster, waiting)
            if pending and time.monotonic() - began > _ASK_TARGETS_AFTER:
                pending = _missing(pending, targets)
            waiting = {shard: [each.id for each in some] for shard, some in pending.items()}
        except ShardUnavailable:
            if time.monotonic() < deadline:
                raise  # else the time was up before it said whether they are applied
        if not waiting:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            count = sum(map(len, waiting.values()))
            shards = ", ".join(str(shard) for shard in sorted(waiting))
            raise ConsistencyTimeout(
                f"index {index.name} has not applied {count} of the writes to wait for (committed "
                f"on shard {shards}) within the timeout of {timeout:g} s; `mynamo lag` shows how "
                "far behind it is: check that `mynamo writer` and `mynamo indexer` run and that "
                "Kafka answers"
            )
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


class Pending(NamedTuple):
    """A write that some index has not applied yet.

    Attributes:
        id: of its outbox row.
        sequence: in its stream; None: it has none yet.
    """

    id: int
    sequence: int | None
    partition: int


def pending_statement(ids: Sequence[int]) -> Statement:
    """Those of these outbox rows of a shard that some index has not applied yet: `Pending`.

    A row that is gone was published and applied, or no index waits for it.
    """
    return (
        "SELECT o.id, NULLIF(o.seq, 0), o.part FROM mynamo_outbox AS o FORCE INDEX (PRIMARY)"
        " STRAIGHT_JOIN mynamo_stream AS s FORCE INDEX (PRIMARY) ON s.part = o.part"
        f" WHERE o.id IN ({sql.placeholders(ids)}) AND o.feeds = 1"
        f" AND {sql.NOT_APPLIED}",
        ids,
    )


def _by_shard(tokens: Sequence[ConsistencyToken]) -> dict[int, list[int]]:
    waiting: dict[int, list[int]] = {}
    for token in set(tokens):
        if token.version:
            waiting.setdefault(token.shard, []).append(token.version)
    return waiting


def _pending(cluster: Cluster, waiting: Mapping[int, Sequence[int]]) -> dict[int, list[Pending]]:
    """By the shard of the writes, those that some index has not applied."""
    pending: dict[int, list[Pending]] = {}
    for shard, ids in waiting.items():
        for start in range(0, len(ids), _IDS_PER_STATEMENT):
            some = ids[start : start + _IDS_PER_STATEMENT]
            if found := cluster.configured[shard].ask(pending_statement(some))[0].rows:
                pending.setdefault(shard, []).extend(Pending(*row) for row in found)
    return pending


def _missing(
    pending: Mapping[int, Sequence[Pending]], targets: Collection[DynamoDBShard]
) -> dict[int, list[Pending]]:
    """Those of these writes that one of the targets does not have, by its own checkpoints.

    The progress of a stream stands still while any shard is away that its changes have rows on.
    """
    streams = {Stream(shard, each.partition) for shard, some in pending.items() for each in some}
    asked = read_checkpoints(sorted(streams))
    reached = [
        {Stream(*stream): sequence for *stream, sequence in target.ask(asked)[0].rows}
        for target in targets
    ]
    missing = {
        shard: [
            each
            for each in some
            if not all(_has(each, there.get(Stream(shard, each.partition))) for there in reached)
        ]
        for shard, some in pending.items()
    }
    return {shard: some for shard, some in missing.items() if some}


def _has(write: Pending, reached: int | None) -> bool:
    """Whether a target has a write. A new incarnation of the write's shard moves checkpoints on,
    and gives what waits other numbers."""
    return (
        write.sequence is not None
        and reached is not None
        and reached >= write.sequence
        and incarnation_of(reached) == incarnation_of(write.sequence)
    )
