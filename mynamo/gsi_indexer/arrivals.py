"""Arrivals: messages from Kafka with their place in a stream; new, known, or too early.

A stream is what one shard sends to one partition. Its events arrive in order, but may
arrive again (a relay's successor sends once more what it is not sure of), from an earlier
point on (a consumer's restart), or with some missing (a broker that lost them). Each
event names its predecessor, so all three can be told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import Stream as Stream
from mynamo.catalog.shard import retry
from mynamo.errors import CorruptData
from mynamo.log.dead_letter_topic import letter_of
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.schemas.events import ChangeEvent, load_event


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
class Classified:
    """What arrivals amount to.

    Attributes:
        fresh: to be applied, in order.
        reached: per stream of these, the last sequence.
        gaps: streams whose next event is missing.
    """

    fresh: list[Arrival] = field(default_factory=list)
    reached: dict[Stream, int] = field(default_factory=dict)
    gaps: set[Stream] = field(default_factory=set)


def classify(positions: Mapping[Stream, int], arrivals: Iterable[Arrival]) -> Classified:
    """Take from arrivals what follows without a gap on what has been applied.

    Args:
        positions: per stream, the last sequence that has been applied.
    """
    classified = Classified()
    for arrival in arrivals:
        stream = arrival.stream
        position = classified.reached.get(stream, positions[stream])
        if arrival.sequence <= position:
            continue
        if is_gap(arrival, position):
            classified.gaps.add(stream)
        elif arrival.feeds:
            classified.fresh.append(arrival)
            classified.reached[stream] = arrival.sequence
    return classified


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


_LARGEST = 2**63 - 1

PATIENCE = 3.0
"""Seconds for which one step tries again before the whole batch is put off."""


def read(cluster: Cluster, records: Collection[Any]) -> tuple[list[Arrival], list[DeadLetter]]:
    """Find each message's place in its stream.

    Args:
        records: as the consumer gave them, in the order of their partition.

    Returns:
        The arrivals, in the same order; and letters for messages that have no place.

    Raises:
        ShardUnavailable: a message that is damaged has to be looked up.
    """
    arrivals = []
    letters = []
    for record in records:
        try:
            arrivals.append(_arrival(cluster, record, load_event(record.value or b"")))
        except CorruptData as flaw:
            place = _find_place(cluster, record, str(flaw))
            if place is not None:
                arrivals.append(place)
            else:
                letters.append(letter(record, str(flaw)))
    return arrivals, letters


def letter(record: Any, reason: str, event_id: str | None = None) -> DeadLetter:
    """The dead letter for a message."""
    return letter_of(record, "event", reason, event_id)


def _arrival(cluster: Cluster, record: Any, event: ChangeEvent) -> Arrival:
    if event.shard not in cluster.shards:
        raise CorruptData(f"it is of shard {event.shard}, which this cluster does not have")
    if event.partition != record.partition:
        raise CorruptData(f"it belongs to partition {event.partition}")
    if max(event.sequence, event.version) > _LARGEST:
        raise CorruptData("its sequence or version is out of range")
    return Arrival(
        stream=Stream(event.shard, event.partition),
        sequence=event.sequence,
        previous=event.previous,
        feeds=event.feeds,
        event=event,
        record=record,
    )


def _find_place(cluster: Cluster, record: Any, flaw: str) -> Arrival | None:
    """Ask the outbox for the place of a message of which only the headers can be read.

    Its row is there as long as an index waits for the event. Only what it says can move
    the stream past the message without hiding that other events were lost.
    """
    headers = dict(record.headers)
    try:
        shard = cluster.shards[int(headers["shard"])]
        sequence = int(headers["sequence"])
    except (KeyError, ValueError, TypeError):
        return None

    def once() -> tuple[tuple[Any, ...], ...]:
        with shard.session() as session:
            return session.run(
                ("SELECT previous, feeds FROM mynamo_outbox WHERE seq = %s AND part = %s",
                 (sequence, record.partition)),
            )[0].rows  # fmt: skip

    rows = retry(once, PATIENCE)
    if not rows:
        return None
    previous, feeds = rows[0]
    stream = Stream(shard.id, record.partition)
    return Arrival(stream, sequence, previous, bool(feeds), None, flaw, record)
