"""A comparison's work, cut into parts: one range of one table or index on one shard each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mynamo.catalog.snapshot import SlotRange
from mynamo.operations.checksums import BUCKETS, Sums, bucket_end, bucket_of, bucket_start
from mynamo.operations.comparison_statements import Span
from mynamo.operations.counts import Counts
from mynamo.operations.findings import Finding, Unmatched
from mynamo.operations.recheck import Suspect
from mynamo.schemas.keys import SLOTS, slot_range

PIECES = 64
"""Of each table and index on each shard: ranges of 64 slots."""
_ROWS_ALONG = 200
"""Rows between two buckets that are read rather than left out: another statement costs more."""

Position = tuple[bytes, ...]


class ScanPart(NamedTuple):
    """A range of slots of one physical table.

    Attributes:
        index_id: of an index; 0: the main table.
        piece: 0 to `PIECES` - 1.
    """

    shard_id: int
    index_id: int
    piece: int

    @property
    def name(self) -> str:
        """For a file."""
        return f"{self.shard_id}/{self.index_id}/{self.piece}"

    @property
    def slots(self) -> tuple[int, int]:
        """The first and the last one."""
        each = SLOTS // PIECES
        return self.piece * each, self.piece * each + each - 1

    def span(self, after: Position | None) -> Span:
        """The rows behind a position."""
        first, last = self.slots
        low, _ = slot_range(first, first)
        _, high = slot_range(last, last)
        return Span(low, high, after)

    def weight(self, owned: Sequence[SlotRange]) -> int:
        """How many of the slots the shard owns: the others are nearly always empty."""
        first, last = self.slots
        return sum(
            max(0, min(last, s.last) - max(first, s.first) + 1)
            for s in owned
            if s.shard_id == self.shard_id
        )


@dataclass
class Step:
    """What one chunk of a part gave. Of a bounded size.

    Attributes:
        after: the primary key that the part came to; None: it is at its end.
        rows: that were read.
        counts: what was counted.
        findings: certain differences.
        suspects: possible differences, for `recheck` to decide.
        sums: by index id, for the ledger.
        unmatched: marks and intents that may not go together, for a second look.
    """

    after: Position | None
    rows: int = 0
    counts: Counts = field(default_factory=Counts)
    findings: Sequence[Finding] = ()
    suspects: Sequence[Suspect] = ()
    sums: Mapping[int, Sums] = field(default_factory=dict)
    unmatched: Sequence[Unmatched] = ()


def all_scan_parts(shards: Iterable[int], indexes: Iterable[int]) -> Iterator[ScanPart]:
    """Every part of a table and these indexes; neighbours lie on different shards."""
    shards = list(shards)
    for index_id in (0, *indexes):
        for piece in range(PIECES):
            for shard_id in shards:
                yield ScanPart(shard_id, index_id, piece)


def gap_of(items: int) -> int:
    """How many buckets have `_ROWS_ALONG` rows, in a table of so many items."""
    return max(1, _ROWS_ALONG * BUCKETS // max(1, items))


def spans_of(buckets: Iterable[int], span: Span, gap: int) -> Iterator[Span]:
    """The parts of a span that these buckets make up, in order, and little more.

    Args:
        span: of a table that is ordered by the hashes of items; borders are those of buckets.
        gap: buckets that may be read along.
    """
    start = max(span.low, span.after[0]) if span.after else span.low
    first = bucket_of(start)
    last = bucket_of(span.high) - 1 if span.high else None
    wanted = sorted(b for b in buckets if b >= first and (last is None or b <= last))
    runs: list[list[int]] = []
    for bucket in wanted:
        if runs and bucket - runs[-1][1] <= gap:
            runs[-1][1] = bucket
        else:
            runs.append([bucket, bucket])
    for low, high in runs:
        after = span.after if span.after and bucket_of(span.after[0]) >= low else None
        yield Span(bucket_start(low), bucket_end(high), after)
