"""Which rows of a shard a comparison looks at, while slots move.

A shard may have rows of slots that another shard owns: a copy that is being made, or what is not
deleted yet of slots that have moved. Until the move has ended these are *hidden*: nobody looks at
them, and they are no finding. Afterwards such rows are findings, like any others that lie on a
shard that does not own them.

A comparison looks at a shard by one slot map for a while. What it found by a map is certain only if
the map was the newest one before and after it read the rows (`is_newest`).
"""

from __future__ import annotations

from collections.abc import Iterable

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.snapshot import Snapshot
from mynamo.operations.comparison_statements import Span
from mynamo.schemas.keys import slot_of, slot_range


def is_newest(cluster: Cluster, snapshot: Snapshot) -> bool:
    """Whether the catalog has not changed since it was read.

    Raises:
        ShardUnavailable: it does not answer.
    """
    return cluster.refresh() is snapshot


class VisibleSlots:
    """The slots of one shard by one slot map. For one thread."""

    def __init__(self, cluster: Cluster, shard_id: int) -> None:
        self._cluster = cluster
        self._shard_id = shard_id
        self._take(cluster.snapshot)

    def _take(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.owners = snapshot.shard_ids
        """The shard of each slot."""
        self._hidden = [slot_range(*slots) for slots in snapshot.hidden.get(self._shard_id, ())]

    def renew(self) -> bool:
        """Take the newest slot map.

        Returns:
            Whether the catalog was another one: what was found by it is to be looked at again.

        Raises:
            ShardUnavailable: the catalog does not answer.
        """
        known = self._snapshot
        if is_newest(self._cluster, known):
            return False
        self._take(self._cluster.snapshot)
        return True

    def owns(self, hash16: bytes) -> bool:
        """Whether a hash is the shard's."""
        return self.owners[slot_of(hash16)] == self._shard_id

    def is_hidden(self, hash16: bytes) -> bool:
        """Whether rows with this hash are to be left alone."""
        return self._snapshot.is_hidden(self._shard_id, slot_of(hash16))

    def first_part(self, span: Span) -> Span | None:
        """The first part of a span of which no row is hidden, as long as possible; None: there is
        none."""
        return visible_part(span, self._hidden)


def visible_part(span: Span, hidden: Iterable[tuple[bytes, bytes | None]]) -> Span | None:
    """The first part of a span that is outside of ranges, as long as possible; None: there is none.

    Args:
        hidden: ranges of hashes, half-open, in order; None is the end.
    """
    for low, high in hidden:
        start = span.after[0] if span.after else span.low
        if high is not None and high <= start:
            continue
        if low > start:
            return span if span.high is not None and span.high <= low else span._replace(high=low)
        if high is None or (span.high is not None and span.high <= high):
            return None
        span = Span(high, span.high)
    return span


def end_of(part: Span, whole: Span, columns: int) -> tuple[bytes, ...] | None:
    """The position behind a part of a span; None: it is at the span's end.

    Args:
        columns: of the primary key.
    """
    if part.high is None or part.high == whole.high:
        return None
    return part.high, *[b""] * (columns - 1)
