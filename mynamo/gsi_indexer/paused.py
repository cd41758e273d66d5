"""Going on beside a shard that is away: streams that are paused, and targets that miss events.

A target is a shard that events have index rows for. Several streams share a partition of Kafka,
which has one offset. So what waits is passed over, and read again once the shard is back. What is
kept in memory is an offset for each stream and target, however many events wait. These are the
steps:

1.  Note. An event has a row for a target that is away: the target misses the stream's events from
    this one on. Or the stream's own shard is away and its progress is unknown: the stream is
    paused from this event on. A crash: see step 3.
2.  Pass over. A target that misses an event of a stream gets none of the later ones, since its
    checkpoint must not pass it. The other targets do, and the stream's position moves on. Their
    checkpoints do, too, where an event has no row for them: readers see by them what a target
    has. Of a stream that is paused, all is left out.
3.  Record as progress no more than every target has, and commit no offset of a partition in which
    anything waits. A crash, or a rebalance: the next owner reads from an offset that is before
    every event that waits, and finds by the recorded progress and the checkpoints what is done.
4.  Resume, when the shard answers again: forget that it misses anything, set the streams' positions
    back to before what it has missed, and seek to the least of the partition's offsets. What other
    targets have comes a second time, and their checkpoints say so. A late message cannot do harm:
    it follows without a gap on what was applied, or it does not (`arrivals`).

5.  Begin again, when a slot has another owner than when something was missed first: a target's
    missing events are known by the target's number, and rows may belong to another one now. Before
    anything is applied by the new slot map, all streams of which something is missed are set back
    and read again, as in step 4.

Between 1 and 4 an event of a paused stream that is not found is not lost: `lost_events` leaves
paused streams alone. The model is tests/models/paused.pml.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mynamo.gsi_indexer.arrivals import Arrival, Positions, Stream


class OwnersChanged(Exception):  # noqa: N818
    """Slots have other owners than when targets missed events first: begin again (step 5)."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The first event of a stream that a target misses.

    Attributes:
        offset: in its partition.
        previous: sequence of the stream's event before it.
    """

    offset: int
    previous: int


class PausedStreams:
    """What waits in the streams of one consumer. Use by its thread.

    Attributes:
        waits_for: per stream that is paused, its own shard, which is away.
        missed: per stream, the targets that miss its events from one on.
    """

    def __init__(self) -> None:
        self.waits_for: dict[Stream, int] = {}
        self.missed: dict[Stream, dict[int, Missed]] = {}
        self._owners: tuple[int, ...] | None = None
        self._offsets: dict[Stream, int] = {}

    @property
    def partitions(self) -> set[int]:
        """Those in which anything waits (step 3)."""
        return {stream.partition for some in (self.waits_for, self.missed) for stream in some}

    def pause(self, stream: Stream, offset: int, shard_id: int) -> None:
        """Step 1, for a whole stream.

        Args:
            offset: of the stream's next event, in its partition.
            shard_id: of the shard that is away.
        """
        self.waits_for.setdefault(stream, shard_id)
        self._offsets[stream] = min(offset, self._offsets.get(stream, offset))

    def others(self, arrivals: list[Arrival]) -> list[Arrival]:
        """Step 2: the arrivals of streams that are not paused."""
        if not self.waits_for:
            return arrivals
        return [
            arrival
            for arrival in arrivals
            if arrival.stream not in self._offsets
            or arrival.record.offset < self._offsets[arrival.stream]
        ]

    def passes_over(self, arrival: Arrival, target: int, away: Collection[int]) -> bool:
        """Steps 1 and 2, for a target: whether it does not get an arrival now.

        Args:
            away: the shards that are away.
        """
        missed = self.missed.get(arrival.stream)
        if missed is not None and target in missed:
            return True  # or it has this one, which comes again for another target
        if target not in away:
            return False
        first = Missed(arrival.record.offset, arrival.previous)
        self.missed.setdefault(arrival.stream, {})[target] = first
        return True

    def check_owners(self, owners: tuple[int, ...]) -> None:
        """Call before a batch is applied by a slot map.

        Args:
            owners: of each slot, by that map.

        Raises:
            OwnersChanged: something is missed by another map.
        """
        if self.missed and self._owners is not owners and self._owners != owners:
            raise OwnersChanged
        self._owners = owners

    def targets(
        self, reached: Mapping[Stream, int], shard_ids: Collection[int]
    ) -> dict[int, dict[Stream, int]]:
        """Step 2, for readers that wait for one target while the progress of the whole stream
        stands still: by target, what it has of the streams of which others miss something.

        Args:
            reached: as in `settled`.
            shard_ids: of all shards that are not away.
        """
        told = {
            target: {
                stream: sequence
                for stream, sequence in reached.items()
                if stream in self.missed and target not in self.missed[stream]
            }
            for target in shard_ids
        }
        return {target: some for target, some in told.items() if some}

    def settled(self, reached: Mapping[Stream, int]) -> dict[Stream, int]:
        """Step 3: per stream, the last sequence that every target has.

        Args:
            reached: the last one that was applied to all targets but those that miss it.
        """
        if not self.missed:
            return dict(reached)
        return {
            stream: min([sequence, *(m.previous for m in self.missed.get(stream, {}).values())])
            for stream, sequence in reached.items()
        }

    def resume(self, shard_ids: Collection[int], positions: Positions) -> dict[int, int]:
        """Step 4, for shards that are back.

        Args:
            positions: which are set back.

        Returns:
            Per partition, the offset to read from.
        """
        offsets: dict[int, int] = {}

        def read_from(stream: Stream, offset: int) -> None:
            offsets[stream.partition] = min(offset, offsets.get(stream.partition, offset))

        for stream in [s for s, shard_id in self.waits_for.items() if shard_id in shard_ids]:
            del self.waits_for[stream]
            read_from(stream, self._offsets.pop(stream))
        for stream, missed in list(self.missed.items()):
            for target in missed.keys() & set(shard_ids):
                first = missed.pop(target)
                positions.set_back(stream, first.previous)
                read_from(stream, first.offset)
            if not missed:
                del self.missed[stream]
        return offsets

    def begin_again(self, positions: Positions) -> dict[int, int]:
        """Step 5; see `resume`. A stream that is paused stays so."""
        offsets: dict[int, int] = {}
        for stream, missed in self.missed.items():
            for first in missed.values():
                positions.set_back(stream, first.previous)
                known = offsets.get(stream.partition, first.offset)
                offsets[stream.partition] = min(first.offset, known)
        self.missed.clear()
        return offsets

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget partitions that come or go: they are read from their committed offsets."""
        gone = set(partitions)
        for stream in [s for s in self.waits_for if s.partition in gone]:
            del self.waits_for[stream], self._offsets[stream]
        for stream in [s for s in self.missed if s.partition in gone]:
            del self.missed[stream]
