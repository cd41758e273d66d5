"""Arrivals: messages from Kafka with their position in a stream; new, known, or too early.

A stream has the events of one shard in one partition. They arrive in order. But some may arrive
again (the next relay repeats what may not have been sent), reading may start at an earlier offset
(after a consumer's restart), and some may be missing (a broker lost them). Each event names its
predecessor, so these cases can be told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import Stream as Stream
from mynamo.catalog.shard import PASSING, retry
from mynamo.errors import CorruptData, NewerFormat, ShardNotConfigured, ShardUnavailable
from mynamo.log.dead_letter_topic import dead_letter_of
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.schemas.events import ChangeEvent, PlainEvent, read_event


class Arrival(NamedTuple):
    """A message whose position in its stream is known.

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
    event: PlainEvent | ChangeEvent | None
    flaw: str = ""
    record: Any = None


@dataclass(slots=True)
class Classified:
    """Arrivals, classified.

    Attributes:
        fresh: to be applied, in order.
        reached: per stream of these, the last sequence.
        gaps: streams whose next event is missing.
        known: how many are left out, as they have been applied.
        early: how many are left out, as they came before their stream's next event.
    """

    fresh: list[Arrival] = field(default_factory=list)
    reached: dict[Stream, int] = field(default_factory=dict)
    gaps: set[Stream] = field(default_factory=set)
    known: int = 0
    early: int = 0


def classify(positions: Mapping[Stream, int], arrivals: Iterable[Arrival]) -> Classified:
    """Find the arrivals that follow, without a gap, what has been applied.

    Args:
        positions: per stream, the last sequence that has been applied.
    """
    classified = Classified()
    for arrival in arrivals:
        stream = arrival.stream
        position = classified.reached.get(stream, positions[stream])
        if arrival.sequence <= position:
            classified.known += 1
            continue
        if is_gap(arrival, position):
            classified.gaps.add(stream)
            classified.early += 1
        elif arrival.feeds:
            classified.fresh.append(arrival)
            classified.reached[stream] = arrival.sequence
    return classified


def is_gap(arrival: Arrival, position: int) -> bool:
    """Whether events are missing between a stream's position and an arrival."""
    return arrival.previous > position


class Positions:
    """The last applied event of each stream of the assigned partitions, as far as this process
    knows. It may know too little, never too much. Targets that are away may miss some of what is
    applied (`paused`)."""

    def __init__(self) -> None:
        self.applied: dict[Stream, int] = {}

    def raise_to(self, reached: Mapping[Stream, int]) -> None:
        """Record what has been applied; what is known already stays."""
        for stream, sequence in reached.items():
            self.applied[stream] = max(sequence, self.applied.get(stream, 0))

    def set_back(self, stream: Stream, sequence: int) -> None:
        """What follows on a sequence is to come again."""
        self.applied[stream] = min(sequence, self.applied[stream])

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget the streams of partitions that come or go."""
        gone = set(partitions)
        self.applied = {s: n for s, n in self.applied.items() if s.partition not in gone}

    def unknown(self, partitions: Collection[int], shard_ids: Iterable[int]) -> set[int]:
        """The shards of whose streams in these partitions some are unknown."""
        if len(self.applied) == len(partitions) * len(list(shard_ids)):
            return set()
        return {s for s in shard_ids for p in partitions if Stream(s, p) not in self.applied}


_LARGEST = 2**63 - 1

PATIENCE = 3.0
"""Seconds for which a look-up is tried again; then the stream is paused."""


@dataclass(slots=True)
class Found:
    """Messages that were read.

    Attributes:
        arrivals: in the order of their partition.
        dead_letters: for messages that have no position.
        waiting: streams that cannot go on, by the offset of a damaged message that has to be looked
            up on the stream's own shard, which is away; and why.
        left: partitions that cannot go on, by the offset of a message that is left to other
            indexers; and why: a newer version of mynamo wrote it, or it is of a shard that the
            configuration lacks. Nothing from there on is among the others.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    waiting: dict[Stream, tuple[int, ShardUnavailable]] = field(default_factory=dict)
    left: dict[int, tuple[int, NewerFormat | ShardNotConfigured]] = field(default_factory=dict)


def read(cluster: Cluster, records: Collection[Any]) -> Found:
    """Find each message's position in its stream.

    Args:
        records: as the consumer gave them, in the order of their partition.

    Raises:
        ShardUnavailable: one is of a shard that this process does not know, and the catalog does
            not answer.
    """
    found = Found()
    for record in records:
        if record.partition in found.left:
            continue
        try:
            try:
                event = read_event(record.value or b"")
                if _is_of_removed(cluster, event.shard):
                    continue
                found.arrivals.append(_arrival(cluster, record, event))
            except CorruptData as flaw:
                _look_up(cluster, record, str(flaw), found)
        except (NewerFormat, ShardNotConfigured) as failure:
            found.left[record.partition] = record.offset, failure
    return found


def _is_of_removed(cluster: Cluster, shard_id: int) -> bool:
    """Whether a shard is none any more: all of its events are applied.

    Raises:
        CorruptData: it never was one.
        ShardNotConfigured: it is one, and the configuration lacks it.
        ShardUnavailable: this process does not know it, and the catalog does not answer.
    """
    if shard_id in cluster.shards:
        return False
    member = cluster.refresh().members.get(shard_id)
    if member is None:
        raise CorruptData(f"it is of shard {shard_id}, which this cluster does not have")
    if member.state == "REMOVED":
        return True
    cluster.member(shard_id)
    return False


def _look_up(cluster: Cluster, record: Any, flaw: str, found: Found) -> None:
    named = _named(cluster, record)
    if named is None:
        found.dead_letters.append(dead_letter(record, flaw))
        return
    stream, sequence = named
    if stream in found.waiting:
        return
    try:
        arrival = _find_position(cluster, record, stream, sequence, flaw)
    except ShardUnavailable as failure:
        found.waiting[stream] = record.offset, failure
    else:
        if arrival is not None:
            found.arrivals.append(arrival)
        else:
            found.dead_letters.append(dead_letter(record, flaw))


def dead_letter(record: Any, reason: str, event_id: str | None = None) -> DeadLetter:
    """The dead letter for a message."""
    return dead_letter_of(record, "event", reason, event_id)


def _arrival(cluster: Cluster, record: Any, event: PlainEvent | ChangeEvent) -> Arrival:
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


def _named(cluster: Cluster, record: Any) -> tuple[Stream, int] | None:
    """The stream and sequence that a message's headers name; None: those of no shard.

    Raises:
        ShardNotConfigured, ShardUnavailable: see `_is_of_removed`.
    """
    headers = dict(record.headers)
    try:
        shard_id, sequence = int(headers["shard"]), int(headers["sequence"])
        if _is_of_removed(cluster, shard_id):
            return None
    except (KeyError, ValueError, TypeError, CorruptData):
        return None
    return Stream(shard_id, record.partition), sequence


def _find_position(
    cluster: Cluster, record: Any, stream: Stream, sequence: int, flaw: str
) -> Arrival | None:
    """Ask the outbox for the position of a message of which only the headers can be read.

    The event's outbox row exists as long as an index waits for the event. Only that row can move
    the stream past the message: anything else could hide that other events were lost.
    """

    def once() -> tuple[tuple[Any, ...], ...]:
        with cluster.configured[stream.shard].session() as session:
            return session.run(
                ("SELECT previous, feeds FROM mynamo_outbox WHERE seq = %s AND part = %s",
                 (sequence, record.partition)),
            )[0].rows  # fmt: skip

    rows = retry(once, PATIENCE, PASSING)
    if not rows:
        return None
    previous, feeds = rows[0]
    return Arrival(stream, sequence, previous, bool(feeds), None, flaw, record)
