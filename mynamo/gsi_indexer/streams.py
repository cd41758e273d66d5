"""Streams: which arriving events are new, which are known, and which came too early.

A stream is what one shard sends to one partition. Its events arrive in order, but may
arrive again (a relay's successor sends once more what it is not sure of), from an earlier
point on (a consumer's restart), or with some missing (a broker that lost them). Each
event names its predecessor, so all three can be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mynamo.schemas.events import ChangeEvent
from mynamo.shards.gsi_rows import Stream as Stream


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message whose place in its stream is known.

    Attributes:
        sequence: its own.
        previous: that of the stream's event before it which feeds an index; 0: none.
        feeds: whether an index waits for it.
        event: None if it cannot be read.
        flaw: why not.
        record: the message, as the consumer gave it.
    """

    stream: Stream
    sequence: int
    previous: int
    feeds: bool
    event: ChangeEvent | None
    flaw: str = ""
    record: Any = None


@dataclass(slots=True)
class Sifted:
    """What arrivals amount to.

    Attributes:
        fresh: to be applied, in order.
        reached: per stream of these, the last sequence.
        gaps: streams whose next event is missing.
    """

    fresh: list[Arrival] = field(default_factory=list)
    reached: dict[Stream, int] = field(default_factory=dict)
    gaps: set[Stream] = field(default_factory=set)


def sift(positions: Mapping[Stream, int], arrivals: Iterable[Arrival]) -> Sifted:
    """Take from arrivals what follows without a gap on what has been applied.

    Args:
        positions: per stream, the last sequence that has been applied.
    """
    sifted = Sifted()
    for arrival in arrivals:
        stream = arrival.stream
        position = sifted.reached.get(stream, positions[stream])
        if arrival.sequence <= position:
            continue
        if is_gap(arrival, position):
            sifted.gaps.add(stream)
        elif arrival.feeds:
            sifted.fresh.append(arrival)
            sifted.reached[stream] = arrival.sequence
    return sifted


def is_gap(arrival: Arrival, position: int) -> bool:
    """Whether events are missing between a stream's position and an arrival."""
    return arrival.previous > position


class Positions:
    """How far the streams of the assigned partitions have been applied, as far as this
    process knows. It may know too little, never too much."""

    def __init__(self) -> None:
        self.applied: dict[Stream, int] = {}

    def raise_to(self, reached: Mapping[Stream, int]) -> None:
        """Record what has been applied; what is known already stays."""
        for stream, sequence in reached.items():
            self.applied[stream] = max(sequence, self.applied.get(stream, 0))

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget the streams of partitions that come or go."""
        gone = set(partitions)
        self.applied = {s: n for s, n in self.applied.items() if s.partition not in gone}

    def unknown(self, partitions: Iterable[int]) -> list[int]:
        """Those of the partitions that nothing is known of, in order."""
        known = {stream.partition for stream in self.applied}
        return sorted(set(partitions) - known)
